"""Proposal settings: their way through JSON, and whole sets of photographs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from inception_rcnn.detector import ProposalSettings
from inception_rcnn.detector.proposing import REGION_INPUT, Proposer, other_setting, propose_for_set
from inception_rcnn.proposals.stored import StoredProposals, write_stored
from inception_rcnn.structures import InputError, load_image


def test_regions_are_seen_as_r_cnn_saw_them() -> None:
    assert REGION_INPUT.context == 16 and REGION_INPUT.side == 224 and REGION_INPUT.fill == (123, 117, 104)


def test_the_way_through_json_and_back() -> None:
    settings = ProposalSettings(mode="single", superpixel_scale=1.0, width=300, min_side=10, seed=7)
    assert ProposalSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    both = {"source": "both"}
    assert ProposalSettings.from_dict(both) == ProposalSettings()
    assert ProposalSettings.from_dict({**both, "superpixel_scale": 2}) == ProposalSettings()


def test_settings_from_before_multibox_mean_selective_search() -> None:
    expected = ProposalSettings(source="selective-search", width=400, widened_from=1.0, duplicate_iou=1.0)
    assert ProposalSettings.from_dict({"width": 400}) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "fast", "edge_boxes": 1, "colour": 2}, "unknown proposal settings: colour, edge_boxes"),
        ({"mode": 3}, "proposal setting mode should be like 'fast', got 3"),
        ({"width": "500"}, "proposal setting width should be like 500, got '500'"),
        ({"width": 500.5}, "proposal setting width should be like 500, got 500.5"),
        ({"source": "edge boxes"}, "source 'edge boxes' is unknown; known: selective-search, multibox, both"),
        ({"top_k": 0}, "top_k should be at least 1, got 0"),
        ({"objectness": 1}, "proposal setting objectness should be like True, got 1"),
        ({"seed": True}, "proposal setting seed should be like 0, got True"),
        ({"superpixel_scale": None}, "proposal setting superpixel_scale should be like 2.0, got None"),
    ],
)
def test_settings_that_are_not_understood_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ProposalSettings.from_dict(values)


@dataclass
class Folder:
    """Photographs in a folder."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> Path:
        return self.paths[index]

    def load_image(self, index: int) -> npt.NDArray[np.uint8]:
        return load_image(self.paths[index])


def test_a_whole_set_is_proposed_for_and_stored(photograph: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    images = Folder([tmp_path / "a.png", tmp_path / "b.png"])
    Image.fromarray(photograph).save(images.paths[0])
    Image.fromarray(photograph[::-1, 8:]).save(images.paths[1])
    proposer = Proposer(ProposalSettings(source="selective-search", mode="single", width=100, min_side=8))
    path = tmp_path / "proposals.safetensors"
    found = propose_for_set(images, proposer, path, quiet=True)
    for index, proposals in enumerate(found):
        expected = proposer(images.load_image(index), threads=1)
        assert len(proposals) > 5 and np.array_equal(proposals.boxes, expected.boxes)
    written = path.read_bytes()
    again = propose_for_set(images, proposer, path, quiet=True)
    assert path.read_bytes() == written and np.array_equal(again[1].boxes, found[1].boxes)
    with pytest.raises(InputError, match="was made with seed = 0, now 1 is asked for"):
        propose_for_set(images, Proposer(replace(proposer.settings, seed=1)), path, quiet=True)


def test_proposals_that_were_made_otherwise_are_told_from_the_proposers_own(tmp_path: Path) -> None:
    path = tmp_path / "proposals.safetensors"
    proposer = Proposer(ProposalSettings(source="selective-search", width=100))
    made = {**proposer.describe(), "version": "0.0.1"}
    write_stored(path, StoredProposals(made, (), (), ()))
    assert other_setting(path, proposer) is None  # another version alone says nothing
    wider = Proposer(ProposalSettings(source="selective-search", width=200, seed=1))
    assert other_setting(path, wider) == f"{path} was made with seed = 0, not 1"
    write_stored(path, StoredProposals({**made, "method": "edge boxes", "alpha": 0.65}, (), (), ()))
    assert other_setting(path, proposer) == f"{path} was made with method = 'edge boxes', not 'selective-search'"
