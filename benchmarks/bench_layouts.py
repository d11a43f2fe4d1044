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

from inception_rcnn.datasets import open_dataset

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


def boxes_of(folder: Path) -> tuple[int, dict[str, list[tuple[str, tuple[float, ...]]]]]:
    """Return how many objects the part train has, and those of each photograph by its name."""
    dataset = open_dataset(folder, split="train")
    found = {}
    for i in range(len(dataset)):
        truth = dataset.ground_truth(i)
        rows = zip(truth.labels.tolist(), truth.boxes.tolist(), strict=True)
        found[dataset.path(i).name] = [(dataset.class_names[label], tuple(box)) for label, box in rows]
    return sum(map(len, found.values())), found


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
    first_boxes: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    first_losses: list[float] = []
    rows = []
    for place, (name, folder) in enumerate(folders.items()):
        count, boxes = boxes_of(folder)
        losses = losses_of(folder, asked.work / f"run-{place}", asked.iterations)
        first_boxes, first_losses = first_boxes or boxes, first_losses or losses
        same = {key: [label for label, _ in one] for key, one in boxes.items()} == {
            key: [label for label, _ in one] for key, one in first_boxes.items()
        }
        apart = max(
            float(np.abs(np.subtract(box, other)).max())
            for key, one in boxes.items()
            for (_, box), (_, other) in zip(one, first_boxes[key], strict=True)
        )
        off = float(np.abs(np.subtract(losses, first_losses)).max())
        rows.append(
            (name, len(boxes), count, apart, losses, off, same and apart <= LARGEST_BOX and off <= LARGEST_LOSS)
        )
    print("\n| layout | photographs | objects | boxes differ by, px | losses | differ by |\n|---|---|---|---|---|---|")
    for name, photographs, count, apart, losses, off, _ in rows:
        print(
            f"| {name} | {photographs} | {count} | {apart:.1e} | {' '.join(f'{x:.4f}' for x in losses)} | {off:.1e} |"
        )
    if not all(good for *_, good in rows):
        raise SystemExit(
            f"a layout differs: boxes by more than {LARGEST_BOX} px, or losses by more than {LARGEST_LOSS}"
        )


if __name__ == "__main__":
    main()
