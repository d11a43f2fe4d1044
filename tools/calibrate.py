"""inception-rcnn calibrate --weights my.safetensors --data coco:coco

Makes a pooled detector's weights fit for int8: looks at what its layers read in photographs, and notes the ranges.

Take photographs of the training set, since the ranges are a part of the model. They are written into the checkpoint
itself, nothing else of which changes; after that `--runtime openvino --precision int8` works with it. State the mAP:
inception-rcnn eval_map --weights my.safetensors --runtime openvino --precision int8 ...

Examples:
  inception-rcnn calibrate --weights my.safetensors --data coco:coco --split train
  inception-rcnn calibrate --weights runs/mine/model.safetensors --data photographs/mine --photographs 128
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

from inception_rcnn.tools.cli import echo, run_command
from inception_rcnn.tools.detector_options import MultiBoxWeights
from inception_rcnn.tools.scored_sets import DataSet, Format, Root, readable_photographs, wanted_set
from inception_rcnn.tools.training_sets import SkipBroken, open_part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inception_rcnn.detector import Detector
    from inception_rcnn.structures.dataset import DetectionDataset


def main(
    weights: Annotated[Path, typer.Option(help="Checkpoint of a pooled detector; it is rewritten.")],
    data: DataSet = None,
    dataset: Format = None,
    root: Root = None,
    split: Annotated[str | None, typer.Option(help="Part of it. Default: train, or the only one.")] = None,
    multibox: MultiBoxWeights = None,
    photographs: Annotated[int, typer.Option(min=1, help="How many, evenly spread over the set.")] = 64,
    skip_broken: SkipBroken = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.datasets import likely_part
    from inception_rcnn.detector import keep_freed_memory, load_detector
    from inception_rcnn.detector.calibration import activation_ranges
    from inception_rcnn.detector.checkpoints import is_shipped, with_activation_ranges
    from inception_rcnn.detector.region_classifier import PooledClassifier
    from inception_rcnn.structures import InputError
    from inception_rcnn.structures.dataset import Subset

    format, place = wanted_set(data, root, dataset)
    keep_freed_memory()
    if is_shipped(weights):
        raise InputError(f"{weights} came with the package and is not rewritten; copy the file and name the copy")
    detector = load_detector(weights, "cpu", runtime="torch", precision="fp32", multibox=multibox)
    classifier = detector.ensemble.members[0]
    if not isinstance(classifier, PooledClassifier):
        raise InputError(f"{weights} warps its regions; int8 is for pooled detectors")
    part = split or likely_part(format, place, "train")
    images = open_part(format, place, part, skip_broken=skip_broken)
    if not len(images):
        raise InputError(f"no images in {place}")
    count = min(photographs, len(images))
    chosen = Subset(images, [number * len(images) // count for number in range(count)])
    shown = _proposed(detector, readable_photographs(chosen, skip_broken=skip_broken), quiet=quiet)
    ranges = activation_ranges(classifier, shown)
    with_activation_ranges(weights, ranges)
    echo(f"{weights}: ranges of {', '.join(f'{len(one)} layers of the {name}' for name, one in ranges.items())}")


def _proposed(
    detector: Detector, images: DetectionDataset, *, quiet: bool
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield photographs with the boxes that the detector would classify in them."""
    from inception_rcnn.structures import progress_bar

    with progress_bar(len(images), "photographs", quiet=quiet) as bar:
        for number in range(len(images)):
            image = images.load_image(number)
            boxes = detector.select(detector.propose(image)).boxes
            if len(boxes):
                yield image, boxes
            bar.advance(1)


if __name__ == "__main__":
    run_command(main)
