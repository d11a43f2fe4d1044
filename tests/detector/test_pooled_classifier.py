"""A classifier that looks at the image once: its answers are its network's, alone and beside members that warp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    Detector,
    Ensemble,
    PooledClassifier,
    PooledNetwork,
    PoolingSpec,
    RegionClassifier,
    Runtime,
    StageClock,
    load_detector,
    load_region_classifier,
    save_region_classifier,
)
from inception_rcnn.detector import region_classifier as module
from inception_rcnn.detector.region_pooling import PooledMaps, enlarged_boxes, pooled_input
from inception_rcnn.structures import InputError, Proposals, clip_boxes
from inception_rcnn.structures.boxes import decode_boxes, overlap_ratio

Boxes = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def answers(
    network: PooledNetwork, image: Pixels, boxes: Boxes, scale: float, spec: InputSpec
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The network's own probabilities and offsets, of all regions in one call."""
    enlarged = pooled_input(image, spec, scale, torch.device("cpu"))
    rows = enlarged_boxes(boxes, (image.shape[1], image.shape[0]), enlarged)
    with torch.inference_mode():
        logits, offsets = network(enlarged, torch.nn.functional.pad(torch.from_numpy(rows), (1, 0)))
    return logits.softmax(dim=1).numpy(), offsets.numpy()


@pytest.mark.parametrize("scale", [None, 1.25, 0.9])
def test_its_answers_are_the_network_s(
    pooled: PooledClassifier, photograph: Pixels, boxes: Boxes, spec: InputSpec, scale: float | None
) -> None:
    found, offsets = pooled.score(photograph, boxes, scale=scale)
    expected = answers(pooled.network, photograph, boxes, scale or 96 / 80, spec)  # the short side of 80 becomes 96
    assert offsets is not None and found.dtype == offsets.dtype == np.float32
    np.testing.assert_allclose(found, expected[0], atol=1e-5)
    np.testing.assert_allclose(offsets, expected[1], atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    # The regions are told apart, or nothing would be shown.
    assert found.std(axis=0).max() > 0.05 and offsets.std(axis=0).min() > 0.1


def test_regions_come_in_batches_that_change_nothing(
    pooled: PooledClassifier, photograph: Pixels, boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pooled.score(photograph, boxes)
    sizes: list[int] = []
    pool = pooled._ready.pool

    def counted(maps: PooledMaps, rows: torch.Tensor) -> object:
        sizes.append(len(rows))
        return pool(maps, rows)

    monkeypatch.setattr(pooled._ready, "pool", counted)
    monkeypatch.setattr(module, "_REGIONS_AT_A_TIME", 12)
    parts = pooled.score(photograph, boxes)
    assert sizes == [12, 12, 6]
    for one, two in zip(whole, parts, strict=True):
        assert one is not None and two is not None
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_the_trunk_looks_once(pooled: PooledClassifier, photograph: Pixels, boxes: Boxes) -> None:
    looks: list[int] = []
    hook = pooled._ready.trunk.conv1.register_forward_hook(lambda *_: looks.append(1))
    pooled.score(photograph, boxes)
    hook.remove()
    assert len(looks) == 1


def test_a_mirrored_look_moves_boxes_about_as_the_plain_one_does() -> None:
    """Left is left in both: the shipped network moves loose boxes around the cat to nearly the same places."""
    ensemble, image = load_detector("coco", "cpu", runtime="torch").ensemble, skimage.data.chelsea()
    height, width = image.shape[:2]
    boxes = np.array([[40, 0, 451, 300], [0, 10, 380, 300], [90, 30, 451, 280]], np.float32)
    plain, mirrored = ensemble.score(image, boxes), ensemble.score_mirrored(image, boxes)
    assert plain.offsets is not None and mirrored.offsets is not None
    assert np.abs(plain.offsets[0, :, 0]).min() > 0.3  # each has some way to go, to the left or to the right
    ways = [clip_boxes(decode_boxes(boxes, one.offsets[0]), width, height) for one in (plain, mirrored)]
    assert all(overlap_ratio(one, other) > 0.9 for one, other in zip(*ways, strict=True))


def test_without_box_regression_there_are_no_offsets(
    make_pooled: Callable[..., PooledNetwork],
    pooled_description: ClassifierDescription,
    cpu: Runtime,
    photograph: Pixels,
    boxes: Boxes,
) -> None:
    description = replace(pooled_description, box_regression=False)
    alone = PooledClassifier(make_pooled(1, box_regression=False), description, cpu)
    assert alone.score(photograph, boxes[:3])[1] is None
    found = Ensemble([alone]).score(photograph, boxes[:3])
    assert found.offsets is None and found.regresses == () and found.probabilities.shape == (1, 3, 4)


@pytest.mark.parametrize("changes", [{"fine_channels": 0}, {"image_mean": False}, {"centred": False}, {"cells": 5}])
def test_every_specification_can_be_scored(
    make_pooled: Callable[..., PooledNetwork],
    pooled_description: ClassifierDescription,
    cpu: Runtime,
    photograph: Pixels,
    boxes: Boxes,
    spec: InputSpec,
    changes: dict[str, int],
) -> None:
    assert pooled_description.pooling is not None
    pooling = replace(pooled_description.pooling, **changes)
    network = make_pooled(2, pooling)
    classifier = PooledClassifier(network, replace(pooled_description, pooling=pooling), cpu)
    found = classifier.score(photograph, boxes[:8])
    for one, two in zip(found, answers(network, photograph, boxes[:8], 96 / 80, spec), strict=True):
        assert one is not None
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_no_regions_need_no_look(pooled: PooledClassifier, photograph: Pixels) -> None:
    looks: list[int] = []
    hook = pooled._ready.trunk.conv1.register_forward_hook(lambda *_: looks.append(1))
    found, offsets = pooled.score(photograph, np.zeros((0, 4), np.float32))
    hook.remove()
    assert found.shape == (0, 4) and offsets is not None and offsets.shape == (0, 4) and looks == []


def test_bfloat16_stays_near(
    make_pooled: Callable[..., PooledNetwork],
    pooled: PooledClassifier,
    pooled_description: ClassifierDescription,
    photograph: Pixels,
    boxes: Boxes,
) -> None:
    rough = PooledClassifier(make_pooled(1), pooled_description, Runtime(torch.device("cpu"), torch.bfloat16, 64))
    (found, moves), (exact, exact_moves) = rough.score(photograph, boxes), pooled.score(photograph, boxes)
    assert moves is not None and exact_moves is not None and found.dtype == moves.dtype == np.float32
    # Fresh weights make more of rounding than trained ones do.
    assert 0 < np.abs(found - exact).mean() < 0.02 and 0 < np.abs(moves - exact_moves).mean() < 0.1


def test_what_cannot_be_scored(pooled: PooledClassifier, photograph: Pixels, boxes: Boxes) -> None:
    for scale in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="scale should be above 0"):
            pooled.score(photograph, boxes, scale=scale)
    with pytest.raises(InputError, match="boxes has 1 without area"):
        pooled.score(photograph, np.array([(5, 5, 5, 9)], np.float32))
    with pytest.raises(InputError, match="row 0 reaches more than 1000000 px outside"):
        pooled.score(photograph, np.array([(-1e12, -1e12, 1e12, 1e12)], np.float32))
    with pytest.raises(InputError):
        pooled.score(photograph.astype(np.float32), boxes)  # type: ignore[arg-type]


def test_networks_and_descriptions_that_differ_are_refused(
    make_pooled: Callable[..., PooledNetwork],
    make_network: Callable[[int], GoogLeNet],
    pooled_description: ClassifierDescription,
    description: ClassifierDescription,
    cpu: Runtime,
    tmp_path: Path,
) -> None:
    network = make_pooled(1)
    with pytest.raises(InputError, match=r"a classifier of 2 classes has one output more, .* has 4"):
        PooledClassifier(network, replace(pooled_description, class_names=("cat", "cup")), cpu)
    with pytest.raises(InputError, match=r"pooling is PoolingSpec\(.*, the network's is PoolingSpec"):
        PooledClassifier(network, replace(pooled_description, pooling=PoolingSpec()), cpu)
    with pytest.raises(InputError, match="box_regression is False, the network's is True"):
        PooledClassifier(network, replace(pooled_description, box_regression=False), cpu)
    with pytest.raises(InputError, match="pooling is None, the network's is PoolingSpec"):
        save_region_classifier(tmp_path / "a.safetensors", network, description)
    with pytest.raises(InputError, match=r"pooling is PoolingSpec\(.*, the network's is None"):
        RegionClassifier(make_network(1), pooled_description, cpu)
    with pytest.raises(InputError, match="box_regression needs pooled regions"):
        replace(description, box_regression=True)
    assert list(tmp_path.iterdir()) == []


def test_members_that_warp_and_members_that_pool_are_asked_together(
    classifiers: tuple[RegionClassifier, ...],
    pooled: PooledClassifier,
    make_pooled: Callable[..., PooledNetwork],
    pooled_description: ClassifierDescription,
    cpu: Runtime,
    photograph: Pixels,
    boxes: Boxes,
) -> None:
    wide = PoolingSpec(short_side=128, cells=2, fine_channels=0)
    other = PooledClassifier(
        make_pooled(3, wide, box_regression=False),
        replace(pooled_description, pooling=wide, box_regression=False),
        cpu,
    )
    together = Ensemble([pooled, classifiers[0], other, classifiers[1]])
    clock = StageClock()
    found = together.score(photograph, boxes, clock=clock)
    assert found.probabilities.shape == (4, 30, 4) and found.regresses == (True, False, False, False)
    assert set(clock.seconds) == {"warp", "network", "pooling"} and together.warped == classifiers
    for place, member in enumerate(together.members):
        alone = Ensemble([member]).score(photograph, boxes)
        np.testing.assert_allclose(found.probabilities[place], alone.probabilities[0], atol=1e-5)
    assert found.offsets is not None
    np.testing.assert_allclose(found.offsets[0], pooled.score(photograph, boxes)[1], atol=1e-5)
    assert not found.offsets[1:].any()


def test_crops_are_cut_once_for_all_that_warp(
    classifiers: tuple[RegionClassifier, ...],
    pooled: PooledClassifier,
    photograph: Pixels,
    boxes: Boxes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from inception_rcnn.detector.region_warp import RegionWarp

    cuts: list[int] = []
    cut = RegionWarp.cut
    monkeypatch.setattr(RegionWarp, "cut", lambda self, rows: cuts.append(len(rows)) or cut(self, rows))
    Ensemble([*classifiers, pooled]).score(photograph, boxes[:8])
    assert cuts == [4, 4]
    Ensemble([pooled]).score(photograph, boxes[:8])
    assert cuts == [4, 4]


def test_members_that_pool_need_the_same_classes_and_runtime_but_no_common_input(
    classifiers: tuple[RegionClassifier, ...],
    make_pooled: Callable[..., PooledNetwork],
    pooled_description: ClassifierDescription,
    cpu: Runtime,
) -> None:
    network = make_pooled(1)

    def member(runtime: Runtime = cpu, **changes: object) -> PooledClassifier:
        return PooledClassifier(network, replace(pooled_description, **changes), runtime)

    Ensemble([member(), member(input_spec=InputSpec()), classifiers[0]])
    with pytest.raises(InputError, match="weights 2 differ from the first in their class_names"):
        Ensemble([classifiers[0], member(class_names=("cup", "cat", "person"))])
    with pytest.raises(InputError, match="weights 2 are on fp32"):
        Ensemble([member(), member(Runtime(torch.device("cpu"), torch.float32, 9))])
    with pytest.raises(InputError, match="weights 3 differ from the first that warp in their input_spec"):
        odd = replace(classifiers[1].description, input_spec=InputSpec(side=32, context=5))
        Ensemble([member(), classifiers[0], RegionClassifier(classifiers[1].network, odd, cpu)])


def test_a_detector_moves_its_boxes(pooled: PooledClassifier, photograph: Pixels, boxes: Boxes) -> None:
    proposals = Proposals(boxes, np.linspace(1, 0, len(boxes), dtype=np.float32))
    detector = Detector(lambda image: proposals, Ensemble([pooled]), DetectionSettings(duplicate_iou=1.0))
    scores = detector.score(photograph)
    assert scores.size == (80, 96) and scores.offsets is not None and scores.regresses == (True,)
    moved, still = detector(photograph), detector.with_settings(box_regression=False)(photograph)
    given = {tuple(box) for box in boxes.tolist()}
    assert len(moved) > 3 and not {tuple(box) for box in moved.boxes.tolist()} & given
    assert len(still) > 3 and {tuple(box) for box in still.boxes.tolist()} <= given
    assert moved.boxes.min() >= 0 and (moved.boxes.max(axis=0) <= [80, 96, 80, 96]).all()


def test_a_pooled_classifier_comes_back_from_its_file(
    pooled: PooledClassifier,
    pooled_description: ClassifierDescription,
    cpu: Runtime,
    photograph: Pixels,
    boxes: Boxes,
    tmp_path: Path,
) -> None:
    path = tmp_path / "pooled.safetensors"
    save_region_classifier(path, pooled.network, pooled_description, dtype=torch.float32)
    loaded = load_region_classifier(path, cpu)
    assert isinstance(loaded, PooledClassifier) and loaded.description == pooled_description
    assert loaded.description.regions == "pool"
    for one, two in zip(loaded.score(photograph, boxes), pooled.score(photograph, boxes), strict=True):
        assert one is not None and two is not None
        assert np.array_equal(one, two)
    detector = load_detector(path, "cpu", regions="pool")
    assert detector.settings == DetectionSettings(score_threshold=0.25, objectness_power=0.5)
