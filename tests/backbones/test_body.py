"""GoogLeNet as the body of other detectors: its maps, what it is told of images, and who can look into it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet, GoogLeNetBody, googlenet, googlenet_body
from inception_rcnn.backbones.runtimes.export import body_part, export_part
from inception_rcnn.structures import InputError


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """Fresh weights."""
    torch.manual_seed(0)
    return googlenet(num_classes=0)


@pytest.fixture(scope="module")
def body(network: GoogLeNet) -> GoogLeNetBody:
    """Its body of four maps; read only."""
    return GoogLeNetBody(network, out_stages=("5b", "conv2", "4e", "3b"))


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """A piece of a photograph, (1, 3, 97, 128) R, G, B in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(data.astronaut()[:97, 150:278])).permute(2, 0, 1)[None] / 255


def test_maps_are_the_networks_for_the_same_photograph(network: GoogLeNet, body: GoogLeNetBody, pixels: Tensor) -> None:
    with torch.no_grad():
        maps = body(pixels)
        given = CAFFE_INPUT.apply((pixels * 255).round().byte().permute(0, 2, 3, 1))
        expected = network.feature_maps(given, body.out_stages)
    assert list(maps) == ["conv2", "3b", "4e", "5b"] == list(expected)
    for name, one in maps.items():
        torch.testing.assert_close(one, expected[name], rtol=1e-4, atol=1e-2)


def test_it_says_what_its_maps_are(body: GoogLeNetBody, pixels: Tensor) -> None:
    with torch.no_grad():
        maps = body(pixels)
    assert body.out_channels == [one.shape[1] for one in maps.values()] == [192, 480, 832, 1024]
    assert list(body.strides.values()) == [4, 8, 16, 32] and list(body.offsets.values()) == [2.0, 6.0, 14.0, 30.0]
    assert body.feature_info[1] == {"num_chs": 480, "reduction": 8, "module": "inception_3b"}
    one = googlenet_body(out_stages=["4e"])
    assert one.out_channels == 832 and not hasattr(one, "inception_5a"), "and it has no layers behind its last map"


@pytest.mark.parametrize("given", ["rgb01", "imagenet", "caffe"])
def test_the_same_photograph_in_each_units_gives_the_same_maps(network: GoogLeNet, pixels: Tensor, given: str) -> None:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    prepared = {
        "rgb01": pixels,
        "imagenet": (pixels - mean[:, None, None]) / deviation[:, None, None],
        "caffe": pixels.flip(1) * 255 - torch.tensor([104.0, 117.0, 123.0])[:, None, None],
    }
    with torch.no_grad():
        found = GoogLeNetBody(network, out_stages=["3a"], input=given)(prepared[given])["3a"]
        expected = network.trunk(prepared["caffe"], stop="3a")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_frozen_stages_do_not_learn() -> None:
    body = googlenet_body(frozen_until="3b", out_stages=["4a"])
    learning = {name.split(".")[0] for name, one in body.named_parameters() if one.requires_grad}
    assert learning == {"inception_4a"}
    assert all(one.requires_grad for one in googlenet_body(out_stages=["3a"]).parameters())


def test_parameters_have_the_networks_names(network: GoogLeNet, body: GoogLeNetBody) -> None:
    assert set(body.state_dict()) == set(network.state_dict())


def test_layers_called_in_a_row_are_the_network(body: GoogLeNetBody, network: GoogLeNet, pixels: Tensor) -> None:
    """As torchvision's getter calls them, which knows nothing of ReLU and poolings outside of layers."""
    with torch.no_grad():
        for one, given in ((body, pixels), (network, pixels)):
            found = IntermediateLayerGetter(one, body.return_layers)(given)
            expected = one(given) if isinstance(one, GoogLeNetBody) else one.feature_maps(given, body.out_stages)
            assert list(found) == ["0", "1", "2", "3"]
            assert all(map(torch.equal, found.values(), expected.values()))


def test_torchvision_extracts_features(body: GoogLeNetBody, pixels: Tensor) -> None:
    with torch.no_grad():
        found = create_feature_extractor(body, body.return_layers)(pixels)
        assert all(map(torch.equal, found.values(), body(pixels).values()))
        whole = googlenet(num_classes=3)
        found = create_feature_extractor(whole, {"inception_3b": "3b", "classifier": "logits"})(pixels)
        assert torch.equal(found["logits"], whole(pixels))
        with warnings.catch_warnings():  # of the heads that it has in training only
            warnings.simplefilter("ignore")
            found = create_feature_extractor(googlenet(num_classes=3, aux_heads=True), ["inception_3b"])(pixels)
        assert found["inception_3b"].shape == (1, 480, 12, 16)


def test_torch_exports_it_with_any_number_and_size(body: GoogLeNetBody, pixels: Tensor) -> None:
    any_length = torch.export.Dim.DYNAMIC
    batch = torch.cat([pixels, pixels.flip(3)])
    program = torch.export.export(body, (batch,), dynamic_shapes=({0: any_length, 2: any_length, 3: any_length},))
    with torch.no_grad():
        for shape in ((1, 3, 64, 75), (3, 3, 130, 97)):
            images = torch.rand(shape)
            found = program.module()(images)
            assert all(torch.equal(found[name], one) for name, one in body(images).items())


def test_torch_compiles_it_without_graph_breaks(body: GoogLeNetBody, pixels: Tensor) -> None:
    torch._dynamo.reset()
    with torch.no_grad():
        found = torch.compile(body, fullgraph=True, backend="eager")(pixels)
        assert all(torch.equal(found[name], one) for name, one in body(pixels).items())


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_onnx_with_any_number_and_size(
    openvino: ModuleType, body: GoogLeNetBody, pixels: Tensor, tmp_path: Path, runtime: str
) -> None:
    if runtime == "onnxruntime":
        ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install onnxruntime")
    (file,) = export_part(body_part(body, 64), [pixels], tmp_path, ("onnx",))
    assert [name for name, _, _ in file.differences] == body.out_stages
    for images in (pixels, torch.rand(3, 3, 130, 96)):
        if runtime == "onnxruntime":
            session = ort.InferenceSession(file.path, providers=["CPUExecutionProvider"])
            found = session.run(None, {"images": images.contiguous().numpy()})
        else:
            compiled = openvino.Core().compile_model(file.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            found = list(compiled([images.contiguous().numpy()]).values())
        with torch.no_grad():
            expected = list(body(images).values())
        for one, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(one), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_what_cannot_be_is_refused(network: GoogLeNet, body: GoogLeNetBody) -> None:
    with pytest.raises(InputError, match="unknown map '6a'; the trunk's maps are conv1, pool1"):
        googlenet_body(out_stages=["6a"])
    with pytest.raises(InputError, match="out_stages should name a map or more"):
        googlenet_body(out_stages=[])
    with pytest.raises(InputError, match="unknown input 'bgr'; known are rgb01, imagenet, caffe"):
        googlenet_body(input="bgr")
    with pytest.raises(InputError, match="unknown stage 'pool2'"):
        googlenet_body(frozen_until="pool2")
    with pytest.raises(InputError, match="images should be a float tensor"):
        body(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_importing_the_room_imports_torch_and_nothing_heavier() -> None:
    code = """
import sys
import inception_rcnn.backbones
heavy = "torchvision timm onnx onnxruntime openvino numba scipy skimage pandas matplotlib cv2 triton".split()
sys.exit(" ".join(name for name in heavy if name in sys.modules) or 0)
"""
    root = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
