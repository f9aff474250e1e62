"""Which run readers see: staging, verification, the flip of the pointer, the way back, and what is deleted when.

What belongs here: the rules of publication, as functions on a connection or a database. What does not: how rows are
written (`bulk_load`) and read (`tables`).

A run goes staged, published, retired. Rows appear under their run id, where nobody reads them; publishing moves one
row of `publication`. The run that is live is never written to: computing its day again either gives the same run (the
same fingerprint, then nothing happens) or another, under another run id, and the pointer goes from one whole result to
the other. So there is no moment in which a reader finds less than a whole list.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from genre_pipeline.adapters.bulk_load import FoldedRun, write_run
from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.run_verification import verify
from genre_pipeline.adapters.table_definitions import RUN_TABLES, publication, recommendations, runs
from genre_pipeline.adapters.table_records import Publication, PublicationExpectation, RunRecord
from genre_pipeline.contracts.errors import NotPublishedError, PublishRefusedError

STAGED, PUBLISHED, RETIRING, RETIRED = "staged", "published", "retiring", "retired"
ABANDONED_AFTER = timedelta(days=1)
"""A run that was staged and not published for so long will not be."""
_LOCK = "publication"
_DELETED_AT_A_TIME = 5_000

Run = sa.RowMapping
"""A row of `runs`."""


def stage(connection: sa.Connection, record: RunRecord, run: FoldedRun, now: datetime) -> PublicationExpectation:
    """Write a run's rows, replacing those of an unpublished run of the same name; nothing if they are there already."""
    expected = run.expectation
    _claim(connection, record, expected, now)
    stored = _run(connection, record.run_id, lock=True)
    if stored["status"] in (STAGED, PUBLISHED) and _has_same_rows(stored, expected):
        return expected
    if record.run_id in _pointed_to(connection):
        raise PublishRefusedError(
            f"Run {record.run_id!r} is published, and what is to be staged under its name differs",
            remedy="Stage it under another run id: `run_id_for(day, fingerprint)` gives each result its own.",
        )
    write_run(connection, record.run_id, run)
    values = _run_values(record, expected, now) | {"status": STAGED, "erased_rows": 0, "erased_users": 0}
    connection.execute(sa.update(runs).where(runs.c.run_id == record.run_id).values(published_at=None, **values))
    return expected


def publish(
    database: Database,
    run_id: str,
    expected: PublicationExpectation,
    *,
    surface: str,
    allow_older: bool,
    now: datetime,
) -> Publication:
    """Verify a staged run and point `surface` at it, unless a newer day is there already.

    Reading every row back takes a while, so it is done on a snapshot before the lock is taken; under the lock the run
    must still be the one that was verified. SQLite's only write lock is then held for milliseconds.
    """
    with database.read() as connection:
        verified = _run(connection, run_id)
        verify(connection, verified, expected)
    with database.write(_LOCK) as connection:
        run = _run(connection, run_id, lock=True)
        _refuse_changed(connection, verified, run)
        current = find_publication(connection, surface)
        reason = _reason_to_stay(run, current, allow_older)
        if current is None or not reason:
            _point(connection, surface, run, current, now)
        found = find_publication(connection, surface)
    assert found is not None
    return Publication(**(found.__dict__ | {"moved": not reason, "reason": reason}))


def rollback(connection: sa.Connection, surface: str, now: datetime) -> Publication:
    """Show the run before again. What was live becomes the run before: rolling back twice changes nothing."""
    current = find_publication(connection, surface)
    if current is None or current.previous_run_id is None:
        raise NotPublishedError(
            f"Surface {surface!r} has no earlier publication to go back to", remedy="Publish a run: `genre run`."
        )
    _point(connection, surface, _run(connection, current.previous_run_id, lock=True), current, now)
    found = find_publication(connection, surface)
    assert found is not None
    return Publication(**(found.__dict__ | {"moved": True}))


def lock_name() -> str:
    """The lock that whoever moves the pointer or chooses runs to delete must hold."""
    return _LOCK


def find_publication(connection: sa.Connection, surface: str) -> Publication | None:
    """What a surface shows; None before its first publication."""
    query = (
        sa.select(publication, runs.c.as_of)
        .join(runs, runs.c.run_id == publication.c.run_id)
        .where(publication.c.surface == surface)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Publication(**row)


def find_previous(connection: sa.Connection, surface: str) -> Publication | None:
    """What a surface showed before; None before its second publication."""
    query = (
        sa.select(publication.c.surface, runs.c.run_id, runs.c.day, runs.c.as_of, runs.c.published_at)
        .join(runs, runs.c.run_id == publication.c.previous_run_id)
        .where(publication.c.surface == surface)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Publication(**row, previous_run_id=None)


def retire(database: Database, keep: int, now: datetime) -> list[str]:
    """Delete the rows of runs that nothing points to, but for the `keep` last published; give back their names.

    Chosen under the lock, then deleted in small transactions: a reader or writer waits for one of those at most.
    Whoever is killed half way leaves runs marked as retiring, and the next call goes on with them.
    """
    with database.write(_LOCK) as connection:
        victims = _victims(connection, keep, now)
        connection.execute(sa.update(runs).where(runs.c.run_id.in_(victims)).values(status=RETIRING))
    for run_id in victims:
        while _delete_some(database, run_id):
            pass
    return victims


def erase_user(connection: sa.Connection, user_id: str) -> int:
    """Delete a user's lists in every run, and note it in the runs; how many lists there were."""
    is_own = recommendations.c.user_id == user_id
    for row in connection.execute(sa.select(recommendations.c.run_id, recommendations.c.item_ids).where(is_own)).all():
        erased = {"erased_users": runs.c.erased_users + 1, "erased_rows": runs.c.erased_rows + len(row.item_ids)}
        connection.execute(sa.update(runs).where(runs.c.run_id == row.run_id).values(**erased))
    return connection.execute(sa.delete(recommendations).where(is_own)).rowcount


def _claim(connection: sa.Connection, record: RunRecord, expected: PublicationExpectation, now: datetime) -> None:
    """Make the run's row where there is none, so that it can be locked: two stagings of one name take turns."""
    insert = _insert_for(connection)(runs).values(run_id=record.run_id, **_run_values(record, expected, now))
    connection.execute(insert.values(status=RETIRED).on_conflict_do_nothing())


def _insert_for(connection: sa.Connection) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def _run_values(record: RunRecord, expected: PublicationExpectation, now: datetime) -> dict[str, object]:
    return {
        "day": record.day,
        "as_of": record.as_of,
        "created_at": record.created_at,
        "model_version": record.model_version,
        "code_version": record.code_version,
        "decisions": dict(record.decisions),
        "metrics": dict(record.metrics),
        "rows": expected.rows,
        "users": expected.users,
        "fingerprint": expected.fingerprint,
        "staged_at": now,
    }


def _has_same_rows(run: Run, expected: PublicationExpectation) -> bool:
    return bool(run["fingerprint"] == expected.fingerprint and not run["erased_users"])


def _run(connection: sa.Connection, run_id: str, *, lock: bool = False) -> Run:
    query = sa.select(runs).where(runs.c.run_id == run_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise PublishRefusedError(f"There is no run {run_id!r}", remedy="Stage it before it is published.")
    return row


def _refuse_changed(connection: sa.Connection, verified: Run, run: Run) -> None:
    names = ("fingerprint", "status", "erased_users", "staged_at")
    changed = [name for name in names if verified[name] != run[name]]
    query = sa.select(sa.func.count()).where(recommendations.c.run_id == run["run_id"])
    if connection.execute(query).scalar_one() != run["users"] - run["erased_users"]:
        changed.append("users")
    if changed:
        raise PublishRefusedError(
            f"Run {run['run_id']!r} was changed by somebody while it was being verified",
            remedy="Publish it again, when nothing else writes to it.",
            culprits=changed,
        )


def _reason_to_stay(run: Run, current: Publication | None, allow_older: bool) -> str:
    if current is None:
        return ""
    if current.run_id == run["run_id"]:
        return f"run {current.run_id} is published already"
    if run["day"] < current.day and not allow_older:
        return f"kept {current.day.isoformat()} as published: {run['day'].isoformat()} is older"
    return ""


def _point(connection: sa.Connection, surface: str, run: Run, current: Publication | None, now: datetime) -> None:
    values = {"run_id": run["run_id"], "day": run["day"], "published_at": now}
    if current is None:
        connection.execute(sa.insert(publication).values(surface=surface, **values))
    else:
        values["previous_run_id"] = current.run_id
        connection.execute(sa.update(publication).where(publication.c.surface == surface).values(**values))
    published = sa.update(runs).where(runs.c.run_id == run["run_id"])
    connection.execute(published.values(status=PUBLISHED, published_at=now))


def _pointed_to(connection: sa.Connection) -> set[str]:
    rows = connection.execute(sa.select(publication.c.run_id, publication.c.previous_run_id))
    return {run_id for row in rows for run_id in row if run_id is not None}


def _victims(connection: sa.Connection, keep: int, now: datetime) -> list[str]:
    is_published = runs.c.status == PUBLISHED
    newest_first = (runs.c.published_at.desc(), runs.c.day.desc(), runs.c.run_id.desc())
    latest = sa.select(runs.c.run_id).where(is_published).order_by(*newest_first).limit(keep)
    kept = _pointed_to(connection) | set(connection.scalars(latest))
    is_abandoned = (runs.c.status == STAGED) & (runs.c.staged_at < now - ABANDONED_AFTER)
    query = sa.select(runs.c.run_id).where(is_published | is_abandoned | (runs.c.status == RETIRING))
    return [run_id for run_id in connection.scalars(query.order_by(runs.c.run_id)) if run_id not in kept]


def _delete_some(database: Database, run_id: str) -> bool:
    """One batch of every run table; False when the run is done with, or was staged anew meanwhile."""
    with database.write() as connection:
        if _run(connection, run_id, lock=True)["status"] != RETIRING:
            return False
        deleted = sum(_delete_batch(connection, table, run_id) for table in RUN_TABLES)
        if not deleted:
            connection.execute(sa.update(runs).where(runs.c.run_id == run_id).values(status=RETIRED))
        return bool(deleted)


def _delete_batch(connection: sa.Connection, table: sa.Table, run_id: str) -> int:
    key = next(column for column in table.primary_key.columns if column.name != "run_id")
    is_own = table.c.run_id == run_id
    chosen = sa.select(key).where(is_own).limit(_DELETED_AT_A_TIME)
    return connection.execute(sa.delete(table).where(is_own, key.in_(chosen))).rowcount
