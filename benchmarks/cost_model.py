"""What detection costs, from one photograph to 10^9: a model of CPU, GPU and bytes, from measured figures.

    python benchmarks/cost_model.py measure PHOTOGRAPHS --inputs inputs.json [--count 40] [--models coco coco-mini six]
    python benchmarks/cost_model.py tables --inputs inputs.json --cuda benchmarks/results/cuda-2026-11-26.txt

`measure` takes the processor's seconds (of all threads) of each stage for the first photographs of a folder, the bytes
of a photograph, of its proposals and of its row in an archive's Parquet, and, to check the model, the seconds that the
plain stream, `detect --engine local`, needs for the same photographs. `tables` adds what bench_cuda printed of a GPU,
and prints what a photograph costs, what bounds each machine, and how long 10^6, 10^8 and 10^9 photographs take there.

The model: decoding, selective search and, without a GPU, the networks take processors, which share photographs
perfectly; a GPU takes the networks, and as long as it computes, one processor; reading and writing take the line to the
store. All go on at once, so the slowest decides. Of Ray's own work, to share out photographs and to carry them between
processes, nothing is in it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import instructions, machine_line

from inception_rcnn.backbones.runtime import keep_freed_memory
from inception_rcnn.detector import load_detector
from inception_rcnn.proposals import Proposer
from inception_rcnn.structures import InputError, load_image
from inception_rcnn.structures.images import image_files
from inception_rcnn.structures.jobs import available_processors

TOOLS = Path(__file__).resolve().parent.parent / "tools"
NUMBERS = (10**6, 10**8, 10**9)
# Bytes of a stored proposal: four coordinates, score and objectness as float32, and the source.
PROPOSAL_BYTES = 25
# Of a photograph of COCO, on average: benchmarks/results/section8-proposals-2026-11-27.txt.
PROPOSALS = 1111
# What bench_cuda calls them. Of six, five pool and one warps.
GPU_STAGES = {
    "boxes": ("MultiBox, one look, ms", "MultiBox, its proposals, ms", "MultiBox, objectness of 600 boxes, ms"),
    "coco": ("pooled detector, default, without proposals, ms",),
    "coco-mini": ("warped detector, default, without proposals, ms",),
}


@dataclass(frozen=True)
class Machine:
    """What works.

    Attributes:
        name: For the table.
        processors: All of it.
        gpus: Likewise.
        line: To the store, in bytes a second.
    """

    name: str
    processors: int
    gpus: int
    line: float


MACHINES = (
    Machine("2 processors, 1 Gbit/s", 2, 0, 1e9 / 8),
    Machine("64 processors, 10 Gbit/s", 64, 0, 10e9 / 8),
    Machine("16 processors, 1 GPU, 10 Gbit/s", 16, 1, 10e9 / 8),
    Machine("192 processors, 8 GPUs, 50 Gbit/s", 192, 8, 50e9 / 8),
    Machine("100 such, store of 400 Gbit/s", 19_200, 800, 400e9 / 8),
)


@dataclass(frozen=True)
class Cost:
    """Of a photograph.

    Attributes:
        processor: Seconds, of all threads together.
        gpu: Seconds.
        read: Bytes.
        written: Bytes.
    """

    processor: float
    gpu: float
    read: float
    written: float

    def seconds_on(self, machine: Machine) -> dict[str, float]:
        """How long each part of a machine is busy with a photograph."""
        busy = {"processors": self.processor / machine.processors}
        if machine.gpus:
            busy["GPUs"] = self.gpu / machine.gpus
        busy["line to the store"] = (self.read + self.written) / machine.line
        return busy


def processor_seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """What a call takes of all processors together, and its answer."""
    begun = time.process_time()
    answer = run()
    return time.process_time() - begun, answer


def measure_model(name: str, paths: Sequence[Path]) -> dict[str, float]:
    """Processor's seconds of each stage, medians over photographs; a first one aside."""
    detector = load_detector(name, device="cpu")
    propose = detector.propose
    assert isinstance(propose, Proposer)
    stages: dict[str, list[float]] = {"decode": [], "search": [], "boxes": [], "network": []}
    for number, path in enumerate((paths[0], *paths)):
        decode, image = processor_seconds(partial(load_image, path))
        search, searched = processor_seconds(partial(propose.search, image))
        boxes, found = processor_seconds(partial(propose.complete, image, searched))
        network, _ = processor_seconds(partial(detector, detector.prepare(image, found)))
        if number:
            for values, seconds in zip(stages.values(), (decode, search, boxes, network), strict=True):
                values.append(seconds)
    return {stage: float(np.median(values)) for stage, values in stages.items()}


def measure_stream(paths: Sequence[Path]) -> dict[str, float]:
    """Seconds of the plain stream, its start taken off, and the bytes of a row."""
    with tempfile.TemporaryDirectory() as name:
        folder, seconds = Path(name), []
        for count in (1, len(paths)):
            (folder / "list.txt").write_text("".join(f"{path.resolve()}\n" for path in paths[:count]), encoding="utf-8")
            line = [sys.executable, str(TOOLS / "detect.py"), str(folder / "list.txt"), "--engine", "local", "--quiet"]
            begun = time.monotonic()
            subprocess.run([*line, "--device", "cpu", "--output", str(folder / f"found-{count}")], check=True)
            seconds.append(time.monotonic() - begun)
        written = sum(path.stat().st_size for path in (folder / f"found-{len(paths)}").glob("part-*"))
    each = (seconds[1] - seconds[0]) / max(len(paths) - 1, 1)
    return {"start": seconds[0], "photograph": each, "written": written / len(paths)}


def measure(folder: Path, count: int, models: Sequence[str]) -> dict[str, Any]:
    """All that `tables` needs of this machine.

    Raises:
        InputError: There is no photograph.
    """
    paths = image_files(folder)[:count]
    if not paths:
        raise InputError(f"no photographs in {folder}")
    sizes = [load_image(path).shape[:2] for path in paths]
    return {
        "machine": f"{machine_line('numpy', 'torch')}; {instructions()}",
        "processors": available_processors(),
        "photographs": len(paths),
        "megapixels": float(np.mean([height * width for height, width in sizes]) / 1e6),
        "read": float(np.mean([path.stat().st_size for path in paths])),
        "stream": measure_stream(paths),
        "models": {name: measure_model(name, paths) for name in models},
    }


def read_cuda(path: Path) -> dict[str, float]:
    """Seconds by stage, from what bench_cuda printed.

    Raises:
        InputError: A line is missing.
    """
    text, found = path.read_text(encoding="utf-8"), {}
    for stage, names in GPU_STAGES.items():
        lines = [re.search(rf"^{re.escape(name)} +([\d.]+)", text, flags=re.MULTILINE) for name in names]
        if missing := [name for name, line in zip(names, lines, strict=True) if line is None]:
            raise InputError(
                f"{path} has no line {missing[0]!r}; it should be the output of bench_cuda.py --weights coco"
            )
        found[stage] = sum(float(line[1]) for line in lines if line) / 1000
    found["six"] = 5 * found["coco"] + found["coco-mini"]
    return found


def cost_of(inputs: dict[str, Any], cuda: dict[str, float], model: str, *, stored: bool, on_gpu: bool) -> Cost:
    """Of a photograph.

    Args:
        inputs: What `measure` gave.
        cuda: What `read_cuda` gave.
        model: A name of `inputs`.
        stored: Whether proposals are read, not made.
        on_gpu: Where the networks compute.
    """
    stages = inputs["models"][model]
    gpu = (cuda[model] + (0 if stored else cuda["boxes"])) if on_gpu else 0.0
    processor = stages["decode"] + (0 if stored else stages["search"])
    processor += gpu if on_gpu else stages["network"] + (0 if stored else stages["boxes"])
    return Cost(processor, gpu, inputs["read"] + stored * PROPOSAL_BYTES * PROPOSALS, inputs["stream"]["written"])


def two_digits(value: float) -> str:
    """A number as exact as a model is.

    >>> two_digits(79_840), two_digits(2.16)
    ('80,000', '2.2')
    """
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> duration(90), duration(7200), duration(200_000), duration(1e9)
    ('1.5 min', '2 h', '2.3 days', '32 years')
    """
    for unit, size, most in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86_400), ("days", 86_400, 365 * 86_400)):
        if seconds < most:
            return f"{two_digits(seconds / size)} {unit}"
    return f"{two_digits(seconds / (365.25 * 86_400))} years"


def ways(inputs: dict[str, Any]) -> list[tuple[str, bool]]:
    """Models, with proposals made and stored."""
    return [(model, stored) for model in inputs["models"] for stored in (False, True)]


def print_costs(inputs: dict[str, Any], cuda: dict[str, float]) -> None:
    """What a photograph costs, and how many processors keep a GPU busy."""
    print("| model | proposals | processor alone, s | with a GPU, s | GPU, ms | processors a GPU | KB in | KB out |")
    print("|---|---|---|---|---|---|---|---|")
    for model, stored in ways(inputs):
        alone, beside = (cost_of(inputs, cuda, model, stored=stored, on_gpu=on_gpu) for on_gpu in (False, True))
        print(
            f"| `{model}` | {'stored' if stored else 'made'} | {alone.processor:.3f} | {beside.processor:.3f} | "
            f"{1000 * beside.gpu:.1f} | {beside.processor / beside.gpu:.1f} | {alone.read / 1000:.0f} | "
            f"{alone.written / 1000:.1f} |"
        )


def print_machines(inputs: dict[str, Any], cuda: dict[str, float]) -> None:
    """Rates, what bounds them, and durations."""
    print(f"| machine | model | proposals | photographs/s | bounded by | {' | '.join(f'{n:.0e}' for n in NUMBERS)} |")
    print("|---|---|---|---|---|" + "---|" * len(NUMBERS))
    for machine in MACHINES:
        for model, stored in ways(inputs):
            cost = cost_of(inputs, cuda, model, stored=stored, on_gpu=machine.gpus > 0)
            busy = cost.seconds_on(machine)
            slowest = max(busy, key=lambda part: busy[part])
            times = " | ".join(duration(number * busy[slowest]) for number in NUMBERS)
            made = "stored" if stored else "made"
            print(f"| {machine.name} | `{model}` | {made} | {two_digits(1 / busy[slowest])} | {slowest} | {times} |")


def print_check(inputs: dict[str, Any], cuda: dict[str, float]) -> None:
    """The model against what was measured."""
    model = next(iter(inputs["models"]))
    cost = cost_of(inputs, cuda, model, stored=False, on_gpu=False)
    said, measured = cost.processor / inputs["processors"], inputs["stream"]["photograph"]
    print(
        f"`{model}` on {inputs['processors']} processors, a photograph: {said:.3f} s by the model, {measured:.3f} s "
        f"measured (`detect --engine local`, {inputs['photographs']} photographs, after a start of "
        f"{inputs['stream']['start']:.1f} s)"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    first, second = steps.add_parser("measure"), steps.add_parser("tables")
    first.add_argument("photographs", type=Path, help="folder")
    first.add_argument("--count", type=int, default=40)
    first.add_argument("--models", nargs="+", default=["coco", "coco-mini", "six"], help="the first one is checked")
    second.add_argument("--cuda", type=Path, required=True, help="what bench_cuda.py --weights coco printed")
    for one in (first, second):
        one.add_argument("--inputs", type=Path, required=True, help="JSON of what was measured")
    asked = parser.parse_args(argv)
    if asked.step == "measure":
        keep_freed_memory()
        asked.inputs.write_text(json.dumps(measure(asked.photographs, asked.count, asked.models), indent=1) + "\n")
        return
    inputs, cuda = json.loads(asked.inputs.read_text(encoding="utf-8")), read_cuda(asked.cuda)
    photographs = f"{inputs['photographs']} photographs of {inputs['megapixels']:.2f} megapixels"
    print(f"{inputs['machine']}; {photographs}; GPU: {asked.cuda.name}\n")
    for print_part in (print_costs, print_machines, print_check):
        print_part(inputs, cuda)
        print()


if __name__ == "__main__":
    main()
