"""Archives: Ray against the plain stream, two nodes of which one is killed, many small photographs.

    python benchmarks/bench_scale.py PHOTOGRAPHS --work runs/scale [--only engines nodes restart] [--count 500]

PHOTOGRAPHS is a folder. `engines` runs the first ones by --engine local and ray, and compares the rows; `nodes` starts
a cluster of two node processes on this machine, kills one in the middle, and compares again; `restart` makes 20,000
small photographs (--small) of them, goes through with few regions, kills the command in the middle, and watches the
memory of the driver.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine_line
from PIL import Image

from inception_rcnn.datasets.archive.shards import read_entries
from inception_rcnn.datasets.archive.storage import Location

TOOLS = Path(__file__).resolve().parent.parent / "tools"
FEW = ("--max-proposals", "20", "--precision", "fp32")


def line_of(source: Path, output: Path, *words: str) -> list[str]:
    """The command."""
    common = ["--output", str(output), "--device", "cpu", "--quiet"]
    return [sys.executable, str(TOOLS / "detect.py"), str(source), *common, *words]


def timed(line: Sequence[str]) -> float:
    """Seconds of a command that has to end well, or with photographs that cannot be read."""
    started = time.perf_counter()
    status = subprocess.run(line, check=False).returncode
    if status not in (0, 1):
        sys.exit(f"{' '.join(line)} ended with status {status}")
    return time.perf_counter() - started


def entries(output: Path) -> list[dict[str, Any]]:
    return [entry for _, entry in read_entries(Location(str(output)))]


def differences(ours: Path, theirs: Path) -> tuple[int, float]:
    """How many photographs have other objects, and the largest difference of scores of the rest."""
    others, largest = 0, 0.0
    for one, other in zip(entries(ours), entries(theirs), strict=True):
        same = [found["label"] for found in one["detections"]] == [found["label"] for found in other["detections"]]
        others += not same or one["image"] != other["image"] or one["sha256"] != other["sha256"]
        if same:
            scores = [[found["score"] for found in entry["detections"]] for entry in (one, other)]
            largest = max(largest, float(np.abs(np.subtract(*scores)).max(initial=0)))
    return others, largest


def first_photographs(folder: Path, count: int, work: Path) -> Path:
    """A list of the first photographs."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png", ".webp"))[:count]
    listed = work / "photographs.txt"
    listed.write_text("".join(f"{path.resolve()}\n" for path in found))
    return listed


def engines(listed: Path, work: Path) -> None:
    """Ray against the plain stream, cold and without what starting costs."""
    count = len(listed.read_text().splitlines())
    one = work / "one.txt"
    one.write_text(listed.read_text().splitlines(keepends=True)[0])
    print("| engine | start and one, s | all, s | a photograph, s | other objects, difference of scores |")
    print("|---|---|---|---|---|")
    for name, words in (("local", ["--engine", "local"]), ("ray", ["--engine", "ray"])):
        for output in (work / name, work / f"{name}-one"):
            shutil.rmtree(output, ignore_errors=True)
        start = timed(line_of(one, work / f"{name}-one", *words))
        whole = timed(line_of(listed, work / name, *words))
        other, largest = differences(work / "local", work / name)
        each = (whole - start) / max(count - 1, 1)
        print(f"| {name} | {start:.1f} | {whole:.1f} | {each:.3f} | {other} of {count}, {largest:.2g} |", flush=True)


def nodes(listed: Path, work: Path) -> None:
    """Two node processes, of which one is killed when some files are there."""
    import ray
    from ray.cluster_utils import Cluster

    for name in ("whole", "nodes"):
        shutil.rmtree(work / name, ignore_errors=True)
    per_shard = ["--per-shard", "4", *FEW]
    timed(line_of(listed, work / "whole", "--engine", "local", *per_shard))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    second = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    line = line_of(listed, work / "nodes", "--engine", "ray", "--address", cluster.address, *per_shard)
    running = subprocess.Popen(line)
    while running.poll() is None and len(list((work / "nodes").glob("part-*"))) < 3:
        time.sleep(0.2)
    done = len(list((work / "nodes").glob("part-*")))
    cluster.remove_node(second, allow_graceful=False)
    status = running.wait()
    other, largest = differences(work / "whole", work / "nodes")
    parts = len(list((work / "nodes").glob("part-*")))
    print(
        f"two nodes, one killed at {done} of {parts} files: status {status}, {other} photographs with other objects, "
        f"largest difference of scores {largest:.2g}"
    )
    ray.shutdown()
    cluster.shutdown()


def small_photographs(listed: Path, work: Path, count: int) -> Path:
    """Crops of 64 x 64 pixels, made once."""
    folder = work / "small"
    if len(list(folder.glob("*/*.jpg"))) == count:
        return folder
    names, random = listed.read_text().splitlines(), np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(names[number % len(names)]) as image:
            left, top = (int(random.integers(0, max(side - 64, 1))) for side in image.size)
            image.convert("RGB").crop((left, top, left + 64, top + 64)).save(path)
    return folder


def resident(process: int) -> float:
    """Megabytes of a process's memory."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def restart(listed: Path, work: Path, count: int, engine: str) -> None:
    """Many small photographs: killed in the middle, gone on with; memory at each tenth."""
    folder, output = small_photographs(listed, work, count), work / f"restart-{engine}"
    shutil.rmtree(output, ignore_errors=True)
    line = line_of(folder, output, "--engine", engine, "--per-shard", "500", *FEW)
    parts, seen, killed = -(-count // 500), {}, False
    started = time.perf_counter()
    running = subprocess.Popen(line, start_new_session=True)
    while running.poll() is None:
        done = len(list(output.glob("part-*")))
        if done:
            seen.setdefault(10 * done // parts, resident(running.pid))
        if done >= parts // 2 and not killed:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            made = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
            killed, running = True, subprocess.Popen(line, start_new_session=True)
        time.sleep(0.5)
    seconds = time.perf_counter() - started
    again = sum(path.stat().st_mtime_ns != before for path, before in made.items())
    found = entries(output)
    memory = ", ".join(f"{10 * tenth} %: {size:.0f}" for tenth, size in sorted(seen.items()))
    idle = timed(line)
    print(
        f"{count} small photographs, {engine}, killed at half: {len({one['image'] for one in found})} rows, {again} "
        f"files made twice, {seconds:.0f} s; memory of the driver in MB {memory}; the command once more, with "
        f"nothing to do, {idle:.1f} s"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is asked for, and print it as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--only", nargs="+", choices=("engines", "nodes", "restart"), default=("engines", "nodes", "restart")
    )
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="ray", help="of restart")
    asked = parser.parse_args(argv)
    asked.work.mkdir(parents=True, exist_ok=True)
    print(machine_line("numpy", "torch", "ray"))
    if "engines" in asked.only:
        engines(first_photographs(asked.photographs, asked.count, asked.work), asked.work)
    if "nodes" in asked.only:
        nodes(first_photographs(asked.photographs, min(asked.count, 60), asked.work), asked.work)
    if "restart" in asked.only:
        restart(first_photographs(asked.photographs, 200, asked.work), asked.work, asked.small, asked.engine)


if __name__ == "__main__":
    main()
