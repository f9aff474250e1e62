"""Where media may come from: inside the data set's root, and nowhere else."""

import os
from pathlib import Path

import fsspec
import pytest

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources.decoding import RefusedError
from genre_pipeline.sources.fetching import Fetcher, UrlPolicy
from genre_pipeline.sources.media_files import MediaFiles

LIMIT = 1_000


def files(root: str | None) -> MediaFiles:
    return MediaFiles(root, Fetcher(UrlPolicy(), max_bytes=LIMIT, resolve=lambda host, port: []), max_bytes=LIMIT)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "media").mkdir(parents=True)
    (root / "media" / "a b%2e.png").write_bytes(b"inside")
    (root / "large.png").write_bytes(bytes(LIMIT + 1))
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "shop-2").mkdir()
    (tmp_path / "shop-2" / "secret").write_bytes(b"secret")
    (root / "link-out").symlink_to(tmp_path / "secret")
    (root / "folder-out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "link-in").symlink_to(root / "media" / "a b%2e.png")
    (root / "device").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("../secret", "outside_root"), ("media/../../secret", "outside_root"), ("/etc/passwd", "outside_root"),
        ("../shop-2/secret", "outside_root"), ("link-out", "outside_root"), ("folder-out/secret", "outside_root"),
        ("/dev/zero", "outside_root"), ("device", "outside_root"), ("/proc/self/environ", "outside_root"),
        ("..", "outside_root"), ("..%2fsecret", "file_missing"), ("%2e%2e/secret", "file_missing"),
        ("..\\secret", "file_missing"), ("media", "not_a_file"), (".", "not_a_file"), ("pipe", "not_a_file"),
        ("loop", "file_missing"), ("none.png", "file_missing"), ("a" * 5_000, "file_missing"),
        ("large.png", "too_many_bytes"), ("", "location_invalid"), (" ", "location_invalid"),
        ("media/a\0.png", "location_invalid"), ("media/a\n.png", "location_invalid"),
        ("file:///etc/passwd", "scheme_refused"), ("FILE:///etc/passwd", "scheme_refused"),
        ("s3://bucket/a.png", "scheme_refused"), ("memory://a.png", "scheme_refused"),
        ("zip://a.png::http://127.0.0.1/a.zip", "scheme_refused"), ("file:/etc/passwd", "file_missing"),
        ("gopher://127.0.0.1/", "scheme_refused"), ("~/.ssh/id", "file_missing"), ("$HOME", "file_missing"),
        ("http://127.0.0.1/", "address_refused"), ("HTTPS://inside.test/", "address_refused"),
    ],
)  # fmt: skip
def test_a_folder_gives_its_own_files_only(shop: Path, location: str, rule: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        files(str(shop)).read(location)
    assert refusal.value.rule == rule
    assert "secret" not in refusal.value.detail


@pytest.mark.parametrize("location", ["media/a b%2e.png", "./media/../media/a b%2e.png", "link-in"])
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_file_inside_is_read(shop: Path, location: str, prefix: str) -> None:
    assert files(prefix + str(shop)).read(location) == b"inside"
    assert files(prefix + str(shop)).read(str(shop / "media" / "a b%2e.png")) == b"inside"


@pytest.fixture
def store() -> str:
    for name, contents in {
        "mine/a/b.png": b"inside",
        "mine/large": bytes(LIMIT + 1),
        "theirs/b.png": b"secret",
    }.items():
        with fsspec.open(f"memory://{name}", "wb") as file:
            file.write(contents)
    return "memory://mine"


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("../theirs/b.png", "outside_root"), ("a/../../theirs/b.png", "outside_root"), ("..", "outside_root"),
        ("memory://theirs/b.png", "outside_root"), ("memory://mine/../theirs/b.png", "outside_root"),
        ("memory://mine-2/b.png", "outside_root"), ("file:///etc/passwd", "outside_root"),
        ("/etc/passwd", "outside_root"), ("zip://b.png::memory://mine/a", "outside_root"),
        ("a::b", "outside_root"), ("..\\theirs", "outside_root"),
        ("none.png", "file_missing"), ("a", "file_missing"), ("large", "too_many_bytes"),
        ("http://127.0.0.1/", "address_refused"),
    ],
)  # fmt: skip
def test_a_store_gives_what_lies_under_its_prefix_only(store: str, location: str, rule: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        files(store).read(location)
    assert refusal.value.rule == rule


@pytest.mark.parametrize("location", ["a/b.png", "memory://mine/a/b.png", "./a/b.png"])
def test_an_object_is_read(store: str, location: str) -> None:
    assert files(f"{store}/").read(location) == b"inside"


def test_a_web_root_goes_through_the_guard() -> None:
    with pytest.raises(RefusedError) as refusal:
        files("http://10.0.0.1/shop").read("a.png")
    assert refusal.value.rule == "address_refused"


def test_without_a_root_only_urls_are_read() -> None:
    with pytest.raises(RefusedError) as refusal:
        files(None).read("a.png")
    assert refusal.value.rule == "outside_root"


def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a folder"):
        files(str(tmp_path / "absent"))
