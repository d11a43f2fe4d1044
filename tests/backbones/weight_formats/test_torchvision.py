"""torchvision's weights: modules, state dicts, plain safetensors files; and its pickles, which are refused."""

from __future__ import annotations

import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from inception_rcnn.backbones import GoogLeNet, googlenet, network_of
from inception_rcnn.backbones.weight_formats.torchvision import state_from_torchvision, torchvision_layers
from inception_rcnn.structures import CheckpointError, InputError


@cache
def reference() -> nn.Module:
    """torchvision's network of three classes, with auxiliary heads and `transform_input`; read only."""
    torch.manual_seed(5)
    return torchvision.models.googlenet(weights=None, init_weights=True, num_classes=3, transform_input=True).eval()


def state() -> dict[str, Tensor]:
    """Its numbers."""
    return dict(reference().state_dict())


def test_names_cover_every_layer_once() -> None:
    names = torchvision_layers()
    with torch.device("meta"):
        ours = GoogLeNet(3, variant="torchvision", aux_heads=True).state_dict()
    converted = state_from_torchvision(state(), origin="here")
    assert set(converted) == set(ours) and len(set(names.values())) == len(names) == 64
    assert all(one.shape == ours[name].shape for name, one in converted.items())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv2.conv.weight", "conv2_reduce.conv.weight"),
        ("conv3.bn.running_var", "conv2.bn.running_var"),
        ("inception4d.branch1.conv.weight", "inception_4d.conv1x1.conv.weight"),
        ("inception4d.branch2.0.bn.bias", "inception_4d.reduce3x3.bn.bias"),
        ("inception4d.branch3.1.conv.weight", "inception_4d.conv5x5.conv.weight"),
        ("inception5b.branch4.1.bn.weight", "inception_5b.project.bn.weight"),
        ("aux1.fc1.weight", "aux_4a.hidden.weight"),
        ("aux2.fc2.bias", "aux_4d.classifier.bias"),
        ("aux2.conv.bn.bias", "aux_4d.conv.bn.bias"),
        ("fc.weight", "classifier.weight"),
    ],
)
def test_tensors_take_their_places(theirs: str, ours: str) -> None:
    assert state_from_torchvision(state(), origin="here")[ours] is state()[theirs] or torch.equal(
        state_from_torchvision(state(), origin="here")[ours], state()[theirs]
    )


def test_a_module_its_state_dict_and_a_file_of_it_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(state(), path)
    expected = googlenet("torchvision", weights=reference(), num_classes=3, aux_heads=True).state_dict()
    assert torch.equal(expected["aux_4d.hidden.weight"], state()["aux2.fc1.weight"])
    for source in (state(), path, str(path)):
        loaded = googlenet("torchvision", weights=source, num_classes=3, aux_heads=True).state_dict()
        assert all(torch.equal(one, loaded[name]) for name, one in expected.items())
    assert network_of(path).variant == "torchvision" and network_of(reference()).num_classes == 3
    # Files from before torch counted batches, and networks without auxiliary heads.
    older = {n: t for n, t in state().items() if "num_batches" not in n and not n.startswith("aux")}
    loaded = googlenet("torchvision", weights=older, num_classes=3).state_dict()
    assert torch.equal(loaded["conv1.bn.running_mean"], expected["conv1.bn.running_mean"])


def test_our_own_module_and_a_plain_file_in_our_names(tmp_path: Path) -> None:
    network, path = googlenet("batchnorm", num_classes=2), tmp_path / "ours.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    for source in (network, path):
        loaded = googlenet("batchnorm", weights=source, num_classes=2)
        assert torch.equal(loaded.conv1.conv.weight, network.conv1.conv.weight)


def test_another_variants_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(state(), path)
    for source, name in ((state(), "the given state dict"), (reference(), "the given GoogLeNet"), (path, str(path))):
        for variant in ("paper", "batchnorm"):
            with pytest.raises(CheckpointError) as caught:
                googlenet(variant, weights=source, num_classes=3)
            said = f"{name} is of the variant 'torchvision', not '{variant}'; ask for variant='torchvision'"
            assert str(caught.value) == said


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has 1 tensors that .* has no place for, .*'fc8\.w'"):
        googlenet("torchvision", weights=state() | {"fc8.w": torch.zeros(1)})
    less = {name: one for name, one in state().items() if name != "inception3a.branch1.bn.running_var"}
    with pytest.raises(CheckpointError, match=r"1 tensors are missing, first 'inception_3a\.conv1x1\.bn.running_var'"):
        googlenet("torchvision", weights=less)
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"layer1.0.conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="none of inception-rcnn, and not of torchvision's googlenet"):
        googlenet("torchvision", weights=path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        googlenet("torchvision", weights=path)


def test_a_module_that_prepares_its_images_otherwise_is_said_so() -> None:
    network = torchvision.models.googlenet(weights=None, init_weights=True, num_classes=3, aux_logits=False)
    with pytest.warns(UserWarning, match="the given GoogLeNet has transform_input=False"):
        googlenet("torchvision", weights=network, num_classes=3)


def test_a_pickle_is_refused_with_the_line_that_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "it's theirs.pth"
    torch.save(state(), path)
    with pytest.raises(InputError, match="is a pickle, which may run programs when it is read") as caught:
        googlenet("torchvision", weights=path)
    words = shlex.split(str(caught.value).partition("its state dict: ")[2])
    assert words[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *words[1:]], check=True, timeout=120)
    loaded = googlenet("torchvision", weights=path.with_suffix(".safetensors"), num_classes=3)
    assert loaded.classifier is not None and torch.equal(loaded.classifier.weight, state()["fc.weight"])
