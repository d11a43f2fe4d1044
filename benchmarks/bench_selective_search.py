"""Selective search against every public implementation: time an image, and recall at equal numbers of boxes.

    python benchmarks/bench_selective_search.py --coco coco_mini --voc voc2007 [--images 100] [--work FOLDER]

The peers (opencv-contrib-python, dlib-bin, selectivesearch) are installed into an environment of their own below
`--work`, because opencv-contrib-python and our opencv-python share the folder cv2. All see the same pictures, 500
wide. Boxes with a side under 20 pixels there are left out and of equal boxes the first is kept, for all alike; the
peers' boxes are judged as they come and re-ranked by area times a random number, mean of three seeds. Times are
processor time on one thread (ours also wall time on all cores), median and 5th to 95th percentile. Boxes found once
are kept in `--work`, so a run that was stopped goes on. Ours is judged on every photograph besides.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import machine_line
from numpy.typing import NDArray
from selective_search_parts import where_time_goes

from inception_rcnn.datasets import CocoDataset, VocDataset
from inception_rcnn.evaluation.recall import proposal_recall
from inception_rcnn.proposals import selective_search
from inception_rcnn.structures import GroundTruth, Proposals, resize_image
from inception_rcnn.structures.jobs import available_processors

PEERS = ("opencv-x2", "opencv-x1", "opencv-preset", "dlib", "selectivesearch")
PEER_PACKAGES = ("numpy", "opencv-contrib-python", "dlib-bin", "selectivesearch")
COUNTS = (50, 100, 200, 500, 1000)
WIDTH, MIN_SIDE = 500, 20
RCNN_RULES = {"widened_from": 1.0, "duplicate_iou": 1.0}
RECALL_HEAD = (
    f"| method | boxes | {' | '.join(map(str, COUNTS))} | all | average recall |\n|{'---|' * (len(COUNTS) + 4)}"
)


OURS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ours, x2", {}),
    ("ours, x1", {"superpixel_scale": 1.0}),
    ("ours, x1, single", {"superpixel_scale": 1.0, "mode": "single"}),
)


@dataclass(frozen=True)
class Photograph:
    """A photograph with its objects, and as the peers see it: `WIDTH` wide, in a file."""

    image: NDArray[np.uint8]
    truth: GroundTruth
    path: Path
    factor: float  # pixels of the photograph for one of the file

    def found_by(self, peer: str) -> tuple[NDArray[np.int64], float]:
        """Boxes in the small picture, and seconds."""
        stored = np.load(self.path.with_suffix(f".{peer}.npz"))
        return stored["boxes"].astype(np.int64), float(stored["seconds"])


def photographs(dataset: CocoDataset | VocDataset, number: int | None, folder: Path) -> list[Photograph]:
    """`number` photographs spread over the set; their small versions are written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.linspace(0, len(dataset) - 1, min(number or len(dataset), len(dataset))).round().astype(int)
    found = []
    for i in chosen.tolist():
        image, truth = dataset[i]
        height, width = image.shape[:2]
        path = folder / f"{hashlib.sha256(str(dataset.path(i)).encode()).hexdigest()[:16]}.npy"
        np.save(path, resize_image(image, WIDTH, round(height * WIDTH / width)))
        found.append(Photograph(image, truth, path, width / WIDTH))
    return found


def peers_python(work: Path) -> Path:
    """The interpreter of the peers' environment, made if it is not there."""
    python = work / "peers" / "bin" / "python"
    if not python.exists():
        venv.create(work / "peers", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return python


def tidied(photo: Photograph, boxes: NDArray[np.int64], seed: int | None) -> Proposals:
    """A peer's boxes without small ones and repetitions; in its own order, or by area times a random number."""
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1)]
    boxes = boxes[np.sort(np.unique(boxes, axis=0, return_index=True)[1])]
    if seed is not None:
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        place = np.argsort(np.argsort(-areas, kind="stable")) + 1
        boxes = boxes[np.argsort(place * np.random.default_rng(seed).random(len(boxes)), kind="stable")]
    return Proposals((boxes * photo.factor).astype(np.float32), -np.arange(len(boxes), dtype=np.float32))


def recall_row(name: str, truths: list[GroundTruth], proposals: list[list[Proposals]]) -> str:
    """A line of the recall table; several lists of proposals are averaged."""
    results = [proposal_recall(truths, given, counts=COUNTS) for given in proposals]
    shares = [np.mean([result.recall_at[count] for result in results]) for count in COUNTS]
    everything = np.mean([result.recall[0.5] for result in results])
    average = np.mean([result.average_recall for result in results])
    cells = " | ".join(f"{100 * share:.1f}" for share in (*shares, everything, average))
    return f"| {name} | {results[0].boxes_per_image:.0f} | {cells} |"


def spread(seconds: list[float]) -> str:
    """Median and 5th to 95th percentile in milliseconds."""
    low, middle, high = np.percentile(np.array(seconds) * 1000, [5, 50, 95])
    return f"{middle:.0f} ({low:.0f}-{high:.0f})"


def time_ours(photos: list[Photograph], threads: int, **options: Any) -> tuple[list[float], list[float]]:
    """Processor and wall seconds of each picture, resizing included."""
    processor, wall = [], []
    for photo in photos:
        start, start_wall = time.process_time(), time.perf_counter()
        selective_search(photo.image, threads=threads, **options)
        processor.append(time.process_time() - start)
        wall.append(time.perf_counter() - start_wall)
    return processor, wall


def compare_times(sets: dict[str, list[Photograph]], peers: tuple[str, ...]) -> None:
    """Print the table of times over the photographs of all sets together."""
    photos = [photo for some in sets.values() for photo in some]
    cores = available_processors()
    print(f"\n## Time an image, {len(photos)} photographs, milliseconds\n")
    print(f"| method | processor time, one thread | wall time, {cores} threads |\n|---|---|---|")
    for name, options in OURS:
        one, many = time_ours(photos, 1, **options)[0], time_ours(photos, cores, **options)[1]
        print(f"| {name} | {spread(one)} | {spread(many)} |", flush=True)
    for peer in peers:
        print(f"| {peer} | {spread([photo.found_by(peer)[1] for photo in photos])} | |", flush=True)


def compare_recall(name: str, photos: list[Photograph], peers: tuple[str, ...]) -> None:
    """Print one set's table of recall."""
    truths = [photo.truth for photo in photos]
    objects = sum(int((~truth.ignore).sum()) for truth in truths)
    print(f"\n## {name}: {len(photos)} photographs, {objects} objects: recall at IoU 0.5 of the first n boxes, %\n")
    print(RECALL_HEAD)
    for scale in (2.0, 1.0):
        found = [[selective_search(photo.image, superpixel_scale=scale) for photo in photos]]
        print(recall_row(f"ours, x{scale:g}, agreement", truths, found), flush=True)
        options = [{"superpixel_scale": scale, "ranking": "random", "seed": seed} for seed in range(3)]
        found = [[selective_search(photo.image, **each) for photo in photos] for each in options]
        print(recall_row(f"ours, x{scale:g}, random", truths, found), flush=True)
    for peer in peers:
        boxes = [photo.found_by(peer)[0] for photo in photos]
        orders: tuple[tuple[str, list[int | None]], ...] = (("as it comes", [None]), ("area x random", [0, 1, 2]))
        for order, seeds in orders:
            found = [[tidied(*each, seed) for each in zip(photos, boxes, strict=True)] for seed in seeds]
            print(recall_row(f"{peer}, {order}", truths, found), flush=True)


def whole_sets(datasets: dict[str, CocoDataset | VocDataset]) -> None:
    """Print recall of ours on every photograph of the sets, and how many boxes the doubling saves."""
    for name, dataset in datasets.items():
        print(f"\n## {name}, all {len(dataset)} photographs: recall at IoU 0.5 of the first n boxes, %\n")
        print(
            f"| method | boxes | {' | '.join(map(str, COUNTS))} | all | average recall |\n|{'---|' * (len(COUNTS) + 4)}"
        )
        truths, counts = [dataset.ground_truth(i) for i in range(len(dataset))], []
        for scale in (1.0, 2.0):
            for name, more in (("", {}), (", R-CNN's rules for small boxes and duplicates", RCNN_RULES)):
                options: dict[str, Any] = {"superpixel_scale": scale, **more}
                found = [selective_search(dataset.load_image(i), **options) for i in range(len(dataset))]
                print(recall_row(f"ours, x{scale:g}{name}", truths, [found]), flush=True)
                counts.append(sum(map(len, found)))
        print(f"\nBoxes with superpixels x2 over x1: {counts[2] / counts[0]:.3f}")


def working_widths(name: str, photos: list[Photograph]) -> None:
    """Print what a larger working width and a smaller least side are worth."""
    print(f"\n## {name}: working width and least side, ours x2, recall %, mean processor time\n")
    heads = "| width, least side | boxes | 50 | 100 | 200 | 500 | 1000 | all | average recall | ms, one thread |"
    print(f"{heads}\n|{'---|' * 10}")
    for width, min_side in ((500, 20), (500, 10), (640, 20), (800, 20)):
        start = time.process_time()
        found = [selective_search(photo.image, width=width, min_side=min_side, threads=1) for photo in photos]
        seconds = (time.process_time() - start) / len(photos)
        print(
            f"{recall_row(f'{width}, {min_side}', [photo.truth for photo in photos], [found])} {1000 * seconds:.0f} |",
            flush=True,
        )


def growth(photo: Photograph) -> None:
    """Print time against pixels for one photograph at several widths, with the exponent."""
    print("\n## Growth: one photograph, one thread\n\n| width | pixels | s, processor | boxes |\n|---|---|---|---|")
    sizes, seconds = [], []
    for width in (250, 354, 500, 707, 1000, 1414, 2000):
        times = []
        for _ in range(3):
            start = time.process_time()
            found = selective_search(photo.image, width=width, threads=1)
            times.append(time.process_time() - start)
        sizes.append(width * round(photo.image.shape[0] * width / photo.image.shape[1]))
        seconds.append(min(times))
        print(f"| {width} | {sizes[-1]} | {seconds[-1]:.3f} | {len(found)} |", flush=True)
    print(f"\nTime grows with pixels to the power {np.polyfit(np.log(sizes), np.log(seconds), 1)[0]:.2f}.")


LARGE = """
import sys, time, numpy as np
from machine import peak_memory
from inception_rcnn.proposals import selective_search
from inception_rcnn.structures import resize_image
image = resize_image(np.load(sys.argv[1]), 4000, 3000)
selective_search(image[:64, :64])
wall, cpu = time.perf_counter(), time.process_time()
boxes = len(selective_search(image, width=int(sys.argv[2])))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(f"{wall:.2f} | {cpu:.2f} | {peak_memory():.0f} | {boxes}")
"""


def large_picture(photo: Photograph) -> None:
    """Print time and peak memory for 4000 x 3000 pixels, each width in a process of its own."""
    print("\n## A photograph of 4000 x 3000, all cores\n")
    print("| working width | s, wall | s, processor | peak MB | boxes |\n|---|---|---|---|---|")
    for width in (500, 4000):
        command = [sys.executable, "-c", LARGE, str(photo.path), str(width)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
        print(f"| {width} | {told} |", flush=True)


READY = """
import time
start = time.perf_counter()
import numpy as np
from inception_rcnn.proposals import selective_search
selective_search(np.zeros((32, 32, 3), np.uint8), threads=1)
print(f"{time.perf_counter() - start:.1f}")
"""


def first_call() -> None:
    """Print how long the first call waits for the compiler, in a fresh environment and in the next process."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": empty}
        told = [
            subprocess.run([sys.executable, "-c", READY], env=environment, capture_output=True, text=True, check=True)
            for _ in range(2)
        ]
    first, second = (one.stdout.strip() for one in told)
    print(f"ready after {first} s where nothing was compiled before, {second} s in the next process")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, help="a folder as CocoDataset reads it, split val")
    parser.add_argument("--voc", type=Path, required=True, help="a folder as VocDataset reads it, split val")
    parser.add_argument("--images", type=int, help="photographs of each set; all by default")
    parser.add_argument("--work", type=Path, help="for the peers' environment and boxes; a temporary one by default")
    parser.add_argument("--no-peers", action="store_true", help="only ours")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(machine_line("numpy", "numba", "opencv-python"))
    first_call()
    selective_search(np.zeros((32, 32, 3), np.uint8))  # compiles its kernels, if need be
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        datasets = {"COCO": CocoDataset(arguments.coco, "val"), "VOC": VocDataset(arguments.voc, "val")}
        sets = {name: photographs(dataset, arguments.images, work / name.lower()) for name, dataset in datasets.items()}
        peers = () if arguments.no_peers else PEERS
        for peer in peers:
            for folder in ("coco", "voc"):
                worker = Path(__file__).with_name("peer_proposals.py")
                subprocess.run([peers_python(work), worker, peer, work / folder], check=True)
        if peers:
            listed = [peers_python(work), "-m", "pip", "freeze", "--disable-pip-version-check"]
            told = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
            print("peers:", ", ".join(one for one in told if one.partition("==")[0] in PEER_PACKAGES))
        compare_times(sets, peers)
        where_time_goes([photo.image for photo in sets["COCO"]][:40], WIDTH, MIN_SIDE)
        whole_sets(datasets)
        for name, photos in sets.items():
            compare_recall(name, photos, peers)
            working_widths(name, photos)
        growth(sets["COCO"][0])
        large_picture(sets["COCO"][0])


if __name__ == "__main__":
    main()
