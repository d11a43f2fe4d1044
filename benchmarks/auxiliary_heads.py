"""What the auxiliary heads do for a network that starts from nothing: accuracy against iterations, with and without.

    python benchmarks/auxiliary_heads.py CROPS --output RUNS [--side 64] [--iterations 4000] [--seeds 0 1]

`batchnorm`, from scratch, by `train_classifier`, on the crops that benchmarks/voc_crops.py makes: the same batches,
patches and fresh trunk with the heads (their losses at 0.3) and without. Every run goes on where it was killed; what is
done is not done again. RUNS/auxiliary-heads.svg has the curves, the table below the last points. Patches of 64 px give
4a and 4d maps of 4 x 4 cells, which is what the heads of this variant average any map to.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from machine import machine_line
from speed_measures import Table

from inception_rcnn.backbones.training.log import read_log
from inception_rcnn.detector.training.curves import curve_chart, write_charts

TOOL = Path(__file__).resolve().parent.parent / "tools" / "train_classifier.py"
WAYS = {"with heads": 0.3, "without": 0.0}


def train(asked: argparse.Namespace, weight: float, seed: int, output: Path) -> None:
    """One run, if it is not done."""
    words = [asked.crops, "--output", output, "--variant", "batchnorm", "--pretrained", "scratch"]
    words += ["--auxiliary", weight, "--seed", seed, "--side", asked.side, "--batch", asked.batch]
    words += ["--iterations", asked.iterations, "--validate-every", asked.validate_every, "--log-every", 50]
    words += ["--schedule", "cosine", "--learning-rate", asked.learning_rate, "--device", asked.device]
    line = [sys.executable, str(TOOL), *map(str, words)]
    print(f"$ {' '.join(line[1:])}", file=sys.stderr, flush=True)
    if status := subprocess.run(line, check=False, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"train_classifier ended with status {status}")


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--validate-every", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args(argv)
    print(machine_line("numpy", "torch"))
    curves, table = (
        {},
        Table(
            f"batchnorm from scratch, {asked.iterations} batches of {asked.batch} patches of {asked.side} px",
            ("auxiliary heads", "seed", "top-1 at half", "top-1", "top-5", "loss of the last layer", "minutes"),
        ),
    )
    for seed in asked.seeds:
        for way, weight in WAYS.items():
            output = asked.output / f"{way.replace(' ', '-')}-{seed}"
            train(asked, weight, seed, output)
            log = read_log(output / "log.csv")
            points = [
                (float(iteration), 100 * float(score))
                for iteration, score in zip(log["iteration"], log["top1"], strict=True)
                if score
            ]
            curves[f"{way}, seed {seed}"] = points
            half = min(points, key=lambda point: abs(point[0] - asked.iterations / 2))[1]
            last = [float(log[name][-1]) for name in ("top5", "classes", "seconds")]
            table.add(way, seed, half, points[-1][1], 100 * last[0], last[1], last[2] / 60)
    print(f"\n{table.text()}", end="")
    path = asked.output / "auxiliary-heads.svg"
    write_charts(path, [curve_chart("top-1 on val, %", curves)])
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
