from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from genre_pipeline.adapters.ledger import CallLedger
from genre_pipeline.adapters.tables import Tables
from genre_pipeline.contracts.errors import GenreError
from genre_pipeline.contracts.language_model import Spending
from genre_pipeline.generation.ledger import Call, kept

DAY = date(2026, 3, 1)
CALL = Call(
    request_key="k1", scheme="item_summaries", subject="7", is_personal=False, prompt_version="films-1",
    model="stub/1", parameters={"max_tokens": 32, "temperature": 0.0}, input_hash="h1",
    raw_reply='{"line": "Crème brûlée for two"}', parsed={"line": "Crème brûlée for two"}, status="model", reason="",
    input_tokens=120, output_tokens=9, assumed_tokens=0, cost=0.25, latency_s=0.5, attempts=1, day=DAY,
)  # fmt: skip
FAILED = replace(
    CALL, raw_reply=None, parsed=None, status="failed", reason="deadline", input_tokens=0, output_tokens=0,
    assumed_tokens=300, cost=0.5, attempts=3,
)  # fmt: skip


class Clock:
    """A second later at every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def ledger(database_url: str) -> Iterator[CallLedger]:
    tables = Tables(database_url)
    tables.migrate()
    tables.close()
    opened = CallLedger(database_url, clock=Clock())
    yield opened
    opened.close()


def test_a_reply_is_found_by_its_key_and_a_call_without_one_is_not(ledger: CallLedger) -> None:
    ledger.record([FAILED])
    assert ledger.replies(["k1", "k2"]) == {}
    ledger.record([CALL, replace(CALL, request_key="k2", raw_reply="")])
    ledger.record([replace(CALL, raw_reply="came later")])
    assert ledger.replies(["k2", "k1", "k3"]) == {"k1": CALL.raw_reply, "k2": ""}
    assert ledger.replies([]) == {}


def test_more_keys_than_a_statement_holds_are_all_found(ledger: CallLedger) -> None:
    ledger.record([replace(CALL, request_key=f"k{number}", raw_reply=str(number)) for number in range(1200)])
    found = ledger.replies([f"k{number}" for number in range(1300)])
    assert found == {f"k{number}": str(number) for number in range(1200)}


def test_a_night_adds_up_to_its_rows(ledger: CallLedger) -> None:
    assert ledger.spending(DAY) == Spending(0, 0, 0.0)
    ledger.record([CALL, FAILED, replace(CALL, day=DAY + timedelta(days=1), cost=9.0)])
    assert ledger.spending(DAY) == Spending(calls=4, tokens=429, cost=0.75, seconds=1.0)


def test_what_keys_took_is_summed_over_all_nights(ledger: CallLedger) -> None:
    ledger.record([CALL, FAILED, replace(CALL, day=DAY + timedelta(days=1)), replace(CALL, request_key="k2")])
    assert ledger.taken(["k1", "k3"]) == Spending(calls=5, tokens=558, cost=1.0, seconds=1.5)
    assert ledger.taken([]) == Spending()


def test_rows_come_back_as_they_were_written(ledger: CallLedger) -> None:
    odd = replace(CALL, raw_reply=kept("a\0b\ud800c"), parsed={"tags": ["nul \0"], "line": "𝄞"}, subject="0\U0001f600")
    ledger.record([odd])
    ledger.record([FAILED])
    rows = ledger.calls_of(DAY).to_dicts()
    assert [row["raw_reply"] for row in rows] == ["a\ufffdb?c", None]
    assert rows[0]["parameters"] == {"max_tokens": 32, "temperature": 0.0}
    assert (rows[0]["subject"], rows[0]["status"], rows[0]["day"]) == ("0\U0001f600", "model", DAY)
    assert rows[0]["created_at"] < rows[1]["created_at"]
    assert rows[1]["reason"] == "deadline"


def test_a_user_is_erased_and_an_item_of_the_same_id_stays(ledger: CallLedger, database_url: str) -> None:
    ledger.record([CALL, replace(CALL, scheme="user_profiles", is_personal=True, request_key="k2")])
    tables = Tables(database_url)
    assert tables.delete_user("7")["llm_calls"] == 1
    tables.close()
    assert ledger.replies(["k1", "k2"]) == {"k1": CALL.raw_reply}


def test_without_tables_the_remedy_is_named(database_url: str) -> None:
    unmigrated = CallLedger(database_url)
    with pytest.raises(GenreError, match="genre run"):
        unmigrated.spending(DAY)
    unmigrated.close()


def test_a_reply_is_kept_in_a_form_that_a_database_holds() -> None:
    assert len(kept("x" * 200_000)) == 100_000
    assert kept(kept("a\0\udfff")) == kept("a\0\udfff")
