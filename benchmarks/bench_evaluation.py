"""Scoring two million detections: the native evaluators beside hotcoco (a Rust evaluator), in one run.

    python benchmarks/bench_evaluation.py --peer ENVIRONMENT/bin/python [--repeats 5]

`--peer` is a Python with the package hotcoco, in an environment of its own. Both sides get the same boxes: a synthetic
set of ILSVRC DET val's size (20,000 images, 200 classes, 55,000 objects, 2,000,000 detections; seed 0). The sides take
turns, each in a process of its own, so that each one's largest memory is its own; the table gives medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine_line, peak_memory

IMAGES, CLASSES, OBJECTS, DETECTIONS = 20_000, 200, 55_000, 2_000_000


def synthetic(folder: Path) -> None:
    """Write the set as arrays, as ILSVRC text and as COCO JSON; all hold the same numbers, of two decimals."""
    random = np.random.default_rng(0)
    image, label = np.sort(random.integers(0, IMAGES, OBJECTS)), random.integers(0, CLASSES, OBJECTS)
    corner, side = random.integers(0, 300, (OBJECTS, 2)), random.integers(10, 200, (OBJECTS, 2))
    near = random.integers(0, OBJECTS, DETECTIONS // 2)  # half of the detections lie near an object
    jitter = random.normal(0, 0.12, (len(near), 4)) * np.hstack([side, side])[near]
    boxes = np.hstack([corner, side])[near] + jitter
    far = DETECTIONS - len(near)
    boxes = np.vstack([boxes, np.hstack([random.random((far, 2)) * 300, 10 + random.random((far, 2)) * 190])])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    found_image = np.append(image[near], random.integers(0, IMAGES, far))
    found_label = np.append(label[near], random.integers(0, CLASSES, far))
    quality = np.append(1 - np.abs(jitter / np.hstack([side, side])[near]).mean(axis=1), np.full(far, 0.55))
    score = np.clip(quality * random.random(DETECTIONS), 0, 1).round(6)
    order = np.argsort(found_image, kind="stable")
    arrays = {
        "truth_image": image,
        "truth_label": label,
        "truth_xywh": np.hstack([corner, side]).astype(np.float64),
        "image": found_image[order],
        "label": found_label[order],
        "score": score[order],
        "xywh": boxes[order].round(2),
    }
    np.savez(folder / "set.npz", **arrays)
    _write_files(folder, arrays)


def _write_files(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    boxes = arrays["truth_xywh"].tolist()
    objects = [
        {"id": k + 1, "image_id": i + 1, "category_id": c + 1, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for k, (i, c, b) in enumerate(
            zip(arrays["truth_image"].tolist(), arrays["truth_label"].tolist(), boxes, strict=True)
        )
    ]
    images = [{"id": i + 1, "width": 500, "height": 500, "file_name": f"{i + 1}.jpg"} for i in range(IMAGES)]
    categories = [{"id": c + 1, "name": f"class {c + 1}"} for c in range(CLASSES)]
    content = {"images": images, "annotations": objects, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(content))
    rows = list(
        zip(
            arrays["image"].tolist(),
            arrays["label"].tolist(),
            arrays["score"].tolist(),
            arrays["xywh"].tolist(),
            strict=True,
        )
    )
    with (folder / "found.json").open("w") as file:
        file.write("[")
        for k, (i, c, s, b) in enumerate(rows):
            record = {"image_id": i + 1, "category_id": c + 1, "bbox": b, "score": s}
            file.write(("," if k else "") + json.dumps(record, separators=(",", ":")))
        file.write("]")
    with (folder / "found.txt").open("w") as file:
        for i, c, s, (x, y, w, h) in rows:
            file.write(f"{i + 1} {c + 1} {s:.6f} {x:.2f} {y:.2f} {x + w - 1:.2f} {y + h - 1:.2f}\n")


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds, and what came out."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def ours(folder: Path, task: str) -> dict[str, float]:
    """One task in this process, after the kernels were loaded by a small case."""
    from inception_rcnn.datasets import read_coco_detections, read_ilsvrc_detections
    from inception_rcnn.evaluation import evaluate_coco
    from inception_rcnn.evaluation.ilsvrc import evaluate_ilsvrc
    from inception_rcnn.structures.detections import DetectionTable
    from inception_rcnn.structures.ground_truth import GroundTruthTable

    ids = range(1, IMAGES + 1)
    if task == "text":
        (folder / "tiny.txt").write_text("1 1 0.5 0 0 9 9\n")
        read_ilsvrc_detections(folder / "tiny.txt", ids, CLASSES)
        seconds, _ = timed(lambda: read_ilsvrc_detections(folder / "found.txt", ids, CLASSES))
        return {"seconds": seconds, "memory": peak_memory()}
    if task == "json":
        seconds, _ = timed(lambda: read_coco_detections(folder / "found.json", ids, range(1, CLASSES + 1)))
        return {"seconds": seconds, "memory": peak_memory()}
    arrays = np.load(folder / "set.npz")
    names = tuple(f"class {c + 1}" for c in range(CLASSES))
    xywh, truth_xywh = arrays["xywh"], arrays["truth_xywh"]
    box = np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
    truth_box = np.hstack([truth_xywh[:, :2], truth_xywh[:, :2] + truth_xywh[:, 2:]])
    found = DetectionTable(arrays["image"], arrays["label"], arrays["score"], box)
    truth = GroundTruthTable(names, tuple(ids), arrays["truth_image"], arrays["truth_label"], truth_box)
    evaluate = evaluate_coco if task == "coco" else evaluate_ilsvrc
    evaluate(truth, found[:100])
    seconds, result = timed(lambda: evaluate(truth, found))
    stats = result.stats if task == "coco" else {}
    return {"seconds": seconds, "memory": peak_memory(), "map": result.map, "AP": stats.get("AP", 0.0)}


def peer(folder: Path) -> dict[str, float]:
    """hotcoco: loading of JSON, and evaluate + accumulate."""
    from hotcoco import COCO, COCOeval

    truth = COCO(str(folder / "truth.json"))
    load, found = timed(lambda: truth.loadRes(str(folder / "found.json")))
    run = COCOeval(truth, found, "bbox")

    def score() -> None:
        run.evaluate()
        run.accumulate()

    seconds, _ = timed(score)
    largest = peak_memory()
    run.summarize()
    return {"load": load, "seconds": seconds, "memory": largest, "AP": run.stats[0], "map": run.stats[1]}


def in_process(python: str, folder: Path, task: str) -> dict[str, float]:
    """One task in a fresh process."""
    command = [python, __file__, "--folder", str(folder), "--task", task]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def compare(python: str, folder: Path, repeats: int) -> None:
    """Print the table."""
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(repeats):
        for task in ("peer", "coco", "ilsvrc", "text", "json"):
            runs.setdefault(task, []).append(in_process(python if task == "peer" else sys.executable, folder, task))
    middle = {
        task: {key: statistics.median(run[key] for run in many) for key in many[0]} for task, many in runs.items()
    }
    print(machine_line("numpy", "numba"))
    print(f"{IMAGES:,} images, {CLASSES} classes, {OBJECTS:,} objects, {DETECTIONS:,} detections, median of {repeats}")
    theirs = middle["peer"]
    print(
        f"hotcoco: evaluate + accumulate {theirs['seconds']:.2f} s, "
        f"JSON {theirs['load']:.2f} s, {theirs['memory']:.0f} MB"
    )
    for task, against in (("coco", "seconds"), ("ilsvrc", "seconds"), ("text", "load"), ("json", "load")):
        own = middle[task]
        ratio = own["seconds"] / theirs[against]
        print(f"ours, {task}: {own['seconds']:.2f} s ({ratio:.2f} of hotcoco), {own['memory']:.0f} MB")
    for name in ("AP", "map"):
        print(f"{name}: ours {middle['coco'][name]:.9f}, hotcoco {theirs[name]:.9f}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has hotcoco")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the set is, or is to be written")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(
            json.dumps(peer(arguments.folder) if arguments.task == "peer" else ours(arguments.folder, arguments.task))
        )
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not (folder / "found.txt").is_file():
            synthetic(folder)
        compare(arguments.peer, folder, arguments.repeats)


if __name__ == "__main__":
    main()
