"""inception-rcnn calibrate --weights my.safetensors --root coco

Makes a pooled detector's weights fit for int8: looks at what its layers read in photographs, and notes the ranges.

Take photographs of the training set, since the ranges are a part of the model. They are written into the checkpoint
itself, nothing else of which changes; after that `--runtime openvino --precision int8` works with it. State the mAP:
inception-rcnn eval_map --weights my.safetensors --runtime openvino --precision int8 ...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, print_problems, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inception_rcnn.detector import Detector
    from inception_rcnn.structures.dataset import DetectionDataset


def main(
    weights: Annotated[Path, typer.Option(help="Checkpoint of a pooled detector; it is rewritten.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set; see `propose --help`.")],
    dataset: Annotated[str, typer.Option(help="Format: coco, voc, ilsvrc or folder.")] = "coco",
    split: Annotated[str | None, typer.Option(help="Part of it. Default: train; a plain folder may have none.")] = None,
    multibox: Annotated[
        str | None, typer.Option(help="MultiBox that proposes. Default: the one the checkpoint names, beside it.")
    ] = None,
    photographs: Annotated[int, typer.Option(min=1, help="How many, evenly spread over the set.")] = 64,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken in the data set, and count it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.datasets import FORMATS, open_dataset
    from inception_rcnn.detector import keep_freed_memory, load_detector
    from inception_rcnn.detector.calibration import activation_ranges
    from inception_rcnn.detector.checkpoints import is_shipped, with_activation_ranges
    from inception_rcnn.detector.region_classifier import PooledClassifier
    from inception_rcnn.structures import InputError

    check_known("--dataset", dataset, FORMATS)
    keep_freed_memory()
    if is_shipped(weights):
        raise InputError(f"{weights} came with the package and is not rewritten; copy the file and name the copy")
    detector = load_detector(weights, "cpu", runtime="torch", precision="fp32", multibox=multibox)
    classifier = detector.ensemble.members[0]
    if not isinstance(classifier, PooledClassifier):
        raise InputError(f"{weights} warps its regions; int8 is for pooled detectors")
    images = open_dataset(dataset, root, split or (None if dataset == "folder" else "train"), skip_broken=skip_broken)
    print_problems(images.problems)
    if not len(images):
        raise InputError(f"no images in {root}")
    ranges = activation_ranges(classifier, _proposed(detector, images, photographs, quiet=quiet))
    with_activation_ranges(weights, ranges)
    typer.echo(f"{weights}: ranges of {', '.join(f'{len(one)} layers of the {name}' for name, one in ranges.items())}")


def _proposed(
    detector: Detector, images: DetectionDataset, most: int, *, quiet: bool
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield photographs with the boxes that the detector would classify in them."""
    from inception_rcnn.structures import progress_bar

    count = min(most, len(images))
    with progress_bar(count, "photographs", quiet=quiet) as bar:
        for number in range(count):
            image = images.load_image(number * len(images) // count)
            boxes = detector.select(detector.propose(image)).boxes
            if len(boxes):
                yield image, boxes
            bar.advance(1)


if __name__ == "__main__":
    run_command(main)
