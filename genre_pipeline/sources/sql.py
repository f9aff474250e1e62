"""SQL sources: a URL and one query a table, read in batches through SQLAlchemy.

Belongs here: running the queries a person wrote. Kept out: the pipeline's own tables (`adapters`). Nothing is put
together into SQL here: a query is run as it stands.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS, USERS
from genre_pipeline.sources.raw_dataset import RawDataset, check_table

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_BATCH_ROWS = 50_000


def read_sql(
    url: str,
    queries: Mapping[str, str],
    *,
    name: str = "sql",
    columns: Mapping[str, Mapping[str, str]] | None = None,
) -> RawDataset:
    """Run a query a table (`interactions`, and optionally `items`, `users`) against the SQLAlchemy `url`.

    Rows are streamed in batches into polars. Where equal timestamps matter, give the query an ORDER BY: their order in
    the result is the order of the source. A colon before a word is a parameter to SQLAlchemy: put a backslash before
    it. Raises SourceError: bad URL, missing driver, unreachable database, missing table, failing query, a missing
    column, no rows. The URL is shown without its password.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    shown = "the database"
    try:
        parsed = make_url(url)
        shown = parsed.render_as_string(hide_password=True)
        engine = create_engine(parsed)
        tables = {table: _run(engine, query) for table, query in queries.items()}
    except ImportError as error:
        raise SourceError(f"{shown} needs a driver that is not installed: {error}", remedy="Install it.") from error
    except SQLAlchemyError as error:
        raise SourceError(
            f"{shown} cannot be read: {str(error).splitlines()[0]}",
            remedy="Check `source.url` and `source.queries`: the database, the tables and the columns they name.",
        ) from error
    checked = {
        table: check_table(table, frame.lazy(), origin=shown, columns=(columns or {}).get(table, {}))
        for table, frame in tables.items()
    }
    return RawDataset(checked[INTERACTIONS], checked.get(ITEMS), checked.get(USERS), name)


def _run(engine: "Engine", query: str) -> pl.DataFrame:
    from sqlalchemy import text

    options = {"stream_results": True, "max_row_buffer": _BATCH_ROWS}
    with engine.connect().execution_options(**options) as connection:
        result = connection.execute(text(query))
        names = list(result.keys())
        batches = [_frame(names, batch) for batch in result.partitions(_BATCH_ROWS)]
    return _joined(batches) if batches else pl.DataFrame(schema=names)


def _frame(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    return pl.DataFrame([_series(name, cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)])


def _series(name: str, cells: Sequence[Any]) -> pl.Series:
    """What polars has no one type for (UUIDs, or numbers and words in one SQLite column) becomes text, cell by cell."""
    try:
        series = pl.Series(name, cells)
    except TypeError:
        return _as_text(name, cells)
    return _as_text(name, cells) if series.dtype == pl.Object else series


def _as_text(name: str, cells: Sequence[Any]) -> pl.Series:
    return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def _joined(batches: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One frame; a column that is text in one batch is text in all."""
    texts = [name for name in batches[0].columns if any(batch.schema[name] == pl.String for batch in batches)]
    return pl.concat([batch.with_columns(pl.col(texts).cast(pl.String)) for batch in batches], how="vertical_relaxed")
