"""The page: history beside the list, hostile titles as text, media from the data set's folder and from nowhere else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from genre_pipeline.serving.access import scope_of
from genre_pipeline.serving.answers import Part, RecommendedItem
from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.charts import curve
from genre_pipeline.serving.exhibits import read_exhibits
from genre_pipeline.serving.media import MediaFiles
from genre_pipeline.serving.page_views import moves
from tests import scenario
from tests.fakes.serving_world import DAY, World, build_world

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


FORM = {"content-type": "application/x-www-form-urlencoded", "origin": BASE}


def test_a_form_is_an_event_and_the_answer_reflects_it(client: TestClient, world: World) -> None:
    first = world.service.recommend("007", 4).recommendations[0]
    body = f"item_id={first.item_id}&event=like&event_id=page-1"
    for _ in range(2):
        html = client.post("/?user=007&k=4", content=body, headers=FORM).text
        assert "Recorded: like of" in html
    assert world.tables.log.select("event_id", "user_id", "item_id", "event").rows() == [
        ("page-1", "007", first.item_id, "like")
    ]
    assert first.item_id not in [line.item_id for line in world.service.recommend("007", 4).recommendations]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("event=like", FORM),
        ("item_id=", FORM),
        ("item_id=%FF", FORM),
        ("item_id=i01&timestamp=1&user_id=other" + "&x=1" * 20, FORM),
        ('{"item_id": "i01"}', FORM | {"content-type": "application/json"}),
        ("item_id=i01", {"content-type": "text/plain", "origin": BASE}),
    ],
)
def test_forms_that_tell_of_nothing_are_explained(
    client: TestClient, world: World, body: str, headers: dict[str, str]
) -> None:
    response = client.post("/?user=007", content=body, headers=headers)
    assert (response.status_code, 'role="alert"' in response.text) == (422, True)
    assert world.tables.log.is_empty()


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://elsewhere.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
     {"origin": BASE, "sec-fetch-site": "same-site"}],
)  # fmt: skip
def test_forms_of_other_sites_are_refused(client: TestClient, world: World, headers: dict[str, str]) -> None:
    response = client.post("/?user=007", content="item_id=i01", headers=FORM | {"origin": ""} | headers)
    assert response.status_code == 403
    assert world.tables.log.is_empty()


def test_a_browser_names_the_origin_of_our_own_forms(client: TestClient) -> None:
    assert client.get("/").headers["referrer-policy"] == "same-origin"


def test_reading_needs_no_write_scope_and_a_form_does() -> None:
    assert [scope_of("GET", "/"), scope_of("GET", "/session"), scope_of("POST", "/")] == ["read", "read", "write"]


def test_a_damaged_partition_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    world = build_world(tmp_path)
    part = world.partitions.root / "item_text_vectors" / DAY / "part.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    exhibits = read_exhibits(world.partitions, world.service.held.run)
    assert exhibits.absent["item_text_vectors"] == "its partition is damaged"
    assert exhibits.absent["evaluation"] == "the night does not make it"
    assert exhibits.texts["i01"] == "A space story about comet."
    assert exhibits.spaces == {}


def test_without_partitions_the_page_says_what_it_cannot_show(client: TestClient) -> None:
    html = client.get("/published").text
    assert "started without the partitions" in html
    assert "There are none: no training" in html


def test_moves_are_places_risen_or_new() -> None:
    before, after = ([_line(item, rank) for rank, item in enumerate(ids, 1)] for ids in ("abc", "cad"))
    assert moves(before, after) == {"c": 2, "a": -1, "d": "new"}


def test_a_curve_leaves_out_what_was_not_measured() -> None:
    assert curve("loss", [1, 2], [None, float("nan")]) is None
    drawn = curve("loss", [1, 2, 3], [4.0, None, 2.0])
    assert drawn is not None
    assert (drawn.points, drawn.low, drawn.high) == ("40.0,8.0 312.0,98.0", "2", "4")


def _line(item: str, rank: int) -> RecommendedItem:
    return RecommendedItem(item_id=item, title=item, rank=rank, score=1.0, reasons=["any"], parts=Part())
