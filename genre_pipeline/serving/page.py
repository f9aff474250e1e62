"""The page at `/`: a user's history beside the list, with reasons. A plain GET form; the script only adds comfort.

Everything it loads is local, and the Content-Security-Policy allows no inline script or style, so a hostile title stays
text. Files are read once, when the application is made.
"""

import hashlib
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from starlette.responses import FileResponse

from genre_pipeline.contracts.columns import AUDIO, IMAGE, ITEM_ID
from genre_pipeline.contracts.errors import NotPublishedError, RequestError
from genre_pipeline.serving.answers import RecommendationsAnswer
from genre_pipeline.serving.media import TYPES, MediaFiles
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.service import RecommendationService

_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_HUES = 12
_EXAMPLES = 6
_POPULAR = 18
_MEDIA_POLICY = "default-src 'none'; sandbox"


def add_page(app: FastAPI, service: RecommendationService, media: MediaFiles) -> None:
    """Add the page, the files it loads, and the items' pictures and sounds."""
    template = _environment().get_template("index.html")
    version = hashlib.sha256("".join(_text(name) for name in _STATIC).encode()).hexdigest()[:12]

    @app.get("/", include_in_schema=False)
    async def page(user: str = "", k: str = "") -> Response:
        status, view = _view(service, media, user, k)
        html = template.render(view, version=version)
        return Response(html.encode("utf-8", "replace"), status_code=status, media_type="text/html; charset=utf-8")

    _add_files(app, service, media)


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


def _view(service: RecommendationService, media: MediaFiles, user: str, k: str) -> tuple[int, dict[str, Any]]:
    view: dict[str, Any] = {
        "user": user, "k": k or str(service.config.k_default), "k_max": service.config.k_max, "problem": None,
        "answer": None, "cards": [], "history": [], "history_is_down": False,
        "examples": service.example_users(_EXAMPLES), "popular": [],
    }  # fmt: skip
    if not user:
        return 200, view | {"popular": _popular(service, media)}
    try:
        answer = service.recommend(user, _number(k))
    except (RequestError, NotPublishedError) as error:
        return (422 if isinstance(error, RequestError) else 503), view | {"problem": error}
    history = service.recorder.history(user)
    cards = _cards(service.held.run, media, answer)
    past = [] if history is None else _past(service, media, history.head(service.config.page_history).to_dicts())
    return 200, view | {"answer": answer, "cards": cards, "history": past, "history_is_down": history is None}


def _popular(service: RecommendationService, media: MediaFiles) -> list[dict[str, Any]]:
    try:
        listed = service.popular("", min(_POPULAR, service.config.k_max)).items
    except NotPublishedError:
        return []
    return [_tile(service.held.run, media, line.item_id) for line in listed]


def _number(k: str) -> int | None:
    if not k:
        return None
    if not k.isascii() or not k.isdigit() or len(k) > 6:
        raise RequestError("k is not a number", remedy="Ask for a whole number of items.")
    return int(k)


def _cards(run: PublishedRun, media: MediaFiles, answer: RecommendationsAnswer) -> list[dict[str, Any]]:
    return [_tile(run, media, line.item_id) | {"line": line, "bars": _bars(line.parts.model_dump())}
            for line in answer.recommendations]  # fmt: skip


def _past(service: RecommendationService, media: MediaFiles, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_tile(service.held.run, media, row[ITEM_ID]) | row for row in rows]


def _tile(run: PublishedRun, media: MediaFiles, item_id: str) -> dict[str, Any]:
    at = run.positions.get(item_id)
    title = run.titles[at] if at is not None else item_id
    letters = [word[0] for word in title.split() if word[0].isalnum()]
    return {
        "item_id": item_id,
        "title": title,
        "initials": "".join(letters[:2]).upper() or "·",
        "hue": int(hashlib.sha256(item_id.encode()).hexdigest()[:4], 16) % _HUES,
        "has_image": media.file_of(run, IMAGE, item_id) is not None,
        "has_audio": media.file_of(run, AUDIO, item_id) is not None,
    }


def _bars(parts: dict[str, float]) -> list[dict[str, Any]]:
    """Segments of a bar 100 wide: what each source gave, where it gave something."""
    bars, start = [], 0.0
    for name, value in parts.items():
        width = round(max(min(value, 1.0), 0.0) * 100, 2)
        bars.append({"name": name, "start": round(start, 2), "width": width, "value": value})
        start += width
    return bars


def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_text),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def _text(name: str) -> str:
    return files("genre_pipeline.serving").joinpath("pages", name).read_text(encoding="utf-8")
