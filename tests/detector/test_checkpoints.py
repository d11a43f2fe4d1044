"""Region classifiers in files: what they say comes back, and every lie is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import GoogLeNet, InputSpec, read_checkpoint, write_checkpoint
from inception_rcnn.detector import (
    ClassifierDescription,
    Ensemble,
    PooledNetwork,
    PoolingSpec,
    RegionClassifier,
    Runtime,
    load_region_classifier,
    save_region_classifier,
    warp_regions,
)
from inception_rcnn.detector.checkpoints import (
    is_shipped,
    network_for,
    photographs_seen,
    read_region_network,
    weights_path,
    with_score_threshold,
)
from inception_rcnn.proposals.network.checkpoints import MultiBoxDescription, multibox_seen, save_multibox
from inception_rcnn.proposals.network.priors import PriorSettings
from inception_rcnn.structures import CheckpointError, InputError
from inception_rcnn.structures.provenance import MULTIBOX, SeenPart

KIND = "region-classifier"


@pytest.fixture(scope="module")
def written(
    classifiers: tuple[RegionClassifier, ...],
    description: ClassifierDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A file; read only."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_region_classifier(path, classifiers[0].network, description)
    return path


def test_a_classifier_comes_back_as_it_was_up_to_half_precision(
    written: Path,
    classifiers: tuple[RegionClassifier, ...],
    description: ClassifierDescription,
    cpu: Runtime,
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    spec: InputSpec,
) -> None:
    loaded = load_region_classifier(written, cpu)
    assert loaded.description == description and not loaded.network.training
    state, original = loaded.network.state_dict(), classifiers[0].network.state_dict()
    assert all(torch.equal(state[name], tensor.half().float()) for name, tensor in original.items())
    crops = warp_regions(photograph, boxes[:6], spec)
    np.testing.assert_allclose(
        Ensemble([loaded]).probabilities(crops), Ensemble(classifiers[:1]).probabilities(crops), atol=0.01
    )


@pytest.mark.parametrize("pooling", [None, PoolingSpec(fine_channels=0)])
def test_a_network_without_response_normalisation_comes_back_as_one(
    tmp_path: Path, description: ClassifierDescription, pooling: PoolingSpec | None
) -> None:
    described = replace(description, pooling=pooling, lrn=False)
    network = network_for(described)
    save_region_classifier(tmp_path / "made.safetensors", network, described)
    found, said = read_region_network(tmp_path / "made.safetensors")
    trunk = found.trunk if isinstance(found, PooledNetwork) else found
    assert said == described and not trunk.lrn
    with pytest.raises(InputError, match="description's lrn is True, the network's is False"):
        save_region_classifier(tmp_path / "made.safetensors", network, replace(described, lrn=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": 5}, "licence should be a text, got 5"),
        ({"box_regression": 1}, "box_regression should be true or false, got 1"),
        ({"max_proposals": 2.5}, r"max_proposals should be a whole number, got 2\.5"),
        ({"class_names": "cat"}, "class_names should be a list, got 'cat'"),
    ],
)
def test_what_no_file_could_say_is_refused(
    description: ClassifierDescription, changes: dict[str, Any], message: str
) -> None:
    """Before a training, at the end of which the file could not be read."""
    with pytest.raises(InputError, match=message):
        replace(description, **changes)


def test_a_file_is_half_as_large_as_float32(written: Path) -> None:
    tensors = read_checkpoint(written, KIND).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert written.stat().st_size < 2 * (5_973_552 + 4 * 1025) + 40_000


def test_a_damaged_file_is_refused(written: Path, tmp_path: Path, cpu: Runtime) -> None:
    copy = tmp_path / "damaged.safetensors"
    data = written.read_bytes()
    copy.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_region_classifier(copy, cpu)


def test_another_type_can_be_stored(
    classifiers: tuple[RegionClassifier, ...], description: ClassifierDescription, cpu: Runtime, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_region_classifier(path, classifiers[0].network, description, dtype=torch.float32)
    state, original = load_region_classifier(path, cpu).network.state_dict(), classifiers[0].network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in original.items())


def test_a_weight_too_large_for_half_precision_is_refused_and_the_old_file_stays(
    make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    network = make_network(1)
    with torch.no_grad():
        network.get_parameter("inception_4b.project.bias")[3] = 70_000
    with pytest.raises(
        CheckpointError, match=r"inception_4b.project.bias holds values .* as torch.float16; nothing was"
    ):
        save_region_classifier(path, network, description)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_the_threshold_can_be_changed_and_nothing_else(written: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(written.read_bytes())
    with_score_threshold(copy, 0.123456, "seen so")
    before, after = read_checkpoint(written, KIND), read_checkpoint(copy, KIND)
    assert after.description == before.description | {
        "score_threshold": 0.1234,  # cut off: what scores 0.123456 still passes
        "training": {**before.description["training"], "score_threshold": "seen so"},
    }
    assert all(torch.equal(after.tensors[name], tensor) for name, tensor in before.tensors.items())
    with pytest.raises(CheckpointError, match="cannot be read"):
        with_score_threshold(tmp_path / "absent.safetensors", 0.5, "")


def test_what_a_classifier_and_its_multibox_saw_is_in_their_files(
    classifiers: tuple[RegionClassifier, ...], description: ClassifierDescription, tmp_path: Path
) -> None:
    path, network = tmp_path / "saw.safetensors", tmp_path / "boxes.safetensors"
    own, theirs = SeenPart.of_files("a", ["ab" * 32]), SeenPart.of_files("b", ["cd" * 32], MULTIBOX)
    spec = InputSpec(side=64)
    described = MultiBoxDescription(spec, PriorSettings(), 8, {}, "CC0-1.0", (theirs,))
    save_multibox(network, described.build().state_dict(), described)
    for source, seen in (("both", (own, theirs)), ("selective-search", (own,))):
        how = {"source": source, "multibox": str(network)}
        save_region_classifier(path, classifiers[0].network, replace(description, proposal_settings=how, seen=(own,)))
        assert photographs_seen(path) == seen
    old = read_checkpoint(path, KIND)
    write_checkpoint(path, KIND, {key: one for key, one in old.description.items() if key != "seen"}, old.tensors)
    assert photographs_seen(path) == ()
    write_checkpoint(path, KIND, {**old.description, "seen": 3}, old.tensors)
    with pytest.raises(CheckpointError, match=r"saw\.safetensors: seen should be a list"):
        photographs_seen(path)
    with pytest.raises(CheckpointError, match="of kind 'region-classifier'; 'multibox' is needed"):
        multibox_seen(path)


def test_files_from_before_regions_could_be_pooled_are_read(
    written: Path, description: ClassifierDescription, cpu: Runtime, tmp_path: Path
) -> None:
    path, old = tmp_path / "old.safetensors", read_checkpoint(written, KIND)
    new = ("pooling", "box_regression", "objectness_power")
    write_checkpoint(path, KIND, {key: old.description[key] for key in old.description if key not in new}, old.tensors)
    loaded = load_region_classifier(path, cpu).description
    assert loaded == description and (loaded.regions, loaded.box_regression, loaded.objectness_power) == (
        "warp",
        False,
        1.0,
    )


@pytest.fixture
def header(written: Path) -> dict[str, Any]:
    """A good description, as JSON values."""
    return dict(read_checkpoint(written, KIND).description)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": None}, "class_names should be a list of names"),
        ({"class_names": []}, "class_names should be a list of names"),
        ({"class_names": "cat"}, "class_names should be a list of names"),
        ({"class_names": ["cat", 2, "person"]}, "class_names should be a list of names"),
        ({"class_names": ["cat", "cup", "cat"]}, "class_names has a name twice"),
        ({"class_names": ["cat", "cup"]}, "architecture is .*'num_classes': 4.*, its class names ask for .*: 3"),
        ({"architecture": None}, "architecture is None"),
        ({"architecture": {"name": "resnet", "variant": "paper", "num_classes": 4}}, "architecture is .*resnet"),
        ({"architecture": {"name": "googlenet", "variant": "naive", "num_classes": 4}}, "architecture is .*naive"),
        ({"score_threshold": None}, r"score_threshold should be a number in 0..1, got None"),
        ({"score_threshold": "0.5"}, r"score_threshold should be a number in 0..1, got '0.5'"),
        ({"score_threshold": True}, r"score_threshold should be a number in 0..1, got True"),
        ({"score_threshold": 1.5}, r"score_threshold should be a number in 0..1, got 1.5"),
        ({"score_threshold": -0.1}, r"score_threshold should be a number in 0..1, got -0.1"),
        ({"input_spec": None}, "input_spec is missing or not a dict"),
        ({"input_spec": {}}, "input specification has unknown or missing fields"),
        ({"input_spec": InputSpec().to_dict() | {"side": 8}}, r"side should lie in 32..2048"),
        ({"input_spec": InputSpec().to_dict() | {"mean": ["a", "b", "c"]}}, "mean should be three numbers"),
        ({"proposal_settings": [1]}, "proposal_settings is missing or not a dict"),
        ({"training": None}, "training is missing or not a dict"),
        ({"licence": None}, "licence is missing or not a str"),
        ({"pooling": 7}, "pooling should be a dict or null, got 7"),
        ({"pooling": {"cells": 7}}, "pooling specification has unknown or missing fields"),
        ({"pooling": PoolingSpec().to_dict() | {"cells": 0}}, r"cells should be a whole number in 1..14, got 0"),
        ({"pooling": PoolingSpec().to_dict() | {"short_side": 4096}}, r"short_side should be .* in 64..2048, got 4096"),
        ({"pooling": PoolingSpec().to_dict() | {"long_side": 8192}}, r"long_side should be .* in 64..4096, got 8192"),
        ({"pooling": PoolingSpec().to_dict()}, r"architecture is .*'googlenet', .*ask for .*'googlenet-pooled'"),
        (
            {"architecture": {"name": "googlenet-pooled", "variant": "paper", "num_classes": 4}},
            "architecture is .*pooled",
        ),
        ({"box_regression": "no"}, "box_regression should be true or false, got 'no'"),
        ({"box_regression": True}, "box_regression needs pooled regions"),
        ({"objectness_power": "1"}, "objectness_power should be a number, got '1'"),
        ({"objectness_power": 5}, r"objectness_power should be a number in 0..4, got 5"),
    ],
)
def test_lies_in_the_description_are_refused(
    header: dict[str, Any], tmp_path: Path, cpu: Runtime, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "lie.safetensors"
    fields = {name: value for name, value in (header | changes).items() if value is not None}
    write_checkpoint(path, KIND, fields, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=message) as caught:
        load_region_classifier(path, cpu)
    assert str(path) in str(caught.value)


def test_a_score_threshold_that_is_no_number_is_refused(header: dict[str, Any], tmp_path: Path, cpu: Runtime) -> None:
    path = tmp_path / "lie.safetensors"
    write_checkpoint(path, KIND, header | {"score_threshold": 0.0625}, {"a": torch.zeros(1)})
    path.write_bytes(path.read_bytes().replace(b"0.0625", b"NaN   "))  # ours cannot be written, others' can be read
    with pytest.raises(CheckpointError, match=r"score_threshold should be a number in 0..1, got nan"):
        load_region_classifier(path, cpu)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("conv1.bias", None, "does not fit: 1 tensors are missing or extra, first 'conv1.bias'"),
        (
            "aux_4a.conv.bias",
            torch.zeros(128),
            "does not fit: 1 tensors are missing or extra, first 'aux_4a.conv.bias'",
        ),
        ("classifier.bias", torch.zeros(5), r"classifier.bias has shape \(5,\), the network needs \(4,\)"),
        (
            "classifier.bias",
            torch.tensor([0, 0, torch.nan, 0]).half(),
            "classifier.bias holds values that are not finite",
        ),
        ("classifier.bias", torch.zeros(4, dtype=torch.int64), "classifier.bias holds torch.int64"),
    ],
)
def test_lies_in_the_tensors_are_refused(
    written: Path, tmp_path: Path, cpu: Runtime, name: str, tensor: torch.Tensor | None, message: str
) -> None:
    good, path = read_checkpoint(written, KIND), tmp_path / "lie.safetensors"
    tensors = {key: value for key, value in (good.tensors | {name: tensor}).items() if value is not None}
    write_checkpoint(path, KIND, good.description, tensors)
    with pytest.raises(CheckpointError, match=message):
        load_region_classifier(path, cpu)


def test_other_files_are_refused(tmp_path: Path, cpu: Runtime) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, "googlenet", {}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="kind 'googlenet'; 'region-classifier' is needed here"):
        load_region_classifier(path, cpu)
    path.write_bytes(pickle.dumps({"state": [1.0]}))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_region_classifier(path, cpu)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_region_classifier(path, cpu)


def test_paths_and_shipped_names(written: Path, tmp_path: Path) -> None:
    assert weights_path(str(written)) == written
    assert weights_path("coco-mini").name == "coco-mini.safetensors"
    for wrong in ("yolo", tmp_path, tmp_path / "absent.safetensors", ""):
        with pytest.raises(
            CheckpointError, match=r"no weights at .*; give a .safetensors file or a shipped name: coco, coco-mini"
        ):
            weights_path(wrong)


def test_a_shipped_file_is_never_rewritten(written: Path) -> None:
    shipped = weights_path("coco-mini")
    before = shipped.read_bytes()
    for name in ("coco-mini", shipped, shipped.parent / ".." / "weights" / shipped.name):
        assert is_shipped(name)
        with pytest.raises(CheckpointError, match="came with the package and is not rewritten; copy the file"):
            with_score_threshold(name, 0.5, "")
    assert shipped.read_bytes() == before and not is_shipped(written)


def test_the_shipped_model_describes_itself(cpu: Runtime) -> None:
    description = load_region_classifier("coco-mini", cpu).description
    assert len(description.class_names) == 80 and {"person", "cat", "cup"} <= set(description.class_names)
    assert description.input_spec == InputSpec(context=16)
    assert 0 < description.score_threshold < 1 and description.licence
    assert description.training["iterations"] > 0 and description.proposal_settings["mode"] == "fast"
