"""The knee's table: what a smaller number of regions gives is what it would give by itself, in the set's classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bench_regions
import numpy as np
import pytest
import torch
from bench_regions import Bench, Figures, Row, Setting
from numpy.typing import NDArray
from skimage import data

from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.datasets import open_dataset
from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.datasets.evaluation_set import evaluation_set_of
from inception_rcnn.detector import (
    ClassifierDescription,
    DetectionSettings,
    Detector,
    PoolingSpec,
    RegionScores,
    save_region_classifier,
)
from inception_rcnn.detector.ensemble import MemberScores
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.evaluation.bootstrap import Interval
from inception_rcnn.proposals.stored import propose_for_set
from inception_rcnn.structures import Proposals, nms

COCO = ("person", "kite", "couch", "tv")
VOC = ("sofa", "person", "tvmonitor")


class Ensemble:
    """Answers by the box alone, as networks do: a class by its place, moved boxes by its size."""

    class_names = COCO

    def score(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], *, looks: object = None, clock: object = None
    ) -> MemberScores:
        logits = np.sin(boxes[:, :1] * [[0.3, 0.7, 1.1, 1.3, 0.1]] + boxes[:, 3:4]).astype(np.float32)
        probabilities = np.exp(3 * logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return MemberScores(probabilities[None], np.cos(boxes)[None].astype(np.float32), (True,))


def some_proposals(count: int, seed: int) -> Proposals:
    """Boxes with objectness, near-duplicates left out."""
    draw = np.random.default_rng(seed)
    corner = draw.uniform(0, 200, (count, 2))
    boxes = np.concatenate([corner, corner + draw.uniform(20, 250, (count, 2))], axis=1).clip(0, 300)
    drawn = Proposals(boxes, -np.arange(count, dtype=np.float32), objectness=draw.random(count, np.float32))
    return drawn[nms(drawn.boxes, drawn.scores, 0.8)]


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs with one object each, in the layout of VOC."""
    root = tmp_path_factory.mktemp("voc")
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    from PIL import Image

    for name, pixels in (("000001", data.chelsea()), ("000002", data.astronaut())):
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        box = "<bndbox><xmin>40</xmin><ymin>30</ymin><xmax>220</xmax><ymax>260</ymax></bndbox>"
        shape = f"<size><width>{pixels.shape[1]}</width><height>{pixels.shape[0]}</height><depth>3</depth></size>"
        named = f"<filename>{name}.jpg</filename>{shape}<object><name>{'cat' if name[-1] == '1' else 'person'}</name>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{named}{box}</object></annotation>")
    (root / "ImageSets/Main/val.txt").write_text("000001\n000002\n")
    return root


def detector() -> Detector:
    settings = DetectionSettings(max_proposals=None, max_detections=None)
    return Detector(lambda image: some_proposals(40, 0), Ensemble(), settings)  # type: ignore[arg-type]


def test_restriction_keeps_the_classes_that_the_set_labels_under_their_names_there() -> None:
    positions = class_positions(COCO, VOC)
    kept, labels = bench_regions.restricted(np.array([1, 0, 3, 1, 2]), positions)
    assert kept.tolist() == [1, 2, 4]
    assert [VOC[label] for label in labels] == ["person", "tvmonitor", "sofa"]


@pytest.mark.parametrize("count", [1, 7, 40, 99, None])
def test_first_regions_are_those_that_would_be_scored_alone(count: int | None) -> None:
    image, regions = data.chelsea(), some_proposals(40, 3)
    cut = bench_regions.first_regions(detector().score(image, regions), count)
    alone = detector().score(image, regions if count is None else regions.top(count))
    assert len(cut.proposals) == len(alone.proposals) == min(count or 99, len(regions))
    for name in ("probabilities", "offsets"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(alone, name))
    np.testing.assert_array_equal(cut.proposals.objectness, alone.proposals.objectness)


def test_scores_without_offsets_are_cut_too() -> None:
    scores = RegionScores(some_proposals(9, 1), np.full((2, 9, 3), 1 / 3, np.float32))
    cut = bench_regions.first_regions(scores, 4)
    assert cut.probabilities.shape == (2, 4, 3)
    assert cut.offsets is None


def test_every_row_has_what_the_detector_finds_with_that_many_regions_and_that_power(voc: Path) -> None:
    chosen = evaluation_set_of("voc", voc, "val", None)
    regions = [some_proposals(40, seed) for seed in range(2)]
    setting = Setting("any")
    bench = Bench(chosen, regions, {setting: detector()}, [5, 20, None], [0.0, 0.5])
    kept = bench.kept(quiet=True)
    assert set(kept) == set(bench.rows()) and len(kept) == 6
    positions = class_positions(COCO, chosen.truth.class_names)
    for row, found in kept.items():
        whole = detector().with_settings(objectness_power=row.power)
        expected = [
            whole.postprocess(whole.score(chosen.photographs().load_image(k), one.top(row.regions or 40)))
            for k, one in enumerate(regions)
        ]
        table, labels = found.table(), [positions[one.labels] for one in expected]
        there = [one >= 0 for one in labels]
        np.testing.assert_array_equal(table.label, np.concatenate([a[b] for a, b in zip(labels, there, strict=True)]))
        scores = [one.scores[kept_] for one, kept_ in zip(expected, there, strict=True)]
        np.testing.assert_array_equal(table.score.astype(np.float32), np.concatenate(scores))
        boxes = [one.boxes[kept_] for one, kept_ in zip(expected, there, strict=True)]
        np.testing.assert_array_equal(table.box.astype(np.float32), np.concatenate(boxes))


def test_settings_vary_one_thing_at_a_time_or_cross_and_leave_warping_weights_alone() -> None:
    one = bench_regions.settings_of(["p", "w"], ["p"], [5, 6], [400], cross=False)
    assert one == [Setting("p"), Setting("p", 5), Setting("p", 6), Setting("p", None, 400), Setting("w")]
    crossed = bench_regions.settings_of(["p", "w"], ["p"], [5], [400], cross=True)
    expected = [Setting("p"), Setting("p", None, 400), Setting("p", 5), Setting("p", 5, 400), Setting("w")]
    assert crossed == expected


def test_rows_are_compared_with_the_usual_number_of_regions_or_the_last() -> None:
    rows = [Row(Setting("a"), count, power) for count in (50, 200, None) for power in (0.0, 1.0)]
    assert bench_regions.reference_of(rows) == Row(Setting("a"), 200, 0.0)
    assert bench_regions.reference_of([row for row in rows if row.regions != 200]) == Row(Setting("a"), None, 0.0)


def test_table_stands_in_the_order_asked_for_with_differences_and_seconds() -> None:
    a, b = Setting("a"), Setting("a", 5)
    first = Row(a, 200, 0.0)
    figures = {
        Row(b, None, 1.0): Figures(0.31, 0.16, 0.17, Interval(-0.01, 0.03)),
        first: Figures(0.30, 0.15, 0.16, None),
        Row(a, 50, 0.0): Figures(0.25, 0.1, 0.12, None),
    }
    order = dict.fromkeys([first, *figures])
    figures = {row: figures[row] for row in order}
    seconds = {(a, 200): (0.25, 0.4)}
    lines = bench_regions.table_lines(figures, first, seconds, {None: 480.0, 200: 199.5, 50: 50.0})[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [one[:6] for one in cells] == [
        ["a", "-", "-", "50", "50", "0"],
        ["a", "-", "-", "200", "200", "0"],
        ["a", "5", "-", "all", "480", "1"],
    ]
    assert [one[9] for one in cells] == ["-5.00", "*", "+1.00 (-1.00 to +3.00)"]
    assert cells[1][10:] == ["0.250", "0.400"] and cells[0][10:] == ["-", "-"]


@pytest.fixture(scope="module")
def pooled_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pooled classifier of two classes with drawn numbers."""
    torch.manual_seed(0)
    spec = PoolingSpec(short_side=64, fine_channels=8, cells=3)
    network = PooledNetwork(2, spec)
    description = ClassifierDescription(
        class_names=("cat", "person"),
        input_spec=CAFFE_INPUT,
        proposal_settings={"source": "selective-search"},
        pooling=spec,
        box_regression=True,
    )
    path = tmp_path_factory.mktemp("weights") / "pooled.safetensors"
    save_region_classifier(path, network, description)
    return path


def test_cells_and_short_side_take_the_place_of_the_trained_ones_and_nothing_else_changes(pooled_weights: Path) -> None:
    image, regions = data.chelsea(), some_proposals(6, 0)
    own, other, again = (
        bench_regions.detector_of(Setting(str(pooled_weights), cells, side), "cpu")
        for cells, side in ((None, None), (2, 96), (3, 64))
    )
    spec = own.ensemble.members[0].description.pooling
    assert spec is not None and (spec.cells, spec.short_side) == (3, 64)
    assert other.ensemble.members[0].description.pooling == replace(spec, cells=2, short_side=96)
    scores = [one.score(image, regions).probabilities for one in (own, other, again)]
    np.testing.assert_array_equal(scores[0], scores[2])
    assert not np.allclose(scores[0], scores[1], atol=1e-4)


def test_the_command_prints_the_table_and_writes_the_record(
    voc: Path, pooled_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = open_dataset("voc", voc, "val")
    seeds: dict[int, int] = {}
    propose: Callable[[NDArray[np.uint8]], Proposals] = lambda image: some_proposals(8, seeds.setdefault(image.size, 0))  # noqa: E731
    propose_for_set(dataset, propose, {"method": "drawn"}, tmp_path / "proposals.safetensors", threads=1)
    sizes = ["--root", str(voc), "--dataset", "voc", "--proposals", str(tmp_path / "proposals.safetensors"), "--quiet"]
    asked = ["--weights", str(pooled_weights), "--regions", "3", "all", "--powers", "0", "--cells", "2"]
    few = ["--resamples", "20", "--timed", "1", "--device", "cpu", "--json", str(tmp_path / "record.json")]
    bench_regions.main([*sizes, *asked, *few])
    printed = capsys.readouterr().out
    assert printed.count("\n| /") == 4 and "2 classes" in printed
    rows = json.loads((tmp_path / "record.json").read_text())["rows"]
    assert {(row["setting"]["cells"], row["regions"]) for row in rows} == {(None, 3), (None, None), (2, 3), (2, None)}
    assert all(0 <= row["map50"] <= 1 and 0 < row["seconds"] < row["seconds_with_proposals"] for row in rows)
