"""The addresses: the page and what it asks for, `POST /detect` for programs, `/health`, `/metrics`, `/openapi.json`.

request --Gate: host, token--> address --body, up to a limit--> Admission: one thread, a short queue--> detector

A photograph is the body of the request itself: curl --data-binary @photo.jpg http://127.0.0.1:8000/detect
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from inception_rcnn import __version__
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.server.admission import Admission, Figures, FullError
from inception_rcnn.detector.server.stages import to_json, walk_through
from inception_rcnn.structures import ImageError, InceptionError, InputError, load_image
from inception_rcnn.structures.errors import check_fields

_COOKIE: Final = "inception_rcnn_token"
_OPEN: Final = ("/health",)  # without a token: for those who look whether the machine lives
_LOCAL: Final = ("127.0.0.1", "localhost", "[::1]", "testserver")
_KEPT_WALKS: Final = 8
_PIECE: Final = 65_536  # bytes of an answer that are handed out at a time
_PAGE: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/suppression.js": ("suppression.js", "text/javascript; charset=utf-8"),
}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What is let in.

    Args:
        token: What a request has to show; None: nothing, for a server that only its own machine reaches.
        max_bytes: Of a request's body.
        max_pixels: Of a photograph.
        queue: Requests that may be in work or waiting; more are told when to come back.
        read_seconds: In which a body has to come.

    Raises:
        InputError: A field is of another type or out of range.
    """

    token: str | None = None
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    queue: int = 16
    read_seconds: float = 30.0

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("max_bytes", "max_pixels", "queue"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} should be at least 1, got {getattr(self, name)}")
        if not self.read_seconds > 0:
            raise InputError(f"read_seconds should be above 0, got {self.read_seconds}")
        if self.token is not None and len(self.token) < 8:
            raise InputError(f"token should have at least 8 characters, got {len(self.token)}")


class RefusedError(Exception):
    """A request that is not answered as it wished.

    Args:
        status: Of HTTP.
        text: Why, and what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Service:
    """The detectors behind the addresses.

    Args:
        models: By the names that requests use, what loads them; the first is the usual one. A model is loaded when it
            is first asked for, but for the first, which is loaded now.
        samples: Photographs that the page offers, by name.
        settings: What is let in.
    """

    def __init__(
        self, models: Mapping[str, Callable[[], Detector]], samples: Mapping[str, Path], settings: ServerSettings
    ) -> None:
        if not models:
            raise InputError("there is no model to serve; name at least one")
        self.settings = settings
        self.samples = {name: (path.read_bytes(), _kind_of(path)) for name, path in samples.items()}
        self.names = list(models)
        self._load, self._loaded = dict(models), dict[str, Detector]()
        self._lock = Lock()
        self._walks: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        # As many bytes as may wait, and as many again of bodies that are still coming.
        self.admission = Admission(settings.queue, 2 * settings.queue * settings.max_bytes)
        self.figures = Figures()
        self.model(self.names[0])

    def model(self, name: str) -> Detector:
        """Return a model, loaded if it is not yet.

        Raises:
            RefusedError: There is none of the name.
        """
        if name not in self._load:
            raise RefusedError(404, f"there is no model {name!r:.80}; there are {', '.join(self.names)}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load[name]()
            return self._loaded[name]

    def warm_up(self) -> None:
        """Look at the photograph that the page begins with: twice, since the first time kernels are compiled."""
        for content, _ in list(self.samples.values())[:1]:
            for _ in range(2):
                self._walks.clear()
                self.walk(content, self.names[0])

    def detect(self, data: bytes, name: str) -> bytes:
        """Return what is on a photograph, as `detect --json` has it."""
        image = load_image(data, max_pixels=self.settings.max_pixels, max_bytes=self.settings.max_bytes)
        detector, started = self.model(name), time.perf_counter()
        found = detector(image)
        self.figures.found(len(found))
        return _in_json(
            {
                "model": name,
                "width": image.shape[1],
                "height": image.shape[0],
                "detections": found.to_records(),
                "seconds": round(time.perf_counter() - started, 4),
            }
        )

    def walk(self, data: bytes, name: str) -> bytes:
        """Return what the stages saw of a photograph; the last ones are remembered."""
        key = (name, hashlib.sha256(data).hexdigest())
        if key in self._walks:
            self._walks.move_to_end(key)
            return self._walks[key]
        detector, limits = self.model(name), self.settings
        walk = walk_through(detector, data, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
        self.figures.found(len(walk.found))
        self._walks[key] = _in_json({"model": name, **to_json(walk, detector)})
        while len(self._walks) > _KEPT_WALKS:
            self._walks.popitem(last=False)
        return self._walks[key]


def create_app(
    models: Mapping[str, Callable[[], Detector]],
    samples: Mapping[str, Path] | None = None,
    settings: ServerSettings | None = None,
    *,
    warm_up: bool = False,
) -> FastAPI:
    """Return the application, for any server of ASGI's such as uvicorn.

    Args:
        models: By name, what loads a detector; see `Service`.
        samples: Photographs that the page offers, by name.
        settings: What is let in.
        warm_up: Whether the first of these is looked at as the server starts, so that the page need not wait for it.

    Raises:
        InputError: There is no model.
        OSError: A photograph cannot be read.
    """
    service = Service(models, samples or {}, settings or ServerSettings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        ready = asyncio.create_task(service.admission.run(service.warm_up)) if warm_up else None
        yield
        if ready is not None:
            ready.cancel()
        service.admission.close()

    # FastAPI's own pages load their scripts from another machine.
    app = FastAPI(
        title="inception-rcnn",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        description=__doc__,
    )
    addresses = _Addresses(service)
    for path in _PAGE:
        app.add_api_route(path, addresses.page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/page.json", addresses.about, methods=["GET"], include_in_schema=False)
    app.add_api_route("/samples/{name}", addresses.sample, methods=["GET"], include_in_schema=False)
    app.add_api_route("/walk", addresses.walk, methods=["POST"], include_in_schema=False)
    app.add_api_route(
        "/detect", addresses.detect, methods=["POST"], openapi_extra=_DETECT, responses=_RESPONSES, summary="Detect"
    )
    app.add_api_route("/health", addresses.health, methods=["GET"], summary="Whether it lives, and its models")
    app.add_api_route("/metrics", addresses.metrics, methods=["GET"], summary="Figures, as Prometheus reads them")
    app.middleware("http")(_Gate(service))
    for kind in (RefusedError, FullError, InceptionError, HTTPException):
        app.add_exception_handler(kind, _answer_error)
    return app


class _Gate:
    """What every request passes: host and token; what every answer gets: headers, a count, an error as JSON."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Return the answer."""
        started = time.perf_counter()
        try:
            self._check(request)
            response = await answer(request)
        except RefusedError as error:
            response = _refusal(error)
        response.headers.update(_HEADERS)
        route = request.scope.get("route")
        path = getattr(route, "path", "other")
        self._service.figures.count(path, response.status_code, time.perf_counter() - started)
        given = request.query_params.get("token")
        if given is not None and response.status_code == 200 and self._service.settings.token is not None:
            response.set_cookie(_COOKIE, given, httponly=True, samesite="strict")
        return response

    def _check(self, request: Request) -> None:
        """Refuse who may not ask.

        Without a token only this machine's own names are answered: a page from elsewhere could else give its name this
        machine's address, and read the answers.

        Raises:
            RefusedError: They may not.
        """
        token = self._service.settings.token
        if token is None:
            host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
            if host.lower() not in _LOCAL:
                raise RefusedError(400, f"this server answers to 127.0.0.1 and localhost alone, not to {host!r:.80}")
            return
        if request.url.path in _OPEN:
            return
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        candidates = [
            shown.strip() if scheme.lower() == "bearer" else "",
            request.cookies.get(_COOKIE, ""),
            request.query_params.get("token", ""),
        ]
        if not any(hmac.compare_digest(one.encode(), token.encode()) for one in candidates):
            raise RefusedError(401, "a token is needed: the header 'Authorization: Bearer TOKEN', or ?token=TOKEN")


class _Addresses:
    """What each address answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        folder = files("inception_rcnn.detector.server") / "page"
        self._page = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _PAGE.items()}

    async def page(self, request: Request) -> Response:
        """Return a file of the page."""
        content, kind = self._page[request.url.path]
        return Response(content, media_type=kind)

    async def about(self, request: Request) -> Response:
        """Return what the page offers."""
        limits = self._service.settings
        return JSONResponse(
            {
                "models": self._service.names,
                "samples": list(self._service.samples),
                "max_bytes": limits.max_bytes,
                "max_pixels": limits.max_pixels,
                "version": __version__,
            }
        )

    async def sample(self, request: Request) -> Response:
        """Return a photograph that the page offers."""
        name = request.path_params["name"]
        if name not in self._service.samples:
            raise RefusedError(404, f"there is no photograph {name!r:.80}")
        return _in_pieces(*self._service.samples[name])

    async def walk(self, request: Request) -> Response:
        """Return what the stages saw of the photograph in the body."""
        return await self._answer(request, self._service.walk)

    async def detect(self, request: Request) -> Response:
        """Return what is on the photograph in the body: class, score and box of each object, best first."""
        return await self._answer(request, self._service.detect)

    async def health(self, request: Request) -> Response:
        """Return that it lives."""
        return JSONResponse({"status": "ok", "models": self._service.names, "waiting": self._service.admission.waiting})

    async def metrics(self, request: Request) -> Response:
        """Return the figures."""
        text = self._service.figures.text(self._service.admission)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _answer(self, request: Request, work: Callable[[bytes, str], bytes]) -> Response:
        service = self._service
        name = request.query_params.get("model", service.names[0])
        if name not in service.names:
            raise RefusedError(404, f"there is no model {name!r:.80}; there are {', '.join(service.names)}")
        service.admission.check()
        with service.admission.body() as add:
            data = await _body(request, service.settings, add)
            answer = await service.admission.run(lambda: work(data, name))
        return _in_pieces(answer, "application/json")


async def _body(request: Request, settings: ServerSettings, add: Callable[[int], None]) -> bytes:
    """Return the photograph in a request.

    Args:
        request: The request.
        settings: How large and how slow it may be.
        add: Told of its bytes as they come.

    Raises:
        RefusedError: It is too large, too slow, empty, or a form.
        FullError: There is no room for its bytes.
    """
    # `application/x-www-form-urlencoded` is what curl says of any file; only what has parts around the file is a form.
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise RefusedError(415, "the body should be the photograph itself, not a form: curl --data-binary @photo.jpg")
    said = request.headers.get("content-length", "")
    too_large = RefusedError(413, f"the photograph has more than {settings.max_bytes} bytes, which are the most")
    if said.isdecimal() and int(said) > settings.max_bytes:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(settings.read_seconds):
            async for piece in request.stream():
                if len(content) + len(piece) > settings.max_bytes:
                    raise too_large
                add(len(piece))
                content += piece
    except TimeoutError:
        raise RefusedError(408, f"the photograph did not come within {settings.read_seconds:g} s") from None
    except ClientDisconnect:  # nobody is there to read this, but it is counted, and is no fault of the server's
        raise RefusedError(400, f"the photograph broke off after {len(content)} bytes") from None
    if not content:
        raise RefusedError(422, "there is no photograph in the body: curl --data-binary @photo.jpg")
    return bytes(content)


def _kind_of(path: Path) -> str:
    """Return what a photograph that the page offers is called in HTTP."""
    return "image/png" if path.suffix.lower() == ".png" else "image/jpeg"


def _in_json(answer: dict[str, Any]) -> bytes:
    return bytes(JSONResponse(answer).body)


def _in_pieces(content: bytes, kind: str) -> Response:
    """Return an answer that is handed out as it is read: who does not read holds a piece of it and not a copy."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), _PIECE):
            yield content[start : start + _PIECE]

    return StreamingResponse(pieces(), media_type=kind, headers={"Content-Length": str(len(content))})


async def _answer_error(request: Request, error: Exception) -> Response:
    """Return what is wrong as JSON."""
    return _refusal(error)


def _refusal(error: Exception) -> Response:
    if isinstance(error, FullError):
        return _error(429, str(error), {"Retry-After": str(error.seconds)})
    if isinstance(error, HTTPException):  # no such address, or not with this method
        return _error(error.status_code, error.detail, error.headers)
    if isinstance(error, RefusedError):
        return _error(error.status, str(error))
    # All else that this package raises on purpose is of the model, which cannot be loaded: no fault of who asks.
    return _error(422 if isinstance(error, ImageError) else 500, str(error))


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    asked = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse({"error": text}, status, headers={**asked, **(headers or {})})


_BOX: Final = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
_FOUND: Final = {
    "type": "object",
    "required": ["model", "width", "height", "detections", "seconds"],
    "properties": {
        "model": {"type": "string"},
        "width": {"type": "integer", "description": "of the photograph, in pixels"},
        "height": {"type": "integer"},
        "detections": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["label", "score", "box"],
                "properties": {
                    "label": {"type": "string"},
                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                    "box": {**_BOX, "description": "x1 y1 x2 y2 in pixels, x2 and y2 exclusive"},
                },
            },
        },
        "seconds": {"type": "number"},
    },
}
_DETECT: Final[dict[str, Any]] = {
    "parameters": [
        {"name": "model", "in": "query", "required": False, "schema": {"type": "string"}, "description": "see /health"}
    ],
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*", "*/*")},
    },
}
_ERROR: Final = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "what is on it", "content": {"application/json": {"schema": _FOUND}}},
    **{
        status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
        for status, text in {
            401: "no token, or another one",
            404: "no such model",
            408: "the body did not come in time",
            413: "too many bytes",
            415: "a form, not a photograph",
            422: "no picture that can be read, or too many pixels",
            429: "too many requests wait; Retry-After says when to come back",
            500: "the model cannot be loaded",
        }.items()
    },
}
