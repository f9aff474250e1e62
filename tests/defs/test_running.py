"""`genre run` and `genre demo` as a person calls them."""

import json
from pathlib import Path

import pytest

from tests.defs.worlds import NIGHTS, World

pytestmark = pytest.mark.slow

DAY = NIGHTS[-1]


def test_a_run_of_one_asset_answers_with_one_json_object(own_world: World) -> None:
    answer = own_world.genre("run", "--date", DAY, "--select", "users, item_statistics", "--json")
    assert answer.code == 0, answer.notes
    found = json.loads(answer.output)
    assert found.keys() == {"day", "dagster_run_id", "published"}
    assert (found["day"], found["published"]) == (DAY, own_world.published())
    steps = [line.split()[1] for line in answer.notes.splitlines() if line.startswith("  ✓")]
    assert sorted(steps) == ["item_statistics", "users"]


def test_the_last_complete_day_is_the_one_that_is_run_without_a_date(own_world: World) -> None:
    answer = own_world.genre("run", "--select", "users")
    assert answer.notes.splitlines()[0] == f"The night of {DAY}"
    assert answer.notes.splitlines()[-1] == f"{DAY} done. Published: {own_world.published()}."


def test_without_an_instance_here_the_home_gets_one_that_tells_nobody(own_world: World) -> None:
    (own_world.folder / "dagster.yaml").unlink()
    answer = own_world.genre("run", "--select", "users")
    assert answer.code == 0, answer.notes
    written = (own_world.folder / "home" / "dagster" / "dagster.yaml").read_text()
    assert "telemetry: {enabled: false}" in written
    assert "elemetry" not in answer.notes
    assert "No dagster instance" not in answer.notes


def test_the_demo_shows_what_is_published_and_says_how_to_compute_it_afresh(own_world: World, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (films / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,4.0,874965706\n2,20,3.5,874965800\n")
    (films / "movies.csv").write_text("movieId,title,genres\n10,Heat (1995),Action\n20,Big (1988),Comedy\n")

    answer = own_world.genre("demo", "--movielens", str(films), "--user", "007")

    assert answer.code == 0, answer.notes
    assert (own_world.folder / "home" / "demo" / "interactions.parquet").is_file()
    assert f"{DAY} is published already as {own_world.published()}; `--again` computes it afresh." in answer.notes
    for shown in ("What user 007 took last", "What GENRE recommends, as of", "How good the lists are", "hybrid"):
        assert shown in answer.output
    assert "genre recommend 007 --json" in answer.output


def test_the_history_is_read_first_and_every_part_is_announced(world: World) -> None:
    notes = (world.folder / "first_night.txt").read_text()
    headings = [line for line in notes.splitlines() if line[:1] not in (" ", "") and "2024-03" in line]
    assert headings[:3] == [
        "First the interactions from 2024-03-01 to 2024-03-07, which were never read",
        "Then what was known on the evening of 2024-03-07",
        "The night of 2024-03-08",
    ]
