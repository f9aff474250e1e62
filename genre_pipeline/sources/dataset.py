"""Which source a pipeline reads, and reading it: the front door of this room.

Belongs here: the configuration of sources and the choice between them. Kept out: how each is read.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import SecretStr, model_validator

from genre_pipeline.contracts.names import INTERACTIONS
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.sources.folder import read_folder
from genre_pipeline.sources.movielens import read_movielens
from genre_pipeline.sources.raw_dataset import RawDataset
from genre_pipeline.sources.sql import read_sql

__all__ = ["RawDataset", "SourceConfig", "media_root", "read_dataset"]

Table = Literal["interactions", "items", "users"]


class SourceConfig(Settings):
    """Where raw tables come from."""

    kind: Literal["folder", "movielens", "sql"] = "folder"
    """`folder`: the standard folder; `movielens`: MovieLens' own forms; `sql`: queries against a database."""
    path: str | None = None
    """The folder, or for kind `folder` also an object-store URL (`s3://bucket/shop`)."""
    url: SecretStr | None = None
    """SQLAlchemy URL of the database; kind `sql` only. Best set through the environment, for it holds a password."""
    queries: Mapping[Table, str] = {}
    """Kind `sql`: the query of each table; `interactions` is required."""
    columns: Mapping[Table, Mapping[str, str]] = {}
    """Table, then the source's column name, to the standard column name; columns not named keep theirs."""
    name: str | None = None
    """What the data set is called in reports; the folder's name where it is not set."""

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        """Settings that the kind does not read are refused, so that none is silently ignored."""
        if self.kind == "sql":
            if self.url is None or INTERACTIONS not in self.queries:
                raise ValueError("kind `sql` needs `url` and `queries.interactions`")
            if self.path is not None:
                raise ValueError("`path` belongs to the kinds `folder` and `movielens`")
        else:
            if self.path is None:
                raise ValueError(f"kind `{self.kind}` needs `path`")
            if self.url is not None or self.queries:
                raise ValueError("`url` and `queries` belong to the kind `sql`")
        return self


def read_dataset(config: SourceConfig) -> RawDataset:
    """Read the source that `config` names. Raises SourceError, which names file, column and remedy."""
    columns: dict[str, Mapping[str, str]] = {str(table): renames for table, renames in config.columns.items()}
    if config.kind == "sql":
        url = config.url.get_secret_value() if config.url else ""
        queries = {str(table): query for table, query in config.queries.items()}
        return read_sql(url, queries, name=config.name or "sql", columns=columns)
    read = read_folder if config.kind == "folder" else read_movielens
    return read(config.path or "", name=config.name, columns=columns)


def media_root(config: SourceConfig) -> str | None:
    """Folder or URL that relative media locations start from; None where a source has no files. Reads nothing."""
    return None if config.path is None else config.path.rstrip("/")
