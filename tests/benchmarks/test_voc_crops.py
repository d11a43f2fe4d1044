"""VOC's objects as a classification task: which crops there are, the linear softmax, the interval."""

from __future__ import annotations

import argparse
import doctest
from pathlib import Path

import numpy as np
import torch
import voc_crops
from skimage import data

from inception_rcnn.datasets import open_labelled_part, write_voc
from inception_rcnn.structures import GroundTruth, GroundTruthTable, load_image


class OneCat:
    """A photograph with a cat, a difficult dog and a small bird."""

    class_names = display_names = ("bird", "cat", "dog")
    category_ids, image_ids, problems = (1, 2, 3), ("a",), ()

    def __init__(self, folder: Path) -> None:
        from PIL import Image

        self._path = folder / "a.jpg"
        Image.fromarray(data.chelsea()).save(self._path, quality=95)

    def __len__(self) -> int:
        """One."""
        return 1

    def path(self, _: int) -> Path:
        """Where it is."""
        return self._path

    def load_image(self, _: int) -> np.ndarray:
        """The photograph."""
        return load_image(self._path)

    def ground_truth(self, _: int) -> GroundTruth:
        """Its objects."""
        boxes = np.array([[0, 0, 20, 40], [100, 50, 300, 150], [10, 10, 200, 200]], np.float32)
        return GroundTruth(
            boxes, np.array([0, 1, 2]), self.class_names, width=451, height=300, ignore=np.array([False, False, True])
        )

    def ground_truths(self) -> GroundTruthTable:
        """All of them."""
        return GroundTruthTable.from_ground_truths([self.ground_truth(0)])


def test_the_doctests() -> None:
    assert doctest.testmod(voc_crops).failed == 0


def test_crops_are_of_objects_that_are_large_and_not_difficult(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_voc(OneCat(tmp_path), tmp_path / "voc", part)
    voc_crops.write_crops(
        argparse.Namespace(
            root=tmp_path / "voc", output=tmp_path / "crops", train_split="train", val_split="val", limit=None
        )
    )
    found = open_labelled_part(tmp_path / "crops", "val")
    assert [path.parent.name for path in found.paths] == ["cat"]
    assert load_image(found.paths[0]).shape == (200, 200, 3)
    assert voc_crops.photograph_of(found.paths[0]) == "00000"


def test_the_softmax_is_at_its_minimum() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(40, 5), torch.randint(3, (40,))
    weight, bias = voc_crops.softmax_regression(x, labels, 3, 0.1)
    weight.requires_grad_(), bias.requires_grad_()
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, labels) + 0.05 * weight.square().sum()
    loss.backward()
    assert weight.grad is not None and weight.grad.abs().max() < 1e-3 and weight.abs().max() > 0.01


def test_crops_of_a_photograph_stay_together() -> None:
    right, other = np.ones(400, bool), np.arange(400) % 4 != 0
    apart = voc_crops.difference(right, other, [str(one) for one in range(400)])
    together = voc_crops.difference(right, other, [str(one // 100 * 100 + one % 4) for one in range(400)])
    assert apart[0] == together[0] == 25.0
    assert 20 < apart[1] < 25 < apart[2] < 30
    assert together[2] - together[1] > 2 * (apart[2] - apart[1])
