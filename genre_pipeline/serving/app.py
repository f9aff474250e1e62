"""The application: routes, page, operations, errors and what stands before them, put together. No logic of its own."""

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.contracts.errors import GenreError, RequestError, UnknownItemError
from genre_pipeline.serving.access import Access
from genre_pipeline.serving.answers import ReadyAnswer
from genre_pipeline.serving.guard import Guard, Metrics, error_body
from genre_pipeline.serving.media import MediaFiles
from genre_pipeline.serving.page import add_page
from genre_pipeline.serving.routes import add_routes, as_json, follow_pointer
from genre_pipeline.serving.service import RecommendationService

_STATUS: dict[type[GenreError], int] = {RequestError: 422, UnknownItemError: 404}
_UNAVAILABLE = 503


def create_app(
    service: RecommendationService, *, media_root: Path | None = None, access: Access | None = None,
    partitions: PartitionStore | None = None,
) -> FastAPI:  # fmt: skip
    """The ASGI application. Loads and warms the service when it starts; `media_root` is the data set's folder, and
    `partitions` what the page shows of the night beside lists.

    Without `access` nobody is asked for a key.
    """
    access = access or Access(list, service.config, monotonic=time.monotonic)
    access.look()
    app = FastAPI(
        title="GENRE",
        summary="Personal recommendations, scored now.",
        version="1",
        lifespan=_lifespan(service, access),
        # The documentation pages of the framework load scripts from another host.
        docs_url=None,
        redoc_url=None,
    )
    metrics = Metrics()
    app.add_middleware(Guard, config=service.config, metrics=metrics, access=access)
    _add_error_handlers(app)
    add_routes(app, service, metrics)
    _add_operations(app, service, metrics)
    add_page(app, service, MediaFiles(media_root), metrics, partitions)
    app.openapi = lambda: _described(app, access)  # type: ignore[method-assign]
    return app


def _lifespan(service: RecommendationService, access: Access) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.writer = ThreadPoolExecutor(1, thread_name_prefix="event-log")
        app.state.loader = ThreadPoolExecutor(1, thread_name_prefix="run-loader")
        app.state.reload = None
        service.warm_up()
        yield
        app.state.writer.shutdown()
        app.state.loader.shutdown()
        access.close()

    return lifespan


def _described(app: FastAPI, access: Access) -> dict[str, Any]:
    """The OpenAPI document; it asks for a key where the service does."""
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    if access.asks_for_keys:
        scheme = {"type": "http", "scheme": "bearer", "description": "A key of `genre keys create`."}
        document["components"]["securitySchemes"] = {"key": scheme}
        for path, methods in document["paths"].items():
            for operation in methods.values() if path.startswith("/v1/") else ():
                operation["security"] = [{"key": []}]
    return document


def _add_operations(app: FastAPI, service: RecommendationService, metrics: Metrics) -> None:
    @app.get("/healthz", summary="Whether the process answers")
    async def healthz() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @app.get(
        "/readyz",
        response_model=ReadyAnswer,
        responses={503: {"model": ReadyAnswer, "description": "Something does not answer"}},
        summary="Whether tables, online store and item matrix answer",
    )
    async def readyz() -> Response:
        follow_pointer(app, service)
        answer = service.readiness()
        return as_json(answer, status=200 if answer.ready else _UNAVAILABLE)

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(GenreError)
    async def genre_error(_request: Request, error: GenreError) -> Response:
        status = _STATUS.get(type(error), _UNAVAILABLE)
        return _as_error(status, type(error).__name__, error.problem, error.remedy)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        # The values themselves are left out: they may be large, secret, or not encodable.
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5]]
        return _as_error(422, RequestError.__name__, "; ".join(faults), "See /openapi.json for what is accepted.")

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> Response:
        name = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, RequestError.__name__)
        return _as_error(error.status_code, name, str(error.detail), "See /openapi.json for the routes.", error.headers)


def _as_error(status: int, error: str, problem: str, remedy: str, headers: Any = None) -> Response:
    body = error_body(error, problem, remedy)
    return Response(body, status_code=status, media_type="application/json", headers=headers)
