"""`load_detector`: one file, several, the shipped model; and everything that is not one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import InputSpec, write_checkpoint
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    Detector,
    RegionClassifier,
    load_detector,
    save_region_classifier,
)
from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS, photographs_seen
from inception_rcnn.detector.loading import chosen_weights
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.network.checkpoints import MultiBoxDescription, multibox_path, save_multibox
from inception_rcnn.proposals.network.priors import PriorSettings
from inception_rcnn.proposals.proposer import ProposalSettings, Proposer
from inception_rcnn.structures import CheckpointError, ImageError, InputError, Proposals


@pytest.fixture(scope="module")
def save(
    classifiers: tuple[RegionClassifier, ...],
    description: ClassifierDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Saves one of the two classifiers with some of its description changed."""
    folder = tmp_path_factory.mktemp("weights")

    def write(which: int = 0, **changes: object) -> Path:
        path = folder / f"{which}-{abs(hash(repr(changes)))}.safetensors"
        save_region_classifier(path, classifiers[which].network, replace(description, **changes))
        return path

    return write


def test_one_file_makes_a_detector(save: Callable[..., Path]) -> None:
    for weights in (save(), str(save()), [save()]):
        detector = load_detector(weights, "cpu")
        assert len(detector.ensemble.members) == 1 and detector.ensemble.class_names == ("cat", "cup", "person")
        assert detector.settings == DetectionSettings(score_threshold=0.25)


def test_several_files_make_an_ensemble_with_the_first_one_s_threshold(
    save: Callable[..., Path], photograph: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> None:
    paths = [save(0), save(1, score_threshold=0.75)]
    together = load_detector(paths, "cpu")
    assert together.settings.score_threshold == 0.25 and len(together.ensemble.members) == 2
    alone = [load_detector(path, "cpu").ensemble.score(photograph, boxes[:5]).probabilities[0] for path in paths]
    np.testing.assert_allclose(
        together.ensemble.score(photograph, boxes[:5]).probabilities.mean(axis=0), np.mean(alone, axis=0), atol=1e-3
    )


def test_settings_that_are_given_win(save: Callable[..., Path]) -> None:
    settings = DetectionSettings(score_threshold=0.01, iou_threshold=0.5)
    assert load_detector(save(), "cpu", settings=settings).settings == settings


def test_one_setting_is_changed_and_the_others_are_the_checkpoint_s(save: Callable[..., Path]) -> None:
    path = save(objectness_power=0.5, iou_threshold=0.35, max_proposals=40)
    own = load_detector(path, "cpu").settings
    assert (own.score_threshold, own.objectness_power, own.iou_threshold, own.max_proposals) == (0.25, 0.5, 0.35, 40)
    for given, changed in (
        ({"score_threshold": 0.0}, {"score_threshold": 0.0}),
        ({"iou_threshold": 0.6}, {"iou_threshold": 0.6}),
        ({"max_proposals": 0}, {"max_proposals": None}),
        ({"objectness": 0}, {"objectness_power": 0}),
    ):
        assert load_detector(path, "cpu", **given).settings == replace(own, **changed)
    with pytest.raises(InputError, match="iou_threshold is a part of settings, which was given too; leave one"):
        load_detector(path, "cpu", iou_threshold=0.5, settings=own)
    with pytest.raises(InputError, match=r"score_threshold should lie in 0..1, got 30"):
        load_detector(path, "cpu", score_threshold=30)
    with pytest.raises(InputError, match="max_proposals should be a whole number or None, got False"):
        load_detector(path, "cpu", max_proposals=False)
    with pytest.raises(InputError, match="settings should be DetectionSettings or None, got"):
        load_detector(path, "cpu", settings={})


@pytest.mark.parametrize("weights", [5, b"coco", [None], [["coco"]]])
def test_what_names_no_weights_is_refused(weights: Any) -> None:
    with pytest.raises(InputError, match=r"weights\[0\] should be a text or Path, got"):
        load_detector(weights, "cpu")


def test_weights_may_come_one_by_one(save: Callable[..., Path]) -> None:
    found = load_detector((path for path in (save(), save(1))), "cpu")
    assert found.weights == (str(save()), str(save(1)))


def test_proposals_may_be_others(save: Callable[..., Path], photograph: NDArray[np.uint8]) -> None:
    """Another source by its name, boxes of one's own by a function; these have the objectness of the checkpoint."""
    path = save(proposal_settings={"source": "both"})
    searched = load_detector(path, "cpu", proposals="selective-search")
    assert searched.multibox is None and isinstance(searched.propose, Proposer)
    assert searched.propose.settings.source == "selective-search"
    same = load_detector(path, "cpu", proposals="selective_search").propose
    assert isinstance(same, Proposer) and same.settings == searched.propose.settings
    own = Proposals(np.array([[0, 0, 30, 30]], np.float32), np.ones(1, np.float32))
    detector = load_detector(path, "cpu", proposals=lambda image: own)
    scores = detector.score(photograph)
    assert detector.multibox is not None and scores.proposals.boxes.tolist() == own.boxes.tolist()
    assert scores.proposals.objectness is not None
    with pytest.raises(InputError, match="source 'edge boxes' is unknown; known: selective-search, multibox, both"):
        load_detector(path, "cpu", proposals="edge boxes")


@pytest.mark.parametrize("proposals", [Path("both"), b"both", {}, Proposals.empty()])
def test_proposals_are_a_source_or_a_function(save: Callable[..., Path], proposals: Any) -> None:
    with pytest.raises(InputError, match="proposals should be selective-search, multibox, both or a function"):
        load_detector(save(), "cpu", proposals=proposals)


@pytest.mark.parametrize("found", [None, np.zeros((1, 4), np.float32), [[0, 0, 9, 9]]])
def test_a_function_that_returns_no_proposals_is_named(
    save: Callable[..., Path], photograph: NDArray[np.uint8], found: Any
) -> None:
    detector = load_detector(save(), "cpu", proposals=lambda image: found)
    with pytest.raises(InputError, match="what proposes should return Proposals, such as"):
        detector(photograph)


def test_a_detector_says_in_a_line_what_it_is(save: Callable[..., Path]) -> None:
    assert repr(load_detector("coco", "cpu", runtime="torch", precision="fp32", score_threshold=0.5)) == (
        "Detector(coco; 80 classes; at most 300 regions pooled; proposals selective search and MultiBox; "
        "score threshold 0.5; fp32 by torch on cpu)"
    )
    several = repr(load_detector([save(), save(1)], "cpu", max_proposals=0, proposals=lambda image: Proposals.empty()))
    assert "; 3 classes; all regions warped; proposals of its own; " in several and several.count(".safetensors") == 2


def test_it_can_be_loaded_again_elsewhere(save: Callable[..., Path], photograph: NDArray[np.uint8]) -> None:
    """On another device, or in another process, by pickle: with the settings that it has by then."""
    detector = load_detector(save(), "cpu", max_proposals=9).with_settings(score_threshold=0.05)
    assert detector.device == torch.device("cpu")
    for other in (detector.to("cpu"), pickle.loads(pickle.dumps(detector))):
        assert other.settings == detector.settings and other.ensemble is not detector.ensemble
        assert other.device == detector.device
        assert other(photograph).to_records() == detector(photograph).to_records() != []
    built = Detector(detector.propose, detector.ensemble, detector.settings)
    for again in (lambda: built.to("cpu"), lambda: pickle.dumps(built)):
        with pytest.raises(InputError, match="only a detector of load_detector can be loaded again"):
            again()


def test_a_copy_shares_the_parts_and_a_deep_copy_is_loaded_again(save: Callable[..., Path]) -> None:
    detector = load_detector(save(), "cpu")
    built = Detector(detector.propose, detector.ensemble, detector.settings)
    for one in (detector, built):
        assert copy.copy(one) is not one and vars(copy.copy(one)) == vars(one)
    assert copy.deepcopy(detector).ensemble is not detector.ensemble


def test_it_is_loaded_again_from_any_folder(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that works elsewhere finds files that were named from here."""
    monkeypatch.chdir(save().parent)
    detector = load_detector(save().name, "cpu", proposals="both", multibox="multibox")
    assert detector.weights == (save().name,)
    monkeypatch.chdir("/")
    for other in (detector.to("cpu"), pickle.loads(pickle.dumps(detector))):
        assert other.weights == (str(save()),) and other.multibox is not None


def test_another_process_gets_it_and_gives_its_detections_back(
    save: Callable[..., Path], photograph: NDArray[np.uint8]
) -> None:
    """One that begins anew, as on Windows and macOS, and has nothing of this one but what was pickled."""
    detector = load_detector(save(), "cpu", max_proposals=9, runtime="torch", precision="fp32")
    detector = detector.with_settings(score_threshold=0.05)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(detector, photograph).result()
    ours = detector(photograph)
    assert found.labels.tolist() == ours.labels.tolist() != [] and found.class_names == ours.class_names
    np.testing.assert_allclose(found.boxes, ours.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, ours.scores, rtol=1e-4)


def test_threads_may_load_at_the_same_time(save: Callable[..., Path], photograph: NDArray[np.uint8]) -> None:
    paths = [save(number % 2) for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        loaded = list(pool.map(lambda path: load_detector(path, "cpu", max_proposals=6), paths))
    alone = [load_detector(path, "cpu", max_proposals=6)(photograph) for path in paths[:2]]
    assert [one(photograph) for one in loaded] == alone * 3


def test_a_notebook_shows_what_it_is(save: Callable[..., Path]) -> None:
    detector = load_detector([save(), save(1)], "cpu", proposals=lambda image: Proposals.empty())
    shown = detector._repr_html_()
    parts = repr(detector).removeprefix("Detector(").removesuffix(")").split("; ")
    assert all(f"<td>{part}</td>" in shown for part in parts) and len(parts) == shown.count("<tr>") == 6


def test_a_list_of_images_gives_a_list(save: Callable[..., Path], photograph: NDArray[np.uint8]) -> None:
    detector = load_detector(save(), "cpu", max_proposals=6)
    images = [photograph, photograph[:, ::-1].copy()]
    found = detector(images)
    assert [one.to_records() for one in found] == [detector(image).to_records() for image in images]
    assert detector([]) == [] and len(detector(tuple(images))) == 2
    prepared = [detector.prepare(image) for image in images]
    assert detector(prepared) == list(detector.stream(prepared)) == found
    with pytest.raises(ImageError):
        detector([photograph, "there is no such file.png"])


def test_proposals_are_the_ones_it_was_trained_on(save: Callable[..., Path], photograph: NDArray[np.uint8]) -> None:
    detector = load_detector(save(proposal_settings={"mode": "single", "width": 90, "min_side": 8}), "cpu")
    expected = selective_search(photograph, mode="single", width=90, min_side=8, widened_from=1.0, duplicate_iou=1.0)
    assert len(expected) > 5 and np.array_equal(detector.propose(photograph).boxes, expected.boxes)


def test_where_multibox_proposes_it_has_the_objectness_too(save: Callable[..., Path]) -> None:
    assert load_detector(save(), "cpu").multibox is None
    detector = load_detector(save(proposal_settings={"source": "both"}), "cpu")
    assert isinstance(detector.propose, Proposer) and detector.multibox is detector.propose.multibox is not None


def test_the_shipped_model_is_the_default() -> None:
    detector = load_detector(device="cpu")
    assert detector.multibox is not None and detector.settings.max_detections == 100
    assert len(detector.ensemble.class_names) == 80 and detector.ensemble.runtime.device == torch.device("cpu")


def test_the_power_of_the_objectness_is_the_first_checkpoint_s(save: Callable[..., Path]) -> None:
    paths = [save(objectness_power=0.5), save(1, objectness_power=0.0)]
    with pytest.warns(UserWarning, match=r"objectness_power = 0.5 of .* is taken for all members; .* has 0.0"):
        assert load_detector(paths, "cpu").settings.objectness_power == 0.5
    assert load_detector(paths, "cpu", objectness=0.25).settings.objectness_power == 0.25  # asked for: no warning
    assert load_detector(paths[1], "cpu").settings.objectness_power == 0.0
    assert load_detector(paths, "cpu", settings=DetectionSettings()).settings.objectness_power == 1.0


def test_the_shipped_model_that_warps_is_one_word_away(save: Callable[..., Path]) -> None:
    assert chosen_weights(None, "warp") == ["coco-mini"] and chosen_weights(None) == [DEFAULT_WEIGHTS]
    assert chosen_weights(save(), "warp") == [save()] and chosen_weights(["a", "b"]) == ["a", "b"]
    with pytest.raises(
        InputError, match=r"0.*\.safetensors has regions=warp, regions=pool was asked for; leave that out"
    ):
        load_detector([save(), save(1)], "cpu", regions="pool")
    with pytest.raises(InputError, match="regions should be pool or warp, got 'paper'"):
        load_detector(save(), "cpu", regions="paper")


def test_without_a_shipped_model_that_pools_one_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("checkpoints", "loading"):
        monkeypatch.setattr(f"inception_rcnn.detector.{module}.DEFAULT_WEIGHTS", "coco-mini")
        monkeypatch.setattr(f"inception_rcnn.detector.{module}.SHIPPED", {"coco-mini": "coco-mini.safetensors"})
    with pytest.raises(InputError, match="no model that travels with the package has regions=pool; name weights"):
        load_detector(regions="pool")


def test_weights_that_are_none_are_refused_before_regions_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, "googlenet", {}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="is of kind 'googlenet'; 'region-classifier' is needed here"):
        chosen_weights(path, "warp")


@pytest.mark.parametrize("settings", [{"algorithm": "edge boxes"}, {"width": "wide"}])
def test_proposal_settings_that_are_not_understood_are_the_file_s_fault(
    save: Callable[..., Path], settings: dict[str, str]
) -> None:
    path = save(proposal_settings=settings)
    with pytest.raises(CheckpointError, match=f"{path.name}: .*proposal setting"):
        load_detector(path, "cpu")


def test_what_makes_no_detector(save: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights at"):
        load_detector(tmp_path / "absent.safetensors", "cpu")
    with pytest.raises(CheckpointError, match="no weights at"):
        load_detector("", "cpu")
    with pytest.raises(InputError, match="an ensemble needs at least one"):
        load_detector([], "cpu")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        load_detector(save(), "gpu")
    with pytest.raises(InputError, match="weights 2 differ from the first in their class_names"):
        load_detector([save(), save(1, class_names=("cat", "dog", "person"))], "cpu")


@pytest.fixture(scope="module")
def boxes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MultiBox with fresh weights."""
    path = tmp_path_factory.mktemp("multibox") / "boxes.safetensors"
    described = MultiBoxDescription(InputSpec(side=64), PriorSettings(), 8, {}, "CC0-1.0")
    save_multibox(path, described.build().state_dict(), described)
    return path


def test_a_multibox_lies_beside_the_weights_or_is_named(
    save: Callable[..., Path], boxes_file: Path, cpu: Runtime, tmp_path: Path
) -> None:
    kept = Proposer.load(ProposalSettings(multibox=str(boxes_file)), cpu).settings
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(save(proposal_settings=kept.to_dict()).read_bytes())
    with pytest.raises(CheckpointError, match=rf"^{weights}: no weights at {tmp_path}/boxes.*; name the right one"):
        load_detector(weights, "cpu")
    with pytest.raises(CheckpointError, match="no weights at"):
        photographs_seen(weights)
    detector = load_detector(weights, "cpu", multibox=boxes_file)
    assert detector.multibox is not None and detector.multibox.checksum == kept.multibox_sha256
    assert photographs_seen(weights, boxes_file) == ()
    (tmp_path / boxes_file.name).write_bytes(boxes_file.read_bytes())
    assert load_detector(weights, "cpu").multibox is not None and photographs_seen(weights) == ()
    (tmp_path / boxes_file.name).write_bytes(multibox_path("multibox").read_bytes())
    with pytest.raises(CheckpointError, match=rf"^{weights}: the MultiBox boxes.safetensors should have data of"):
        load_detector(weights, "cpu")


def test_members_trained_on_other_proposals_are_named_in_a_warning(save: Callable[..., Path]) -> None:
    how = [{"source": "selective-search", "width": width, "top_k": width} for width in (90, 100, 110)]
    paths = [save(number % 2, proposal_settings=one) for number, one in enumerate(how)]
    with pytest.warns(UserWarning) as said:
        detector = load_detector(paths, "cpu")
    assert [str(one.message) for one in said] == [
        f"the proposals of {paths[0]} are taken for all members, and some were trained on others: "
        f"{paths[1]} has width = 100, not 90; {paths[2]} has width = 110, not 90"
    ]
    assert isinstance(detector.propose, Proposer) and detector.propose.settings.width == 90
    for others, options in (
        ([save(1, proposal_settings=how[0] | {"top_k": 7})], {}),  # which decides nothing there
        (paths[1:], {"proposals": lambda image: Proposals.empty()}),
    ):
        load_detector([paths[0], *others], "cpu", **options)  # no warning


def test_a_multibox_that_is_named_is_that_of_all_members(save: Callable[..., Path], boxes_file: Path) -> None:
    how = [{"source": "both", "multibox": "multibox", "multibox_sha256": digit * 64} for digit in "12"]
    with pytest.warns(UserWarning) as said:
        load_detector(
            [save(number, proposal_settings=one) for number, one in enumerate(how)], "cpu", multibox=boxes_file
        )
    assert ["is not multibox" in str(one.message) for one in said] == [True]
