"""Who may ask for what: every route against every kind of key, and what the key's rate allows."""

import base64
import hashlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from genre_pipeline.adapters.table_records import ApiKey
from genre_pipeline.contracts.errors import TablesError
from genre_pipeline.serving.access import Access, scope_of
from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.settings import ServingConfig
from tests.fakes.serving_world import World, build_world

BASE = "http://127.0.0.1:8000"
AT = datetime(2024, 1, 1, tzinfo=UTC)
SECRETS = {"read": "a" * 12, "write": "b" * 12, "admin": "c" * 12, "revoked": "d" * 12, "slow": "e" * 12}
WHOLE = {name: f"genre_{key_id}_secret-of-{name}" for name, key_id in SECRETS.items()}
ROUTES = [
    ("GET", "/v1/users/007/recommendations", "read"),
    ("GET", "/v1/users/nobody/recommendations", "read"),
    ("GET", "/v1/items/i01/similar", "read"),
    ("GET", "/v1/popular", "read"),
    ("POST", "/v1/score", "read"),
    ("POST", "/v1/sessions/recommendations", "read"),
    ("POST", "/v1/events", "write"),
    ("DELETE", "/v1/users/nobody", "admin"),
    ("GET", "/", "read"),
    ("GET", "/media/image/i01", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/openapi.json", "read"),
    ("GET", "/nowhere", "read"),
    ("DELETE", "/nowhere", "admin"),
]
BODIES = {
    "/v1/score": {"item_ids": ["i01"]},
    "/v1/sessions/recommendations": {"events": []},
    "/v1/events": {"events": [{"user_id": "u", "item_id": "i01"}]},
}
ALLOWS = {"read": {"read"}, "write": {"write"}, "admin": {"read", "write", "admin"}}
OPEN = {"/nowhere": {404}, "/media/image/i01": {404}}


def keys() -> list[ApiKey]:
    scopes = {"read": ("read",), "write": ("write",), "admin": ("admin",), "revoked": ("admin",), "slow": ("read",)}
    return [
        ApiKey(
            SECRETS[name],
            name,
            hashlib.sha256(f"secret-of-{name}".encode()).hexdigest(),
            scopes[name],
            1.0 if name == "slow" else None,
            AT,
            AT if name == "revoked" else None,
        )
        for name in SECRETS
    ]


class Ticks:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def world(night: Path) -> World:
    world = build_world(night)
    world.tables.keys = keys()
    return world


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def client(world: World, ticks: Ticks) -> Iterator[TestClient]:
    access = Access(world.tables.issued_keys, world.service.config, monotonic=ticks)
    with TestClient(create_app(world.service, access=access), base_url=BASE) as client:
        yield client


@pytest.fixture(scope="module")
def shared_world(night: Path) -> World:
    world = build_world(night)
    world.tables.keys = keys()
    return world


@pytest.fixture(scope="module")
def shared(shared_world: World) -> Iterator[TestClient]:
    """For the matrices: what one row does changes no other's code."""
    access = Access(shared_world.tables.issued_keys, shared_world.service.config, monotonic=Ticks())
    with TestClient(create_app(shared_world.service, access=access), base_url=BASE) as client:
        yield client


def ask(client: TestClient, method: str, path: str, **options: object) -> tuple[int, str]:
    body = {"json": BODIES[path]} if path in BODIES else {}
    response = client.request(method, path, **body, **options)  # type: ignore[arg-type]
    return response.status_code, response.text


def bearer(key: str) -> dict[str, dict[str, str]]:
    return {"headers": {"authorization": f"Bearer {key}"}}


BAD = {
    "none": {},
    "another secret": bearer(WHOLE["admin"] + "x"),
    "another id": bearer(WHOLE["admin"].replace("c" * 12, "f" * 12)),
    "cut": bearer(WHOLE["admin"][:19]),
    "empty": bearer(""),
    "of another scheme": {"headers": {"authorization": f"Digest {WHOLE['admin']}"}},
    "basic that is no base64": {"headers": {"authorization": "Basic ***"}},
    "not ascii": {"headers": {"x-api-key": b"genre_\xe9"}},
    "revoked": bearer(WHOLE["revoked"]),
    "in the url": {"params": {"api_key": WHOLE["admin"]}},
    "in the url, under another name": {"params": {"q": WHOLE["admin"]}},
    "in the url and in the header": {"params": {"key": "x"}, **bearer(WHOLE["admin"])},
}


@pytest.mark.parametrize(("method", "path", "_scope"), ROUTES)
@pytest.mark.parametrize("kind", BAD)
def test_without_a_valid_key_every_route_says_the_same(
    shared: TestClient, method: str, path: str, _scope: str, kind: str
) -> None:
    status, text = ask(shared, method, path, **BAD[kind])
    assert status == 401
    assert '"error": "AccessError"' in text
    assert "007" not in text


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
@pytest.mark.parametrize("name", ALLOWS)
def test_a_key_allows_what_its_scope_says(
    shared: TestClient, shared_world: World, method: str, path: str, scope: str, name: str
) -> None:
    before = shared_world.tables.log.height
    status, _ = ask(shared, method, path, **bearer(WHOLE[name]))
    assert scope_of(method, path) == scope
    assert status in (OPEN.get(path, {200}) if scope in ALLOWS[name] else {403})
    if status == 403:
        assert shared_world.tables.log.height == before


def test_a_key_may_come_as_its_own_header_or_as_the_password_of_basic(client: TestClient) -> None:
    basic = base64.b64encode(f"me:{WHOLE['read']}".encode()).decode()
    for headers in ({"x-api-key": WHOLE["read"]}, {"authorization": f"Basic {basic}"}):
        assert client.get("/", headers=headers).status_code == 200
    refused = client.get("/")
    assert "Basic" in refused.headers["www-authenticate"]


def test_health_and_static_files_are_open(client: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/static/style.css"):
        assert client.get(path).status_code == 200


def test_rates_are_kept_a_key(client: TestClient, ticks: Ticks) -> None:
    slow = bearer(WHOLE["slow"])
    assert [ask(client, "GET", "/v1/popular", **slow)[0] for _ in range(3)] == [200, 200, 429]
    assert client.get("/v1/popular", **slow).headers["retry-after"] == "1"  # type: ignore[arg-type]
    assert ask(client, "GET", "/v1/popular", **bearer(WHOLE["read"]))[0] == 200
    ticks.now += 1.01
    assert [ask(client, "GET", "/v1/popular", **slow)[0] for _ in range(2)] == [200, 429]


def test_revoked_and_new_keys_count_within_seconds(world: World, ticks: Ticks) -> None:
    access = Access(world.tables.issued_keys, ServingConfig(), monotonic=ticks)
    access.look()
    asked = ("GET", "/v1/popular", "", {b"x-api-key": WHOLE["read"].encode()})
    assert access.refusal(*asked) is None
    world.tables.keys = [key for key in keys() if key.name != "read"]
    assert access.refusal(*asked) is None
    ticks.now += ServingConfig().keys_reload_seconds
    access.follow()
    assert access._reading is not None
    access._reading.result(timeout=10)
    refusal = access.refusal(*asked)
    assert refusal is not None
    assert refusal.status == 401
    access.close()


def test_when_keys_cannot_be_read_known_ones_stay_and_unknown_doors_stay_shut(ticks: Ticks) -> None:
    answers: list[list[ApiKey] | None] = [keys(), None]

    def read() -> list[ApiKey]:
        found = answers.pop(0)
        if found is None:
            raise TablesError("gone", remedy="wait")
        return found

    access = Access(read, ServingConfig(), monotonic=ticks)
    asked = ("GET", "/v1/popular", "", {b"x-api-key": WHOLE["read"].encode()})
    shut = access.refusal(*asked)
    assert shut is not None
    assert shut.status == 503
    access.look()
    assert access.refusal(*asked) is None
    access.look()
    assert access.refusal(*asked) is None


def test_pages_of_other_origins_may_not_write(world: World) -> None:
    world.tables.keys = []
    body = BODIES["/v1/events"]
    with TestClient(create_app(world.service), base_url=BASE) as client:
        for origin, status in ((BASE, 200), ("https://evil.example", 403), ("null", 403)):
            assert client.post("/v1/events", json=body, headers={"origin": origin}).status_code == status
        preflight = client.options("/v1/events", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in preflight.headers


def test_neither_keys_nor_users_are_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ask(client, "GET", "/v1/users/secret-person/recommendations", **bearer(WHOLE["read"]))
    ask(client, "GET", "/v1/users/secret-person/recommendations", params={"key": WHOLE["read"]})
    own = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("genre_pipeline"))
    assert "secret-person" not in own
    assert "secret-of" not in own
