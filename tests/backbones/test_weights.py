"""`googlenet(...)`: what is loaded, what stays fresh, and what is refused."""

from __future__ import annotations

import pickle
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from inception_rcnn.backbones import (
    GoogLeNet,
    GoogLeNetBody,
    googlenet,
    googlenet_body,
    network_of,
    write_checkpoint,
)
from inception_rcnn.backbones import weights as weights_module
from inception_rcnn.backbones.checkpoints import tensors_checksum
from inception_rcnn.backbones.training.classification import save_classifier
from inception_rcnn.backbones.weight_formats.caffe import caffe_layers, read_npz, state_from_caffe
from inception_rcnn.backbones.weights import read_state, shipped_detector
from inception_rcnn.detector.checkpoints import read_region_network, weights_path
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.initial_weights import pretrained_network
from inception_rcnn.proposals.network.checkpoints import read_start
from inception_rcnn.structures import CheckpointError, InputError


@cache
def other_network() -> GoogLeNet:
    """A network of three classes that no fresh one equals; read only."""
    torch.manual_seed(99)
    return googlenet(num_classes=3)


def state() -> dict[str, Tensor]:
    """Its numbers."""
    return dict(other_network().state_dict())


def caffe_arrays(aux_heads: bool = False, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """Arrays in Caffe's names that each hold one small number of their own."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in GoogLeNet(5, aux_heads=aux_heads).state_dict().items()}
    names = {
        f"{ours}.{kind}": f"{theirs}/{kind}"
        for ours, theirs in caffe_layers(aux_heads=aux_heads).items()
        for kind in ("weight", "bias")
    }
    return {names[ours]: np.full(shape, number, dtype) for number, (ours, shape) in enumerate(shapes.items())}


def test_a_fresh_network_is_in_evaluation_mode() -> None:
    assert not other_network().training and other_network().num_classes == 3


def test_a_state_dict_is_loaded() -> None:
    loaded = googlenet(weights=state(), num_classes=3).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state().items())


def test_other_numbers_of_classes_leave_only_the_last_layer_fresh() -> None:
    torch.manual_seed(1)
    loaded = googlenet(weights=state(), num_classes=4).state_dict()
    assert loaded["classifier.weight"].shape == (4, 1024)
    rest = [name for name in loaded if not name.startswith("classifier.")]
    assert len(rest) == 114 and all(torch.equal(loaded[name], state()[name]) for name in rest)


def test_the_last_layer_can_be_left_out() -> None:
    loaded = googlenet(weights=state(), num_classes=0)
    assert loaded.classifier is None and torch.equal(loaded.conv1.weight, state()["conv1.weight"])


def test_auxiliary_heads_stay_fresh_where_the_weights_have_none() -> None:
    loaded = googlenet(weights=state(), num_classes=3, aux_heads=True)
    assert loaded.aux_4a is not None and torch.equal(loaded.conv2.weight, state()["conv2.weight"])


def test_a_checkpoint_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 3}, {name: one.half() for name, one in state().items()})
    loaded = googlenet(weights=path, num_classes=3).state_dict()
    assert loaded["conv1.weight"].dtype == torch.float32
    assert all(torch.equal(loaded[name], tensor.half().float()) for name, tensor in state().items())


def test_caffe_names_cover_every_layer_once() -> None:
    for aux_heads, count in ((False, 58), (True, 64)):
        names = caffe_layers(aux_heads=aux_heads)
        with torch.device("meta"):
            expected = {name.rpartition(".")[0] for name in GoogLeNet(3, aux_heads=aux_heads).state_dict()}
        assert set(names) == expected and len(set(names.values())) == len(names) == count


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1/7x7_s2/weight", "conv1.weight"),
        ("conv2/3x3_reduce/bias", "conv2_reduce.bias"),
        ("inception_3a/1x1/weight", "inception_3a.conv1x1.weight"),
        ("inception_4c/3x3_reduce/weight", "inception_4c.reduce3x3.weight"),
        ("inception_4c/3x3/bias", "inception_4c.conv3x3.bias"),
        ("inception_5b/5x5_reduce/weight", "inception_5b.reduce5x5.weight"),
        ("inception_5b/5x5/weight", "inception_5b.conv5x5.weight"),
        ("inception_4e/pool_proj/bias", "inception_4e.project.bias"),
        ("loss3/classifier/weight", "classifier.weight"),
        ("loss1/conv/weight", "aux_4a.conv.weight"),
        ("loss2/fc/bias", "aux_4d.hidden.bias"),
        ("loss2/classifier/weight", "aux_4d.classifier.weight"),
    ],
)
def test_caffe_arrays_take_their_places(theirs: str, ours: str) -> None:
    arrays = caffe_arrays(aux_heads=True)
    assert state_from_caffe(arrays, origin="here")[ours].flatten()[0] == arrays[theirs].flat[0]


def test_an_npz_of_caffe_arrays_is_loaded_with_and_without_auxiliary_heads(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    arrays = caffe_arrays(aux_heads=True, dtype=np.float16)
    np.savez_compressed(path, **arrays)
    with_heads = googlenet(weights=path, num_classes=5, aux_heads=True)
    assert with_heads.aux_4d is not None
    assert with_heads.aux_4d.hidden.weight[3, 7] == arrays["loss2/fc/weight"].flat[0]
    without = googlenet(weights=path, num_classes=5)
    assert without.aux_4d is None and without.conv1.bias[0] == arrays["conv1/7x7_s2/bias"][0]


def test_caffe_arrays_that_lack_one_or_have_one_too_many() -> None:
    arrays = caffe_arrays()
    less = {name: array for name, array in arrays.items() if name != "inception_3a/5x5/bias"}
    with pytest.raises(CheckpointError, match=r"here lacks 1 of GoogLeNet's arrays, first 'inception_3a/5x5/bias'"):
        state_from_caffe(less, origin="here")
    with pytest.raises(CheckpointError, match=r"here has 1 arrays .* no place for, first 'fc8/weight'"):
        state_from_caffe(arrays | {"fc8/weight": np.zeros(3, np.float32)}, origin="here")


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, "U3"])
def test_caffe_arrays_of_another_kind_are_refused(dtype: type | str) -> None:
    arrays = caffe_arrays() | {"conv1/7x7_s2/bias": np.zeros(64, dtype)}
    with pytest.raises(CheckpointError, match="conv1/7x7_s2/bias should be floats"):
        state_from_caffe(arrays, origin="here")


def test_unknown_variants_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown variant 'v3'; known are paper, naive, batchnorm, torchvision"):
        googlenet("v3")
    with pytest.raises(InputError, match=r"weights should be coco, imagenet, a .caffemodel, .npz or .safetensors file"):
        read_state(tmp_path / "weights.h5")


def test_weights_of_the_paper_do_not_fit_the_naive_network() -> None:
    with pytest.raises(CheckpointError, match="of the variant 'paper', not 'naive'; ask for variant='paper'"):
        googlenet("naive", weights=state(), num_classes=3)


def test_wrong_tensors_are_refused() -> None:
    lies = {
        "does not fit: 1 tensors are missing, first 'conv2.bias'": {"conv2.bias": None},
        "does not fit: 1 tensors have no place, first 'conv3.bias'": {"conv3.bias": torch.zeros(3)},
        r"conv1.bias has shape \(63,\), the network needs \(64,\)": {"conv1.bias": torch.zeros(63)},
        "conv1.bias holds values that are not finite": {"conv1.bias": torch.full((64,), torch.nan)},
        "conv1.bias holds torch.int32, floating-point": {"conv1.bias": torch.zeros(64, dtype=torch.int32)},
    }
    for message, change in lies.items():
        wrong = {name: tensor for name, tensor in (state() | change).items() if tensor is not None}
        with pytest.raises(CheckpointError, match=message):
            googlenet(weights=wrong, num_classes=3)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, "multibox", {}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="kind 'multibox'; 'googlenet' is needed here"):
        googlenet(weights=path)


def damaged_files(folder: Path) -> dict[str, Path]:
    """Files that are no .npz, whatever their name says."""
    paths = {name: folder / f"{name}.npz" for name in ("empty", "text", "npy", "pickle", "cut", "flipped", "objects")}
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("no weights here")
    with paths["npy"].open("wb") as file:
        np.save(file, np.zeros(3, np.float32))
    paths["pickle"].write_bytes(pickle.dumps({"conv1/7x7_s2/weight": [1.0]}))
    np.savez_compressed(paths["cut"], **{"conv1/7x7_s2/weight": np.arange(9999.0)})
    whole = paths["cut"].read_bytes()
    paths["cut"].write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    paths["flipped"].write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with zipfile.ZipFile(paths["objects"], "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00")
    return paths


def npy_of_shape(shape: str) -> bytes:
    """The header of an array that promises a shape, without the numbers."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


@pytest.mark.parametrize(
    ("content", "place", "value", "text"),
    [
        (npy_of_shape("(99999999999999,)"), 0, 0, "Unable to allocate|EOF"),
        (npy_of_shape("(99999999999999999999999,)"), 0, 0, "too large"),
        (b"no array", 0, 0, "'a' in it is no array"),
        (npy_of_shape("(1,)") + bytes(4), 8, 1, "is encrypted"),  # the flag of a password in the zip's directory
        (npy_of_shape("(1,)") + bytes(4), 10, 99, "compression method is not supported"),
        (npy_of_shape("(1,)") + bytes(4), 27, 64, "it unpacks to 10.* bytes, and 536870912 are the most"),  # a size
    ],
)
def test_npz_files_that_lie_are_refused(tmp_path: Path, content: bytes, place: int, value: int, text: str) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + place] |= value
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"a\.npz cannot be read as \.npz: .*({text})"):
        read_npz(path)


def test_damaged_npz_files_are_refused(tmp_path: Path) -> None:
    for name, path in damaged_files(tmp_path).items():
        with pytest.raises(CheckpointError, match=rf"{name}\.npz"):
            googlenet(weights=path)
    with pytest.raises(CheckpointError, match=r"no weights at .*absent\.npz; check the path"):
        googlenet(weights=tmp_path / "absent.npz")


def test_the_shipped_detectors_trunk_is_at_hand() -> None:
    """Offline, and the same that the detector computes with."""
    network, _ = read_region_network("coco")
    assert isinstance(network, PooledNetwork)
    loaded = googlenet(weights="coco", num_classes=7).state_dict()
    for name, tensor in network.trunk.state_dict().items():
        assert torch.equal(loaded[name], tensor), name
    body = googlenet_body(weights="coco", out_stages=["3b"])
    assert torch.equal(body.conv1.weight, network.trunk.conv1.weight)
    assert shipped_detector() == weights_path("coco").resolve()


def test_a_detectors_file_gives_its_trunk_and_no_outputs(tmp_path: Path) -> None:
    path, network = tmp_path / "warp.safetensors", other_network()
    description = {"architecture": {"name": "googlenet", "variant": "no-lrn", "num_classes": 3}}
    write_checkpoint(path, "region-classifier", description, network.state_dict())
    with pytest.raises(CheckpointError, match="was trained without response normalisation; give lrn=False"):
        googlenet(weights=path)
    torch.manual_seed(5)
    loaded = googlenet(weights=path, num_classes=3, lrn=False)
    assert torch.equal(loaded.conv2.weight, network.conv2.weight)
    assert loaded.classifier is not None and not torch.equal(loaded.classifier.weight, state()["classifier.weight"])
    write_checkpoint(path, "region-classifier", {"base": {"name": "coco"}}, {"classifier.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="is a second head, whose trunk"):
        googlenet(weights=path)


def test_a_network_without_response_normalisation_stays_one(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network, path = googlenet(num_classes=2, lrn=False), tmp_path / "model.safetensors"
    save_classifier(path, network, None, training={})
    body = GoogLeNetBody(googlenet(num_classes=0, lrn=False), out_stages=["5b"])
    x = torch.rand(1, 3, 64, 64) * 255
    for weights in (network, path):
        loaded = network_of(weights)
        with torch.no_grad():
            assert not loaded.lrn and torch.equal(loaded(x), network(x))
        assert not googlenet(weights=weights, num_classes=2, lrn=False).lrn
    for weights in (network, path, body):
        with pytest.raises(CheckpointError, match="was trained without response normalisation; give lrn=False"):
            googlenet(weights=weights)
    with pytest.raises(CheckpointError, match="GoogLeNet was trained with response normalisation; give lrn=True"):
        googlenet(weights=other_network(), lrn=False)


@pytest.fixture(scope="module")
def imagenet_like(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GoogLeNet]:
    """A file as the ImageNet weights come in, with other numbers."""
    torch.manual_seed(3)
    network, path = GoogLeNet(), tmp_path_factory.mktemp("imagenet") / "weights.npz"
    layers = caffe_layers()
    own = network.state_dict()
    np.savez(path, **{f"{layers[n.rpartition('.')[0]]}/{n.rpartition('.')[2]}": t.numpy() for n, t in own.items()})
    return path, network


def test_the_imagenet_weights_come_from_the_file_that_is_named(
    imagenet_like: tuple[Path, GoogLeNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, network = imagenet_like
    monkeypatch.delenv("INCEPTION_RCNN_IMAGENET", raising=False)
    with pytest.raises(CheckpointError, match=r"get bvlc_googlenet.caffemodel as .* set INCEPTION_RCNN_IMAGENET=FILE"):
        googlenet(weights="imagenet")
    with pytest.warns(UserWarning, match="these are not the numbers of BVLC GoogLeNet"):
        by_argument = googlenet(weights=f"imagenet:{path}")
    monkeypatch.setenv("INCEPTION_RCNN_IMAGENET", str(path))
    with pytest.warns(UserWarning, match="they are used as they are"):
        by_variable = googlenet(weights="imagenet")
    for loaded in (by_argument, by_variable):
        assert all(torch.equal(one, network.state_dict()[name]) for name, one in loaded.state_dict().items())


@pytest.mark.parametrize("by_argument", [False, True])
def test_a_missing_file_of_imagenets_is_named_with_where_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_argument: bool
) -> None:
    absent = tmp_path / "absent.npz"
    monkeypatch.setenv("INCEPTION_RCNN_IMAGENET", str(absent))
    named_by = "the argument" if by_argument else "INCEPTION_RCNN_IMAGENET"
    with pytest.raises(CheckpointError, match=rf"absent\.npz, which {named_by} names: get bvlc_googlenet\.caffemodel"):
        googlenet(weights=f"imagenet:{absent}" if by_argument else "imagenet")


def test_the_known_file_is_known_by_its_numbers(
    imagenet_like: tuple[Path, GoogLeNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, network = imagenet_like
    numbers = tensors_checksum({name: one.half() for name, one in network.state_dict().items()})
    monkeypatch.setattr(weights_module, "_BVLC_CHECKSUM", numbers)
    googlenet(weights=f"imagenet:{path}")  # and a warning would be an error


def test_a_file_with_other_outputs_is_no_imagenets(tmp_path: Path) -> None:
    path = tmp_path / "few.safetensors"
    write_checkpoint(path, "googlenet", {}, state())
    with pytest.raises(CheckpointError, match="should have ImageNet's 1000 outputs, it has 3"):
        googlenet(weights=f"imagenet:{path}")


@pytest.fixture(scope="module", params=["npz", "ours", "plain"])
def imagenet_file(
    imagenet_like: tuple[Path, GoogLeNet], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """The same numbers as Caffe's arrays, as a file of this package, and as a plain one."""
    path, network = imagenet_like
    if request.param == "npz":
        return path
    made = tmp_path_factory.mktemp("imagenet") / "weights.safetensors"
    if request.param == "ours":
        write_checkpoint(made, "googlenet", {}, network.state_dict())
    else:
        save_file(dict(network.state_dict()), made)
    return made


@pytest.mark.filterwarnings("ignore:.*these are not the numbers")
@pytest.mark.parametrize("way", ["variable", "argument", "file"])
def test_trainings_start_from_what_googlenet_takes(
    imagenet_like: tuple[Path, GoogLeNet], imagenet_file: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("INCEPTION_RCNN_IMAGENET", str(imagenet_file if way == "variable" else "absent"))
    named = {"variable": "imagenet", "argument": f"imagenet:{imagenet_file}", "file": imagenet_file}[way]
    expected = imagenet_like[1].conv2.weight
    assert torch.equal(pretrained_network(named, ("cat", "dog")).network.conv2.weight, expected)
    assert torch.equal(read_start(named).state["conv2.weight"], expected)


def test_trainings_start_from_the_shipped_trunk() -> None:
    expected = googlenet(weights="coco").conv2.weight
    assert torch.equal(read_start("coco").state["conv2.weight"], expected)
