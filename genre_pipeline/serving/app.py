"""The HTTP face of the service: routes, validation, status codes. No logic of its own.

Endpoints are `async def` and answer on the event loop: a thread pool costs more than the scoring does. What waits for a
disk (the event log, a new run) goes to one thread of its own, so that events are logged in the order they came.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from genre_pipeline.contracts.errors import GenreError, RequestError, UnknownItemError
from genre_pipeline.serving.answers import (
    ErrorAnswer,
    EventBatch,
    EventsAnswer,
    ItemsAnswer,
    ReadyAnswer,
    RecommendationsAnswer,
)
from genre_pipeline.serving.guard import Guard, Metrics, error_body
from genre_pipeline.serving.media import MediaFiles
from genre_pipeline.serving.page import add_page
from genre_pipeline.serving.service import RecommendationService

_log = logging.getLogger(__name__)
_STATUS: dict[type[GenreError], int] = {RequestError: 422, UnknownItemError: 404}
_UNAVAILABLE = 503
_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorAnswer, "description": "An id, a parameter or the body breaks its limits"},
    503: {"model": ErrorAnswer, "description": "Nothing is published yet, or a store does not answer"},
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "No such item"}}
_TOO_LARGE: dict[int | str, dict[str, Any]] = {413: {"model": ErrorAnswer, "description": "The body is too large"}}


def create_app(service: RecommendationService, *, media_root: Path | None = None) -> FastAPI:
    """The ASGI application. Loads and warms the service when it starts; `media_root` is the data set's folder."""
    app = FastAPI(
        title="GENRE",
        summary="Personal recommendations, scored now.",
        version="1",
        lifespan=_lifespan(service),
        # The documentation pages of the framework load scripts from another host.
        docs_url=None,
        redoc_url=None,
    )
    metrics = Metrics()
    app.add_middleware(Guard, config=service.config, metrics=metrics)
    _add_error_handlers(app)
    _add_reading(app, service, metrics)
    _add_events(app, service, metrics)
    _add_operations(app, service, metrics)
    add_page(app, service, MediaFiles(media_root))
    return app


def _lifespan(service: RecommendationService) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.writer = ThreadPoolExecutor(1, thread_name_prefix="event-log")
        app.state.loader = ThreadPoolExecutor(1, thread_name_prefix="run-loader")
        app.state.reload = None
        service.warm_up()
        yield
        app.state.writer.shutdown()
        app.state.loader.shutdown()

    return lifespan


def follow_pointer(app: FastAPI, service: RecommendationService) -> None:
    """Start a look at the publication pointer when one is due; the request at hand is answered from what is held."""
    running = app.state.reload
    if (running is None or running.done()) and service.held.is_look_due():
        app.state.reload = app.state.loader.submit(service.held.look)
        app.state.reload.add_done_callback(_log_failure)


def _log_failure(look: Future[bool]) -> None:
    """What `look` does not expect would otherwise vanish with its thread."""
    error = look.exception()
    if error is not None:
        _log.error("looking at the publication pointer failed", exc_info=error)


def _add_reading(app: FastAPI, service: RecommendationService, metrics: Metrics) -> None:
    config = service.config
    K = Annotated[
        int | None, Query(ge=1, le=config.k_max, description=f"How many; {config.k_default} if left out", examples=[10])
    ]
    Category = Annotated[str, Query(description="A category; left out: overall", examples=["Comedy"])]

    @app.get(
        "/v1/users/{user_id:path}/recommendations",
        response_model=RecommendationsAnswer,
        responses=_ERRORS,
        summary="A user's list, scored now",
    )
    async def recommendations(user_id: str, k: K = None) -> Response:
        follow_pointer(app, service)
        answer = service.recommend(user_id, k)
        metrics.strategies.labels(answer.strategy).inc()
        return as_json(answer)

    @app.get(
        "/v1/items/{item_id:path}/similar",
        response_model=ItemsAnswer,
        responses=_ERRORS | _NOT_FOUND,
        summary="Items like this one",
    )
    async def similar(item_id: str, k: K = None) -> Response:
        follow_pointer(app, service)
        return as_json(service.similar(item_id, k))

    @app.get("/v1/popular", response_model=ItemsAnswer, responses=_ERRORS, summary="Popular items")
    async def popular(category: Category = "", k: K = None) -> Response:
        follow_pointer(app, service)
        return as_json(service.popular(category, k))


def _add_events(app: FastAPI, service: RecommendationService, metrics: Metrics) -> None:
    @app.post(
        "/v1/events", response_model=EventsAnswer, responses=_ERRORS | _TOO_LARGE, summary="Record what users did"
    )
    async def events(batch: EventBatch) -> Response:
        follow_pointer(app, service)
        loop = asyncio.get_running_loop()
        logged, new = await loop.run_in_executor(app.state.writer, service.log_events, batch.events)
        answer = service.refresh_features(logged, new)
        metrics.events.labels("accepted").inc(answer.accepted)
        metrics.events.labels("duplicate").inc(answer.duplicates)
        return as_json(answer)


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


def as_json(answer: BaseModel, *, status: int = 200) -> Response:
    """An answer as its own JSON, without the framework's second validation."""
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json")


def _as_error(status: int, error: str, problem: str, remedy: str, headers: Any = None) -> Response:
    body = error_body(error, problem, remedy)
    return Response(body, status_code=status, media_type="application/json", headers=headers)
