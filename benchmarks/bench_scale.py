"""Archives: Ray against the plain stream, a bucket, more workers, a node that is killed, many small photographs.

    python benchmarks/bench_scale.py PHOTOGRAPHS --work runs/scale [--count 500]
        [--only engines bucket workers nodes restart]

PHOTOGRAPHS is a folder. `engines` runs the first ones by --engine local and ray, and compares the rows; `bucket` does
so from a bucket into it, against those of the folder, with a store on this machine (pip install 'moto[server]');
`workers` starts clusters of one, two (--workers) node processes, which have a processor of this machine each; `nodes`
starts a cluster of two node processes, kills one in the middle, and compares again; `restart` makes 20,000 small
photographs (--small) of them, goes through with few regions in ten waves, watches the memory of the driver, does so
once more, kills the command in the middle, goes on, and compares.

What is promised is judged, and the exit status is 1 where it does not hold: Ray takes at most 10 % more than the plain
stream, workers lack at most 10 % of linear, rows are the same, and nothing is done twice.
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
from verdicts import Verdicts

from inception_rcnn.datasets.archive.shards import read_entries
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.detector.archive import ray_engine

TOOLS = Path(__file__).resolve().parent.parent / "tools"
FEW = ("--max-proposals", "20", "--precision", "fp32")
EXPERIMENTS = ("engines", "bucket", "workers", "nodes", "restart")
MOST_OVERHEAD = 0.1  # of Ray, as a share of a photograph's seconds
LEAST_OF_LINEAR = 0.9
MOST_APART = 1e-4  # scores in float32; docs/scale.md
MOST_APART_AS_USUAL = 0.01  # in what precision the machine is fastest in
MOST_GROWTH = 0.25  # of the driver's memory after the first tenth of the photographs
_SMALL_SHARD = 500


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
        others += not same or any(one.get(name) != other.get(name) for name in ("sha256", "width", "height"))
        if same:
            scores = [[found["score"] for found in entry["detections"]] for entry in (one, other)]
            largest = max(largest, float(np.abs(np.subtract(*scores)).max(initial=0)))
    return others, largest


def judge_same(verdicts: Verdicts, what: str, ours: Path | str, theirs: Path | str, apart: float = MOST_APART) -> str:
    """Judge that two runs found the same; how many photographs have other objects, and by how much scores differ.

    Where scores may differ in the third digit, an object in a hundred photographs may come or go.
    """
    count = len(entries(ours))
    if count != len(entries(theirs)):
        verdicts.judge(f"{what} has {len(entries(theirs))} rows of {count}", holds=False)
        return "other rows"
    others, largest = differences(ours, theirs)
    most = count // 100 if apart > MOST_APART else 0
    said = f"{others} of {count}, {largest:.2g}"
    verdicts.judge(f"{what} finds the same: {said}", holds=others <= most and largest <= apart)
    return said


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


def engines(listed: Path, work: Path, verdicts: Verdicts) -> None:
    """Ray against the plain stream, cold and without what starting costs."""
    count, one, pace = len(listed.read_text().splitlines()), first_of(listed, work), dict[str, float]()
    print("| engine | start and one, s | all, s | a photograph, s | other objects, difference of scores |")
    print("|---|---|---|---|---|")
    for name, words in (("local", ["--engine", "local"]), ("ray", ["--engine", "ray"])):
        for output in (work / name, work / f"{name}-one"):
            shutil.rmtree(output, ignore_errors=True)
        start = timed(line_of(one, work / f"{name}-one", *words))
        whole = timed(line_of(listed, work / name, *words))
        said = judge_same(verdicts, name, work / "local", work / name, MOST_APART_AS_USUAL)
        pace[name] = (whole - start) / max(count - 1, 1)
        print(f"| {name} | {start:.1f} | {whole:.1f} | {pace[name]:.3f} | {said} |", flush=True)
    more = pace["ray"] / pace["local"] - 1
    verdicts.judge(f"Ray takes {more:+.1%} of a photograph's seconds", holds=more <= MOST_OVERHEAD)


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


def bucket(listed: Path, work: Path, verdicts: Verdicts) -> None:
    """Both engines from a bucket into it, against the plain stream from the disk into a folder."""
    shutil.rmtree(work / "folder", ignore_errors=True)
    plain = timed(line_of(listed, work / "folder", "--engine", "local", "--precision", "fp32"))
    print("| from a bucket into it | s | from the disk, s | other objects, difference of scores |")
    print("|---|---|---|---|")
    with bucket_of(listed) as name:
        for engine in ("local", "ray"):
            output = f"{name}/{engine}"
            seconds = timed(line_of(f"{name}/photographs", output, "--engine", engine, "--precision", "fp32"))
            said = judge_same(verdicts, f"{engine} from a bucket", work / "folder", output)
            print(f"| {engine} | {seconds:.1f} | {plain:.1f} | {said} |", flush=True)


def workers(listed: Path, work: Path, numbers: Sequence[int], verdicts: Verdicts) -> None:
    """Nodes with a processor each: a detector and what searches for it share it."""
    from ray.cluster_utils import Cluster

    allowed, pace = sorted(os.sched_getaffinity(0)), {}
    if max(numbers) > len(allowed):
        sys.exit(f"{max(numbers)} workers need as many processors, and there are {len(allowed)}")
    count, one = len(listed.read_text().splitlines()), first_of(listed, work)
    if count < 4 * ray_engine.PER_TASK * max(numbers):
        sys.exit(
            f"{count} photographs do not keep {max(numbers)} workers busy, which take {ray_engine.PER_TASK} at a time"
        )
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
        said = judge_same(verdicts, f"{number} workers", work / f"workers-{numbers[0]}", work / f"workers-{number}")
        print(
            f"| {number} | {start:.1f} | {whole:.1f} | {pace[number]:.3f} | {linear:.0%} | {said} |",
            flush=True,
        )
        verdicts.judge(f"{number} workers: {linear:.0%} of linear", holds=linear >= LEAST_OF_LINEAR)


def nodes(listed: Path, work: Path, verdicts: Verdicts) -> None:
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
    parts = len(list((work / "whole").glob("part-*")))
    verdicts.judge(
        f"two nodes, one killed at {done} of {parts} files: status {status}",
        holds=0 < done < parts and status in (0, 1),
    )
    judge_same(verdicts, "what went on", work / "whole", work / "nodes")
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


def detect_in_waves(photographs: int, words: Sequence[str]) -> None:
    """The command in this process, in waves of so many photographs."""
    from inception_rcnn.tools import cli, detect

    ray_engine.PHOTOGRAPHS_PER_WAVE = photographs  # type: ignore[misc]
    cli.run_command(detect.main, words)


def watched(line: Sequence[str], output: Path, parts: int, kill_at: int | None = None) -> tuple[int, dict[int, float]]:
    """Run a command, perhaps until so many files are there: its status, and the memory in MB at each tenth."""
    seen: dict[int, float] = {}
    running = subprocess.Popen(line, start_new_session=True)
    while running.poll() is None:
        done = len(list(output.glob("part-*")))
        if done:
            seen.setdefault(10 * done // parts, memory_of(running.pid) / 1024)
        if kill_at is not None and done >= kill_at:
            os.killpg(running.pid, signal.SIGKILL)
        time.sleep(0.5)
    return running.returncode, seen


def growth(seen: dict[int, float]) -> float:
    """By what share the memory at the end is more than after the first tenth.

    >>> growth({0: 100.0, 1: 400.0, 5: 430.0, 9: 440.0})
    0.1
    """
    late = [seen[tenth] for tenth in sorted(seen) if tenth >= 1 and seen[tenth]]
    return round(late[-1] / late[0] - 1, 3) if late else 0.0


def restart(listed: Path, work: Path, count: int, engine: str, verdicts: Verdicts) -> None:
    """Many small photographs: undisturbed, with memory at each tenth; killed in the middle, and gone on with."""
    folder, parts = small_photographs(listed, work, count), -(-count // _SMALL_SHARD)
    unbroken, output = work / f"unbroken-{engine}", work / f"restart-{engine}"
    lines = {}
    for one in (unbroken, output):
        shutil.rmtree(one, ignore_errors=True)
        words = line_of(folder, one, "--engine", engine, "--per-shard", str(_SMALL_SHARD), *FEW)[2:]
        lines[one] = [sys.executable, str(Path(__file__).resolve()), "--here", str(-(-count // 10)), *words]
    started = time.perf_counter()
    status, seen = watched(lines[unbroken], unbroken, parts)
    memory = ", ".join(f"{10 * tenth} %: {size:.0f}" for tenth, size in sorted(seen.items()))
    print(
        f"{count} small photographs, {engine}, {time.perf_counter() - started:.0f} s; driver in MB {memory}", flush=True
    )
    verdicts.judge(f"it ends with status {status}", holds=status == 0)
    verdicts.judge(f"memory of the driver grows by {growth(seen):+.0%}", holds=growth(seen) <= MOST_GROWTH)
    watched(lines[output], output, parts, kill_at=parts // 2)
    made = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
    status, _ = watched(lines[output], output, parts)
    again = sum(path.stat().st_mtime_ns != before for path, before in made.items())
    verdicts.judge(
        f"killed at {len(made)} of {parts} files: status {status} in the end, {again} files made twice",
        holds=0 < len(made) < parts and status == 0 and again == 0,
    )
    judge_same(verdicts, "what went on", unbroken, output)
    print(f"the command once more, with nothing to do, {timed(lines[output]):.1f} s")


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
    verdicts = Verdicts()
    if "engines" in asked.only:
        engines(listed, asked.work, verdicts)
    if "bucket" in asked.only:
        bucket(listed, asked.work, verdicts)
    if "workers" in asked.only:
        workers(listed, asked.work, asked.workers, verdicts)
    if "nodes" in asked.only:
        nodes(first_photographs(asked.photographs, min(asked.count, 60), asked.work), asked.work, verdicts)
    if "restart" in asked.only:
        restart(first_photographs(asked.photographs, 200, asked.work), asked.work, asked.small, asked.engine, verdicts)
    verdicts.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        detect_in_waves(int(sys.argv[2]), sys.argv[3:])
    main()
