"""A server of the shipped model on few regions, asked in this process, and photographs to ask it about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from skimage import data

from inception_rcnn.detector import Detector, load_detector

pytest.importorskip("fastapi", reason="no FastAPI here (pip install -e '.[dev]')")
pytest.importorskip("httpx", reason="no httpx here (pip install -e '.[dev]')")


@pytest.fixture(scope="package")
def model() -> Detector:
    """The shipped detector, with little work to do."""
    return load_detector("coco", "cpu", max_proposals=40, runtime="torch").with_settings(one_name_iou=0.8)


@pytest.fixture(scope="package")
def jpeg() -> bytes:
    """A cat of 225 x 150 pixels."""
    buffer = BytesIO()
    Image.fromarray(data.chelsea()).resize((225, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="package")
def client_of(model: Detector, tmp_path_factory: pytest.TempPathFactory, jpeg: bytes) -> Iterator[Callable[..., Any]]:
    """Starts a client of a server with other settings or models."""
    from contextlib import ExitStack

    from fastapi.testclient import TestClient

    from inception_rcnn.detector.server.app import ServerSettings, create_app

    sample = tmp_path_factory.mktemp("samples") / "cat.jpg"
    sample.write_bytes(jpeg)
    with ExitStack() as stack:

        def start(models: dict[str, Callable[[], Detector]] | None = None, **settings: Any) -> Any:
            app = create_app(models or {"coco": lambda: model}, {"cat.jpg": sample}, ServerSettings(**settings))
            return stack.enter_context(TestClient(app, raise_server_exceptions=True))

        yield start


@pytest.fixture(scope="package")
def client(client_of: Callable[..., Any]) -> Any:
    """A client of a server as it is by default."""
    return client_of()
