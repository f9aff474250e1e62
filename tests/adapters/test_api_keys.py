import pytest

from genre_pipeline.adapters.api_keys import secret_hash, split_key
from genre_pipeline.adapters.tables import Tables
from genre_pipeline.contracts.errors import ConfigError


def test_created_listed_revoked_and_the_secret_is_nowhere(tables: Tables) -> None:
    kept, whole = tables.create_key("shop front", ["write", "read"], requests_per_second=5)
    other, _ = tables.create_key("nightly", ["admin"])
    parts = split_key(whole)
    assert parts is not None
    assert (parts[0], secret_hash(parts[1])) == (kept.key_id, kept.sha256)
    assert kept.scopes == ("read", "write")
    assert {key.key_id for key in tables.issued_keys()} == {kept.key_id, other.key_id}
    assert parts[1] not in repr(tables.issued_keys())
    revoked = tables.revoke_key(kept.key_id)
    assert revoked.revoked_at is not None
    assert tables.revoke_key(kept.key_id) == revoked
    assert {key.key_id: key.revoked_at is None for key in tables.issued_keys()} == {
        kept.key_id: False,
        other.key_id: True,
    }


@pytest.mark.parametrize(
    ("name", "scopes", "limit"),
    [("", ["read"], None), ("x", [], None), ("x", ["root"], None), ("x", ["read"], 0.0), ("x", ["read"], float("nan"))],
)
def test_bad_keys_are_refused(tables: Tables, name: str, scopes: list[str], limit: float | None) -> None:
    with pytest.raises(ConfigError):
        tables.create_key(name, scopes, requests_per_second=limit)
    assert tables.issued_keys() == []


def test_unknown_keys(tables: Tables) -> None:
    with pytest.raises(ConfigError, match="genre keys list"):
        tables.revoke_key("'; DROP TABLE api_keys; --")
    for text in ("", "genre", "genre_abc_def", "genre_0123456789ab_", "other_0123456789ab_x"):
        assert split_key(text) is None
