"""The paper's section 8 and what people ask of a detector, in one table: mAP of each model, six over one, intervals.

    python benchmarks/section8.py --data data --work runs/section8 [--rows coco six ...] [--weights six-paper=a,b,c ...]

DATA holds coco_mini, voc2007 and ilsvrc_mini. Every detector is run by `eval_map`, which keeps what it finds in WORK
and goes on where it was when this is started again; the table is made from these files. Models are shipped names,
unless --weights names files (NAME=FILE, several with commas); the lines of a model that is neither are left open.
Proposals are made on the way, but for the parts that --stored holds a file of `propose` of, FOLDER-SPLIT.safetensors.
Figures in percent: mAP at IoU 0.5 by the set's own rules (COCO; VOC 2007, 11 points; ILSVRC), at 0.75 by COCO's. Behind
each stands the 95 % interval over photographs, of a difference that of paired draws.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bench_ensemble import difference, mean_of
from example_pictures import pictures
from machine import machine_line
from numpy.typing import NDArray

from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.datasets.detections.stored import read_stored_detections
from inception_rcnn.datasets.evaluation_set import EvaluationSet, evaluation_set_of
from inception_rcnn.detector import load_detector
from inception_rcnn.detector.checkpoints import ENSEMBLES, SHIPPED, is_ensemble_file
from inception_rcnn.evaluation import Evaluation, evaluate_coco
from inception_rcnn.evaluation.bootstrap import Resampled, resample_images
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.structures import DetectionTable, InputError

TOOLS = Path(__file__).resolve().parent.parent / "tools"
NOTHING_TRAINED = "not trained"
GUITAR = "n03467517"
OF_DET = "ILSVRC2012_val_"  # other photographs of ilsvrc_mini are ImageNet's, where nothing but guitars is labelled


@dataclass(frozen=True)
class Part:
    """A part of a data set, and the rules it is scored by."""

    format: str
    folder: str
    split: str
    protocol: str


COCO = Part("coco", "coco_mini", "val", "coco")
VOC = Part("voc", "voc2007", "val_unseen", "voc2007")
DET = Part("ilsvrc", "ilsvrc_mini", "val", "ilsvrc")


@dataclass
class Scored:
    """A detector on a part of a data set.

    Attributes:
        evaluations: The detector's own, then perhaps those of its networks alone.
        regions: Classified in a photograph, the mean.
    """

    evaluations: list[Evaluation]
    regions: float
    _drawn: dict[int, Resampled] = field(default_factory=dict)

    def drawn(self, run: int = 0) -> Resampled:
        """Of mAP at IoU 0.5."""
        if run not in self._drawn:
            self._drawn[run] = resample_images(self.evaluations[run])
        return self._drawn[run]

    def members(self) -> list[Resampled]:
        """Of each network alone."""
        return [self.drawn(run) for run in range(1, len(self.evaluations))]

    def best(self) -> Resampled:
        """The best network alone."""
        return max(self.members(), key=lambda one: float(np.nanmean(one.estimate)))

    def strict(self) -> tuple[float, float]:
        """AP at IoU 0.75 and AP of small objects, by COCO's rules, in percent."""
        one = self.evaluations[0]
        stats = evaluate_coco(one.truths, one.detections).stats
        return tuple(100 * (stats[name] or 0.0) for name in ("AP75", "APs"))  # type: ignore[return-value]


@dataclass
class Bench:
    """Runs detectors, each once.

    Attributes:
        data: Folder of the data sets.
        work: Folder of what was found.
        weights: Files by the model's name, in place of shipped ones.
        device: auto, cpu, cuda or cuda:N.
        limit: Only the first photographs of each part.
        stored: Folder of proposals that were made before, None: there are none.
    """

    data: Path
    work: Path
    weights: dict[str, list[str]]
    device: str
    limit: int | None
    stored: Path | None = None
    _sets: dict[Part, EvaluationSet] = field(default_factory=dict)
    _scored: dict[str, Scored] = field(default_factory=dict)

    def files(self, model: str) -> list[str] | None:
        """The checkpoints of a model, None if there are none."""
        return self.weights.get(model) or ([model] if model in (*SHIPPED, *ENSEMBLES) else None)

    def part(self, part: Part) -> EvaluationSet:
        """Its photographs and objects."""
        if part not in self._sets:
            self._sets[part] = evaluation_set_of(
                part.format, self.data / part.folder, part.split, None, limit=self.limit
            )
        return self._sets[part]

    def score(self, model: str, part: Part, name: str = "", options: Sequence[object] = ()) -> Scored | None:
        """What a model reaches on a part; None if it is not there.

        Args:
            model: A shipped name, or one of --weights.
            part: Where.
            name: Of this way of running it, for the file.
            options: Further ones of eval_map.
        """
        files = self.files(model)
        if files is None:
            return None
        key = "-".join(filter(None, (model, part.folder, part.split, name)))
        if key not in self._scored:
            self._scored[key] = self._run(files, part, self.work / f"{key}.safetensors", options)
        return self._scored[key]

    def _run(self, files: Sequence[str], part: Part, path: Path, options: Sequence[object]) -> Scored:
        words: list[object] = ["--dataset", part.format, "--root", self.data / part.folder, "--split", part.split]
        words += ["--protocol", part.protocol, "--output", path, "--device", self.device, *options]
        for file in files:
            words += ["--weights", file]
        words += ["--each"] if len(files) > 1 or is_ensemble_file(files[0]) else []
        words += [] if self.limit is None else ["--limit", self.limit]
        if self.stored is not None and "--proposals" not in options:
            proposals = self.stored / f"{part.folder}-{part.split}.safetensors"
            words += ["--proposals", proposals] if proposals.is_file() else []
        print(f"$ inception-rcnn eval_map {' '.join(map(str, words))}", file=sys.stderr, flush=True)
        line = [sys.executable, str(TOOLS / "eval_map.py"), *map(str, words)]
        if status := subprocess.run(line, check=False, stdout=subprocess.DEVNULL).returncode:
            sys.exit(f"eval_map ended with status {status}")
        chosen, stored = self.part(part), read_stored_detections(path)
        labels = class_positions(stored.class_names, chosen.truth.class_names, chosen.truth.display_names)
        evaluations = []
        for run, title in enumerate(stored.runs):
            table = stored.table(labels, run)
            result = evaluate_by(part.protocol, chosen.truth, table)
            evaluations.append(Evaluation(title=title, result=result, truths=chosen.truth, detections=table))
        return Scored(evaluations, float(np.mean([len(one) for one in stored.proposals])))


def value(drawn: Resampled) -> str:
    """MAP with its interval."""
    interval = drawn.map_interval()
    return f"{100 * np.nanmean(drawn.estimate):.2f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def without_guitars(evaluation: Evaluation) -> Resampled:
    """MAP without the photographs that are not ILSVRC DET's own."""
    truth, found = evaluation.truths, evaluation.detections
    kept = [row for row, name in enumerate(truth.image_names) if OF_DET in str(name)]
    place = np.full(len(truth.image_ids), -1, np.int32)
    place[kept] = np.arange(len(kept))
    rows = np.flatnonzero(place[found.image] >= 0)
    table = DetectionTable(place[found.image[rows]], found.label[rows], found.score[rows], found.box[rows])
    fewer = truth.of_images(kept)
    result = evaluate_by(DET.protocol, fewer, table)
    return resample_images(Evaluation(title="", result=result, truths=fewer, detections=table))


def of_classes(drawn: Resampled, chosen: NDArray[np.bool_]) -> Resampled:
    """The mean over some classes only."""
    return Resampled(drawn.ap[:, chosen], drawn.estimate[chosen], drawn.is_difference)


Line = tuple[str, str]


def row_coco(bench: Bench) -> list[Line]:
    """The default model on COCO."""
    scored = bench.score("coco", COCO)
    if scored is None:
        return [("coco_mini val, `coco`", NOTHING_TRAINED)]
    strict, small = scored.strict()
    figures = f"mAP@0.5 {value(scored.drawn())}; @0.75 {strict:.2f}; AP small {small:.2f}"
    return [("coco_mini val, `coco`", figures)]


def row_ensemble(model: str, title: str, options: Sequence[object] = ()) -> Callable[[Bench], list[Line]]:
    """Six over one."""

    def row(bench: Bench) -> list[Line]:
        scored = bench.score(model, COCO, options=options)
        if scored is None:
            return [(title, NOTHING_TRAINED)]
        together, members = scored.drawn(), scored.members()
        alone = ", ".join(f"{100 * np.nanmean(one.estimate):.2f}" for one in members)
        return [
            (f"{title}, coco_mini val", f"{value(together)}; each alone {alone}"),
            (f"{title} over the mean of its {len(members)} members", difference(together, mean_of(members))),
            (f"{title} over the best of them", difference(together, scored.best())),
        ]

    return row


def row_distilled(bench: Bench) -> list[Line]:
    """How much of the six's gain one network keeps."""
    title = "distilled, coco_mini val"
    one, six = bench.score("distilled", COCO), bench.score("six", COCO)
    if one is None or six is None:
        return [(title, NOTHING_TRAINED)]
    mean, own, best, all_of_them = (
        float(np.nanmean(drawn.estimate)) for drawn in (mean_of(six.members()), one.drawn(), six.best(), six.drawn())
    )
    lines = [(title, value(one.drawn()))]
    lines.append(("... over the best of the six", difference(one.drawn(), six.best())))
    if all_of_them > mean:
        kept, before = (100 * (value - mean) / (all_of_them - mean) for value in (own, best))
        lines.append(
            ("... share of the six's gain kept", f"{kept:.0f} %; the best of the six alone has {before:.0f} %")
        )
    return lines


MEANT = {"astronaut": "person", "chelsea": "cat", "coffee": "cup", "motorcycle": "motorcycle"}


def row_pictures(bench: Bench) -> list[Line]:
    """Four photographs of scikit-image's at the default threshold: what is meant, found once, and all else."""
    files = bench.files("coco")
    detector = load_detector(files, bench.device).with_settings(one_name_iou=0.8)
    once, others = [], []
    for name, image in pictures().items():
        labels = [one.class_name for one in detector(image)]
        once += [name] if labels.count(MEANT[name]) == 1 else []
        others += [f"{label} on {name}" for label in labels if label != MEANT[name] or labels.count(label) > 1]
    text = f"{len(once)} of {len(MEANT)} found once ({', '.join(once)}); other boxes: {', '.join(others) or 'none'}"
    return [("astronaut (person), chelsea (cat), coffee (cup), motorcycle, as they are drawn by default", text)]


def row_everything(bench: Bench) -> list[Line]:
    """All that costs time."""
    title = "everything (six, box regression, mirror, 500 regions), coco_mini val"
    scored = bench.score("six", COCO, "everything", ("--mirror", "--max-proposals", 500))
    return [(title, NOTHING_TRAINED if scored is None else value(scored.drawn()))]


def row_voc(bench: Bench) -> list[Line]:
    """VOC 2007 by its 11 points."""
    lines, scores = [], {}
    for model, what in (
        ("coco", "`coco`'s 20 classes"),
        ("voc2007", "`voc2007`, trained on train alone"),
        ("voc2007-and-2012", "... on train and voc2012"),
    ):
        scores[model] = scored = bench.score(model, VOC)
        lines.append((f"voc2007 val_unseen, {what}", NOTHING_TRAINED if scored is None else value(scored.drawn())))
    alone, together = scores["voc2007"], scores["voc2007-and-2012"]
    if alone is not None and together is not None:
        lines.append(("... over `voc2007`", difference(together.drawn(), alone.drawn())))
    return lines


def row_proposals(bench: Bench, proposals: Sequence[Path]) -> list[Line]:
    """The paper's proposals against plain selective search, with one model."""
    if len(proposals) != 2:
        return [("x2 + MultiBox against x1", "needs --proposals X1 X2, made by `propose`")]
    every = ("--max-proposals", 0, "--no-objectness")
    single, both = (
        bench.score("coco", COCO, name, ("--proposals", path, *every))
        for name, path in zip(("x1", "x2-and-multibox"), proposals, strict=True)
    )
    if single is None or both is None:
        return [("x2 + MultiBox against x1", NOTHING_TRAINED)]
    share = 100 * both.regions / single.regions
    return [
        (
            "x2 + MultiBox against x1, `coco`, all regions, no objectness, coco_mini val",
            f"{value(both.drawn())} against {value(single.drawn())}: {difference(both.drawn(), single.drawn())} with "
            f"{both.regions:.0f} regions for {single.regions:.0f} ({share:.0f} %)",
        )
    ]


def row_det(bench: Bench) -> list[Line]:
    """ILSVRC's 200 classes: all, and apart those with training boxes in the small set, and without the guitars."""
    truth = bench.part(DET).truth
    trained = np.zeros(len(truth.class_names), np.bool_)
    train = evaluation_set_of(DET.format, bench.data / DET.folder, "train", None).truth
    trained[np.unique(train.label)] = True
    guitar = np.array([name == GUITAR for name in truth.class_names])
    lines, before = [], None
    for model, what in (
        ("ilsvrc-free", "training-free"),
        ("ilsvrc-det200", "fine-tuned"),
        ("ilsvrc-six", "six"),
    ):
        scored = bench.score(model, DET)
        title = f"ilsvrc_mini val, 200 classes, {what}"
        if scored is None:
            lines.append((title, NOTHING_TRAINED))
            continue
        drawn = scored.drawn()
        parts = {
            "without the photographs of guitars": without_guitars(scored.evaluations[0]),
            "classes with training boxes here, guitars aside": of_classes(drawn, trained & ~guitar),
            "classes without": of_classes(drawn, ~trained),
        }
        text = "; ".join([value(drawn), *(f"{name} {value(part)}" for name, part in parts.items())])
        lines.append((title, text))
        if before is not None:
            lines.append(("... over the line above", difference(drawn, before)))
        if len(scored.evaluations) > 2:
            lines.append(("... over the mean of its members", difference(drawn, mean_of(scored.members()))))
        before = drawn
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is asked for, and print its lines as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of coco_mini, voc2007, ilsvrc_mini")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--weights", nargs="+", default=[], help="NAME=FILE, or NAME=FILE,FILE,...")
    parser.add_argument(
        "--proposals", nargs="+", type=Path, default=[], help="of coco_mini val: x1, then x2 + MultiBox"
    )
    parser.add_argument("--stored", type=Path, help="folder of proposals made before, coco_mini-val.safetensors ...")
    parser.add_argument("--limit", type=int, help="only the first photographs of each part")
    parser.add_argument("--device", default="auto")
    rows: dict[str, Callable[[Bench], list[Line]]] = {
        "coco": row_coco,
        "six": row_ensemble("six", "six"),
        "paper": row_ensemble("six-paper", "six warped, as the paper has it", ("--no-objectness",)),
        "distilled": row_distilled,
        "everything": row_everything,
        "voc": row_voc,
        "proposals": lambda bench: row_proposals(bench, asked.proposals),
        "ilsvrc": row_det,
        "pictures": row_pictures,
    }
    parser.add_argument("--rows", nargs="+", choices=list(rows), default=list(rows))
    asked = parser.parse_args(argv)
    asked.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked.data, asked.work, named_files(asked.weights), asked.device, asked.limit, asked.stored)
    print(machine_line("numpy", "torch", "torchvision"))
    print("\n| | |\n|---|---|", flush=True)
    for name in asked.rows:
        for title, text in rows[name](bench):
            print(f"| {title} | {text} |", flush=True)


def named_files(words: Sequence[str]) -> dict[str, list[str]]:
    """Files by name.

    >>> named_files(["six=a.safetensors,b.safetensors"])
    {'six': ['a.safetensors', 'b.safetensors']}
    """
    found = {}
    for word in words:
        name, equals, files = word.partition("=")
        if not (name and equals and files):
            raise InputError(f"--weights should be NAME=FILE, or NAME=FILE,FILE, got {word!r}")
        found[name] = files.split(",")
    return found


if __name__ == "__main__":
    main()
