"""What the shipped model finds on two photographs, in float32 on the CPU: writes what tests compare with.

    python benchmarks/golden_detections.py

Run it once for each new default model, look at what it prints, and commit tests/detector/data/golden_detections.json.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import skimage
import torch

from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector import Detector, Ensemble, load_region_classifier
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS
from inception_rcnn.detector.loading import settings_of
from inception_rcnn.proposals import ProposalSettings, Proposer
from inception_rcnn.structures import load_image, write_json

PHOTOGRAPHS = ("chelsea.png", "astronaut.png")
THRESHOLD = 0.04  # lower than what is shown, so that there is more to compare
GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "detector" / "data" / "golden_detections.json"


def exact_detector() -> Detector:
    """The shipped detector, computing in float32 whatever this processor is good at."""
    runtime = Runtime(torch.device("cpu"), torch.float32, 64)
    member = load_region_classifier(DEFAULT_WEIGHTS, runtime)
    proposer = Proposer.load(ProposalSettings.from_dict(member.description.proposal_settings), runtime)
    settings = replace(settings_of(member.description), score_threshold=THRESHOLD)
    return Detector(proposer, Ensemble([member]), settings, proposer.multibox)


def found_on(detector: Detector, name: str) -> list[dict[str, Any]]:
    """The detections on one of scikit-image's photographs, best first."""
    found = detector(load_image(Path(skimage.__file__).parent / "data" / name))
    columns = zip(found.names(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"class": label, "score": round(score, 4), "box": [round(side, 1) for side in box]}
        for label, score, box in columns
    ]


def main() -> None:
    """Write the file, and print what is in it."""
    detector = exact_detector()
    golden = {name: found_on(detector, name) for name in PHOTOGRAPHS}
    GOLDEN.parent.mkdir(exist_ok=True)
    write_json(GOLDEN, {"weights": DEFAULT_WEIGHTS, "photographs": golden})
    for name, entries in golden.items():
        print(name)
        for entry in entries:
            print(f"  {entry['class']:<16} {entry['score']:.4f} {entry['box']}")


if __name__ == "__main__":
    main()
