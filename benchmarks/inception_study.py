"""The Inception module by numbers: table 1 recounted, naive modules against reduced ones in time, where cells look.

    python benchmarks/inception_study.py [--only costs time cells] [--rounds 7] [--pictures docs/images]

costs: parameters and multiply-adds of every row of table 1, counted from the weights and the maps of a 224 px image,
beside the paper's rounded figures. time: the nine modules one after the other, each on a map of the size and width that
its network gives it. cells: of each map the stride, the centre of its first cell and the side of what a cell looks at.
--pictures draws these fields over a photograph of scikit-image, and what the branches of four modules respond to.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from machine import instructions, machine_line
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage import data
from speed_measures import Spread, Table, interleaved, ratio
from torch import Tensor, nn

from inception_rcnn.backbones import INCEPTION_TABLE, STAGES, GoogLeNet, googlenet
from inception_rcnn.backbones.feature_maps import cells_of_maps
from inception_rcnn.backbones.runtime import keep_freed_memory

SIDE = 224
# Table 1: parameters in thousands and multiply-adds in millions, as printed; of conv2 with its reduction.
PAPER = {
    "conv1": (2.7, 34),
    "conv2": (112, 360),
    "3a": (159, 128),
    "3b": (380, 304),
    "4a": (364, 73),
    "4b": (437, 88),
    "4c": (463, 100),
    "4d": (580, 119),
    "4e": (840, 170),
    "5a": (1072, 54),
    "5b": (1388, 71),
    "classifier": (1000, 1),
}
SHOWN_MODULES = ("3a", "4a", "4e", "5b")
BRANCHES = ("1x1", "3x3", "5x5", "pool projection")
STRONGEST = 3  # channels of a branch
PANEL = (120, 80)
COLOURS = {"conv2": "orange", "3b": "yellow", "4e": "red", "5b": "blue"}
CORNER, ZOOM = 128, 4  # of the photograph, in pixels; how much it is enlarged


def costs_of(variant: str) -> dict[str, tuple[int, int]]:
    """Parameters and multiply-adds of each row, for an image of 224 px; biases are no multiplications."""
    network = googlenet(variant)
    found: dict[str, list[int]] = {name: [0, 0] for name in PAPER}

    def count(row: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            weight = layer.get_parameter("weight")
            found[row][1] += weight[0].numel() * output[0].numel()

        return hook

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            row = name.split(".")[0].removeprefix("inception_").removesuffix("_reduce")
            found[row][0] += sum(one.numel() for one in layer.parameters())
            layer.register_forward_hook(count(row))
    apart(network)
    with torch.inference_mode():
        network(torch.zeros(1, 3, SIDE, SIDE))
    return {name: (parameters, products) for name, (parameters, products) in found.items()}


def apart(network: GoogLeNet) -> None:
    """Make the modules call each convolution by itself, so that hooks see them."""
    for name in INCEPTION_TABLE:
        module = network.get_submodule(f"inception_{name}")
        if hasattr(module, "reduce3x3"):
            module.forward = lambda x, of=module: torch.cat(branches_of(of, x), dim=1)


def branches_of(module: nn.Module, x: Tensor) -> list[Tensor]:
    """The four branches of figure 2(b)'s module, by its definition."""
    layer = module.get_submodule
    pooled = nn.functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
    three, five = layer("conv3x3")(layer("reduce3x3")(x).relu()), layer("conv5x5")(layer("reduce5x5")(x).relu())
    return [one.relu() for one in (layer("conv1x1")(x), three, five, layer("project")(pooled))]


def costs() -> list[Table]:
    """Table 1 row by row, and the sums of the nine modules of both figures."""
    rows = Table(
        "Table 1, recounted for 224 px",
        ("row", "parameters", "the paper", "multiply-adds", "the paper", "naive: parameters", "naive: multiply-adds"),
        note="Exact counts with biases among the parameters; the paper's figures as printed.",
    )
    ours, naive = costs_of("paper"), costs_of("naive")
    for name, (thousands, millions) in PAPER.items():
        printed = (f"{thousands:g} k", f"{millions:g} M")
        rows.add(
            name,
            f"{ours[name][0]:,}",
            printed[0],
            f"{ours[name][1] / 1e6:,.1f} M",
            printed[1],
            f"{naive[name][0]:,}",
            f"{naive[name][1] / 1e6:,.1f} M",
        )
    for title, names in (("the nine modules", list(INCEPTION_TABLE)), ("all", list(PAPER))):
        sums = [sum(of[name][part] for name in names) for of in (ours, naive) for part in (0, 1)]
        paper = [sum(PAPER[name][part] for name in names) for part in (0, 1)]
        rows.add(
            title,
            f"{sums[0]:,}",
            f"{paper[0]:,.0f} k",
            f"{sums[1] / 1e6:,.1f} M",
            f"{paper[1]:,.0f} M",
            f"{sums[2]:,}",
            f"{sums[3] / 1e6:,.1f} M",
        )
    return [rows]


def times(rounds: int) -> list[Table]:
    """The nine modules of both networks in turns, in float32."""
    calls = {}
    for title, variant in (("figure 2(b), reduced", "paper"), ("figure 2(a), naive", "naive")):
        network = googlenet(variant, num_classes=0)
        maps = network.feature_maps(torch.zeros(1, 3, SIDE, SIDE), ("pool2", "pool3", "pool4"))
        calls[title] = lambda _, of=network, read=maps: modules(of, read)
    with torch.inference_mode():
        seconds = interleaved(calls, [0], rounds)
    table = Table("The nine modules of an image of 224 px, one after the other", ("modules", "ms", "times the first"))
    first = seconds[next(iter(calls))]
    for name, found in seconds.items():
        table.add(name, Spread.of([1000 * one for one in found]), ratio(found, first))
    return [table]


def modules(network: GoogLeNet, maps: dict[str, Tensor]) -> None:
    """The nine modules, each block of them behind its pooling."""
    for pool, block in (("pool2", ("3a", "3b")), ("pool3", ("4a", "4b", "4c", "4d", "4e")), ("pool4", ("5a", "5b"))):
        x = maps[pool]
        for name in block:
            x = network.get_submodule(f"inception_{name}")(x)


def cells() -> list[Table]:
    """Where the cells of each map look."""
    table = Table(
        "Cells of the maps",
        ("map", "stride, px", "centre of cell 0, px", "(stride - 1) / 2", "looks at, px"),
        note="Cell i is centred at i * stride + centre, counted from the centre of the first pixel.",
    )
    for name, one in cells_of_maps().items():
        table.add(name, one.stride, one.centre, (one.stride - 1) / 2, one.field)
    return [table]


def draw_fields(path: Path) -> None:
    """On the left what the cell in the middle looks at, in maps of four depths; on the right where 4e's cells lie."""
    image = Image.fromarray(data.chelsea())
    left = Image.new("RGB", (780, 760), "white")
    corner = ((left.width - image.width) // 2, (left.height - image.height) // 2)
    left.paste(image, corner)
    pen = ImageDraw.Draw(left)
    for name, colour in COLOURS.items():
        one = cells_of_maps()[name]
        centre = [
            start + one.centre + one.stride * (side // one.stride // 2)
            for start, side in zip(corner, image.size, strict=True)
        ]
        pen.rectangle(around(centre, one.field), outline=colour, width=3)
        text, place = f"{name}: {one.field} px", [part - one.field / 2 for part in centre]
        place[1] += one.field + 3 if one.field < 300 else 5
        pen.rectangle(pen.textbbox((place[0] + 5, place[1]), text), fill="black")
        pen.text((place[0] + 5, place[1]), text, fill=colour if name != "5b" else "white")
    right = image.crop((0, 0, CORNER, CORNER)).resize((CORNER * ZOOM,) * 2, Image.Resampling.BICUBIC)
    pen, one = ImageDraw.Draw(right), cells_of_maps()["4e"]
    for row in range(CORNER // one.stride):
        for column in range(CORNER // one.stride):
            for centre_of_first, colour in (((one.stride - 1) / 2, "red"), (one.centre, "white")):
                place = [ZOOM * (one.stride * number + centre_of_first + 0.5) for number in (column, row)]
                pen.ellipse(around(place, 8), fill=colour)
    canvas = Image.new("RGB", (left.width + right.width + 12, left.height), "white")
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width + 12, (left.height - right.height) // 2))
    canvas.save(path, quality=80)


def around(centre: Sequence[float], side: float) -> list[float]:
    """Corners of a square."""
    return [*(one - side / 2 for one in centre), *(one + side / 2 for one in centre)]


def draw_branches(path: Path, weights: str) -> None:
    """The strongest channels of each branch of four modules on a photograph, a row for each module."""
    network, image = googlenet(weights=weights, num_classes=0), data.chelsea()
    x = network.input_spec.apply(torch.from_numpy(np.ascontiguousarray(image))[None])
    block, first = STRONGEST * (PANEL[0] + 2) + 10, PANEL[0] + 40
    canvas = Image.new("RGB", (first + len(BRANCHES) * block, 24 + len(SHOWN_MODULES) * (PANEL[1] + 6)), "white")
    canvas.paste(Image.fromarray(image).resize(PANEL), (0, 24))
    pen = ImageDraw.Draw(canvas)
    for column, branch in enumerate(BRANCHES):
        pen.text((first + column * block, 6), branch, fill="black")
    for row, name in enumerate(SHOWN_MODULES):
        top, before = 24 + row * (PANEL[1] + 6), STAGES[STAGES.index(name) - 1]
        pen.text((first - 24, top + PANEL[1] // 2 - 6), name, fill="black")
        with torch.inference_mode():
            found = branches_of(network.get_submodule(f"inception_{name}"), network.trunk(x, stop=before))
        for column, maps in enumerate(found):
            for place, shown in enumerate(strongest(maps[0])):
                picture = Image.fromarray(shown).resize(PANEL, Image.Resampling.NEAREST).convert("RGB")
                canvas.paste(picture, (first + column * block + place * (PANEL[0] + 2), top))
    canvas.save(path, quality=80)


def strongest(maps: Tensor) -> list[NDArray[np.uint8]]:
    """The channels (C, h, w) whose maximum is farthest above their mean, each from black to white."""
    order = maps.amax(dim=(1, 2)).sub(maps.mean(dim=(1, 2))).argsort(descending=True)[:STRONGEST]
    chosen = maps[order]
    scaled = 255 * chosen / chosen.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    return list(scaled.byte().numpy())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables that are asked for, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = {"costs": costs, "time": lambda: times(asked.rounds), "cells": cells}
    parser.add_argument("--only", nargs="*", choices=list(sections), default=list(sections))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--weights", default="coco", help="what the branches are drawn of")
    parser.add_argument("--pictures", type=Path, help="folder for the two pictures")
    asked = parser.parse_args(argv)
    keep_freed_memory()
    threads = torch.get_num_threads()
    print(machine_line("numpy", "torch"))
    print(f"multiplies with {instructions()}; fp32 by torch on cpu; {threads} threads; load {os.getloadavg()[0]:.1f}")
    for name in asked.only:
        for table in sections[name]():
            print(f"\n{table.text()}", end="", flush=True)
    if asked.pictures:
        draw_fields(asked.pictures / "receptive-fields.jpg")
        draw_branches(asked.pictures / "inception-branches.jpg", asked.weights)


if __name__ == "__main__":
    main()
