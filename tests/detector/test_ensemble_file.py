"""Ensembles as a file: several checkpoints and the settings that suit them together, read, written, refused."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inception_rcnn.detector import (
    ClassifierDescription,
    RegionClassifier,
    load_detector,
    save_region_classifier,
)
from inception_rcnn.detector.checkpoints import ENSEMBLES, is_shipped, weights_path
from inception_rcnn.detector.ensemble_file import (
    EnsembleFile,
    ensemble_path,
    read_ensemble_file,
    with_calibrated_ensemble,
    with_ensemble_threshold,
    write_ensemble_file,
)
from inception_rcnn.detector.loading import chosen_weights
from inception_rcnn.evaluation.score_calibration import ScoreCalibration
from inception_rcnn.structures import CheckpointError, InputError


@pytest.fixture
def pair(classifiers: tuple[RegionClassifier, ...], description: ClassifierDescription, tmp_path: Path) -> Path:
    """The folder of two checkpoints with unlike settings, a.safetensors and b/model.safetensors."""
    (tmp_path / "b").mkdir()
    save_region_classifier(tmp_path / "a.safetensors", classifiers[0].network, description)
    other = replace(description, score_threshold=0.6, iou_threshold=0.4, max_proposals=50)
    save_region_classifier(tmp_path / "b" / "model.safetensors", classifiers[1].network, other)
    return tmp_path


def file(folder: Path, text: str = "") -> Path:
    path = folder / "both.toml"
    path.write_text(f'members = ["a.safetensors", "b/model.safetensors"]\n{text}')
    return path


def test_its_members_are_averaged_with_its_settings(
    pair: Path, photograph: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> None:
    path = file(pair, "score_threshold = 0.125\nmax_proposals = 40\niou_threshold = 0.5\nobjectness_power = 1\n")
    listed = [pair / "a.safetensors", pair / "b" / "model.safetensors"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its settings were chosen for all, so nobody is told that members differ
        together = load_detector(path, "cpu")
    assert together.weights == tuple(map(str, listed))
    found = together.settings
    assert (found.score_threshold, found.max_proposals, found.iou_threshold) == (0.125, 40, 0.5)
    with pytest.warns(UserWarning, match="is taken for all members"):
        by_names = load_detector(listed, "cpu")
    np.testing.assert_array_equal(
        together.ensemble.score(photograph, boxes).probabilities,
        by_names.ensemble.score(photograph, boxes).probabilities,
    )


def test_what_it_does_not_say_is_the_first_member_s_and_what_is_asked_for_wins(pair: Path) -> None:
    path = file(pair, "max_proposals = 0\niou_threshold = 0.5\nobjectness_power = 1.0\n")
    own = load_detector(iter([path]), "cpu").settings
    assert (own.score_threshold, own.max_proposals) == (0.25, None)
    assert load_detector(path, "cpu", score_threshold=0.4, max_proposals=7).settings == replace(
        own, score_threshold=0.4, max_proposals=7
    )


def test_members_stand_for_it_where_weights_are_listed(pair: Path) -> None:
    path = file(pair)
    assert chosen_weights([path]) == [pair / "a.safetensors", pair / "b" / "model.safetensors"]
    with pytest.raises(InputError, match=r"both.toml is an ensemble already; name its members beside the others: .*a"):
        chosen_weights([path, pair / "a.safetensors"])
    with pytest.raises(InputError, match="has regions=warp, regions=pool was asked for"):
        chosen_weights(path, "pool")
    with pytest.raises(CheckpointError, match=r"both.toml is an ensemble, and one network is needed here; name one"):
        weights_path(path)


def test_it_comes_back_as_written_and_moves_with_its_folder(pair: Path) -> None:
    settings = {"score_threshold": 0.2, "max_proposals": None, "calibration": ScoreCalibration(1.5, -0.25)}
    path = pair / "six.toml"
    write_ensemble_file(path, ["coco", pair / "a.safetensors", pair / "b" / "model.safetensors"], settings)
    assert str(pair) not in path.read_text()
    moved = pair.with_name(pair.name + "-moved")
    pair.rename(moved)
    members = ("coco", moved / "a.safetensors", moved / "b" / "model.safetensors")
    assert read_ensemble_file(moved / "six.toml") == EnsembleFile(members=members, settings=settings)


def test_what_was_measured_is_written_into_it(pair: Path) -> None:
    path = file(pair, "iou_threshold = 0.5\n")
    with_ensemble_threshold(path, 0.1234567)
    assert read_ensemble_file(path).settings == {
        "iou_threshold": 0.5,
        "score_threshold": pytest.approx(0.1235, abs=2e-4),
    }
    with_calibrated_ensemble(path, ScoreCalibration(2.0, 0.5), 0.3)
    with_calibrated_ensemble(path, ScoreCalibration(1.5, 0.25), 0.4)  # of the scores that it gives since
    once = ScoreCalibration(1.5, 0.25).after(ScoreCalibration(2.0, 0.5))
    assert read_ensemble_file(path).settings["calibration"] == once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("members = 5", "members should be a list of shipped names or files, got 5"),
        ("members = []", "members should be a list"),
        ('members = ["a", 5]', "members should be a list"),
        ("", "members should be a list of shipped names or files, got None"),
        ('members = ["six"]', "six is itself an ensemble"),
        ('members = ["other.toml"]', "other.toml is itself an ensemble"),
        ('members = ["coco"]\nthreshold = 0.3', "threshold is unknown; known are members, score_threshold"),
        ('members = ["coco"]\nscore_threshold = 30', r"score_threshold should lie in 0..1, got 30"),
        ('members = ["coco"]\nmax_proposals = "many"', "max_proposals should be a whole number or None, got 'many'"),
        ('members = ["coco"]\nmax_proposals = false', "max_proposals should be a whole number or None, got False"),
        ('members = ["coco"]\nscore_calibration = 1', "score_calibration should have slope and offset, got 1"),
        ('members = ["coco"]\nscore_calibration = {slope = "a", offset = 0}', "score_calibration should be of numbers"),
        ('members = ["coco"]\nscore_calibration = {slope = 0, offset = 0}', "slope should be above 0"),
        ('members = ["coco"', "is no file of an ensemble"),
        ("members = [" + "9" * 5000 + "]", "is no file of an ensemble"),
        ("members = " + "[" * 50_000, "is no file of an ensemble: it is not valid TOML: it is nested too deeply"),
        ("members = ['coco']\nscore_threshold = " + "9" * 400, "int too large to convert to float"),
        ("members = ['coco']\nscore_calibration = {slope = 1, offset = " + "9" * 400 + "}", "int too large"),
    ],
)
def test_a_file_that_says_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message) as refused:
        load_detector(path, "cpu")
    assert str(path) in str(refused.value)


def test_what_is_not_there_and_what_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*absent.toml"):
        load_detector(tmp_path / "absent.toml", "cpu")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"bytes.toml is no file of an ensemble"):
        load_detector(tmp_path / "bytes.toml", "cpu")
    with pytest.raises(CheckpointError, match=r"no weights at .*gone.safetensors"):
        write_ensemble_file(tmp_path / "gone.toml", [tmp_path / "gone.safetensors"], {})
        load_detector(tmp_path / "gone.toml", "cpu")


@pytest.mark.parametrize("name", sorted(ENSEMBLES))
def test_a_shipped_ensemble_has_six_members_that_are_here(name: str) -> None:
    described = read_ensemble_file(name)
    assert len(described.members) == len(set(described.members)) == 6
    assert all(is_shipped(one) for one in described.members) and is_shipped(name) and is_shipped(ensemble_path(name))
    with pytest.raises(CheckpointError, match="came with the package and is not rewritten"):
        with_ensemble_threshold(name, 0.5)
