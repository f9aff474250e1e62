"""Configuration: consistent, and never open to other machines without keys."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from genre_pipeline.adapters.table_records import ApiKey
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.serving.settings import ServingConfig, is_loopback
from genre_pipeline.serving.wiring import build_access
from tests.fakes.serving_doors import InMemoryTables


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "127.0.0.1.example.org"])
def test_only_loopback_without_keys(host: str) -> None:
    tables = InMemoryTables()
    with pytest.raises(ConfigError, match="genre keys create"):
        build_access(tables, ServingConfig(host=host))
    tables.keys = [a_key(revoked=True)]
    with pytest.raises(ConfigError, match="genre keys create"):
        build_access(tables, ServingConfig(host=host))
    tables.keys.append(a_key())
    assert build_access(tables, ServingConfig(host=host)).asks_for_keys


def a_key(*, revoked: bool = False) -> ApiKey:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    return ApiKey("0" * 12, "shop", "0" * 64, ("read",), None, at, at if revoked else None)


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
        {"surfaces": []},
        {"surfaces": ["home", "home"]},
    ],
)
def test_contradictions_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServingConfig.model_validate(values)
