"""A process that publishes and dies at a named statement. Arguments: database URL, run id, day number, point."""

import os
import signal
import sys
from typing import Any

import sqlalchemy as sa

from genre_pipeline.adapters.tables import Tables
from tests.adapters.staged_runs import a_day, publish


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str) -> None:
    """`commit N`: before the Nth commit. Otherwise: before the first statement that begins with `point`."""
    left = int(point.removeprefix("commit ")) if point.startswith("commit ") else 0

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def before(_connection: sa.Connection, _cursor: Any, statement: str, *_rest: object) -> None:
        if statement.startswith(point):
            die()

    @sa.event.listens_for(sa.Engine, "commit")
    def commit(_connection: sa.Connection) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            die()


if __name__ == "__main__":
    url, run_id, day, point = sys.argv[1:]
    die_at(point)
    publish(Tables(url), run_id, a_day(int(day)), mark=float(day), users=50)
