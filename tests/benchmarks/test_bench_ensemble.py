"""The ensemble's table: rows are what the members would give by themselves, and fusion is what its source says."""

from __future__ import annotations

import json
from pathlib import Path

import bench_ensemble
import numpy as np
import pytest
import torch
from bench_ensemble import Disagreement, fused, of_members
from PIL import Image
from skimage import data

from inception_rcnn import load_detector
from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.datasets import open_dataset
from inception_rcnn.detector import ClassifierDescription, PoolingSpec, save_region_classifier
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.stored import propose_for_set
from inception_rcnn.structures import Detections, load_image

NAMES = ("cat", "cup")


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.float32(scores), np.int64(labels), NAMES)


def test_boxes_of_one_thing_are_fused_by_their_scores_and_lonely_ones_sink() -> None:
    first = found([[0, 0, 10, 10], [50, 50, 60, 60]], [0.8, 0.6], [0, 1])
    second = found([[2, 0, 12, 10], [0, 0, 10, 10]], [0.4, 0.3], [0, 1])
    one = fused([first, second])
    weighed = (0.8 * np.array([0, 0, 10, 10]) + 0.4 * np.array([2, 0, 12, 10])) / 1.2
    assert one.labels.tolist() == [0, 1, 1]
    np.testing.assert_allclose(one.boxes[0], weighed, rtol=1e-6)
    np.testing.assert_allclose(one.scores, [0.6, 0.3, 0.15], rtol=1e-6)  # alone: half, because one of two found it


def test_nothing_found_is_nothing_fused() -> None:
    assert len(fused([found([], [], []), found([], [], [])])) == 0


def test_disagreement_counts_where_either_is_sure() -> None:
    counted = Disagreement.between(2)
    counted.add(
        np.array(
            [
                [[0.9, 0.0, 0.1], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6]],
                [[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.5, 0.1, 0.4], [0.1, 0.35, 0.55]],
            ],
            np.float32,
        )
    )
    assert counted.regions[0, 1] == 3 and counted.differ[0, 1] == 1
    assert counted.share(0, 1) == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pooled networks with fresh weights, one of them without box regression."""
    folder = tmp_path_factory.mktemp("members")
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        spec = PoolingSpec(short_side=64, cells=3, fine_channels=0)
        network = PooledNetwork(2, spec, box_regression=seed == 0)
        description = ClassifierDescription(
            class_names=NAMES,
            input_spec=CAFFE_INPUT,
            proposal_settings={"source": "selective-search"},
            pooling=spec,
            box_regression=seed == 0,
        )
        paths.append(folder / f"{seed}" / "model.safetensors")
        paths[-1].parent.mkdir()
        save_region_classifier(paths[-1], network, description)
    return paths


def test_members_taken_from_the_scores_are_members_that_were_loaded(members: list[Path]) -> None:
    image = load_image(data.chelsea()[::6, ::6])
    both = load_detector(members, "cpu").with_settings(score_threshold=0.001)
    regions = both.select(both.propose(image)).top(12)
    scores = both.score(image, regions)
    for rows, loaded in (([0], members[:1]), ([1], members[1:]), ([0, 1], members)):
        alone = load_detector(loaded, "cpu").with_settings(score_threshold=0.001)
        ours, theirs = both.postprocess(of_members(scores, rows)), alone.postprocess(alone.score(image, regions))
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)


def test_the_table_is_printed(members: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    (root / "val").mkdir(parents=True)
    images, objects = [], []
    for number in (1, 2):
        Image.fromarray(data.chelsea()).resize((90, 60)).save(root / "val" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 90, "height": 60})
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [10, 8, 60, 44], "area": 2640.0}
        objects.append({**box, "iscrowd": 0})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "cup"}]
    (root / "val.json").write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    stored = tmp_path / "val.safetensors"
    dataset = open_dataset("coco", root, "val")
    propose_for_set(dataset, lambda image: selective_search(image, threads=1), {"source": "x"}, stored)
    weights = [str(one) for one in members]
    words = ["--root", str(root), "--proposals", str(stored), "--weights", *weights, "--regions", "5"]
    bench_ensemble.main([*words, "--resamples", "20", "--device", "cpu"])
    printed = capsys.readouterr().out
    for title in ("0 alone", "1 alone", "the first 2 together", "all, fused"):
        assert f"| {title} |" in printed
    assert "disagreement, %" in printed and "2 photographs, the first 5 regions" in printed
