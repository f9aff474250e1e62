"""The versioned routes: what is taken, what is answered, what may go wrong. No logic of its own.

Endpoints are `async def` and answer on the event loop: a thread pool costs more than the scoring does. What waits for a
disk (the event log, a new run) goes to one thread of its own, so that events are logged in the order they came.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor

from genre_pipeline.serving.answers import (
    ErrorAnswer,
    Event,
    EventBatch,
    EventsAnswer,
    ForgottenAnswer,
    ItemsAnswer,
    RecommendationsAnswer,
    ScoreAnswer,
    ScoreRequest,
    SessionAnswer,
    SessionRequest,
)
from genre_pipeline.serving.guard import IS_BUSY, Metrics
from genre_pipeline.serving.ladder import Strategy
from genre_pipeline.serving.reading import plain_wishes
from genre_pipeline.serving.service import RecommendationService
from genre_pipeline.serving.settings import ServingConfig

_log = logging.getLogger(__name__)


class IdConvertor(PathConvertor):
    """An id in a path, whatever its characters: slashes and line breaks too."""

    regex = r"[\s\S]*"


register_url_convertor("id", IdConvertor())

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is no JSON"},
    401: {"model": ErrorAnswer, "description": "No valid key"},
    403: {"model": ErrorAnswer, "description": "The key does not allow this, or the page is of another origin"},
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    421: {"model": ErrorAnswer, "description": "The host name is not served"},
    422: {"model": ErrorAnswer, "description": "An id, a parameter or the body breaks its limits"},
    429: {"model": ErrorAnswer, "description": "The key asks too often"},
    503: {"model": ErrorAnswer, "description": "Nothing is published yet, or a store does not answer in time"},
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "No such item"}}
UserId = Annotated[str, Path(description="Any text: an id of the interactions or users table.", examples=["196"])]
ItemIdInPath = Annotated[str, Path(description="An id of the items table.", examples=["50"])]
Names = Annotated[list[str], Query(examples=[["Comedy"]])]


def follow_pointer(app: FastAPI, service: RecommendationService) -> None:
    """Start a look at the publication pointers when one is due; the request at hand is answered from what is held."""
    running = app.state.reload
    due = [held for held in service.surfaces.values() if held.is_look_due()]
    if due and (running is None or running.done()):
        app.state.reload = app.state.loader.submit(lambda: [held.look() for held in due])
        app.state.reload.add_done_callback(_log_failure)


def add_routes(app: FastAPI, service: RecommendationService, metrics: Metrics) -> None:
    """Add everything below /v1."""
    router = APIRouter(prefix="/v1", responses=_ERRORS)
    _add_reading(router, app, service, metrics)
    _add_lists_for_everybody(router, app, service)
    _add_scoring(router, app, service, metrics)
    _add_writing(router, app, service, metrics)
    app.include_router(router)


def as_json(answer: BaseModel, *, status: int = 200) -> Response:
    """An answer as its own JSON, without the framework's second validation."""
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json")


def answered_first(short: Callable[[Request], Response | None]) -> type[APIRoute]:
    """A kind of route that asks `short` for the answer before it reads parameters, which costs more than a list does.

    Where `short` gives None the route answers as declared.
    """

    class AnsweredFirst(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            declared = super().get_route_handler()

            async def handler(request: Request) -> Response:
                return short(request) or await declared(request)

            return handler

    return AnsweredFirst


def _add_reading(router: APIRouter, app: FastAPI, service: RecommendationService, metrics: Metrics) -> None:
    config = service.config
    K = Annotated[int | None, _k(config)]
    Surface = Annotated[str | None, _surface(config)]
    Start = Annotated[Strategy, Query(description="Where to begin; what comes after it stands in where it fails.")]
    Excluded = Annotated[list[str], Query(description="Items to leave out.", examples=[["172"]])]

    def stored(request: Request) -> Response | None:
        wishes, is_busy = plain_wishes(request.scope["query_string"]), request.scope.get(IS_BUSY, False)
        start = None if wishes is None else wishes.get("strategy", "published" if is_busy else "real-time")
        if wishes is None or start != "published":
            return None
        follow_pointer(app, service)
        k, is_put_off = wishes.get("k"), "strategy" not in wishes
        body = service.read_list(
            request.path_params["user_id"], None if k is None else int(k), surface=wishes.get("surface"),
            is_busy=is_put_off,
        )  # fmt: skip
        if body is None:
            return None
        metrics.strategies.labels("published").inc()
        return Response(body, media_type="application/json")

    async def recommendations(
        request: Request, user_id: UserId, k: K = None, categories: Names = [], exclude: Excluded = [],  # noqa: B006
        available_only: bool | None = None, surface: Surface = None, strategy: Start = "real-time",
    ) -> Response:  # fmt: skip
        follow_pointer(app, service)
        answer = service.recommend(
            user_id, k, surface=surface, strategy=strategy, categories=categories, exclude=exclude,
            available_only=available_only, is_busy=request.scope.get(IS_BUSY, False),
        )  # fmt: skip
        metrics.strategies.labels(answer.strategy).inc()
        return as_json(answer)

    router.add_api_route(
        "/users/{user_id:id}/recommendations",
        recommendations,
        methods=["GET"],
        response_model=RecommendationsAnswer,
        summary="A user's list, scored now",
        route_class_override=answered_first(stored),
    )


def _add_lists_for_everybody(router: APIRouter, app: FastAPI, service: RecommendationService) -> None:
    config = service.config
    K = Annotated[int | None, _k(config)]
    Surface = Annotated[str | None, _surface(config)]
    Category = Annotated[str, Query(description="A category; left out: overall", examples=["Comedy"])]

    @router.get(
        "/items/{item_id:id}/similar", response_model=ItemsAnswer, responses=_NOT_FOUND, summary="Items like this one"
    )
    async def similar(item_id: ItemIdInPath, k: K = None, surface: Surface = None) -> Response:
        follow_pointer(app, service)
        return as_json(service.similar(item_id, k, surface=surface))

    @router.get("/popular", response_model=ItemsAnswer, summary="Popular items")
    async def popular(category: Category = "", k: K = None, surface: Surface = None) -> Response:
        follow_pointer(app, service)
        return as_json(service.popular(category, k, surface=surface))


def _add_scoring(router: APIRouter, app: FastAPI, service: RecommendationService, metrics: Metrics) -> None:
    @router.post("/score", response_model=ScoreAnswer, summary="How well candidates fit a user")
    async def score(request: ScoreRequest) -> Response:
        follow_pointer(app, service)
        return as_json(service.score(request))

    @router.post(
        "/sessions/recommendations",
        response_model=SessionAnswer,
        summary="The list of an anonymous session; nothing is kept",
    )
    async def session(request: SessionRequest) -> Response:
        follow_pointer(app, service)
        answer = service.session(request)
        metrics.strategies.labels(answer.strategy).inc()
        return as_json(answer)


async def record_events(
    app: FastAPI, service: RecommendationService, metrics: Metrics, batch: list[Event]
) -> EventsAnswer:
    """Log events and refresh what follows from them: the one way in, for callers and for the page."""

    async def record() -> EventsAnswer:
        loop = asyncio.get_running_loop()
        logged, new = await loop.run_in_executor(app.state.writer, service.recorder.log, batch)
        return service.recorder.refresh(logged, new)

    # Shielded: a caller that gives up, or the deadline, must not part the log from the features.
    answer = await asyncio.shield(asyncio.ensure_future(record()))
    metrics.events.labels("accepted").inc(answer.accepted)
    metrics.events.labels("duplicate").inc(answer.duplicates)
    return answer


def _add_writing(router: APIRouter, app: FastAPI, service: RecommendationService, metrics: Metrics) -> None:
    recorder = service.recorder

    async def erase(user_id: str) -> ForgottenAnswer:
        erased = await asyncio.get_running_loop().run_in_executor(app.state.writer, recorder.erase, user_id)
        return recorder.forget(user_id, erased)

    @router.post("/events", response_model=EventsAnswer, summary="Record what users did")
    async def events(batch: Annotated[EventBatch, Body()]) -> Response:
        follow_pointer(app, service)
        return as_json(await record_events(app, service, metrics, batch.events))

    @router.delete("/users/{user_id:id}", response_model=ForgottenAnswer, summary="Forget a user")
    async def forget(user_id: UserId) -> Response:
        name = service.checked_user(user_id)
        return as_json(await asyncio.shield(asyncio.ensure_future(erase(name))))


def _k(config: ServingConfig) -> Any:
    return Query(ge=1, le=config.k_max, description=f"How many; {config.k_default} if left out", examples=[10])


def _surface(config: ServingConfig) -> Any:
    shown = ", ".join(config.surfaces)
    return Query(description=f"Where the list is shown: {shown}.", examples=[config.surfaces[0]])


def _log_failure(look: Future[Any]) -> None:
    """What `look` does not expect would otherwise vanish with its thread."""
    error = look.exception()
    if error is not None:
        _log.error("looking at the publication pointer failed", exc_info=error)
