"""`inception-rcnn serve` up to the server: models, token, limits."""

from __future__ import annotations

import re
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
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: seen.update(app=app, run=options))
    return seen


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["serve", *arguments])
    return int(exit_.value.code or 0)


def test_this_machine_alone_needs_no_token(started: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--port", "8123", "--queue", "3", "--max-bytes", "1000") == 0
    assert capsys.readouterr().out == "http://127.0.0.1:8123/\n"
    assert started["app"] == "application" and started["run"]["host"] == "127.0.0.1"
    settings = started["settings"]
    assert (settings.token, settings.queue, settings.max_bytes) == (None, 3, 1000)
    assert list(started["models"]) == ["coco", "six"] and "chelsea.png" in started["samples"]


def test_port_0_is_a_free_one_and_the_address_has_it(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--port", "0") == 0
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", capsys.readouterr().out)
    assert found is not None and int(found[1]) == started["run"]["port"] > 0


def test_any_other_address_gets_a_token_that_is_printed(
    started: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = set()
    for _ in range(2):
        assert run("--host", "0.0.0.0") == 0
        found = re.fullmatch(r"http://127\.0\.0\.1:8000/\?token=([\w-]{32})\n", capsys.readouterr().out)
        assert found is not None and started["settings"].token == found[1]
        assert not started["run"]["access_log"], "the log would have the page's address with the token"
        tokens.add(found[1])
    assert len(tokens) == 2
    assert run("--host", "0.0.0.0", "--token", "of my own") == 0
    assert started["settings"].token == "of my own"


def test_models_have_the_names_of_their_files() -> None:
    models = serve._models(["runs/a.safetensors", "coco-mini"], ["coco", "x/coco.safetensors"], {})
    assert list(models) == ["a + coco-mini", "coco", "coco (x/coco.safetensors)"]
