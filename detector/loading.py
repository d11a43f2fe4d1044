"""`load_detector`: from weights to a detector that is ready to be called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inception_rcnn.backbones.runtime import choose_runtime
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS, load_region_classifier
from inception_rcnn.detector.ensemble import Ensemble
from inception_rcnn.detector.pipeline import DetectionSettings, Detector
from inception_rcnn.proposals.proposer import ProposalSettings, Proposer
from inception_rcnn.structures import CheckpointError, InputError

Weights = str | Path | Sequence[str | Path]


def load_detector(
    weights: Weights | None = None, device: str = "auto", *, settings: DetectionSettings | None = None
) -> Detector:
    """A detector with the given weights.

    Args:
        weights: a checkpoint file, a shipped name ("coco-mini"), or a list of them: an ensemble whose probabilities
            are averaged region by region. None: the shipped model.
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N".
        settings: thresholds and limits; by default the score threshold is the first checkpoint's own.
    Raises:
        CheckpointError: a file is missing, damaged, of another kind, or at odds with itself.
        InputError: unknown device, or checkpoints that cannot be averaged.
    """
    weights = DEFAULT_WEIGHTS if weights is None else weights
    names = [weights] if isinstance(weights, str | Path) else list(weights)
    runtime = choose_runtime(device)
    ensemble = Ensemble([load_region_classifier(name, runtime) for name in names])
    description = ensemble.members[0].description
    settings = settings or DetectionSettings(score_threshold=description.score_threshold)
    try:
        proposing = ProposalSettings.from_dict(description.proposal_settings)
    except InputError as error:
        raise CheckpointError(f"{names[0]}: {error}") from error
    proposer = Proposer.load(proposing, runtime)
    return Detector(proposer, ensemble, settings, judge=proposer.multibox)
