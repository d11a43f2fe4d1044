"""A data set by several processes against one: `on_ray eval_map`, torchrun at two addresses, a rank that is killed.

    python benchmarks/bench_scale_sets.py --work runs/sets [--only on_ray addresses elastic] [--iterations 40]
    python benchmarks/bench_scale_sets.py --work runs/sets --only on_ray --data coco:coco --split val --limit 40

`on_ray` compares what two processes of a Ray cluster leave with what one process leaves, file by file. `addresses`
trains and scores by two node agents of torchrun, at 127.0.0.1 and 127.0.0.2 (Linux has all of 127.0.0.0/8), gloo
between them, and compares with one process and the same batches. `elastic` kills a rank of the second agent when some
states are saved, and compares with the run at two addresses that nobody disturbed.

Without --data, the photographs and the detector are the small ones of faults/small_runs.py. Trainings save their state
every second batch, and compute in float32 with one thread: sums are then the same but for their order.

What is promised is judged, and the exit status is 1 where it does not hold: the same files of detections, losses that
differ by rounding alone, and nothing that was saved is done twice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent)

import numpy as np
from faults.results import difference, done_twice, results_of
from faults.small_runs import RUNS, Materials, make_materials
from machine import machine_line
from verdicts import Verdicts

from inception_rcnn.backbones.training.log import read_log

TOOLS = Path(__file__).resolve().parent.parent / "tools"
ADDRESSES = ("127.0.0.1", "127.0.0.2")
# One thread each, as torchrun has it; between the addresses of this machine the way is its loopback. The agents keep
# one store for all restarts otherwise, in which a rank that starts again finds the address of the one that was killed.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
_SECONDS = 3600  # after which a run hangs
_SAME = "the same files"
_MOST_APART = 1e-3  # losses, by sums in another order


def run_here(words: Sequence[str], journal: Path) -> int:
    """Run a command in this process, in small and in float32, whatever this processor is faster in."""
    from faults.small_command import run_small

    import inception_rcnn.backbones.runtime as runtime

    runtime.cpu_has_fast_bfloat16 = lambda: False
    return run_small(words, journal)


def in_small(words: Sequence[str], journal: Path) -> list[str]:
    """Return the command line that has Python do what `run_here` does."""
    return [str(Path(__file__).resolve()), "--here", str(journal), *words]


def started(line: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start Python on a command line; what it says goes into a file."""
    with log.open("wb") as said:
        return subprocess.Popen(
            [sys.executable, *line], stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **ENVIRONMENT}
        )


def agents(words: Sequence[str], work: Path, restarts: int = 0) -> list[subprocess.Popen[bytes]]:
    """Start a command by a rank at each address."""
    with socket.socket() as found:
        found.bind((ADDRESSES[0], 0))
        port = found.getsockname()[1]
    common = ["-m", "torch.distributed.run", "--nnodes", str(len(ADDRESSES)), "--nproc-per-node", "1"]
    common += ["--max-restarts", str(restarts), "--rdzv-backend", "c10d", "--rdzv-id", str(port)]
    common += ["--rdzv-endpoint", f"{ADDRESSES[0]}:{port}"]
    rank = in_small(words, work / "journal.txt")
    return [started([*common, "--local-addr", address, *rank], work / f"{address}.txt") for address in ADDRESSES]


def ended(running: Sequence[subprocess.Popen[bytes]], work: Path) -> None:
    """Wait for processes that have to end well."""
    until = time.monotonic() + _SECONDS
    try:
        for one in running:
            if status := one.wait(max(1.0, until - time.monotonic())):
                sys.exit(f"status {status}; {work} has what was said")
    finally:
        for one in running:
            one.kill()


def emptied(work: Path) -> Path:
    """Return the folder for a run's results, empty; always the same, since files may name it."""
    shutil.rmtree(work / "results", ignore_errors=True)
    (work / "journal.txt").unlink(missing_ok=True)
    (work / "results").mkdir(parents=True)
    return work / "results"


def kept(work: Path, name: str) -> Path:
    """Return what a run left, under a name of its own."""
    shutil.rmtree(work / name, ignore_errors=True)
    return (work / "results").rename(work / name)


def figures(output: Path) -> float:
    """Return the mean average precision that `eval_map --json` wrote."""
    return float(json.loads((output / "map.json").read_text())["map"])


def compared(one: Path, other: Path) -> str:
    """Return in words what two runs left that differs."""
    return difference(results_of(one), results_of(other)) or _SAME


def on_ray(data: Sequence[str], work: Path, verdicts: Verdicts) -> None:
    """The same data set by one process and by two of a Ray cluster."""
    made, seconds = [], []
    for name, before in (("one", ["eval_map"]), ("ray", ["on_ray", "--processes", "2", "eval_map"])):
        output = emptied(work)
        files = ["--output", str(output / "found.safetensors"), "--json", str(output / "map.json")]
        line = [str(TOOLS / f"{before[0]}.py"), *before[1:], *data, *files, "--device", "cpu", "--runtime", "torch"]
        begun = time.perf_counter()
        ended([started([*line, "--precision", "fp32", "--quiet"], work / f"{name}.txt")], work)
        seconds.append(time.perf_counter() - begun)
        made.append(kept(work, name))
    verdicts.judge(
        f"on_ray eval_map by two processes against one: mAP {figures(made[1]):.4f} and {figures(made[0]):.4f}, "
        f"{compared(*made)}; {seconds[1]:.0f} s and {seconds[0]:.0f} s",
        holds=compared(*made) == _SAME,
    )


def training(materials: Materials, output: Path, iterations: int) -> list[str]:
    """Return the command line of a training on batches of two photographs."""
    return [*RUNS["train torchrun"].words(materials, output), "--iterations", str(iterations)]


def apart(ours: Path, theirs: Path, *columns: str) -> float:
    """Return the largest difference of figures in two tables of losses; infinite where they have other lines."""
    one, other = (read_log(output / "run" / "log.csv") for output in (ours, theirs))
    if one["iteration"] != other["iteration"]:
        return float("inf")
    figures = [[float(value or "nan") for name in columns for value in table[name]] for table in (one, other)]
    return float(np.nanmax(np.abs(np.subtract(*figures))))


def two_train(materials: Materials, work: Path, iterations: int) -> Path:
    """Train at two addresses, undisturbed."""
    ended(agents(training(materials, emptied(work), iterations), work), work)
    return kept(work, "two-train")


def addresses(materials: Materials, work: Path, iterations: int, verdicts: Verdicts) -> Path:
    """A training and `eval_map` at two addresses against one process; what the training at two left."""
    score, by_one, output = RUNS["eval_map"].words, [], work / "results"
    for name, words in (("train", training(materials, output, iterations)), ("map", score(materials, output))):
        emptied(work)
        ended([started(in_small(words, work / "journal.txt"), work / "one.txt")], work)
        by_one.append(kept(work, f"one-{name}"))
    trained = two_train(materials, work, iterations)
    ended(agents(score(materials, emptied(work)), work), work)
    scored = kept(work, "two-map")
    largest = apart(by_one[0], trained, "loss", "classes", "boxes")
    verdicts.judge(
        f"two addresses against one process: of {iterations} iterations losses differ by {largest:.2g} at most, mAP "
        f"in validation by {apart(by_one[0], trained, 'mAP'):.2g}",
        holds=largest <= _MOST_APART,
    )
    verdicts.judge(
        f"eval_map at two addresses {figures(scored):.4f} and by one process {figures(by_one[1]):.4f}, "
        f"{compared(by_one[1], scored)}",
        holds=compared(by_one[1], scored) == _SAME,
    )
    return trained


def saved(journal: Path) -> int:
    """Return after which iteration the last state was saved; 0: there is none yet."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return max((int(line.split("\t")[2]) for line in lines if line.startswith("saved\t")), default=0)


def ranks_of(agent: int) -> list[int]:
    """Return the ranks that a node agent started."""
    found = map(int, Path(f"/proc/{agent}/task/{agent}/children").read_text().split())
    return [rank for rank in found if b"--here" in Path(f"/proc/{rank}/cmdline").read_bytes()]


def elastic(materials: Materials, work: Path, iterations: int, whole: Path, verdicts: Verdicts) -> None:
    """A rank killed in the middle: torchrun starts both again, and they go on."""
    journal = work / "journal.txt"
    running = agents(training(materials, emptied(work), iterations), work, restarts=3)
    while saved(journal) < max(2, iterations // 3) and all(one.poll() is None for one in running):
        time.sleep(0.02)
    at, ranks = saved(journal), ranks_of(running[1].pid)
    for rank in ranks:
        os.kill(rank, signal.SIGKILL)
    ended(running, work)
    again, broken = done_twice(journal), kept(work, "killed-train")
    largest = apart(whole, broken, "loss", "classes", "boxes")
    verdicts.judge(
        f"{len(ranks)} rank killed after the state of iteration {at} of {iterations} was saved: "
        f"{again or 'nothing that was saved is done again'}; losses differ from those of the undisturbed run by "
        f"{largest:.2g}, {compared(whole, broken)}",
        holds=len(ranks) > 0 and 0 < at < iterations and not again and largest <= _MOST_APART,
    )


def main() -> None:
    """Run what is asked for, and print it as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ("on_ray", "addresses", "elastic")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=known, default=known)
    parser.add_argument("--data", help="FORMAT:PATH, of on_ray; default: small photographs")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=40, help="of the trainings")
    asked = parser.parse_args()
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(machine_line("numpy", "torch", "ray"), flush=True)
    shutil.rmtree(work / "materials", ignore_errors=True)
    materials, verdicts = make_materials(work / "materials", train=6, val=6), Verdicts()
    if "on_ray" in asked.only:
        small = ["--data", f"coco:{materials.coco}", "--weights", str(materials.model), "--origin", "0"]
        data = ["--data", asked.data] if asked.data else small
        on_ray([*data, "--split", asked.split, "--limit", str(asked.limit)], work, verdicts)
    trained = addresses(materials, work, asked.iterations, verdicts) if "addresses" in asked.only else None
    if "elastic" in asked.only:
        whole = trained or two_train(materials, work, asked.iterations)
        elastic(materials, work, asked.iterations, whole, verdicts)
    verdicts.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        sys.exit(run_here(sys.argv[3:], Path(sys.argv[2])))
    main()
