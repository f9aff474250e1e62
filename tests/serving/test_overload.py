"""More than can be served: what is turned away is told so at once, the rest is answered, and nothing is left behind."""

import asyncio
from pathlib import Path
from typing import Any

from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.settings import ServingConfig
from tests.fakes.serving_world import build_world

HOST = (b"host", b"127.0.0.1:8000")


async def ask(app: Any, path: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [HOST],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


def test_what_does_not_fit_into_the_queue_is_turned_away_and_health_checks_are_not(night: Path) -> None:
    app = create_app(build_world(night, ServingConfig(waiting_max=3, waiting_scored=3)).service)

    async def storm() -> None:
        async with app.router.lifespan_context(app):
            for _ in range(3):
                answers = await asyncio.gather(*(ask(app, "/v1/users/007/recommendations") for _ in range(20)))
                assert [status for status, _, _ in answers] == [200] * 3 + [503] * 17
                _, headers, body = answers[-1]
                assert headers["retry-after"] == "1"
                assert b"Too many requests wait" in body
                answers = await asyncio.gather(*(ask(app, "/healthz") for _ in range(20)))
                assert {status for status, _, _ in answers} == {200}
            # Nothing of the storm is left: what comes now is served as ever.
            assert (await ask(app, "/v1/users/007/recommendations"))[0] == 200

    asyncio.run(storm())


def test_who_stands_far_back_gets_the_published_list(night: Path) -> None:
    app = create_app(build_world(night, ServingConfig(waiting_max=8, waiting_scored=2)).service)

    async def rush() -> None:
        async with app.router.lifespan_context(app):
            answers = await asyncio.gather(*(ask(app, "/v1/users/007/recommendations") for _ in range(4)))
        assert [b'"strategy":"real-time"' in body for _, _, body in answers] == [True, True, False, False]
        assert [b"busy: " in body for _, _, body in answers] == [False, False, True, True]

    asyncio.run(rush())
