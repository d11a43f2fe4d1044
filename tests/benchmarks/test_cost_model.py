"""The model of cost against sums made by hand, and against a measurement of a photograph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cost_model import Machine, cost_of, duration, main, read_cuda
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from inception_rcnn.structures import InputError

LINES = """MultiBox, one look, ms       3.00   first run 1692
MultiBox, its proposals, ms  0.50
MultiBox, objectness of 600 boxes, ms   0.50
pooled detector, default, without proposals, ms   6.00
warped detector, default, without proposals, ms   9.00
"""
STAGES = {"decode": 0.01, "search": 0.2, "boxes": 0.05, "network": 0.5}
INPUTS = {
    "machine": "a machine",
    "processors": 2,
    "photographs": 3,
    "megapixels": 0.25,
    "read": 100_000.0,
    "stream": {"start": 5.0, "photograph": 0.4, "written": 1000.0},
    "models": {"coco": STAGES, "six": {**STAGES, "network": 2.0}},
}


@pytest.fixture
def photograph() -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.astronaut()[::2, ::2])


@pytest.fixture
def cuda(tmp_path: Path) -> Path:
    path = tmp_path / "cuda.txt"
    path.write_text(LINES)
    return path


def test_a_photograph_costs_what_its_stages_do(cuda: Path) -> None:
    seconds = read_cuda(cuda)
    assert seconds == pytest.approx({"boxes": 0.004, "coco": 0.006, "coco-mini": 0.009, "six": 0.039})
    alone = cost_of(INPUTS, seconds, "coco", stored=False, on_gpu=False)
    assert [alone.processor, alone.gpu, alone.read] == pytest.approx([0.76, 0, 100_000])
    stored = cost_of(INPUTS, seconds, "coco", stored=True, on_gpu=False)
    assert stored.processor == pytest.approx(0.51) and stored.read > 120_000
    beside = cost_of(INPUTS, seconds, "six", stored=False, on_gpu=True)
    assert [beside.processor, beside.gpu] == pytest.approx([0.01 + 0.2 + 0.043, 0.043])
    busy = beside.seconds_on(Machine("", 10, 2, 1e6))
    assert busy == pytest.approx({"processors": 0.0253, "GPUs": 0.0215, "line to the store": 0.101})


def test_a_line_that_is_missing_is_named(cuda: Path) -> None:
    cuda.write_text(LINES.replace("pooled", "other"))
    with pytest.raises(InputError, match="has no line 'pooled detector"):
        read_cuda(cuda)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(59, "59 s"), (90, "1.5 min"), (7200, "2 h"), (200_000, "2.3 days"), (1e9, "32 years"), (1e14, "3,200,000 years")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_what_is_measured_is_what_the_tables_take(
    tmp_path: Path,
    cuda: Path,
    photograph: NDArray[np.uint8],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The stream is a command that has tests of its own; starting it twice takes half a minute.
    monkeypatch.setattr("cost_model.measure_stream", lambda paths: {"start": 5.0, "photograph": 0.4, "written": 900.0})
    (tmp_path / "photographs").mkdir()
    for name in ("a", "b"):
        Image.fromarray(photograph).save(tmp_path / "photographs" / f"{name}.jpg")
    inputs = tmp_path / "inputs.json"
    main(["measure", str(tmp_path / "photographs"), "--inputs", str(inputs), "--models", "coco"])
    found = json.loads(inputs.read_text())
    assert found["photographs"] == 2 and found["megapixels"] == pytest.approx(photograph.size / 3e6)
    assert min(found["models"]["coco"].values()) > 0
    main(["tables", "--inputs", str(inputs), "--cuda", str(cuda)])
    printed = capsys.readouterr().out
    assert printed.count("| `coco` | made |") == 1 + 5 and "by the model" in printed
