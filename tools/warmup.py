"""inception-rcnn warmup

Compiles the kernels of proposals, regions, evaluation and file reading ahead of their first use, and keeps them.

The first call on a machine takes some seconds; later calls find the compiled kernels in numba's cache. Useful when an
image of a machine is built, or before a measurement.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import run_command


def main() -> None:
    """Compiles the kernels and prints how long that took."""
    from inception_rcnn.datasets.warming import warm_up_readers
    from inception_rcnn.proposals import warm_up

    typer.echo(f"the kernels of selective search are ready: {warm_up():.1f} s")
    start = time.perf_counter()
    _evaluate_one_object()
    typer.echo(f"the kernels of evaluation are ready: {time.perf_counter() - start:.1f} s")
    typer.echo(f"the kernels of file reading are ready: {warm_up_readers():.1f} s")
    start = time.perf_counter()
    import inception_rcnn.detector.warp_kernel  # noqa: F401 - compiles as it is imported

    spent = time.perf_counter() - start
    typer.echo(f"the kernels of region warping are ready: {spent:.1f} s, PyTorch's loading included")


def _evaluate_one_object() -> None:
    """Calls every evaluator on one object and one detection."""
    from inception_rcnn.evaluation import Evaluation, analyse_errors, evaluate_coco, evaluate_ilsvrc, evaluate_voc
    from inception_rcnn.evaluation.bootstrap import resample_images
    from inception_rcnn.structures import DetectionTable, GroundTruthTable

    truths = GroundTruthTable(("object",), (1,), [0], [0], [[0, 0, 9, 9]])  # type: ignore[arg-type]
    found = DetectionTable([0], [0], [0.5], [[0, 0, 9, 9]])  # type: ignore[arg-type]
    for evaluator in (evaluate_ilsvrc, evaluate_voc, evaluate_coco):
        result = evaluator(truths, found)
    analyse_errors(truths, found)
    resample_images(Evaluation(title="one object", result=result, truths=truths, detections=found), resamples=1)


if __name__ == "__main__":
    run_command(main)
