"""The page at `/`: users, sessions, similar items, variants, and what is published. Links and forms; the script only
saves reloads.

Everything it loads is local, and the Content-Security-Policy allows no inline script or style, so a hostile title stays
text. Files are read once, when the application is made. A form that records an event goes through the same doors as
`POST /v1/events`, asks for the same scope, and is answered with the list that follows from it.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from importlib.resources import files
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request, Response
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, select_autoescape
from pydantic import ValidationError
from starlette.responses import FileResponse

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.contracts.columns import AUDIO, IMAGE
from genre_pipeline.contracts.errors import GenreError, RequestError, UnknownItemError
from genre_pipeline.serving.answers import Event
from genre_pipeline.serving.exhibits import NO_EXHIBITS, Exhibits, ExhibitsOf
from genre_pipeline.serving.guard import Metrics
from genre_pipeline.serving.media import TYPES, MediaFiles
from genre_pipeline.serving.page_views import View, Views, number
from genre_pipeline.serving.routes import follow_pointer, record_events
from genre_pipeline.serving.service import RecommendationService

_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_MEDIA_POLICY = "default-src 'none'; sandbox"
_STATUS: dict[type[GenreError], int] = {RequestError: 422, UnknownItemError: 404}
_FORM = "application/x-www-form-urlencoded"
_PATIENCE = 0.5
"""Share of the deadline for which a page waits for its exhibits."""
Items = Annotated[list[str], Query()]


def add_page(
    app: FastAPI, service: RecommendationService, media: MediaFiles, metrics: Metrics,
    partitions: PartitionStore | None = None,
) -> None:  # fmt: skip
    """Add the pages, the files they load, and the items' pictures and sounds."""
    page = _Page(app, service, media, ExhibitsOf(partitions))
    _add_users(app, page, service, metrics)
    _add_others(app, page)
    _add_files(app, service, media)


class _Page:
    """Renders one template with what a view gives, or with why it gives nothing."""

    def __init__(
        self, app: FastAPI, service: RecommendationService, media: MediaFiles, exhibits_of: ExhibitsOf
    ) -> None:
        self._app, self._service, self._media, self._exhibits_of = app, service, media, exhibits_of
        environment, version = _environment(), _version()
        names = ("user", "session", "similar", "variants", "published")
        self._templates: dict[str, Template] = {
            name: environment.get_template(f"{name}.html", globals={"version": version, "page": name}) for name in names
        }

    async def views(self) -> Views:
        """The views of this moment; the newest run is looked for as with every request."""
        follow_pointer(self._app, self._service)
        return Views(self._service, self._media, await self._exhibits())

    async def _exhibits(self) -> Exhibits:
        if not self._service.held.has_run:
            return Exhibits()
        run = self._service.held.run
        held = self._exhibits_of.held(run)
        if held is not None:
            return held
        reading = asyncio.get_running_loop().run_in_executor(self._app.state.loader, self._exhibits_of, run)
        try:
            return await asyncio.wait_for(asyncio.shield(reading), self._service.config.deadline_seconds * _PATIENCE)
        except TimeoutError:
            return NO_EXHIBITS

    def render(self, name: str, asked: View, show: Callable[[], View]) -> Response:
        """A page; what cannot be shown is explained on it."""
        try:
            return self._answer(name, 200, asked | {"problem": None} | show())
        except GenreError as error:
            return self.explain(name, asked, error)

    def explain(self, name: str, asked: View, problem: GenreError) -> Response:
        """The page with a problem in the place of what was asked for."""
        return self._answer(name, _STATUS.get(type(problem), 503), asked | {"problem": problem})

    def _answer(self, name: str, status: int, view: View) -> Response:
        config = self._service.config
        common = {"k_default": config.k_default, "k_max": config.k_max, "user": "", "k": "", "nonce": secrets.token_hex}
        html = self._templates[name].render(common | view)
        return Response(html.encode("utf-8", "replace"), status_code=status, media_type="text/html; charset=utf-8")


def _add_users(app: FastAPI, page: _Page, service: RecommendationService, metrics: Metrics) -> None:
    @app.get("/", include_in_schema=False)
    async def user_page(user: str = "", k: str = "", find: str = "") -> Response:
        views = await page.views()
        asked = {"user": user, "k": k, "find": bool(find)}
        if find:
            return page.render("user", asked, lambda: views.found_users(user))
        return page.render("user", asked, lambda: views.user(user, k) if user else views.welcome())

    @app.post("/", include_in_schema=False)
    async def record(request: Request, user: str = "", k: str = "") -> Response:
        views, body = await page.views(), await request.body()
        asked = {"user": user, "k": k, "find": False}
        try:
            event = _event_of(request.headers.get("content-type", ""), body, user)
            before = service.recommend(user, number(k))
            answer = await record_events(app, service, metrics, [event])
        except GenreError as error:
            return page.explain("user", asked, error)
        done = {"event": event.event, "title": views.tile(event.item_id)["title"], "degraded": answer.degraded}
        return page.render("user", asked, lambda: views.user(user, k, before, done))


def _add_others(app: FastAPI, page: _Page) -> None:
    @app.get("/session", include_in_schema=False)
    async def session(item: Items = [], k: str = "", title: str = "") -> Response:  # noqa: B006
        views, items = await page.views(), list(dict.fromkeys(item))
        return page.render("session", {"items": items, "k": k}, lambda: views.session(items, k, title))

    @app.get("/similar", include_in_schema=False)
    async def similar(item: str = "") -> Response:
        views = await page.views()
        return page.render("similar", {"item": item}, lambda: views.similar(item))

    @app.get("/variants", include_in_schema=False)
    async def variants(user: str = "", k: str = "", left: str = "", right: str = "") -> Response:
        views = await page.views()
        asked = {"user": user, "k": k, "left": left, "right": right, "sides": []}
        return page.render("variants", asked, lambda: views.variants(user, k, left, right) if user else views.welcome())

    @app.get("/published", include_in_schema=False)
    async def published() -> Response:
        views = await page.views()
        return page.render("published", {}, views.published)


def _add_files(app: FastAPI, service: RecommendationService, media: MediaFiles) -> None:
    contents = {name: _text(name).encode() for name in _STATIC}

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in contents:
            return Response(status_code=404)
        headers = {"cache-control": "public, max-age=86400"}
        return Response(contents[name], media_type=_STATIC[name], headers=headers)

    @app.get("/media/{kind}/{item_id:path}", include_in_schema=False)
    async def item_media(kind: str, item_id: str) -> Response:
        path = media.file_of(service.held.run, kind, item_id) if kind in (IMAGE, AUDIO) else None
        if path is None:
            return Response(status_code=404)
        headers = {"cache-control": "public, max-age=3600", "content-security-policy": _MEDIA_POLICY}
        return FileResponse(path, media_type=TYPES[path.suffix.lower()], headers=headers)


def _event_of(content_type: str, body: bytes, user: str) -> Event:
    """The event a form tells of. Raises RequestError."""
    try:
        if content_type.partition(";")[0].strip().lower() != _FORM:
            raise ValueError("not a form")
        fields = parse_qs(body.decode("ascii"), max_num_fields=8, errors="strict")
        given = {name: fields[name][0] for name in ("item_id", "event", "event_id") if name in fields}
        return Event.model_validate({"user_id": user, **given})
    except (ValueError, ValidationError, TypeError) as error:
        raise RequestError("The form does not tell of an event", remedy="Use the buttons of the page.") from error


def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_text),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _version() -> str:
    return hashlib.sha256("".join(_text(name) for name in _STATIC).encode()).hexdigest()[:12]


def _text(name: str) -> str:
    return files("genre_pipeline.serving").joinpath("pages", name).read_text(encoding="utf-8")
