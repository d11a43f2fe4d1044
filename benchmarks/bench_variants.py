"""GoogLeNet's variants against torchvision's googlenet: images a second, all in one run.

    python benchmarks/bench_variants.py [--batch 1 16] [--rounds 9] [--precision fp32 bf16] [--json FILE]

Every network has 1,000 outputs, fresh weights and no auxiliary heads, is in evaluation mode, and sees the same images
of 224 px in channels-last memory; all take turns, another one first each time. "merged" is how `Classifier` and the
detectors run the paper's network: its 1x1 convolutions that read one map are one.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from machine import instructions, machine_line
from speed_measures import Spread, Table, interleaved, ratio

from inception_rcnn.backbones import VARIANTS, googlenet
from inception_rcnn.backbones.inference import for_inference
from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory

THEIRS = "torchvision.models.googlenet"
SIDE = 224


def networks(left_out: Sequence[str]) -> dict[str, torch.nn.Module]:
    """By what the table calls them, without some variants; torchvision's first."""
    found: dict[str, torch.nn.Module] = {
        THEIRS: torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False)
    }
    for variant in (one for one in VARIANTS if one not in left_out):
        found[f'"{variant}"'] = googlenet(variant)
    found['"paper", lrn=False'] = googlenet(lrn=False)
    found['"paper", merged'] = for_inference(googlenet())
    return {name: network.eval() for name, network in found.items()}


def measure(batch: int, rounds: int, device: torch.device, dtype: torch.dtype, left_out: Sequence[str]) -> Table:
    """All networks in turns on one batch."""
    x = torch.rand(batch, 3, SIDE, SIDE, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)

    def call(network: torch.nn.Module) -> Callable[[int], Any]:
        placed = copy.deepcopy(network).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def run(_: int) -> None:
            placed(x)
            if device.type == "cuda":
                torch.cuda.synchronize()

        return run

    calls = {name: call(network) for name, network in networks(left_out).items()}
    with torch.inference_mode():
        seconds = interleaved(calls, [0], rounds)
    table = Table(
        f"Batches of {batch}, {str(dtype).removeprefix('torch.')} on {device}",
        ("network", "ms a batch", "images/s", f"times {THEIRS}"),
        note=f"Median (5th-95th percentile) of {rounds} rounds.",
    )
    for name, found in seconds.items():
        middle = Spread.of(found)
        table.add(name, Spread.of([1000 * one for one in found]), batch / middle.median, ratio(seconds[THEIRS], found))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print each table as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=("fp32", "bf16"))
    parser.add_argument("--without", nargs="*", default=[], choices=VARIANTS, help="variants to leave out")
    parser.add_argument("--json", type=Path, help="file for the record")
    asked = parser.parse_args(argv)
    keep_freed_memory()
    runtimes = [choose_runtime(asked.device, precision=precision) for precision in asked.precision]
    head = (
        f"{machine_line('torch', 'torchvision')}\nmultiplies with {instructions()}; {torch.get_num_threads()} threads; "
        f"load before: {os.getloadavg()[0]:.1f}"
    )
    print(head, flush=True)
    tables = []
    for runtime in runtimes:
        for batch in asked.batch:
            tables.append(measure(batch, asked.rounds, runtime.device, runtime.dtype, asked.without))
            print(f"\n{tables[-1].text()}", end="", flush=True)
    if asked.json:
        record = {"head": head.splitlines(), "tables": [table.record() for table in tables]}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
