"""The page's own last stage, by Node where there is one: what stays is what the detector lets stay."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from inception_rcnn.detector import DetectionSettings
from inception_rcnn.detector.ensemble import RegionScores
from inception_rcnn.detector.postprocessing import candidates, postprocess
from inception_rcnn.structures import Proposals

_NAMES = ("cat", "dog", "cup")
_SETTINGS = [
    DetectionSettings(score_threshold=0.2732, iou_threshold=0.4, one_name_iou=0.8),
    DetectionSettings(score_threshold=0.05, iou_threshold=0.3),
    DetectionSettings(score_threshold=0.1, iou_threshold=0.9, one_name_iou=0.5, max_per_class=7),
    DetectionSettings(score_threshold=0.1, iou_threshold=0.6, one_name_iou=0.8, max_detections=5),
    DetectionSettings(score_threshold=0.1, iou_threshold=0.0),
    DetectionSettings(score_threshold=1.0),
]


def run(script: str, given: Any) -> Any:
    """What a script that has the functions of suppression.js and `given` returns."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here (Debian: apt install nodejs)")
    source = (files("inception_rcnn.detector.server") / "page" / "suppression.js").read_text(encoding="utf-8")
    end = f"\nconst given = {json.dumps(given)};\nconsole.log(JSON.stringify((() => {{ {script} }})()));"
    command = [node, "--input-type=module", "-"]
    done = subprocess.run(command, input=source + end, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def crowded() -> RegionScores:
    """300 regions of which many overlap, some without an area."""
    rng = np.random.default_rng(5)
    corners = np.repeat(rng.uniform(0, 150, (30, 2)), 10, axis=0) + rng.uniform(0, 12, (300, 2))
    boxes = np.hstack([corners, corners + rng.uniform(25, 50, (300, 2))]).astype(np.float32)
    boxes[::50, 2] = boxes[::50, 0]
    probabilities = rng.dirichlet([0.3] * 4, 300).astype(np.float32)
    return RegionScores(Proposals(boxes, np.linspace(1, 0, 300, dtype=np.float32)), probabilities[None])


def test_what_stays_is_what_the_detector_lets_stay() -> None:
    scores, cases, wanted = crowded(), [], []
    for settings in _SETTINGS:
        boxes, values = candidates(scores, settings)
        rows, labels = np.nonzero(values >= 0.02)
        told = {"row": rows.tolist(), "label": labels.tolist(), "score": values[rows, labels].tolist()}
        cases.append([{"regions": {"moved": boxes.tolist()}, "scores": told}, asdict(settings)])
        found = postprocess(scores, settings, _NAMES).to_records()
        wanted.append([[_NAMES.index(one["label"]), one["score"], one["box"]] for one in found])
    script = """return given.map(([walk, settings]) =>
        suppress(walk, settings).kept.map((one) => [one.label, one.score, one.box]));"""
    assert run(script, cases) == wanted
    counts = [len(one) for one in wanted]
    assert len(set(counts)) == len(counts) and counts[3] == 5 and counts[-1] == 0


def test_the_region_beside_another_is_the_one_that_overlaps_it_most() -> None:
    boxes, one = [[0, 0, 10, 10], [4, 4, 14, 14], [5, 5, 15, 15], [90, 90, 99, 99]], [6, 6, 16, 16]
    script = "return given.map(([boxes, one]) => nearest(boxes, one));"
    assert run(script, [[boxes, one], [boxes, [50, 50, 60, 60]], [[], one]]) == [2, 0, 0]
