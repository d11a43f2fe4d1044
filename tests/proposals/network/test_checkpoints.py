"""Networks in files: what they say comes back, every lie is refused; and the function behind one name."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import InputSpec, read_checkpoint, write_checkpoint
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.proposals import MultiBox, load_multibox, multibox
from inception_rcnn.proposals.network.checkpoints import (
    SHIPPED,
    MultiBoxDescription,
    multibox_path,
    portable_name,
    put_beside,
    save_multibox,
)
from inception_rcnn.proposals.network.model import MultiBoxNet
from inception_rcnn.proposals.network.priors import PriorSettings
from inception_rcnn.structures import CheckpointError, InputError

pytestmark = pytest.mark.usefixtures("one_thread")
KIND = "multibox"
RATIOS = PriorSettings(ratios=(0.5, 1.0, 2.1))


@pytest.fixture(scope="module")
def description(spec: InputSpec) -> MultiBoxDescription:
    """What the file says; the ratios are not the usual ones."""
    return MultiBoxDescription(spec, RATIOS, 16, {"data": ["none"], "coverage": [{"iteration": 2}]}, "CC0-1.0")


@pytest.fixture(scope="module")
def network(make_network: Callable[[int], MultiBoxNet], description: MultiBoxDescription) -> MultiBoxNet:
    """The network in the file; read only."""
    built = description.build().eval()
    built.load_state_dict(make_network(1).state_dict())
    return built


@pytest.fixture(scope="module")
def written(network: MultiBoxNet, description: MultiBoxDescription, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file; read only."""
    path = tmp_path_factory.mktemp("weights") / "multibox.safetensors"
    save_multibox(path, network.state_dict(), description)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, r"channels should lie in 1..1024, got 0"),
        ({"channels": 1025}, r"channels should lie in 1..1024, got 1025"),
        ({"channels": 8.0}, r"channels should be a whole number, got 8\.0"),
        ({"licence": None}, "licence should be a text, got None"),
    ],
)
def test_what_no_file_could_say_is_refused(
    description: MultiBoxDescription, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        replace(description, **changes)


def test_a_network_comes_back_as_it_was_up_to_half_precision(
    written: Path, network: MultiBoxNet, cpu: Runtime, photograph: NDArray[np.uint8]
) -> None:
    loaded = load_multibox(written, cpu)
    assert loaded.spec == InputSpec(side=64) and not loaded.network.training
    assert loaded.network.prior_settings == RATIOS and torch.equal(loaded.network.priors, network.priors)
    state = loaded.network.state_dict()
    assert all(torch.equal(state[name], tensor.half().float()) for name, tensor in network.state_dict().items())
    original = MultiBox(network, loaded.spec, cpu)
    for one, two in zip(loaded.look([photograph]), original.look([photograph]), strict=True):
        torch.testing.assert_close(one.boxes, two.boxes, rtol=0, atol=0.02)


def test_another_side_has_another_grid_and_the_same_weights(written: Path, cpu: Runtime) -> None:
    usual, larger = load_multibox(written, cpu), load_multibox(written, cpu, side=128)
    assert (usual.spec.side, larger.spec.side) == (64, 128)
    per_cell = usual.network.prior_settings.per_cell
    assert len(larger.network.priors) == per_cell * (16**2 + 8**2 + 4**2 + 2**2)
    state = larger.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in usual.network.state_dict().items())
    with pytest.raises(InputError, match="multiple of 64 px, got 100"):
        load_multibox(written, cpu, side=100)


def test_the_file_holds_half_precision_and_the_description(written: Path) -> None:
    checkpoint = read_checkpoint(written, KIND)
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {torch.float16}
    assert "priors" not in checkpoint.tensors  # they follow from the settings
    said = checkpoint.description
    assert said["architecture"] == {"name": "multibox", "trunk": "googlenet", "channels": 16}
    assert said["training"]["coverage"] == [{"iteration": 2}] and said["licence"] == "CC0-1.0"


def test_the_checksum_tells_networks_apart(
    written: Path, network: MultiBoxNet, description: MultiBoxDescription, cpu: Runtime, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    save_multibox(other, {name: 2 * tensor for name, tensor in network.state_dict().items()}, description)
    sums = [load_multibox(path, cpu).checksum for path in (written, other)]
    assert sums[0] == read_checkpoint(written, KIND).description["data_sha256"] and sums[0] != sums[1]


def test_a_weight_too_large_for_half_precision_is_refused_and_the_old_file_stays(
    network: MultiBoxNet, description: MultiBoxDescription, tmp_path: Path
) -> None:
    path = tmp_path / "multibox.safetensors"
    path.write_bytes(b"old")
    state = network.state_dict() | {"head.bias": torch.full((16,), 70_000.0)}
    with pytest.raises(CheckpointError, match=r"head.bias holds .* not finite as torch.float16; nothing was"):
        save_multibox(path, state, description)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": None}, "architecture should be .*'multibox'.*, got None"),
        ({"architecture": {"name": "rpn", "trunk": "googlenet", "channels": 16}}, "architecture should be .*rpn"),
        ({"architecture": {"name": "multibox", "trunk": "vgg", "channels": 16}}, "architecture should be .*vgg"),
        ({"architecture": {"name": "multibox", "trunk": "googlenet"}}, r"channels should lie in 1..1024, got None"),
        (
            {"architecture": {"name": "multibox", "trunk": "googlenet", "channels": 0}},
            r"channels should lie in 1..1024, got 0",
        ),
        (
            {"architecture": {"name": "multibox", "trunk": "googlenet", "channels": "16"}},
            r"channels should lie in 1..1024, got '16'",
        ),
        (
            {"architecture": {"name": "multibox", "trunk": "googlenet", "channels": True}},
            r"channels should lie in 1..1024, got True",
        ),
        ({"input_spec": None}, "input_spec is missing or not a dict"),
        ({"input_spec": {}}, "input specification has unknown or missing fields"),
        ({"input_spec": InputSpec(side=100).to_dict()}, "side should be a multiple of 64 px, got 100"),
        ({"priors": None}, "priors is missing or not a dict"),
        ({"priors": {"ratios": [1.0]}}, "prior settings should hold numbers"),
        ({"priors": RATIOS.to_dict() | {"ratios": [-1.0]}}, "sides and ratios should lie between 0 and 10"),
        ({"priors": RATIOS.to_dict() | {"ratios": [1.0] * 33}}, "make 66 priors a cell, and 64 are the most"),
        ({"input_spec": InputSpec().to_dict() | {"side": 4096}}, r"side should lie in 32..2048 px, got 4096"),
        (
            {"architecture": {"name": "multibox", "trunk": "googlenet", "channels": 4096}},
            r"channels should lie in 1..1024, got 4096",
        ),
        ({"training": [1]}, "training is missing or not a dict"),
        ({"licence": None}, "licence is missing or not a str"),
    ],
)
def test_lies_in_the_description_are_refused(
    written: Path, tmp_path: Path, cpu: Runtime, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "lie.safetensors"
    said = read_checkpoint(written, KIND).description | changes
    write_checkpoint(path, KIND, {name: one for name, one in said.items() if one is not None}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=message) as caught:
        load_multibox(path, cpu)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("head.bias", None, "does not fit: 1 tensors are missing or extra, first 'head.bias'"),
        ("extra.bias", torch.zeros(3), "does not fit: 1 tensors are missing or extra, first 'extra.bias'"),
        ("head.bias", torch.zeros(17), r"head.bias has shape \(17,\), the network needs \(16,\)"),
        ("head.bias", torch.full((16,), torch.nan), "head.bias holds values that are not finite"),
    ],
)
def test_lies_in_the_tensors_are_refused(
    written: Path, tmp_path: Path, cpu: Runtime, name: str, tensor: torch.Tensor | None, message: str
) -> None:
    good, path = read_checkpoint(written, KIND), tmp_path / "lie.safetensors"
    tensors = {key: value for key, value in (good.tensors | {name: tensor}).items() if value is not None}
    write_checkpoint(path, KIND, good.description, tensors)
    with pytest.raises(CheckpointError, match=message):
        load_multibox(path, cpu)


def test_a_file_of_other_channels_than_it_says_is_refused(written: Path, tmp_path: Path, cpu: Runtime) -> None:
    good, path = read_checkpoint(written, KIND), tmp_path / "lie.safetensors"
    said = good.description | {"architecture": {"name": "multibox", "trunk": "googlenet", "channels": 24}}
    write_checkpoint(path, KIND, said, good.tensors)
    with pytest.raises(CheckpointError, match=r"has shape .*, the network needs "):
        load_multibox(path, cpu)


def test_other_files_and_damaged_ones_are_refused(written: Path, tmp_path: Path, cpu: Runtime) -> None:
    path = tmp_path / "multibox.safetensors"
    write_checkpoint(path, "googlenet", {}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="kind 'googlenet'; 'multibox' is needed here"):
        load_multibox(path, cpu)
    path.write_bytes(pickle.dumps({"state": [1.0]}))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_multibox(path, cpu)
    data = written.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_multibox(path, cpu)


def test_paths_and_shipped_names(written: Path, tmp_path: Path) -> None:
    assert multibox_path(str(written)) == written
    assert [multibox_path(name).name for name in SHIPPED] == list(SHIPPED.values())
    for wrong in ("edge-boxes", tmp_path, tmp_path / "absent.safetensors", ""):
        with pytest.raises(CheckpointError, match=r"no weights at .*a shipped name: multibox"):
            multibox_path(wrong)


# --- the function


def test_the_function_gives_what_the_loaded_network_gives(written: Path, photograph: NDArray[np.uint8]) -> None:
    found = multibox(photograph, top_k=12, weights=written, device="cpu")
    assert len(found) == 12 and found.source_names == ("multibox",)
    with_crops = multibox(photograph, top_k=12, weights=str(written), device="cpu", crops=True)
    assert len(with_crops) == 12 and not np.array_equal(with_crops.boxes, found.boxes)
    again = multibox(photograph, top_k=12, weights=written, device="cpu")
    assert np.array_equal(again.boxes, found.boxes) and np.array_equal(again.scores, found.scores)


def test_a_file_that_changed_is_read_anew(
    written: Path,
    network: MultiBoxNet,
    description: MultiBoxDescription,
    photograph: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    path = tmp_path / "multibox.safetensors"
    path.write_bytes(written.read_bytes())
    before = multibox(photograph, top_k=5, weights=path, device="cpu")
    state = network.state_dict()
    save_multibox(path, state | {"confidence.weight": -state["confidence.weight"]}, description)
    os.utime(path, ns=(1, 1))  # the clock of files may be too coarse to tell the two writings apart
    after = multibox(photograph, top_k=5, weights=path, device="cpu")
    assert not np.array_equal(before.boxes, after.boxes)


def test_bad_input_to_the_function(written: Path, photograph: NDArray[np.uint8]) -> None:
    with pytest.raises(CheckpointError, match="no weights at edge-boxes"):
        multibox(photograph, weights="edge-boxes")
    with pytest.raises(InputError, match="unknown device 'abacus'"):
        multibox(photograph, weights=written, device="abacus")
    with pytest.raises(InputError, match="top_k should be at least 1, got -3"):
        multibox(photograph, weights=written, device="cpu", top_k=-3)


def test_a_network_is_put_beside_the_weights_that_name_it(written: Path, cpu: Runtime, tmp_path: Path) -> None:
    network, folder = load_multibox(written, cpu), tmp_path / "run"
    assert portable_name(network) == written.name
    for _ in range(2):  # there already: nothing to do
        put_beside(network, folder)
        assert (folder / written.name).read_bytes() == written.read_bytes()
    with pytest.raises(InputError, match=rf"where {written.name} is the name of a result; rename it"):
        put_beside(network, folder, reserved=(written.name,))
    checkpoint = read_checkpoint(written, KIND)
    said = {name: one for name, one in checkpoint.description.items() if name != "data_sha256"}
    write_checkpoint(folder / written.name, KIND, said, checkpoint.tensors | {"head.bias": torch.ones(16)})
    with pytest.raises(InputError, match=rf"where another {written.name} lies; rename one of them"):
        put_beside(network, folder)
    put_beside(load_multibox("multibox", cpu), tmp_path / "none")
    assert not (tmp_path / "none").exists()
