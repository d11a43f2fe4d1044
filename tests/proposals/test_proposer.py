"""Both sources behind one call: who is asked, what orders the list, and what is written down about it."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import read_description, write_checkpoint
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.proposals import MultiBox, ProposalSettings, Proposer, merge_proposals, selective_search
from inception_rcnn.proposals.network.checkpoints import MultiBoxDescription, multibox_path, save_multibox
from inception_rcnn.proposals.network.predictor import View
from inception_rcnn.proposals.network.priors import PriorSettings
from inception_rcnn.proposals.proposer import search_settings
from inception_rcnn.structures import CheckpointError, InputError, Proposals

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = ProposalSettings(mode="single", width=100, min_side=8, top_k=15)
Pixels = NDArray[np.uint8]


def proposer(untrained: MultiBox, **changes: object) -> Proposer:
    return Proposer(replace(SETTINGS, **changes), untrained)  # type: ignore[arg-type]


def searched(image: Pixels) -> Proposals:
    return selective_search(image, mode="single", width=100, min_side=8, threads=1)


def same(one: Proposals, two: Proposals) -> bool:
    """Whether two lists have the same boxes of the same sources in the same order."""
    return np.array_equal(one.boxes, two.boxes) and [one.source_names[who] for who in one.source] == [
        two.source_names[who] for who in two.source
    ]


def test_selective_search_alone_needs_no_network(photograph: Pixels) -> None:
    found = Proposer(replace(SETTINGS, source="selective-search"))(photograph, threads=1)
    assert same(found, searched(photograph)) and len(found) > 10


def test_selective_search_alone_leaves_a_network_alone(untrained: MultiBox, photograph: Pixels) -> None:
    one = proposer(untrained, source="selective-search")
    assert same(one(photograph, threads=1), searched(photograph))
    assert one.describe() == Proposer(replace(SETTINGS, source="selective-search")).describe()


def test_multibox_alone_gives_its_boxes_as_it_ranks_them(untrained: MultiBox, photograph: Pixels) -> None:
    for objectness in (False, True):
        found = proposer(untrained, source="multibox", objectness=objectness)(photograph)
        assert same(found, untrained.propose(photograph, top_k=15))
    found = proposer(untrained, source="multibox", crops=True)(photograph)
    assert same(found, untrained.propose(photograph, top_k=15, crops=True))


def test_without_objectness_both_take_turns(untrained: MultiBox, photograph: Pixels) -> None:
    found = proposer(untrained, objectness=False)(photograph, threads=1)
    own = untrained.propose(photograph, top_k=15)
    assert same(found, merge_proposals(own, searched(photograph)))
    assert found.boxes[0].tolist() == own.boxes[0].tolist() and found.source[:4].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("crops", [False, True])
def test_objectness_orders_the_boxes_of_both_alike(untrained: MultiBox, photograph: Pixels, crops: bool) -> None:
    found = proposer(untrained, crops=crops)(photograph, threads=1)
    asked = (untrained.propose(photograph, top_k=15, crops=crops), searched(photograph))
    every = np.concatenate([one.boxes for one in asked])
    _, scores = untrained.rank(untrained.look([photograph])[0], *asked)
    assert same(found, merge_proposals(*asked, scores=scores))
    assert found.boxes[0].tolist() == every[scores.argmax()].tolist()


class Counting(MultiBox):
    """Counts the pictures that the network looks at."""

    def look(self, images: Sequence[Pixels]) -> list[View]:
        self.looks = getattr(self, "looks", 0) + len(images)
        return super().look(images)


@pytest.mark.parametrize(("source", "objectness"), [("both", True), ("both", False), ("multibox", True)])
@pytest.mark.parametrize(("crops", "looks"), [(False, 1), (True, 5)])
def test_the_network_looks_once_and_its_objectness_stays_with_the_boxes(
    untrained: MultiBox, photograph: Pixels, source: str, objectness: bool, crops: bool, looks: int
) -> None:
    counting = Counting(untrained.network, untrained.spec, untrained.runtime)
    found = proposer(counting, source=source, objectness=objectness, crops=crops, max_boxes=20)(photograph, threads=1)
    assert counting.looks == looks and len(found) > 10 and found.objectness is not None
    expected = untrained.objectness(photograph, found.boxes)  # of another look, so not to the bit
    np.testing.assert_allclose(found.objectness, expected, rtol=1e-3, atol=1e-5)
    assert np.ptp(expected) > 0.01


def test_selective_search_alone_has_no_objectness(untrained: MultiBox, photograph: Pixels) -> None:
    assert proposer(untrained, source="selective-search")(photograph, threads=1).objectness is None


def test_side_by_side_every_thread_keeps_to_itself(untrained: MultiBox, photograph: Pixels) -> None:

    pools: list[int] = []

    class Watched(MultiBox):
        def look(self, images: Sequence[Pixels]) -> list[View]:
            pools.append(torch.get_num_threads())
            return super().look(images)

    one = proposer(Watched(untrained.network, untrained.spec, untrained.runtime))
    torch.set_num_threads(3)
    try:
        with one.side_by_side() as propose, ThreadPoolExecutor(2) as pool:
            found = list(pool.map(propose, [photograph] * 4))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert pools == [1] * 4
    assert all(same(each, one(photograph, threads=1)) for each in found)
    with proposer(untrained, source="selective-search").side_by_side() as propose:
        assert same(propose(photograph), searched(photograph))


@pytest.mark.parametrize("source", ["selective-search", "multibox", "both"])
def test_a_limit_keeps_the_first_boxes(untrained: MultiBox, photograph: Pixels, source: str) -> None:
    every = proposer(untrained, source=source)(photograph, threads=1)
    found = proposer(untrained, source=source, max_boxes=6)(photograph, threads=1)
    assert len(every) > 6 and same(found, every.top(6))


def test_both_has_the_boxes_of_both(untrained: MultiBox, photograph: Pixels) -> None:
    found = proposer(untrained)(photograph, threads=1)
    assert found.source_names == ("multibox", "selective-search")
    assert 10 <= (found.source == 0).sum() <= 15 and (found.source == 1).sum() > 10


def test_a_source_with_a_network_needs_one() -> None:
    for source in ("multibox", "both"):
        with pytest.raises(InputError, match=f"source '{source}' needs a MultiBox network"):
            Proposer(replace(SETTINGS, source=source))


def test_the_description_names_all_that_decides(untrained: MultiBox) -> None:
    said = proposer(untrained).describe()
    assert json.loads(json.dumps(said)) == said
    expected = {"method": "both", "top_k": 15, "objectness": True, "multibox_sha256": "0123", "mode": "single"}
    assert expected.items() <= said.items()
    plain = Proposer(replace(SETTINGS, source="selective-search")).describe()
    assert plain["method"] == "selective-search" and "top_k" not in plain and plain["width"] == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "multibox"},
        {"top_k": 16},
        {"objectness": False},
        {"crops": True},
        {"max_boxes": 9},
        {"superpixel_scale": 1.0},
        {"min_side": 9},
    ],
)
def test_other_settings_are_described_otherwise(untrained: MultiBox, changes: dict[str, object]) -> None:
    assert proposer(untrained, **changes).describe() != proposer(untrained).describe()


def test_other_weights_are_described_otherwise(untrained: MultiBox) -> None:
    other = MultiBox(untrained.network, untrained.spec, untrained.runtime, checksum="4567")
    assert Proposer(SETTINGS, other).describe() != Proposer(SETTINGS, untrained).describe()


def test_the_network_is_loaded_where_it_is_needed(
    untrained: MultiBox, cpu: Runtime, photograph: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "multibox.safetensors"
    description = MultiBoxDescription(untrained.spec, PriorSettings(), 16, {}, "CC0-1.0")
    save_multibox(path, untrained.network.state_dict(), description)
    loaded = Proposer.load(replace(SETTINGS, source="multibox", multibox=str(path)), cpu)
    assert 10 <= len(loaded(photograph)) <= 15 and len(loaded.describe()["multibox_sha256"]) == 64
    absent = replace(SETTINGS, multibox="absent")
    assert Proposer.load(replace(absent, source="selective-search"), cpu).multibox is None
    with pytest.raises(CheckpointError, match="no weights at absent"):
        Proposer.load(absent, cpu)
    write_checkpoint(path, "googlenet", {}, {})
    with pytest.raises(CheckpointError, match="'multibox' is needed here"):
        Proposer.load(replace(SETTINGS, multibox=str(path)), cpu)


def saved(path: Path, untrained: MultiBox, **changes: torch.Tensor) -> Path:
    """A file of the network, some of its tensors changed."""
    description = MultiBoxDescription(untrained.spec, PriorSettings(), 16, {}, "CC0-1.0")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_multibox(path, untrained.network.state_dict() | changes, description)
    return path


@pytest.fixture
def two_files(untrained: MultiBox, tmp_path: Path) -> tuple[Path, Path]:
    """Two networks in files of the same name."""
    first = saved(tmp_path / "first" / "boxes.safetensors", untrained)
    return first, saved(tmp_path / "second" / "boxes.safetensors", untrained, **{"head.bias": torch.ones(16)})


def test_what_is_kept_of_a_network_is_found_on_any_machine(two_files: tuple[Path, Path], cpu: Runtime) -> None:
    asked = replace(SETTINGS, source="multibox", multibox=str(two_files[0]))
    kept = Proposer.load(asked, cpu).settings
    checksum = read_description(two_files[0])["data_sha256"]
    assert kept == replace(asked, multibox="boxes.safetensors", multibox_sha256=checksum)
    assert ProposalSettings.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept
    moved = two_files[0].parent.rename(two_files[0].parents[1] / "elsewhere")
    again = Proposer.load(kept, cpu, beside=moved)
    assert again.multibox is not None and again.multibox.checksum == checksum and again.settings == kept


def test_another_network_and_a_missing_one_are_refused_in_a_line(
    two_files: tuple[Path, Path], cpu: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Proposer.load(replace(SETTINGS, source="multibox", multibox=str(two_files[0])), cpu).settings
    sums = [read_description(path)["data_sha256"][:12] for path in two_files]
    message = (
        rf"boxes.safetensors should have data of the checksum {sums[0]}\.\.\., but .*second.* has {sums[1]}\.\.\. "
    )
    with pytest.raises(
        CheckpointError, match=message + r"and is another network; name the right one \(--multibox FILE"
    ):
        Proposer.load(kept, cpu, beside=two_files[1].parent)
    monkeypatch.chdir(two_files[0].parent)  # a file of that name that lies elsewhere is not taken
    with pytest.raises(CheckpointError, match=rf"no weights at {tmp_path}/boxes.safetensors, .*name the right one"):
        Proposer.load(kept, cpu, beside=tmp_path)
    shipped = ProposalSettings(multibox_sha256="0" * 64)
    with pytest.raises(CheckpointError, match=r"MultiBox multibox should have data of the checksum 0{12}\.\.\., but"):
        Proposer.load(shipped, cpu, beside=tmp_path)


def test_the_user_s_network_is_taken_and_a_warning_says_if_it_is_another(
    two_files: tuple[Path, Path], cpu: Runtime, tmp_path: Path
) -> None:
    kept = Proposer.load(replace(SETTINGS, source="multibox", multibox=str(two_files[0])), cpu).settings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Proposer.load(kept, cpu, beside=tmp_path, multibox=two_files[0]).settings == kept
    with pytest.warns(
        UserWarning, match=r"second.* is not boxes.safetensors .*, with whose proposals the weights were"
    ):
        other = Proposer.load(kept, cpu, beside=tmp_path, multibox=two_files[1])
    assert other.settings.multibox_sha256 == read_description(two_files[1])["data_sha256"]
    with pytest.raises(InputError, match="the proposals are from selective-search alone, which needs no MultiBox x"):
        Proposer.load(replace(SETTINGS, source="selective-search"), cpu, multibox="x")


def test_settings_from_before_checksums_name_files_as_they_did(
    two_files: tuple[Path, Path], cpu: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(SETTINGS, source="multibox")
    sums = [read_description(path)["data_sha256"] for path in two_files]
    for name, beside, expected in (
        (str(two_files[1]), two_files[0].parent, sums[1]),
        ("boxes.safetensors", two_files[0].parent, sums[0]),  # beside the weights before the working folder
        ("boxes.safetensors", tmp_path, sums[1]),
        ("boxes.safetensors", None, sums[1]),
    ):
        monkeypatch.chdir(two_files[1].parent)
        values = {key: one for key, one in replace(old, multibox=name).to_dict().items() if key != "multibox_sha256"}
        loaded = Proposer.load(ProposalSettings.from_dict(values), cpu, beside=beside)
        assert loaded.settings.multibox_sha256 == expected


def test_a_copy_of_the_shipped_network_is_called_by_its_name(cpu: Runtime, tmp_path: Path) -> None:
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(multibox_path("multibox").read_bytes())
    kept = Proposer.load(ProposalSettings(multibox=str(copy)), cpu).settings
    assert kept.multibox == "multibox" and kept == Proposer.load(ProposalSettings(), cpu).settings


def test_settings_differ_where_they_propose_otherwise() -> None:
    both, searching = ProposalSettings(), ProposalSettings(source="selective-search")
    assert both.difference(both) is None and both.difference(searching) == ("source", "both", "selective-search")
    assert both.difference(replace(both, width=400)) == ("width", 500, 400)
    assert searching.difference(replace(searching, top_k=9, multibox="x", crops=True)) is None
    alone = replace(both, source="multibox")
    assert alone.difference(replace(alone, width=400, seed=3)) is None
    assert alone.difference(replace(alone, top_k=9)) == ("top_k", 200, 9)
    one, other = "1" * 64, "2" * 64
    known = replace(both, multibox="a", multibox_sha256=one)
    assert known.difference(replace(known, multibox="b")) is None
    assert known.difference(replace(known, multibox_sha256=other)) == ("multibox_sha256", one, other)
    assert known.difference(replace(known, multibox_sha256=None)) is None
    assert known.difference(replace(known, multibox="b", multibox_sha256=None)) == ("multibox", "a", "b")


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
        ({"multibox_sha256": 7}, "multibox_sha256 should be 64 hexadecimal digits, got 7"),
        ({"multibox_sha256": "abc"}, "multibox_sha256 should be 64 hexadecimal digits, got 'abc'"),
        ({"superpixel_scale": None}, "proposal setting superpixel_scale should be like 2.0, got None"),
    ],
)
def test_settings_that_are_not_understood_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ProposalSettings.from_dict(values)


def test_settings_name_the_method_and_every_parameter_but_the_threads() -> None:
    settings = search_settings({"width": 640})
    assert (settings["method"], settings["width"]) == ("selective-search", 640)
    assert "version" not in settings  # a release alone makes no stored proposals wrong
    assert {"mode", "superpixel_scale", "ranking", "seed", "min_side", "max_boxes", "engine"} < set(settings)
    assert "threads" not in settings and "image" not in settings
    assert search_settings({})["width"] == 500
    assert json.loads(json.dumps(settings)) == settings
    with pytest.raises(InputError, match="no setting 'colour'; known: mode"):
        search_settings({"colour": 1})


def test_proposing_loads_no_loss_no_training_and_no_scipy() -> None:
    code = """
import sys
import inception_rcnn.detector, inception_rcnn.proposals.network.checkpoints, inception_rcnn.proposals.proposer
heavy = ("scipy", "numba", "skimage", "pycocotools")
own = ("training", "samples", "loss")
print([m for m in sys.modules if m in heavy or m.startswith("inception_rcnn.proposals") and m.endswith(own)])
"""
    path = [str(Path(__file__).resolve().parents[2] / "src"), *sys.path]
    result = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(path)}, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
