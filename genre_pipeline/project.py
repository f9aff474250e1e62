"""The composition root: from a configuration to the doors that work goes through.

Everybody who needs partitions, tables, features or models gets them here: the Dagster shell, the command line and the
service. A test that wants another door passes it by keyword; nothing is patched.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.adapters.postgres_schemas import ensure_schema
from genre_pipeline.config import MLFLOW_SCHEMA, GenreConfig
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.sources.dataset import RawDataset, media_root, read_dataset

if TYPE_CHECKING:
    from genre_pipeline.adapters.feature_store import FeatureStore
    from genre_pipeline.adapters.ledger import CallLedger
    from genre_pipeline.adapters.model_registry import ModelRegistry
    from genre_pipeline.adapters.tables import Tables
    from genre_pipeline.contracts.language_model import LanguageModel


@dataclass(frozen=True)
class Project:
    """One configuration and its doors, each opened when first asked for."""

    config: GenreConfig
    feature_repo: Path = field(default=Path("feature_repo"))
    """The Feast repository's folder."""

    @property
    def home(self) -> Path:
        """Where everything made is kept, absolute."""
        return self.config.home.absolute()

    @cached_property
    def partitions(self) -> PartitionStore:
        """Daily tables on disk."""
        return PartitionStore(self.home / "data")

    @cached_property
    def vectors(self) -> VectorCache:
        """Encoded texts, by content and model."""
        return VectorCache(self.home / "cache" / "vectors")

    @cached_property
    def tables(self) -> "Tables":
        """The tables that applications read, migrated."""
        from genre_pipeline.adapters.tables import Tables

        self.home.mkdir(parents=True, exist_ok=True)
        tables = Tables(self.config.tables_url)
        tables.migrate()
        return tables

    @cached_property
    def ledger(self) -> "CallLedger":
        """What language models were asked and answered, in the same database."""
        from genre_pipeline.adapters.ledger import CallLedger

        _ = self.tables  # opened once, the database is migrated
        return CallLedger(self.config.tables_url)

    @cached_property
    def language_model(self) -> "LanguageModel | None":
        """The model that writes; None where the configuration names none."""
        from genre_pipeline.adapters.language_model import open_language_model

        config = self.config
        return open_language_model(config.generation.model, seed=config.seed, cache=self.home / "cache" / "models")

    @cached_property
    def features(self) -> "FeatureStore":
        """Feast, online and offline."""
        from genre_pipeline.adapters.feature_store import FeatureStore, FeatureStoreConfig

        url = self.config.database_url
        return FeatureStore(
            FeatureStoreConfig(
                repo_path=self.feature_repo, home=self.home, database_url=url.get_secret_value() if url else None
            )
        )

    @cached_property
    def models(self) -> "ModelRegistry":
        """MLflow."""
        from genre_pipeline.adapters.model_registry import ModelRegistry

        (self.home / "mlflow").mkdir(parents=True, exist_ok=True)
        url = self.config.tracking_url
        if not url.startswith("sqlite"):
            ensure_schema(url, MLFLOW_SCHEMA)
        return ModelRegistry(url, self.home / "mlflow" / "artifacts")

    def checkpoints(self, model: str, day: str) -> Path:
        """Where a day's training of a model keeps what it can go on from."""
        return self.home / "checkpoints" / model / day

    def reports(self, day: str) -> Path:
        """Where the pages of a day are kept."""
        return self.home / "reports" / day

    @property
    def media_root(self) -> str | None:
        """Folder or URL that relative media locations start from; None where the source has no files."""
        return None if self.config.source is None else media_root(self.config.source)

    def read_source(self) -> RawDataset:
        """The raw tables. Raises `ConfigError` where no source is configured."""
        if self.config.source is None:
            raise ConfigError(
                "No source is configured",
                remedy="Set `source.kind` and `source.path` in genre.yaml, or run `genre demo`.",
            )
        return read_dataset(self.config.source)


def as_of(day: str | date) -> datetime:
    """The exclusive end of what day D knows: midnight UTC after it."""
    start = date.fromisoformat(day) if isinstance(day, str) else day
    return datetime.combine(start + timedelta(days=1), time(), UTC)
