"""One data set in five layouts of four formats: the same objects, boxes and losses of a short training?

    python benchmarks/bench_layouts.py fruit3 work

The folder fruit3 has photographs with VOC's XML beside them, in train/ and test/. `inception-rcnn data --convert`
writes it as VOC, as YOLO and as COCO; of the latter, files are moved to where Roboflow and CVAT put them, with
Roboflow's category above all others. Then `train` runs on each for some iterations with one seed. The folder work must
not exist.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from machine import machine_line
from numpy.typing import NDArray

from inception_rcnn.datasets import open_dataset

Objects = dict[str, tuple[list[str], NDArray[np.float32]]]

TOOLS = Path(__file__).resolve().parent.parent / "tools"
LARGEST_BOX, LARGEST_LOSS = 0.01, 1e-3  # differences: pixels, and in any loss


def call(command: str, *words: str) -> None:
    """Print a command and run it."""
    print(f"inception-rcnn {command} {' '.join(words)}", flush=True)
    done = subprocess.run(
        [sys.executable, TOOLS / f"{command}.py", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def layouts_of(source: Path, work: Path) -> dict[str, Path]:
    """Lay the data set out in every way, and return the folders by what they are."""
    for format in ("voc", "yolo", "coco"):
        call("data", str(source), "--no-sheet", "--convert", format, str(work / format))
    coco = work / "coco"
    for truth in sorted(coco.glob("*.json")):
        part, content = truth.stem, json.loads(truth.read_text())
        shutil.copytree(coco / part, work / "roboflow" / part)
        shutil.copytree(coco / part, work / "cvat" / "images" / part)
        (work / "cvat" / "annotations").mkdir(exist_ok=True)
        shutil.copy(truth, work / "cvat" / "annotations" / f"instances_{part}.json")
        content["categories"] = [
            {"id": 0, "name": "fruit", "supercategory": "none"},
            *({**one, "supercategory": "fruit"} for one in content["categories"]),
        ]
        (work / "roboflow" / part / "_annotations.coco.json").write_text(json.dumps(content))
    return {
        "XML beside photographs": source,
        "VOC": work / "voc",
        "YOLO": work / "yolo",
        "COCO, Roboflow's": work / "roboflow",
        "COCO, CVAT's": work / "cvat",
    }


def objects_of(folder: Path) -> Objects:
    """Return the objects of the part train, by the names of photographs: classes, and boxes (N, 4)."""
    dataset = open_dataset(folder, split="train")
    truths = {dataset.path(i).name: dataset.ground_truth(i) for i in range(len(dataset))}
    return {name: ([truth.class_names[k] for k in truth.labels], truth.boxes) for name, truth in truths.items()}


def boxes_apart(ones: Objects, others: Objects) -> float:
    """Return by how many pixels boxes differ at most; infinity where photographs or classes do."""
    if {name: classes for name, (classes, _) in ones.items()} != {name: one for name, (one, _) in others.items()}:
        return float("inf")
    return max(float(np.abs(boxes - others[name][1]).max(initial=0)) for name, (_, boxes) in ones.items())


def losses_of(folder: Path, output: Path, iterations: int) -> list[float]:
    """Train, and return the losses."""
    words = ("--iterations", str(iterations), "--log-every", "1", "--source", "multibox", "--seed", "0", "--quiet")
    call("train", "--data", str(folder), "--split", "train", "--output", str(output), *words)
    with (output / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def main() -> None:
    """Convert, read, train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--iterations", type=int, default=8)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True)
    print(machine_line("numpy", "torch"), flush=True)
    folders = layouts_of(asked.source, asked.work)
    objects = {name: objects_of(folder) for name, folder in folders.items()}
    losses = {
        name: losses_of(folder, asked.work / f"run-{place}", asked.iterations)
        for place, (name, folder) in enumerate(folders.items())
    }
    (first, *_), good = folders, True
    print("\n| layout | photographs | objects | boxes differ by, px | losses | differ by |\n|---|---|---|---|---|---|")
    for name, own in objects.items():
        apart = boxes_apart(own, objects[first])
        off = float(np.abs(np.subtract(losses[name], losses[first])).max())
        good &= apart <= LARGEST_BOX and off <= LARGEST_LOSS
        count, shown = (
            sum(len(classes) for classes, _ in own.values()),
            " ".join(f"{loss:.4f}" for loss in losses[name]),
        )
        print(f"| {name} | {len(own)} | {count} | {apart:.1e} | {shown} | {off:.1e} |")
    if not good:
        raise SystemExit(
            f"a layout differs: boxes by more than {LARGEST_BOX} px, or losses by more than {LARGEST_LOSS}"
        )


if __name__ == "__main__":
    main()
