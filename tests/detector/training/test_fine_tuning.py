"""`train_detector` and `train_multibox` from Python: from data sets to files that can be loaded; what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marked_set import MarkedSet

import inception_rcnn
from inception_rcnn import (
    load_detector,
    multibox,
    open_dataset,
    propose_for_set,
    selective_search,
    train_detector,
    train_multibox,
)
from inception_rcnn.backbones import CAFFE_INPUT, googlenet, write_checkpoint
from inception_rcnn.datasets import write_coco, write_voc
from inception_rcnn.detector import ClassifierDescription, PoolingSpec, save_region_classifier
from inception_rcnn.detector.checkpoints import network_for, read_classifier_description
from inception_rcnn.detector.training import OptionError
from inception_rcnn.evaluation.score_calibration import ScoreCalibration
from inception_rcnn.proposals.network.training import MultiBoxTrainingSettings
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import Subset

NAMES = ("person", "cat", "cup")
SMALL: dict[str, Any] = {"iterations": 1, "regions_each": 4, "photographs": 1, "scales": (1,), "cells": [3, 2]}
NETWORK: dict[str, Any] = {"short_side": 72, "fine_channels": 8, "train_from": "5b"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in COCO's layout and in VOC's; read only."""
    folder = tmp_path_factory.mktemp("data")
    write_coco(MarkedSet(folder / "a", NAMES), folder / "coco", "train")
    write_voc(MarkedSet(folder / "b", ("person", "cat")), folder / "voc", "train")
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights in a checkpoint of kind googlenet."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pretrained") / "fresh.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    return path


def test_two_data_sets_become_a_detector(root: Path, fresh: Path, tmp_path: Path) -> None:
    sets = [open_dataset("coco", root / "coco", "train"), open_dataset("voc", root / "voc", "train")]
    where: dict[str, Any] = {"pretrained": fresh, "source": "selective-search", "device": "cpu", "quiet": True}
    path = train_detector(sets, tmp_path / "out", linear_batches=0, **where, **SMALL, **NETWORK)  # none, as always here
    assert path == tmp_path / "out" / "model.safetensors"
    assert {one.name for one in path.parent.glob("proposals-*")} == {
        "proposals-coco-train.safetensors",
        "proposals-voc-train.safetensors",
    }
    description = read_classifier_description(path)
    assert description.class_names == NAMES and description.regions == "pool"
    assert description.training["data"] == ["coco/train", "voc/train"]
    assert description.training["sampling"]["cells"] == [3, 2] and description.training["iterations"] == 1
    detector = load_detector(path, "cpu", runtime="torch", max_proposals=5)
    assert detector.class_names == NAMES and len(detector(sets[0].load_image(0))) >= 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"regions": "warp", "cells": (7,)},
            "cells is for regions that are pooled, and here they are warped; leave it",
        ),
        ({"iteration": 3}, "iteration is no option; known are iterations, minutes, learning_rate,"),
        ({"minutes": 1, "iterations": 3}, "minutes does not go with iterations, the number of batches; leave one"),
        ({"head_only": True, "frozen": ["3a"]}, "frozen does not go with head_only, which freezes all else; leave"),
        ({"teacher_share": 0.3}, "teacher_share is for teachers; name one as teacher"),
        ({"proposals": []}, "proposals should be a file for each of 1 data sets, got 0"),
        ({"regions": "pooled"}, "regions should be pool or warp, got 'pooled'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_made(
    root: Path, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        train_detector(open_dataset("coco", root / "coco", "train"), tmp_path / "out", device="cpu", **given)
    assert not (tmp_path / "out").exists()


def test_an_option_error_comes_back_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(OptionError("cells", "is for pooled regions")))
    assert (error.option, error.reason, str(error)) == ("cells", "is for pooled regions", "cells is for pooled regions")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"iterations": 1.5}, r"iterations should be a whole number, got 1\.5"),
        ({"learning_rate": "0.1"}, "learning_rate should be a number, got '0.1'"),
        ({"frozen": "3a"}, "frozen should be a list, got '3a'"),
        ({"cells": [3, "2"]}, r"cells\[1\] should be a whole number, got '2'"),
        ({"box_regression": 1}, "box_regression should be true or false, got 1"),
        ({"teacher": "coco"}, "teacher should be a list, got 'coco'"),
        ({"seed": 0.5}, r"seed should be a whole number, got 0\.5"),
        ({"licence": None}, "licence should be a text, got None"),
        ({"record": {}}, "record should be RecordSettings, got"),
        ({"val": "val"}, "val should be a data set, such as open_dataset returns; a str lacks"),
        ({"proposals": [5]}, r"proposals\[0\] should be a text or Path or None, got 5"),
        ({"pretrained": ""}, "weights should be coco, imagenet, a .caffemodel, .npz or .safetensors file"),
        ({"multibox": "x", "source": "selective-search"}, "selective-search alone, which needs no MultiBox x"),
        ({"data": []}, "there is no data set to train on; name at least one"),
        ({"data": "coco"}, r"data\[0\] should be a data set"),
        ({"output": __file__}, "cannot write into .*: .* is a file; name another folder"),
    ],
)
def test_a_value_of_another_type_is_refused_before_anything_is_made(
    root: Path, fresh: Path, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    usual: dict[str, Any] = {"data": open_dataset("coco", root / "coco", "train"), "output": tmp_path / "out"}
    with pytest.raises(InputError, match=message):
        train_detector(**usual | {"pretrained": fresh, "device": "cpu", "quiet": True} | given)
    assert not (tmp_path / "out").exists()


class Pages(MarkedSet, Sequence[Any]):
    """A data set that is a sequence of its photographs, as users make them."""

    def __getitem__(self, i: Any) -> Any:
        return self.load_image(i), self.ground_truth(i)


def test_numpy_s_numbers_and_a_set_that_is_a_sequence(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one file of proposals; a part to measure on whose photographs are copies of those trained on is named."""
    dataset, stored = Pages(tmp_path / "pages", NAMES), tmp_path / "proposals.safetensors"
    propose_for_set(dataset, partial(selective_search, mode="single", width=100), {"method": "quick"}, stored)
    numbers: dict[str, Any] = {
        **{
            "iterations": np.int64(1),
            "regions_each": np.int32(4),
            "photographs": np.int64(1),
            "scales": np.array([1.0]),
        },
        **{"cells": np.array([3, 2]), "short_side": np.int64(72), "fine_channels": np.int64(8), "seed": np.int64(3)},
        **{"learning_rate": np.float32(0.001), "best": None, "head_only": False, "frozen": ["3a"], "train_from": "5b"},
    }
    path = train_detector(
        dataset,
        tmp_path / "out",
        pretrained=fresh,
        source="selective-search",
        proposals=stored,
        val=Subset(Pages(tmp_path / "copies", NAMES), [0, 2]),
        device="cpu",
        quiet=True,
        **numbers,
    )
    training = read_classifier_description(path).training
    assert training["sampling"]["cells"] == [3, 2] and training["seed"] == 3 and training["best"] == 600
    said = capsys.readouterr().err
    assert "note: of val, 2 of the 2 photographs were learned from by the classifier (2 of data)" in said


def test_what_is_learned_from_is_not_measured_on(fresh: Path, tmp_path: Path) -> None:
    dataset = Pages(tmp_path / "pages", NAMES)
    where: dict[str, Any] = {"pretrained": fresh, "val": Subset(dataset, [0, 2]), "device": "cpu", "quiet": True}
    with pytest.raises(InputError, match=r"2 of 2 photographs of val, such as .* are learned from; name others"):
        train_detector(dataset, tmp_path / "out", **where)
    assert not (tmp_path / "out").exists()


def test_scores_mean_what_they_meant_only_where_the_last_layer_is_kept(root: Path, tmp_path: Path) -> None:
    """A training-free detector has the classes, but no layer for them that could be kept."""
    spec = PoolingSpec(short_side=72, cells=3, fine_channels=0, image_mean=False)
    described = ClassifierDescription(
        NAMES,
        CAFFE_INPUT,
        {"source": "selective-search"},
        0.42,
        pooling=spec,
        output_groups=(0, 1, 2, 3, 3),
        score_calibration=ScoreCalibration(1.2, -0.3),
    )
    torch.manual_seed(0)
    save_region_classifier(tmp_path / "free.safetensors", network_for(described), described)
    where: dict[str, Any] = {"source": "selective-search", "device": "cpu", "quiet": True, "box_regression": False}
    schedule = SMALL | {"train_from": "5b"}
    data = open_dataset("coco", root / "coco", "train")
    path = train_detector(data, tmp_path / "out", pretrained=tmp_path / "free.safetensors", **where, **schedule)
    made = read_classifier_description(path)
    assert made.class_names == NAMES and (made.score_threshold, made.score_calibration) == (0.1, None)


def test_a_network_that_proposes_is_trained(root: Path, fresh: Path, tmp_path: Path) -> None:
    settings = MultiBoxTrainingSettings(iterations=1, batch=2, train_from="5b")
    sets = open_dataset("coco", root / "coco", "train"), open_dataset("voc", root / "voc", "train")
    options: dict[str, Any] = {"pretrained": fresh, "side": 64, "channels": 8, "settings": settings, "device": "cpu"}
    path = train_multibox(sets[0], tmp_path / "out", parts=sets[1], quiet=True, **options)
    found = multibox(sets[0].load_image(0), weights=path, top_k=7, device="cpu")
    assert len(found) == 7 and path.name == "multibox.safetensors"
    with pytest.raises(InputError, match="there is no data set to train on; name at least one"):
        train_multibox([], tmp_path / "none", **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": 0}, r"channels should lie in 1..1024, got 0"),
        ({"channels": "8"}, "channels should be a whole number or None, got '8'"),
        ({"side": 64.0}, r"side should be a whole number or None, got 64\.0"),
        ({"licence": None}, "licence should be a text, got None"),
        ({"settings": {}}, "settings should be MultiBoxTrainingSettings, got"),
        ({"minutes": "1"}, "minutes should be a number or None, got '1'"),
        ({"data": "coco"}, r"data\[0\] should be a data set"),
        ({"parts": ["coco"]}, r"parts\[0\] should be a data set"),
        ({"output": __file__}, "cannot write into .*: .* is a file; name another folder"),
    ],
)
def test_what_a_network_that_proposes_cannot_be_trained_with(
    root: Path, fresh: Path, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    usual: dict[str, Any] = {"data": open_dataset("coco", root / "coco", "train"), "output": tmp_path / "out"}
    with pytest.raises(InputError, match=message):
        train_multibox(**usual | {"pretrained": fresh, "side": 64, "device": "cpu", "quiet": True} | given)
    assert not (tmp_path / "out").exists()


def test_every_public_name_can_be_imported() -> None:
    for name in inception_rcnn.__all__:
        assert getattr(inception_rcnn, name) is not None
