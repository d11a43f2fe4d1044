"""inception-rcnn explain 000139.jpg --data coco:coco --split val

Says of a photograph whose objects are known what became of each, and why each false box is false.

An object that is not found was lost at one stage: not proposed (no box fits it), not looked at (the box that fits came
behind the limit), moved away, called something else, below the threshold, or suppressed by another detection. A false
box has the wrong class, the wrong place or both, an object that is found already, or nothing. A box fits from an IoU of
0.5 on.

Photographs are named by their ids in the data set or by their files; without any, the first of the set is taken. The
picture, the objects on its left and the detections on its right, goes to --output (runs/explain).

Examples:
  inception-rcnn explain 000139.jpg 000285.jpg --data coco:coco --split val --score-threshold 0.5
  inception-rcnn explain --data voc:VOC2007 --weights runs/mine/model.safetensors --json why.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, run_command
from inception_rcnn.tools.detector_options import Device, MaxProposals, Regions, ScoreThreshold, Weights
from inception_rcnn.tools.scored_sets import DataSet, Format, Root, Split, named_set, part_named, say_summary
from inception_rcnn.tools.training_sets import Exif, Origin, Strict, reading_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inception_rcnn.detector import Detector
    from inception_rcnn.evaluation.explanation import DetectionVerdict, Explanation, ObjectFate
    from inception_rcnn.structures.dataset import DetectionDataset

_RIGHT, _WRONG, _OTHER = 5, 0, 3  # of the colours of classes: green, red, and what is neither
_GAP: Final = 8  # pixels between the two pictures


def main(
    images: Annotated[
        list[str] | None, typer.Argument(help="Photographs of the data set, by id or file.", show_default=False)
    ] = None,
    data: DataSet = None,
    dataset: Format = None,
    root: Root = None,
    split: Split = None,
    strict: Strict = False,
    origin: Origin = None,
    exif: Exif = None,
    weights: Weights = None,
    regions: Regions = None,
    score_threshold: ScoreThreshold = None,
    one_name_iou: Annotated[
        float,
        typer.Option(min=0, max=1, help="Boxes of any class that overlap so much show the best one only; 0: all."),
    ] = 0.8,
    max_proposals: MaxProposals = None,
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("runs/explain"),
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the same as JSON.")] = None,
    device: Device = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No lines.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.datasets import open_dataset
    from inception_rcnn.detector import load_detector
    from inception_rcnn.structures import write_json, write_picture
    from inception_rcnn.structures.files import check_folder, check_target

    if regions is not None:
        check_known("--regions", regions, ("pool", "warp"))
    check_folder(output)
    if json_file is not None:
        check_target(json_file)
    format, path = named_set(data, root, dataset)
    if format is None or path is None:
        raise typer.BadParameter("a data set that knows the objects is needed, [FORMAT:]PATH", param_hint="--data")
    reading = reading_options(strict=strict, origin=origin, exif=exif)
    opened = open_dataset(format, path, part_named(format, path, split), **reading)
    if not quiet:
        say_summary(opened)
    rows = _rows(opened, images or [])
    detector = load_detector(
        weights or None, device, regions=regions, score_threshold=score_threshold, max_proposals=max_proposals
    ).with_settings(one_name_iou=one_name_iou or None)
    found = []
    for row in rows:
        image = opened.load_image(row)
        explained = _explained(detector, image, opened, row)
        picture = output / f"{opened.path(row).stem}-explained.jpg"
        write_picture(picture, drawn(image, explained))
        found.append({"image": str(opened.path(row)), **asdict(explained)})
        if not quiet:
            _print(str(opened.image_ids[row]), explained, picture)
    if json_file is not None:
        write_json(json_file, found)


def _rows(dataset: DetectionDataset, names: Sequence[str]) -> list[int]:
    """Return which photographs are meant; without names the first.

    Raises:
        InputError: There is none, or none of a name.
    """
    from inception_rcnn.datasets.detections.image_names import ImageNames, ids_in_words
    from inception_rcnn.structures import InputError

    if len(dataset) == 0:
        raise InputError("the data set has no photographs")
    if not names:
        return [0]
    finder = ImageNames(dataset.ground_truths())
    rows = [finder.position(name) for name in names]
    if -1 in rows:
        raise InputError(
            f"there is no photograph {names[rows.index(-1)]!r} among {len(dataset)}; ids are "
            f"{ids_in_words(dataset.image_ids)}"
        )
    return rows


def _explained(detector: Detector, image: NDArray[np.uint8], dataset: DetectionDataset, row: int) -> Explanation:
    """Return why the detector says of a photograph what it says."""
    import numpy as np

    from inception_rcnn.datasets.class_matching import in_classes_of, match_classes
    from inception_rcnn.detector.postprocessing import candidates
    from inception_rcnn.evaluation.explanation import Candidates, explain

    proposals = detector.propose(image)
    scores = detector.score(image, proposals)
    boxes, values = candidates(scores, detector.settings)
    match = match_classes(dataset.class_names, dataset.display_names, detector.class_names)
    own = np.where(match.position >= 0, values[:, np.maximum(match.position, 0)], np.float32(np.nan))
    seen = Candidates(
        proposals=proposals.boxes,
        regions=scores.proposals.boxes,
        boxes=boxes,
        scores=own,
        score_threshold=detector.settings.score_threshold,
        iou_threshold=detector.settings.iou_threshold,
        one_name_iou=detector.settings.one_name_iou,
    )
    shown = in_classes_of(detector.postprocess(scores), dataset.class_names, match)
    return explain(dataset.ground_truth(row), shown, seen)


def drawn(image: NDArray[np.uint8], explained: Explanation) -> NDArray[np.uint8]:
    """Return a picture: what became of the objects on the left, what the detections are on the right.

    Args:
        image: (H, W, 3) uint8 RGB.
        explained: What is known of it.
    """
    import numpy as np

    objects = [(one.box, _colour_of(one), _words(one.class_name, one.fate)) for one in explained.objects]
    found = [
        (one.box, _RIGHT if one.true else _WRONG, _words(f"{one.class_name} {one.score:.2f}", one.reason))
        for one in explained.detections
    ]
    return np.concatenate([_panel(image, objects), _gap(image), _panel(image, found)], axis=1)


def _gap(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np

    return np.full((image.shape[0], _GAP, 3), 255, np.uint8)


def _panel(image: NDArray[np.uint8], boxes: Sequence[tuple[tuple[float, ...], int, str]]) -> NDArray[np.uint8]:
    import numpy as np

    from inception_rcnn.structures import draw_detections
    from inception_rcnn.structures.drawing import CaptionedBoxes

    corners = np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4)
    labels = np.array([colour for _, colour, _ in boxes], np.int64)
    texts = CaptionedBoxes(corners, np.ones(len(boxes), np.float32), labels, [text for *_, text in boxes])
    return draw_detections(image, texts, scores=False)


def _colour_of(one: ObjectFate) -> int:
    return {"found": _RIGHT, "to ignore": _OTHER, "unknown class": _OTHER}.get(one.fate, _WRONG)


def _words(name: str, what: str) -> str:
    return name if what in ("found", "true") else f"{name}: {what}"


def _print(name: str, explained: Explanation, picture: Path) -> None:
    """Print a line for each object and each false detection."""
    found = [one for one in explained.objects if one.fate == "found"]
    false = explained.false()
    echo(
        f"{name}: {len(found)} of {len(found) + len(explained.lost())} objects found, {len(false)} false "
        f"detections, drawn in {picture}"
    )
    one: Any
    for one in explained.objects:
        _line("object", one, one.text)
    verdict: DetectionVerdict
    for verdict in false:
        _line("false", verdict, f"{verdict.score:.2f}, {verdict.text}")


def _line(what: str, one: ObjectFate | DetectionVerdict, text: str) -> None:
    corners = " ".join(f"{side:6.0f}" for side in one.box)
    echo(f"  {what:<7} {one.class_name:<16} {corners}   {text}")


if __name__ == "__main__":
    run_command(main)
