"""Keys of the service: made, listed, revoked. The secret is shown once and kept as a hash.

What belongs here: the form of a key, its hash, its rows. What does not: what a scope allows, which the service decides.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from genre_pipeline.adapters.table_definitions import api_keys
from genre_pipeline.adapters.table_records import ApiKey
from genre_pipeline.contracts.errors import ConfigError

SCOPES = ("read", "write", "admin")
PREFIX = "genre"
"""Keys begin with this, so that a scanner for leaked secrets, and the service itself in a URL, can know one."""
_ID_BYTES, _SECRET_BYTES = 6, 32


def create(
    connection: sa.Connection, name: str, scopes: Sequence[str], requests_per_second: float | None, now: datetime
) -> tuple[ApiKey, str]:
    """A new key: what is kept, and the whole key, which nobody can read again. Raises `ConfigError`."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes or not name.strip():
        raise ConfigError(
            "A key needs a name and scopes", remedy=f"Scopes are: {', '.join(SCOPES)}.", culprits=unknown or [name]
        )
    if requests_per_second is not None and not requests_per_second > 0:
        raise ConfigError("A key's limit must be above 0 requests a second", remedy="Leave it out for the usual one.")
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    key = ApiKey(key_id, name.strip(), secret_hash(secret), ordered, requests_per_second, now, None)
    connection.execute(sa.insert(api_keys).values(**{**vars(key), "scopes": list(ordered)}))
    return key, f"{PREFIX}_{key_id}_{secret}"


def all_keys(connection: sa.Connection) -> list[ApiKey]:
    """Every key there ever was, oldest first."""
    query = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)
    rows = connection.execute(query).mappings()
    return [ApiKey(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]


def revoke(connection: sa.Connection, key_id: str, now: datetime) -> ApiKey:
    """Revoke a key for good; one that is revoked stays as it is. Raises `ConfigError` for an unknown one."""
    is_own = api_keys.c.key_id == key_id
    connection.execute(sa.update(api_keys).where(is_own, api_keys.c.revoked_at.is_(None)).values(revoked_at=now))
    found = [key for key in all_keys(connection) if key.key_id == key_id]
    if not found:
        raise ConfigError("There is no such key", remedy="`genre keys list` shows them.", culprits=[key_id])
    return found[0]


def split_key(key: str) -> tuple[str, str] | None:
    """(key id, secret) of a whole key; None where it is not of our form."""
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == PREFIX and len(key_id) == 2 * _ID_BYTES and secret else None


def secret_hash(secret: str) -> str:
    """sha256 in hex. The secret is 256 bits of chance, so that nothing slower is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
