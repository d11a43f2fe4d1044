"""Parts of networks written as files that other runtimes read, each read back and compared with torch."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from inception_rcnn.backbones.body import GoogLeNetBody
from inception_rcnn.backbones.inception import GoogLeNet
from inception_rcnn.backbones.runtimes.onnx_graph import onnx_model
from inception_rcnn.backbones.runtimes.openvino_runtime import openvino
from inception_rcnn.backbones.runtimes.recording import Part, Port, flat, record
from inception_rcnn.structures import InputError, write_whole

FORMATS: Final = ("onnx", "openvino")


@dataclass(frozen=True)
class ExportedPart:
    """A file that was written, and how far it is from torch.

    Attributes:
        name: Of the part.
        path: The .onnx file, or the .xml file, which has a .bin file of the same name beside it.
        differences: For each output its name, the largest absolute difference from torch in float32, and the largest
            absolute value there.
    """

    name: str
    path: Path
    differences: tuple[tuple[str, float, float], ...]


def backbone_part(network: GoogLeNet, side: int) -> Part:
    """Return a whole GoogLeNet: images (N, 3, side, side), preprocessed -> logits (N, classes), or features.

    Args:
        network: In float32, on the CPU.
        side: Of its input in pixels; others are taken too.
    """
    return Part(
        name="backbone",
        module=_Whole(network),
        example=(torch.zeros(2, 3, side, side),),
        inputs=(Port("images", ("images", None, "height", "width")),),
        outputs=(Port("logits" if network.num_classes else "features", ("images", None)),),
    )


def body_part(body: GoogLeNetBody, side: int) -> Part:
    """Return a body: images (N, 3, H, W) as it takes them -> its maps, by name.

    Args:
        body: In float32, on the CPU, in evaluation mode.
        side: Of its input in pixels; others are taken too.
    """
    return Part(
        name="body",
        module=_Maps(body),
        example=(torch.zeros(2, 3, side, side),),
        inputs=(Port("images", ("images", None, "height", "width")),),
        outputs=tuple(Port(name, ("images", None, f"height_{name}", f"width_{name}")) for name in body.out_stages),
    )


def export_part(part: Part, inputs: Sequence[Tensor], folder: Path, formats: Collection[str]) -> list[ExportedPart]:
    """Write a part into a folder, in one format or both, and compare what was written with torch.

    Files of the same names are replaced, each whole.

    Args:
        part: With ranges its convolutions are written in int8.
        inputs: To compare with, such as a photograph's.
        folder: Made if need be.
        formats: Of `FORMATS`.

    Raises:
        InputError: Unknown format, or a part that has no translation.
        MissingDependencyError: onnx or OpenVINO is not installed.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise InputError(f"unknown format {unknown[0]!r}; known are {', '.join(FORMATS)}")
    library = openvino()
    model = onnx_model(record(part))
    with torch.inference_mode():
        expected: list[Tensor] = flat(part.module(*(one.clone() for one in inputs)))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if "onnx" in formats:
        written.append(folder / f"{part.name}.onnx")
        write_whole(written[-1], model)
    if "openvino" in formats:
        written.append(folder / f"{part.name}.xml")
        # OpenVINO writes in place; weights first, as their description makes no sense without them.
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            draft = Path(aside, written[-1].name)
            library.save_model(library.Core().read_model(model=model), draft, compress_to_fp16=False)
            for ending in (".bin", ".xml"):
                write_whole(written[-1].with_suffix(ending), draft.with_suffix(ending).read_bytes())
    return [ExportedPart(part.name, path, _differences(path, part, inputs, expected)) for path in written]


def _differences(
    path: Path, part: Part, inputs: Sequence[Tensor], expected: Sequence[Tensor]
) -> tuple[tuple[str, float, float], ...]:
    core = openvino().Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([one.contiguous().numpy() for one in inputs])
    return tuple(
        (port.name, float((torch.from_numpy(found[number]) - wanted).abs().max()), float(wanted.abs().max()))
        for number, (port, wanted) in enumerate(zip(part.outputs, expected, strict=True))
    )


class _Maps(nn.Module):
    def __init__(self, body: GoogLeNetBody) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.body(images).values())


class _Whole(nn.Module):
    def __init__(self, network: GoogLeNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.classify(self.network.trunk(images))
