"""inception-rcnn export --output exported

Writes a model's networks as ONNX and OpenVINO files for other programs, and compares each file with torch.

A pooled detector is written as trunk (once for an image) and head (for each region; RoIAlign lies between them), one
that warps its regions as backbone, both with their MultiBox. GoogLeNet's weights (.npz or .safetensors) are written as
backbone, a MultiBox's as multibox. Beside them, export.json says what each reads and how images become that. Images
may differ in size, regions in number. Files of the same names are replaced.

Examples:
  inception-rcnn export --output exported --format onnx
  inception-rcnn export --weights runs/mine/model.safetensors --output exported --photograph photo.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import bundled_photograph, check_known, echo, run_command

if TYPE_CHECKING:
    from inception_rcnn.backbones.runtimes.export import ExportedPart
    from inception_rcnn.detector.runtimes.export import Exportable


def main(
    output: Annotated[Path, typer.Option(help="Folder for the files; made if need be.")],
    weights: Annotated[str | None, typer.Option(help="A checkpoint of any kind. Default: the shipped model.")] = None,
    form: Annotated[str, typer.Option("--format", help="onnx, openvino or both.")] = "both",
    precision: Annotated[
        str, typer.Option(help="fp32, or int8: trunk and head of weights that `calibrate` was called for.")
    ] = "fp32",
    multibox: Annotated[
        str | None, typer.Option(help="MultiBox of a detector. Default: the one its checkpoint names, beside it.")
    ] = None,
    photograph: Annotated[Path | None, typer.Option(help="To compare on. Default: one of scikit-image's.")] = None,
) -> None:
    """Parse, call, print."""
    check_known("--format", form, ("onnx", "openvino", "both"))
    check_known("--precision", precision, ("fp32", "int8"))
    from inception_rcnn.backbones.runtimes.export import FORMATS, export_part
    from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS
    from inception_rcnn.detector.runtimes.export import exportable_parts
    from inception_rcnn.structures import load_image, write_json

    image = load_image(photograph or bundled_photograph("astronaut.png"))
    formats = FORMATS if form == "both" else (form,)
    about = {}
    for one in exportable_parts(weights or DEFAULT_WEIGHTS, image, int8=precision == "int8", multibox=multibox):
        files = export_part(one.part, one.inputs, output, formats)
        about[one.part.name] = _entry(one, files)
        for file in files:
            _print(file)
    write_json(output / "export.json", about)


def _entry(one: Exportable, files: list[ExportedPart]) -> dict[str, Any]:
    shapes = {
        port.name: [axis or length for axis, length in zip(port.axes, tensor.shape, strict=True)]
        for port, tensor in zip(one.part.inputs, one.part.example, strict=True)
    }
    differences = {file.path.name: {name: difference for name, difference, _ in file.differences} for file in files}
    outputs = [port.name for port in one.part.outputs]
    return {"inputs": shapes, "outputs": outputs, "largest_difference": differences, **one.about}


def _print(file: ExportedPart) -> None:
    figures = ", ".join(f"{name} {difference:.2g} of {largest:.3g}" for name, difference, largest in file.differences)
    echo(f"{file.path}: largest difference from torch in float32: {figures}")


if __name__ == "__main__":
    run_command(main)
