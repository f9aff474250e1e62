"""Configuration: consistent, and never open to other machines without keys."""

import pytest
from pydantic import ValidationError

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.serving.settings import ServingConfig, is_loopback
from genre_pipeline.serving.wiring import build_service
from tests.fakes.serving_doors import InMemoryFeatures, InMemoryTables


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "127.0.0.1.example.org"])
def test_only_loopback_without_keys(host: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    partitions = PartitionStore(tmp_path_factory.mktemp("data"))
    with pytest.raises(ConfigError, match="loopback"):
        build_service(InMemoryTables(), InMemoryFeatures(), partitions, ServingConfig(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "values",
    [
        {"k_default": 20, "k_max": 10},
        {"weight_published": 0, "weight_vector": 0, "weight_popularity": 0},
        {"weight_vector": -1},
        {"id_limit_bytes": 513},
        {"hots": "127.0.0.1"},
    ],
)
def test_contradictions_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServingConfig.model_validate(values)
