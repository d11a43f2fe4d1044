"""Trains what ships, one command after the other, each for a time of its own: MultiBox, its proposals, the detector.

    inception-rcnn pack_training_data --unpack parts --output data
    python benchmarks/train_shipped.py data --pretrained googlenet.npz --output runs/shipped
        --minutes multibox=3 coco=6 --train coco:coco_mini/train voc:voc2007/train voc:voc2012/trainval
        --val coco:coco_mini/val voc:voc2007/val_unseen

Parts are named FORMAT:FOLDER/SPLIT below the first argument. Steps, in order: `multibox` on all training parts;
`proposals` of all parts with it; `coco`, pooled regions, from the ImageNet weights; `scores`, mAP on the validation
parts; `files`, the weights alone, as fp16. The settings of `coco` are those of its card. What is done is passed over,
and what was begun goes on, when the same command is given again; `--steps` names some of the steps. Each step is a
command of this project, printed with its seconds; one that fails ends the run.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from machine import machine_line

from inception_rcnn.structures import InputError

TOOLS = Path(__file__).resolve().parent.parent / "tools"
COCO = (
    *("--regions", "pool", "--train-from", "3a", "--averaging", "0.999"),
    *("--cells", "7,6,5", "--photometric", "0.2", "--repeat-below", "0.01", "--jitter", "4"),
)
# On a GPU as the card has it; on a CPU a batch of 16 photographs would be seen a few hundred times an hour.
LARGE = ("--photographs", "16", "--regions-each", "64", "--learning-rate", "0.01", "--warm-up", "300")
SMALL = ("--photographs", "2", "--regions-each", "64", "--learning-rate", "0.002", "--warm-up", "200")


@dataclass(frozen=True)
class Part:
    """A part of a data set.

    Args:
        format: Of its files.
        root: Its folder.
        split: Its name.
    """

    format: str
    root: Path
    split: str

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.root.name}-{self.split}"

    @classmethod
    def named(cls, text: str, data: Path) -> Part:
        """The part that "voc:voc2007/train" names."""
        format, colon, rest = text.partition(":")
        folder, slash, split = rest.rpartition("/")
        if not (colon and slash and format and folder and split):
            raise InputError(f"a part should be named FORMAT:FOLDER/SPLIT, such as coco:coco_mini/train, got {text!r}")
        return cls(format, data / folder, split)


@dataclass(frozen=True)
class Plan:
    """What is trained on what.

    Args:
        train, val: Parts.
        pretrained: GoogLeNet's ImageNet weights.
        output: Folder of everything that is made.
        minutes: Of the trainings, by step.
        device: auto, cpu, cuda or cuda:N.
        limit: Of the photographs that are scored; None: all.
    """

    train: Sequence[Part]
    val: Sequence[Part]
    pretrained: Path
    output: Path
    minutes: dict[str, float]
    device: str
    limit: int | None

    @property
    def multibox(self) -> Path:
        """The network of the first step."""
        return self.output / "multibox" / "multibox.safetensors"

    @property
    def coco(self) -> Path:
        """The detector."""
        return self.output / "coco" / "model.safetensors"

    def proposals(self, part: Part) -> Path:
        """The proposals of a part."""
        return self.output / "proposals" / f"{part.name}.safetensors"


def command(tool: str, *words: object) -> None:
    """Run a command of the project; its output is shown.

    Raises:
        SystemExit: It failed.
    """
    line = [str(word) for word in words]
    print(f"$ inception-rcnn {tool} {' '.join(line)}", flush=True)
    status = subprocess.run([sys.executable, str(TOOLS / f"{tool}.py"), *line], check=False).returncode
    if status:
        sys.exit(f"{tool} ended with status {status}")


def named(parts: Sequence[Part]) -> list[object]:
    """Parts as options of a training."""
    options: list[object] = []
    for part in parts:
        options += ["--data", f"{part.format}:{part.root}", "--split", part.split]
    return options


def train_multibox(plan: Plan) -> None:
    """On all parts; COCO is labelled completely, the others in part."""
    ordered = sorted(plan.train, key=lambda part: part.format != "coco")  # --data before --part, as splits are
    options: list[object] = []
    for part in ordered:
        options += ["--data" if part.format == "coco" else "--part", f"{part.format}:{part.root}"]
        options += ["--split", part.split]
    options += ["--pretrained", plan.pretrained, "--output", plan.multibox.parent, "--train-from", "4a"]
    command("train_multibox", *options, "--minutes", plan.minutes["multibox"], "--device", plan.device)


def propose(plan: Plan) -> None:
    """Both sources together, of all parts."""
    for part in (*plan.train, *plan.val):
        where = ("--dataset", part.format, "--root", part.root, "--split", part.split)
        options = ("--weights", plan.multibox, "--output", plan.proposals(part), "--device", plan.device)
        plan.proposals(part).parent.mkdir(parents=True, exist_ok=True)
        command("propose", *where, *options)


def train_coco(plan: Plan) -> None:
    """From the ImageNet weights, for the time given."""
    options = [*named(plan.train), "--pretrained", plan.pretrained, "--output", plan.coco.parent, *COCO]
    for part in plan.train:
        options += ["--proposals", plan.proposals(part)]
    size = SMALL if plan.device == "cpu" else LARGE
    rest = ("--multibox", plan.multibox, "--minutes", plan.minutes["coco"], "--device", plan.device)
    command("train", *options, *size, *rest, "--licence", "Apache-2.0")


def score(plan: Plan) -> None:
    """mAP on the validation parts, with the proposals that were made of them."""
    for part in plan.val:
        where = ("--dataset", part.format, "--root", part.root, "--split", part.split)
        protocol = ("--protocol", "voc2007") if part.format == "voc" else ()
        limit = () if plan.limit is None else ("--limit", plan.limit)
        found = ("--weights", plan.coco, "--proposals", plan.proposals(part), "--device", plan.device)
        command("eval_map", *where, *protocol, *limit, *found)


def collect(plan: Plan) -> None:
    """The weights alone, in a folder to take away."""
    folder = plan.output / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in ((plan.multibox, "multibox.safetensors"), (plan.coco, "coco.safetensors")):
        if path.exists():
            shutil.copy(path, folder / name)
            print(f"{folder / name}: {path.stat().st_size / 1e6:.1f} MB")


STEPS: dict[str, Callable[[Plan], None]] = {
    "multibox": train_multibox,
    "proposals": propose,
    "coco": train_coco,
    "scores": score,
    "files": collect,
}


def minutes_of(words: Sequence[str]) -> dict[str, float]:
    """{"coco": 6.0} of ["coco=6"]."""
    found = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not equals or name not in ("multibox", "coco"):
            raise InputError(f"--minutes should be multibox=3 or coco=6, got {word!r}")
        found[name] = float(number)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Do the steps, and say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--pretrained", type=Path, required=True, help="GoogLeNet's ImageNet weights, .npz")
    parser.add_argument("--output", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--train", nargs="+", required=True, help="parts, FORMAT:FOLDER/SPLIT")
    parser.add_argument("--val", nargs="+", default=[], help="parts, likewise")
    parser.add_argument("--minutes", nargs="+", default=["multibox=3", "coco=6"], help="of each training")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="only the first photographs of each validation part are scored")
    asked = parser.parse_args(argv)
    part_of = partial(Part.named, data=asked.data)
    plan = Plan(
        [part_of(text) for text in asked.train],
        [part_of(text) for text in asked.val],
        asked.pretrained,
        asked.output,
        minutes_of(asked.minutes),
        asked.device,
        asked.limit,
    )
    print(machine_line("numpy", "torch"), flush=True)
    for name, step in STEPS.items():
        if name in asked.steps:
            begun = time.monotonic()
            step(plan)
            print(f"--- {name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
