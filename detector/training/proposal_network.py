"""Training MultiBox, the network that proposes boxes: `train_multibox`, what `inception-rcnn train_multibox` calls.

data sets --selective search, objects--> BoxSource --run_multibox_training--> multibox.safetensors, its coverage
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
from inception_rcnn.backbones.training.loop import seeded
from inception_rcnn.detector.training.sources import stored_names
from inception_rcnn.evaluation import proposal_recall
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.network.checkpoints import read_start
from inception_rcnn.proposals.network.predictor import MultiBox
from inception_rcnn.proposals.network.priors import Boxes, as_shares, common_ratios, flattened
from inception_rcnn.proposals.network.samples import BoxSource, Pixels
from inception_rcnn.proposals.network.training import MultiBoxTrainingSettings, run_multibox_training
from inception_rcnn.proposals.proposer import search_settings
from inception_rcnn.proposals.stored import propose_for_set
from inception_rcnn.structures import GroundTruth, InputError, Proposals, progress_bar
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.dataset import DetectionDataset, as_datasets, dataset_name
from inception_rcnn.structures.errors import as_declared
from inception_rcnn.structures.files import check_folder
from inception_rcnn.structures.jobs import available_processors

_HELD_OUT: Final = 40  # one photograph in so many


def train_multibox(
    data: DetectionDataset | Sequence[DetectionDataset],
    output: str | Path,
    *,
    pretrained: str | Path,
    parts: DetectionDataset | Sequence[DetectionDataset] = (),
    side: int | None = None,
    channels: int | None = None,
    settings: MultiBoxTrainingSettings | None = None,
    minutes: float | None = None,
    device: str = "auto",
    licence: str = "unstated",
    quiet: bool = False,
) -> Path:
    """Train a network that proposes boxes, whatever the classes, and return its file, `output`/multibox.safetensors.

    One photograph in forty of each set is held out, and its coverage is looked at as the training goes on. A run that
    was killed goes on where it was when the same call is made again.

    Args:
        data: Data sets in which every object of the classes is labelled.
        output: Folder for the result and everything needed to resume; made if need be.
        pretrained: GoogLeNet's ImageNet weights, or a MultiBox that is to go on learning, a file or a shipped name.
        parts: Further data sets, in which only some of the objects that should be found are labelled.
        side: Of the network's input in pixels, a multiple of 64; None: 320, or the MultiBox's own.
        channels: Of the maps that the head reads; None: 128, or the MultiBox's own.
        settings: How to train.
        minutes: As many batches as take so long, in place of what the settings say.
        device: "auto", "cpu", "cuda" or "cuda:N".
        licence: Of the weights, kept in the checkpoint.
        quiet: Show no progress.

    Raises:
        InputError: There is no data set, nothing to learn from, nothing to measure with, or a value is out of range or
            of another type.
        CheckpointError: Weights cannot be read, or `output` holds the state of another run.
    """
    # What may be refused at once comes before the proposals, which take minutes.
    folder = check_folder(as_declared("output", output, str | Path))
    settings = MultiBoxTrainingSettings() if settings is None else settings
    as_declared("settings", settings, MultiBoxTrainingSettings)
    minutes, licence = as_declared("minutes", minutes, float | None), as_declared("licence", licence, str)
    side, channels = as_declared("side", side, int | None), as_declared("channels", channels, int | None)
    whole = as_datasets(data)
    sets = [*whole, *as_datasets(parts, "parts")]
    if not sets:
        raise InputError("there is no data set to train on; name at least one")
    keep_freed_memory()
    runtime = choose_runtime(device)
    start = read_start(as_declared("pretrained", pretrained, str | Path), side=side, channels=channels)
    sources = _sources(sets, len(whole), folder, quiet=quiet)
    described = start.description
    if start.fresh_head:
        described = replace(described, priors=replace(described.priors, ratios=common_ratios(_shares(sources))))
    training = {"data": _names(sets, len(whole)), "pretrained": Path(pretrained).name}
    description = replace(described, training=training, licence=licence)
    with seeded(settings.seed, runtime.device):
        network = start.build(description)
    return run_multibox_training(
        sources,
        description,
        network,
        settings,
        runtime,
        folder,
        coverage=_Coverage(sources),
        fresh_head=start.fresh_head,
        minutes=minutes,
        quiet=quiet,
    )


def _names(sets: Sequence[DetectionDataset], whole: int) -> list[str]:
    """Return the data sets by name, with those labelled in part told apart."""
    return [f"{dataset_name(one)}{'' if place < whole else ' (in part)'}" for place, one in enumerate(sets)]


def _sources(sets: Sequence[DetectionDataset], whole: int, output: Path, *, quiet: bool) -> list[BoxSource]:
    """Return the data sets with what makes their proposals, all images but every fortieth to train on."""

    sources = []
    for place, (dataset, name) in enumerate(zip(sets, stored_names(sets), strict=True)):
        propose = partial(_proposals, dataset, output / name, quiet=quiet)
        rows = [row for row in range(len(dataset)) if row % _HELD_OUT]
        sources.append(BoxSource(dataset, propose, place < whole, rows, dataset_name(dataset)))
    return sources


def _proposals(dataset: DetectionDataset, path: Path, *, quiet: bool) -> Sequence[Proposals]:
    """Return what selective search proposes for each image, stored in `path` and read from there the next time."""

    path.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar(len(dataset), f"proposals for {path.stem}", quiet=quiet) as bar:
        made = propose_for_set(
            dataset, lambda image: selective_search(image, threads=1), search_settings({}), path, bar=bar
        )
    return made.proposals


def _shares(sources: list[BoxSource]) -> Boxes:
    """Return all objects as shares of their images."""
    found = []
    for source in sources:
        for row in source.rows:
            truth = source.dataset.ground_truth(row)
            width, height = truth.width, truth.height
            if width is None or height is None:
                height, width = source.dataset.load_image(row).shape[:2]
            found.append(as_shares(truth.boxes[~truth.ignore], width, height))
    return flattened(found)


def _of_one_class(truth: GroundTruth) -> GroundTruth:
    """Return the objects without their names, which differ from data set to data set."""
    return replace(truth, class_names=("object",), labels=np.zeros_like(truth.labels))


class _Coverage:
    """What share of the held-out images' objects the first 10, 50 and 200 boxes cover.

    Args:
        sources: Every fortieth image of each is looked at; a few are in memory at a time.

    Raises:
        InputError: There is no object on them.
    """

    def __init__(self, sources: list[BoxSource]) -> None:

        self._images = [(one.dataset, row) for one in sources for row in range(0, len(one.dataset), _HELD_OUT)]
        self._truths = [_of_one_class(dataset.ground_truth(row)) for dataset, row in self._images]
        if all(truth.ignore.all() for truth in self._truths):
            raise InputError(f"no object on the {len(self._truths)} images held out, one in {_HELD_OUT}")

    def __call__(self, network: MultiBox) -> dict[str, float]:

        found: list[Proposals] = []
        batch = network.runtime.batch
        with closing(run_ahead(self._load, range(len(self._images)), workers=available_processors())) as loaded:
            while images := [one.result() for one in islice(loaded, batch)]:
                found.extend(network.propose_batch(images))
        recall = proposal_recall(self._truths, found, counts=(10, 50, 200)).recall_at
        return {f"recall@{count}": share for count, share in recall.items()}

    def _load(self, place: int) -> Pixels:
        dataset, row = self._images[place]
        return dataset.load_image(row)
