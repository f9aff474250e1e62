"""The page: history beside the list, hostile titles as text, media from the data set's folder and from nowhere else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.media import MediaFiles
from tests import scenario
from tests.fakes.serving_world import World, build_world

BASE = "http://127.0.0.1:8000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scenario.write_standard_folder(tmp_path / "set")


@pytest.fixture
def world(night: Path) -> World:
    return build_world(night)


@pytest.fixture
def client(world: World, folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(world.service, media_root=folder), base_url=BASE) as client:
        yield client


def test_welcome_offers_users_to_try(client: TestClient) -> None:
    html = client.get("/").text
    assert '<a href="/?user=001">001</a>' in html
    assert html.count('class="poster') == 2


def test_history_stands_beside_the_list(client: TestClient) -> None:
    response = client.get("/?user=007&k=4")
    assert response.status_code == 200
    listed, past = response.text.split('<section class="past"')
    assert past.count('class="poster') > 0
    assert listed.count('<li class="card">') == 4
    assert '<li class="badge real-time">real-time</li>' in listed


def test_nothing_inline_and_nothing_remote(client: TestClient) -> None:
    html = client.get("/?user=007").text
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", html)
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', html):
        assert client.get(path).status_code == 200


def test_hostile_titles_and_ids_are_text(client: TestClient) -> None:
    html = client.get("/", params={"user": "<script>alert(1)</script>", "k": 24}).text
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<b>Nebula</b>" not in html
    assert "&lt;b&gt;Nebula&lt;/b&gt;" in html


@pytest.mark.parametrize("query", ["user=007&k=abc", "user=007&k=101", "user=%00", f"user={'x' * 600}"])
def test_bad_queries_are_explained(client: TestClient, query: str) -> None:
    response = client.get(f"/?{query}")
    assert response.status_code == 422
    assert 'role="alert"' in response.text


def test_page_says_when_the_online_store_is_down(client: TestClient, world: World) -> None:
    world.features.is_down = True
    html = client.get("/?user=007").text
    assert "online store does not answer" in html
    assert '<li class="badge published">published</li>' in html


def test_pictures_and_sounds_of_items(client: TestClient) -> None:
    picture = client.get("/media/image/i01")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert picture.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert client.get("/media/audio/i01").headers["content-type"] == "audio/wav"
    for path in (
        "/media/image/i06",
        "/media/image/nowhere",
        "/media/secret/i01",
        "/media/image/..%2F..%2Fetc%2Fpasswd",
    ):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "relative",
    [
        "../outside.png", "images/../../outside.png", "/etc/passwd", "{root}/../outside.png", "link.png",
        "linked/outside.png", "loop.png", "note.txt", "images", "images/\0.png", "http://elsewhere/a.png",
        "images/absent.png", "x" * 5000 + ".png",
    ],
)  # fmt: skip
def test_files_outside_the_folder_or_of_other_formats_are_refused(folder: Path, relative: str) -> None:
    outside = folder.parent / "outside.png"
    outside.write_bytes(b"secret")
    (folder / "note.txt").write_text("note")
    (folder / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    media = MediaFiles(folder)
    assert media.resolved(relative.format(root=folder)) is None
    assert media.resolved("images/i01.png") == folder.resolve() / "images" / "i01.png"


def test_no_folder_no_media() -> None:
    assert MediaFiles(None).resolved("images/i01.png") is None
