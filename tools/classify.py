"""inception-rcnn classify image.jpg --weights imagenet:bvlc_googlenet.caffemodel

Says what a photograph shows: prints the most likely classes, draws a sheet.

--weights: GoogLeNet with outputs, such as the ImageNet weights ("imagenet" is the file that the variable
INCEPTION_RCNN_IMAGENET names), Caffe's files, or a .safetensors file of this package or of torchvision's googlenet;
several are averaged. Each photograph is looked at in --crops crops, as in the paper.
Give images, folders or patterns; without any, a photograph that scikit-image ships is used. The sheets go beside the
images, those of a folder into its sub-folder `classes`, or all to --output. An image that cannot be read or drawn is
reported, the others are done, and the exit status is 1.

Examples:
  inception-rcnn classify photo.jpg --weights imagenet:bvlc_googlenet.caffemodel
  inception-rcnn classify photographs --recursive --weights runs/mine/model.safetensors --top 3 --output sheets
  inception-rcnn classify "day*/*.jpg" --crops 144
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import bundled_photograph, check_known, echo, run_command
from inception_rcnn.tools.detector_options import Device

if TYPE_CHECKING:
    from inception_rcnn.backbones import Classifier


def main(
    images: Annotated[list[Path] | None, typer.Argument(help="Images or folders.", show_default=False)] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="GoogLeNet with outputs, or several. Default: imagenet.", show_default=False),
    ] = None,
    crops: Annotated[str, typer.Option(help="Of each photograph: 1, 10 or 144.")] = "10",
    resize: Annotated[str, typer.Option(help="keep (the paper's) or stretch (to a square first, as BVLC's).")] = "keep",
    recursive: Annotated[bool, typer.Option("--recursive", help="Folders within folders too.")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes are named.")] = 5,
    output: Annotated[Path | None, typer.Option(help="Folder for the sheets.")] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No table.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.backbones.classification import Classifier
    from inception_rcnn.backbones.crops import CROP_COUNTS, RESIZES
    from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
    from inception_rcnn.structures import ImageError, draw_ranking, load_image, write_picture
    from inception_rcnn.tools.image_arguments import find_pictures

    check_known("--crops", crops, [str(count) for count in CROP_COUNTS])
    check_known("--resize", resize, RESIZES)
    if not images:
        images, output = [bundled_photograph("chelsea.png")], output or Path("runs")
    jobs = find_pictures(images, "classes", output, recursive=recursive)
    keep_freed_memory()
    classifier = Classifier.load(weights or ["imagenet"], choose_runtime(device, precision=precision))
    names, failed = _names(classifier), False
    for source, picture in jobs:
        try:
            image = load_image(source)
            found = classifier(image, crops=int(crops), resize=resize)
            best = found.argsort(kind="stable")[::-1][:top]
            shown = [names[label] for label in best], found[best].clip(0, 1).tolist()
            write_picture(picture, draw_ranking(image, *shown))
        except (ImageError, OSError) as error:
            echo(f"error: {error}", err=True)
            failed = True
            continue
        if not quiet:
            _print_table(source, picture, *shown)
    if failed:
        raise typer.Exit(1)


def _names(classifier: Classifier) -> tuple[str, ...]:
    """What the outputs are called: as the weights say, as ImageNet's if there are so many, else by number.

    Weights that were trained on ImageNet's folders call them by WordNet ids, which English is better than.
    """
    from inception_rcnn.datasets.imagenet_classes import imagenet_names, imagenet_synsets

    if classifier.class_names is not None:
        english = dict(zip(imagenet_synsets(), imagenet_names(), strict=True))
        return tuple(english.get(name, name) for name in classifier.class_names)
    known = imagenet_names()
    return known if len(known) == classifier.num_classes else tuple(map(str, range(classifier.num_classes)))


def _print_table(source: Path, picture: Path, names: list[str], scores: list[float]) -> None:
    echo(f"{source}: drawn in {picture}")
    for name, score in zip(names, scores, strict=True):
        echo(f"  {score:.3f}  {name}")


if __name__ == "__main__":
    run_command(main)
