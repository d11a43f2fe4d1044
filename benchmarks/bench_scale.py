"""Archives: Ray against the plain stream, a bucket, more workers, a node that is killed, many small photographs.

    python benchmarks/bench_scale.py PHOTOGRAPHS --work runs/scale [--count 500]
        [--only engines bucket workers nodes restart]

PHOTOGRAPHS is a folder. `engines` runs the first ones by --engine local and ray, and compares the rows; `bucket` does
so from a bucket into it, against those of the folder, with a store on this machine (pip install 'moto[server]');
`workers` starts clusters of one, two (--workers) node processes, which have a processor of this machine each; `nodes`
starts a cluster of two node processes, kills one in the middle, and compares again; `restart` makes 20,000 small
photographs (--small) of them, goes through with few regions, kills the command in the middle, and watches the memory of
the driver.
What a data set has to do with several processes is in bench_scale_sets.py.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from faults.memory import memory_of
from machine import machine_line
from PIL import Image

from inception_rcnn.datasets.archive.shards import read_entries
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.detector.archive.ray_engine import PER_TASK

TOOLS = Path(__file__).resolve().parent.parent / "tools"
FEW = ("--max-proposals", "20", "--precision", "fp32")
EXPERIMENTS = ("engines", "bucket", "workers", "nodes", "restart")


def line_of(source: Path | str, output: Path | str, *words: str) -> list[str]:
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


def entries(output: Path | str) -> list[dict[str, Any]]:
    return [entry for _, entry in read_entries(Location(str(output)))]


def differences(ours: Path | str, theirs: Path | str) -> tuple[int, float]:
    """How many photographs have other objects, and the largest difference of scores of the rest."""
    others, largest = 0, 0.0
    for one, other in zip(entries(ours), entries(theirs), strict=True):
        same = [found["label"] for found in one["detections"]] == [found["label"] for found in other["detections"]]
        others += not same or one["sha256"] != other["sha256"]
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


def first_of(listed: Path, work: Path) -> Path:
    """A list of one photograph: what takes time besides photographs."""
    one = work / "one.txt"
    one.write_text(listed.read_text().splitlines(keepends=True)[0])
    return one


def engines(listed: Path, work: Path) -> None:
    """Ray against the plain stream, cold and without what starting costs."""
    count, one = len(listed.read_text().splitlines()), first_of(listed, work)
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


@contextmanager
def bucket_of(listed: Path) -> Iterator[str]:
    """A bucket on this machine with the photographs of a list; its name, which what is started here can open."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it has a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        with patch.dict(os.environ, keys, AWS_ENDPOINT_URL=f"http://{host}:{port}"):
            store = boto3.client("s3")
            store.create_bucket(Bucket="scale")
            for number, path in enumerate(map(Path, listed.read_text().splitlines())):
                store.put_object(Bucket="scale", Key=f"photographs/{number:06d}{path.suffix}", Body=path.read_bytes())
            yield "s3://scale"
    finally:
        server.stop()


def bucket(listed: Path, work: Path) -> None:
    """Both engines from a bucket into it, against the plain stream from the disk into a folder."""
    count = len(listed.read_text().splitlines())
    shutil.rmtree(work / "folder", ignore_errors=True)
    plain = timed(line_of(listed, work / "folder", "--engine", "local", "--precision", "fp32"))
    print("| from a bucket into it | s | from the disk, s | other objects, difference of scores |")
    print("|---|---|---|---|")
    with bucket_of(listed) as name:
        for engine in ("local", "ray"):
            output = f"{name}/{engine}"
            seconds = timed(line_of(f"{name}/photographs", output, "--engine", engine, "--precision", "fp32"))
            other, largest = differences(work / "folder", output)
            print(f"| {engine} | {seconds:.1f} | {plain:.1f} | {other} of {count}, {largest:.2g} |", flush=True)


def workers(listed: Path, work: Path, numbers: Sequence[int]) -> None:
    """Nodes with a processor each: a detector and what searches for it share it."""
    from ray.cluster_utils import Cluster

    allowed, pace = sorted(os.sched_getaffinity(0)), {}
    if max(numbers) > len(allowed):
        sys.exit(f"{max(numbers)} workers need as many processors, and there are {len(allowed)}")
    count, one = len(listed.read_text().splitlines()), first_of(listed, work)
    if count < 4 * PER_TASK * max(numbers):
        sys.exit(f"{count} photographs do not keep {max(numbers)} workers busy, which take {PER_TASK} at a time")
    print("| workers | start and one, s | all, s | photographs/s | of linear | other objects, difference of scores |")
    print("|---|---|---|---|---|---|")
    for number in numbers:
        for output in (work / f"workers-{number}", work / f"workers-{number}-one"):
            shutil.rmtree(output, ignore_errors=True)
        os.sched_setaffinity(0, allowed[:number])  # of all that is started from here on
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(number - 1):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        words = ["--engine", "ray", "--address", cluster.address, "--precision", "fp32"]
        start = timed(line_of(one, work / f"workers-{number}-one", *words))
        whole = timed(line_of(listed, work / f"workers-{number}", *words))
        cluster.shutdown()
        os.sched_setaffinity(0, allowed)
        pace[number] = max(count - 1, 1) / (whole - start)
        linear = pace[number] / (pace[numbers[0]] * number / numbers[0])
        other, largest = differences(work / f"workers-{numbers[0]}", work / f"workers-{number}")
        print(
            f"| {number} | {start:.1f} | {whole:.1f} | {pace[number]:.3f} | {linear:.0%} | {other} of {count}, "
            f"{largest:.2g} |",
            flush=True,
        )


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
            seen.setdefault(10 * done // parts, memory_of(running.pid) / 1024)
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
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument(
        "--workers", type=int, nargs="+", default=(1, 2), help="how many, the first ones to compare with"
    )
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="ray", help="of restart")
    asked = parser.parse_args(argv)
    asked.work.mkdir(parents=True, exist_ok=True)
    print(machine_line("numpy", "torch", "ray"), flush=True)
    listed = first_photographs(asked.photographs, asked.count, asked.work)
    if "engines" in asked.only:
        engines(listed, asked.work)
    if "bucket" in asked.only:
        bucket(listed, asked.work)
    if "workers" in asked.only:
        workers(listed, asked.work, asked.workers)
    if "nodes" in asked.only:
        nodes(first_photographs(asked.photographs, min(asked.count, 60), asked.work), asked.work)
    if "restart" in asked.only:
        restart(first_photographs(asked.photographs, 200, asked.work), asked.work, asked.small, asked.engine)


if __name__ == "__main__":
    main()
