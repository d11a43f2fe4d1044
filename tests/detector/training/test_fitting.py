"""Settings fitted to a data set, and a training that ends when validation does."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from inception_rcnn.backbones.training.loop import AveragedTraining
from inception_rcnn.datasets import open_dataset
from inception_rcnn.detector.training.fitting import fitted_settings, split_for_validation
from inception_rcnn.detector.training.record import Record, RecordSettings
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import DetectionDataset


def photographs(folder: Path, labels: list[list[int]]) -> DetectionDataset:
    """A COCO set whose photograph k has an object of each class in labels[k]."""
    from PIL import Image

    Image.new("RGB", (20, 20)).save(folder / "0.png")
    for k in range(1, len(labels)):
        (folder / f"{k}.png").write_bytes((folder / "0.png").read_bytes())
    objects = [(k, label) for k, own in enumerate(labels) for label in own]
    document = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 20, "height": 20} for k in range(len(labels))],
        "annotations": [
            {"id": n, "image_id": k, "category_id": label, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
            for n, (k, label) in enumerate(objects)
        ],
        "categories": [{"id": label, "name": f"class {label}"} for label in range(3)],
    }
    (folder / "set.json").write_text(json.dumps(document))
    return open_dataset("coco", folder / "set.json")


def test_one_in_seven_is_kept_with_some_of_every_class_on_either_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [[int(rng.choice(3, p=[0.72, 0.2, 0.08]))] for _ in range(210)]
    whole = photographs(tmp_path, labels)
    for seed in range(5):
        learned, val = split_for_validation(whole, seed)
        assert val is not None and (len(learned), len(val)) == (180, 30)
        assert set(learned.image_ids) | set(val.image_ids) == set(range(210))
        for label in range(3):
            count, all_of_it = (int((one.ground_truths().label == label).sum()) for one in (val, whole))
            assert count >= all_of_it // 7 - 1 and count < all_of_it / 3
    assert split_for_validation(whole, 1)[1].image_ids == split_for_validation(whole, 1)[1].image_ids  # type: ignore[union-attr]


def test_of_few_photographs_none_are_kept_and_of_many_a_hundred(tmp_path: Path) -> None:
    few = photographs(tmp_path, [[0]] * 29)
    assert split_for_validation(few, 0) == (few, None)
    _, val = split_for_validation(photographs(tmp_path, [[0]] * 900), 0)
    assert val is not None and len(val) == 100


@pytest.mark.parametrize("count", [1, 3, 29, 206, 999, 1000, 5000, 100_000])
def test_settings_suit_the_number_of_photographs(count: int) -> None:
    fitted = fitted_settings(count, min(count // 6, 100) if count >= 30 else 0)
    options, record = fitted.options, fitted.record
    assert 150 <= options["iterations"] <= 12_000 and options["warm_up"] < options["iterations"] / 4
    assert options["train_from"] == ("4a" if count < 1000 else "3a") and options["own_classes"]
    assert (record.validate_every is None) == (record.patience is None) == (count < 30)
    if record.validate_every is not None:
        assert options["iterations"] // record.validate_every >= 5
    assert all(reason and "{" not in reason for reason in fitted.reason)


def test_a_training_has_ended_after_so_many_looks_without_a_better_one(tmp_path: Path) -> None:
    settings = RecordSettings(validate_every=10, patience=2)
    record = Record(
        tmp_path, cast(Any, None), settings, start=0, iterations=99, unit="photographs", per_iteration=2, writes=False
    )

    def ended(iteration: int, best: int | None) -> bool:
        notes = {} if best is None else {"best": {"mAP": 0.5, "iteration": best}}
        return record.has_ended(cast(AveragedTraining, SimpleNamespace(iteration=iteration, notes=notes)))

    assert [ended(iteration, 20) for iteration in (20, 30, 39, 40, 50)] == [False, False, False, True, True]
    assert not ended(90, None)
    with pytest.raises(InputError, match="patience goes with validate_every"):
        RecordSettings(patience=1)
    with pytest.raises(InputError, match="patience should be at least 1"):
        RecordSettings(validate_every=1, patience=0)
