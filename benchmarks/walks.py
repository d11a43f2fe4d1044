"""How many files one value's way goes through: a photograph to detections, a file to mAP, a photograph to a gradient.

    python benchmarks/walks.py [--list]

Every Python function of this project that is called counts, in all threads. "Moves" are changes of file from one call
to the next on the main thread, "returns" the moves into a file that was left before. The detector is loaded, and the
kernels are compiled, before the counting begins; the decorator of the kernels is not counted, nor is this file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import skimage
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("structures", "datasets", "evaluation", "backbones", "proposals", "detector", "tools")
LEFT_OUT = {"structures/kernels.py", "structures/compiled.py"}
PHOTOGRAPH = Path(skimage.__file__).parent / "data" / "astronaut.png"


class Recorder:
    """The files of the functions called, in order on the main thread, as a set in all."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.way: list[str] = []
        self._names: dict[str, str | None] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take one event of the interpreter."""
        if event != "call":
            return
        path = frame.f_code.co_filename
        if path not in self._names:
            self._names[path] = self._name(path)
        name = self._names[path]
        if name is None or frame.f_code.co_name == "<module>":
            return
        self.files.add(name)
        if threading.current_thread() is threading.main_thread() and (not self.way or self.way[-1] != name):
            self.way.append(name)

    def _name(self, path: str) -> str | None:
        try:
            name = Path(path).resolve().relative_to(ROOT).as_posix()
        except (OSError, ValueError):
            return None
        return name if name.split("/")[0] in ROOMS and name not in LEFT_OUT else None

    def record(self, walk: Callable[[], object]) -> None:
        """Call `walk` once, recorded."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            with redirect_stdout(StringIO()):
                walk()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @property
    def returns(self) -> int:
        """How many moves led into a file left before."""
        return sum(name in self.way[:place] for place, name in enumerate(self.way))


def one_photograph(folder: Path) -> Callable[[], object]:
    """`tools/detect.py` from the loaded detector on: photograph -> Detections -> picture."""
    from inception_rcnn.detector import load_detector
    from inception_rcnn.tools import detect

    detector = load_detector(device="cpu")

    def walk() -> object:
        with closing(detector.prepare_ahead([PHOTOGRAPH])) as ready:
            return detect._one(detector, PHOTOGRAPH, folder / "found.jpg", next(ready), quiet=False)

    return walk


def one_file(folder: Path) -> Callable[[], object]:
    """`tools/eval_map.py` with detections in VOC's text format and objects in a ground-truth file: file -> mAP."""
    from inception_rcnn.tools import eval_map

    truth, found = folder / "truth.jsonl", folder / "det_val_cat.txt"
    truth.write_text(json.dumps({"id": "a", "width": 90, "height": 80, "objects": [[1, "cat", 5, 5, 60, 70]]}) + "\n")
    found.write_text("a 0.9 6 6 61 71\na 0.4 1 1 20 30\n")
    return lambda: eval_map.main(dataset="voc", detections=found, ground_truth=truth, quiet=True)


class FirstUpdate(Exception):
    """Ends the walk to a gradient."""


def one_gradient(folder: Path) -> Callable[[], object]:
    """The region classifier's training, from an annotated photograph with proposals to the first update."""
    import torch

    from inception_rcnn.backbones import googlenet
    from inception_rcnn.backbones.runtime import Runtime
    from inception_rcnn.datasets import CocoDataset
    from inception_rcnn.detector import ClassifierDescription
    from inception_rcnn.detector.region_classifier import REGION_INPUT
    from inception_rcnn.detector.training.initial_weights import PretrainedNetwork
    from inception_rcnn.detector.training.run import TrainingTask
    from inception_rcnn.detector.training.settings import TrainingSettings
    from inception_rcnn.detector.training.sources import TrainingSource
    from inception_rcnn.detector.training.warped.sampling import SamplingSettings
    from inception_rcnn.detector.training.warped.trainer import FineTuneSettings, fine_tune
    from inception_rcnn.structures import Proposals

    _write_set(folder)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (60, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(30, 200, (60, 2))], axis=1).astype(np.float32)
    proposals = Proposals(boxes, np.linspace(1, 0, 60, dtype=np.float32))
    settings = FineTuneSettings(
        training=TrainingSettings(iterations=1), sampling=SamplingSettings(foreground=2, background=2), linear_batches=0
    )
    start = PretrainedNetwork(googlenet(num_classes=2), knows_classes=False, origin={})
    runtime = Runtime(torch.device("cpu"), torch.float32, 16)

    def stop(*_: object, **__: object) -> None:
        raise FirstUpdate

    dataset = CocoDataset(folder, "train")
    description = ClassifierDescription(dataset.class_names, REGION_INPUT)

    def walk() -> None:
        with patch.object(torch.optim.SGD, "step", stop), suppress(FirstUpdate):
            fine_tune(
                TrainingTask(
                    sources=[TrainingSource("walk", dataset, lambda: [proposals])],
                    propose=lambda image: proposals,
                    start=start,
                    description=description,
                    runtime=runtime,
                    output=folder / "run",
                    quiet=True,
                ),
                settings,
            )

    return walk


def _write_set(folder: Path) -> None:
    """Write a data set of one photograph with one person, in COCO's format."""
    (folder / "train").mkdir()
    Image.open(PHOTOGRAPH).convert("RGB").save(folder / "train" / "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 80, 350, 420], "iscrowd": 0, "area": 147000}
    image = {"id": 1, "file_name": "a.png", "width": 512, "height": 512}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "person"}]}
    (folder / "train.json").write_text(json.dumps(content))


def main() -> None:
    """Print a line for each walk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the files of each walk, in the order of first visits")
    arguments = parser.parse_args()
    print("| walk | files | moves / returns |\n|---|---|---|")
    for walk in (one_photograph, one_file, one_gradient):
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            with redirect_stdout(StringIO()):
                walk(Path(first))()  # compiles what there is to compile
            recorder = Recorder()
            recorder.record(walk(Path(second)))
        print(f"| {walk.__name__} | {len(recorder.files)} | {max(0, len(recorder.way) - 1)} / {recorder.returns} |")
        if arguments.list:
            visited = list(dict.fromkeys(recorder.way)) + sorted(recorder.files - set(recorder.way))
            print("  " + " -> ".join(visited))


if __name__ == "__main__":
    main()
