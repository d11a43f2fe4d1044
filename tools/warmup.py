"""inception-rcnn warmup

Compiles the kernels of proposals, regions and evaluation ahead of their first use, and keeps them.

The first call on a machine takes some seconds; later calls find the compiled kernels in numba's cache. Useful when an
image of a machine is built, or before a measurement.

Examples:
  inception-rcnn warmup
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")


from inception_rcnn.tools.cli import echo, run_command


def main() -> None:
    """Compile the kernels and print how long that took."""
    for name, use in (("proposals", _propose), ("evaluation", _evaluate), ("regions", _regions)):
        start = time.perf_counter()
        use()
        echo(f"the kernels of {name} are ready: {time.perf_counter() - start:.1f} s")


def _propose() -> None:
    import numpy as np

    from inception_rcnn.proposals import merge_proposals, selective_search

    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    found = selective_search(image, threads=1)
    merge_proposals(found, found, scores=np.concatenate([found.scores, found.scores]))


def _evaluate() -> None:
    import numpy as np

    from inception_rcnn.evaluation import Evaluation, analyse_errors, evaluate_coco, evaluate_ilsvrc, evaluate_voc
    from inception_rcnn.evaluation.bootstrap import resample_images
    from inception_rcnn.structures import DetectionTable, GroundTruthTable, nms

    nms([[0, 0, 9, 9]], [1])
    box = np.array([[0.0, 0, 30, 30]])
    first = np.zeros(1, np.int32)  # image and class
    truths = GroundTruthTable(("cat",), (1,), first, first, box)
    found = DetectionTable(first, first, np.array([0.9]), box)
    for evaluate in (evaluate_ilsvrc, evaluate_voc, evaluate_coco):
        result = evaluate(truths, found)
    analyse_errors(truths, found)
    resample_images(Evaluation(title="", result=result, truths=truths, detections=found), resamples=1)


def _regions() -> None:
    import numpy as np
    import torch

    from inception_rcnn.backbones import InputSpec
    from inception_rcnn.backbones.region_align import align_regions
    from inception_rcnn.detector import warp_regions

    boxes = np.array([[2, 2, 20, 30]], np.float32)
    warp_regions(np.zeros((48, 64, 3), np.uint8), boxes, InputSpec(side=32, context=2), threads=1)
    maps = torch.zeros(1, 4, 6, 8, requires_grad=True)
    align_regions(maps, torch.tensor([[0.0, 2, 2, 20, 30]]), 2, 1 / 8).sum().backward()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    run_command(main)
