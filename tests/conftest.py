"""Hypothesis without a stop-watch: a slow machine is no failure. OpenVINO only where a test asks for it.

Run by several processes (`pytest -n auto`), each computes on its share of the cores.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # read by OpenMP when torch is first imported, after this file
    _share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(_share))
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def openvino(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The library, with a cache of its own; a test that needs it is left out where it is missing."""
    pytest.importorskip("onnx", reason="needs inception-rcnn[cpu]: networks are translated to ONNX first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(sys.modules, "openvino_telemetry", None)  # as `openvino_runtime.openvino` does
        yield pytest.importorskip("openvino", reason="needs inception-rcnn[cpu]")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser of playwright's; a test that needs it is left out where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here (pip install -e '.[browser]')")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def torch_unless_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--runtime auto` means torch, whatever is installed: what tests compare with was computed by it."""
    if "openvino" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "openvino", None)
