"""inception-rcnn serve

Serves a page that walks a photograph through the detector's stages, and POST /detect for programs.

The page, on http://127.0.0.1:8000 unless told otherwise: choose, drop or paste a photograph, and see its superpixels,
its proposals, the regions as the network sees them, class scores, suppression, the result; sliders for score and
overlap, a second model beside the first, times, downloads. It asks for nothing from other machines.

POST /detect takes the photograph as the body and answers with JSON as `detect --json` writes it:
  curl --data-binary @photo.jpg http://127.0.0.1:8000/detect
/openapi.json describes it, /health says whether the server lives, /metrics has figures for Prometheus. Photographs wait
in a queue of --queue; who comes when it is full gets status 429 and Retry-After.

On an address that other machines reach, every request needs a token: --token, or one that is printed. It is sent as
"Authorization: Bearer TOKEN", and the page is opened with ?token=TOKEN. Without HTTPS, which a server before this one
adds, whoever can listen on the network can read it.

Examples:
  inception-rcnn serve --against coco-mini --against runs/mine/model.safetensors
  inception-rcnn serve --host 0.0.0.0 --port 80 --weights runs/mine/model.safetensors
"""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import bundled_photograph, echo, run_command
from inception_rcnn.tools.detector_options import Device, MaxProposals, Precision, RuntimeName, ScoreThreshold, Weights

if TYPE_CHECKING:
    from inception_rcnn.detector import Detector

_SAMPLES = ("chelsea.png", "astronaut.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
_OWN = ("127.0.0.1", "localhost", "::1")


def main(
    weights: Weights = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Model to be shown beside it, loaded when it is first asked for. Default: six, the ensemble."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    token: Annotated[
        str | None, typer.Option(help="What requests must show. Default: none on 127.0.0.1, else a random one.")
    ] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="Of a photograph's file.")] = 20_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Of a photograph.")] = 50_000_000,
    queue: Annotated[int, typer.Option(min=1, help="Requests in work or waiting.")] = 16,
    score_threshold: ScoreThreshold = None,
    max_proposals: MaxProposals = None,
    device: Device = "auto",
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for each request.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.detector import keep_freed_memory
    from inception_rcnn.structures import MissingDependencyError

    try:
        import uvicorn

        from inception_rcnn.detector.server.app import ServerSettings, create_app
        from inception_rcnn.detector.server.connections import PunctualProtocol, allow_many_connections
    except ImportError as error:
        raise MissingDependencyError(f"serve needs FastAPI ({error}): pip install 'inception-rcnn[serve]'") from error
    keep_freed_memory()
    if host not in _OWN and token is None:
        token = secrets.token_urlsafe(24)
    options = {
        "device": device,
        "runtime": runtime,
        "precision": precision,
        "score_threshold": score_threshold,
        "max_proposals": max_proposals,
    }
    others = ["six"] if against is None else against
    _check_readable(others)
    models = _models(weights or [], others, options)
    limits = ServerSettings(token=token, max_bytes=max_bytes, max_pixels=max_pixels, queue=queue)
    samples = {name: path for name in _SAMPLES if (path := bundled_photograph(name)).is_file()}
    with _listen(host, port) as listening:
        app = create_app(models, samples, limits, warm_up=True)
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        echo(f"http://{shown}:{listening.getsockname()[1]}/" + (f"?token={token}" if token else ""))
        allow_many_connections()
        config = uvicorn.Config(
            app,
            http=PunctualProtocol,
            log_level="warning" if quiet else "info",
            access_log=not quiet and token is None,
            timeout_keep_alive=5,
            server_header=False,
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _check_readable(against: Sequence[str]) -> None:
    """Refuse a name or file that is no model's now: it is loaded only when somebody asks for it."""
    from inception_rcnn.detector.checkpoints import read_classifier_description
    from inception_rcnn.detector.loading import chosen_weights

    for one in against:
        for name in chosen_weights(one):
            read_classifier_description(name)


def _listen(host: str, port: int) -> socket.socket:
    """Return what listens, before the model is loaded and an address is printed that another server may have."""
    from inception_rcnn.structures import InputError

    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        remedy = "name another --port (0: any free one) or --host"
        raise InputError(f"cannot listen on port {port} of {host}: {reason}; {remedy}") from error


def _models(
    weights: Sequence[str], against: Sequence[str], options: dict[str, str | int | float | None]
) -> dict[str, Callable[[], Detector]]:
    """Return by the names that the page shows what loads each model: all weights as one, then each to compare with."""
    name = " + ".join(Path(one).name.removesuffix(".safetensors") for one in weights) or "coco"
    models: dict[str, Callable[[], Detector]] = {name: partial(_load, list(weights), options)}
    for one in against:
        other = Path(one).name.removesuffix(".safetensors")
        models[other if other not in models else f"{other} ({one})"] = partial(_load, [one], options)
    return models


def _load(weights: list[str], options: dict[str, str | int | float | None]) -> Detector:
    """Return a detector as people look at its answers: one thing has one name."""
    from inception_rcnn.detector import load_detector

    detector = load_detector(weights or None, **options)  # type: ignore[arg-type]
    return detector.with_settings(one_name_iou=0.8)


if __name__ == "__main__":
    run_command(main)
