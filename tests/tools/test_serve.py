"""`inception-rcnn serve` up to the server: models, token, limits."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from inception_rcnn.tools import cli, serve

uvicorn = pytest.importorskip("uvicorn", reason="no uvicorn here (pip install -e '.[dev]')")
pytest.importorskip("fastapi", reason="no FastAPI here (pip install -e '.[dev]')")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the server and the application are made with, instead of a server."""
    seen: dict[str, Any] = {}

    def create(models: Any, samples: Any, settings: Any, **options: Any) -> str:
        seen.update(models=models, samples=samples, settings=settings, options=options)
        return "application"

    monkeypatch.setattr("inception_rcnn.detector.server.app.create_app", create)

    class Server:
        def __init__(self, config: Any) -> None:
            seen.update(config=config)

        def run(self, sockets: list[socket.socket]) -> None:
            seen.update(address=sockets[0].getsockname())

    monkeypatch.setattr(uvicorn, "Server", Server)
    # It would close all handlers; that of absl, once imported, closes the stream that pytest captures.
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)
    return seen


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["serve", *arguments])
    return int(exit_.value.code or 0)


def test_this_machine_alone_needs_no_token(started: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = str(listening.getsockname()[1])
    assert run("--port", free, "--queue", "3", "--max-bytes", "1000") == 0
    assert capsys.readouterr().out == f"http://127.0.0.1:{free}/\n"
    assert started["config"].app == "application" and started["address"] == ("127.0.0.1", int(free))
    settings = started["settings"]
    assert (settings.token, settings.queue, settings.max_bytes) == (None, 3, 1000)
    assert list(started["models"]) == ["coco", "six"] and "chelsea.png" in started["samples"]


def test_port_0_is_a_free_one_and_the_address_has_it(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--port", "0") == 0
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", capsys.readouterr().out)
    assert found is not None and int(found[1]) == started["address"][1] > 0


def test_any_other_address_gets_a_token_that_is_printed(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = set()
    for _ in range(2):
        assert run("--host", "0.0.0.0", "--port", "0") == 0
        found = re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=([\w-]{32})\n", capsys.readouterr().out)
        assert found is not None and started["settings"].token == found[1]
        assert not started["config"].access_log, "the log would have the page's address with the token"
        tokens.add(found[1])
    assert len(tokens) == 2
    assert run("--host", "0.0.0.0", "--port", "0", "--token", "of my own") == 0
    assert started["settings"].token == "of my own"


def test_models_have_the_names_of_their_files() -> None:
    models = serve._models(["runs/a.safetensors", "coco-mini"], ["coco", "x/coco.safetensors"], {})
    assert list(models) == ["a + coco-mini", "coco", "coco (x/coco.safetensors)"]


def test_a_port_that_is_taken_is_said_before_an_address_is_printed(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = listening.getsockname()[1]
        assert run("--port", str(taken)) == 1
    said = capsys.readouterr()
    assert said.out == "" and "models" not in started, "and before a model is loaded"
    assert re.fullmatch(
        rf"error: cannot listen on port {taken} of 127\.0\.0\.1: .*; name another --port .*\n", said.err
    )


@pytest.mark.parametrize("name", ["cocomini", "torn.safetensors"])
def test_a_model_to_compare_with_that_cannot_be_read_is_said_at_the_start(
    name: str,
    started: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("torn.safetensors").write_bytes(b"torn")
    assert run("--port", "0", "--against", "coco", "--against", name) == 1
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(rf"error: .*{name}.*\n", said.err) and started == {}
