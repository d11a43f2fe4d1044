"""Files for other runtimes: what they compute on a photograph is torch's, and they are written whole."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet
from inception_rcnn.backbones.runtimes.export import backbone_part, export_part
from inception_rcnn.structures import InputError, MissingDependencyError


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """A piece of a photograph, as GoogLeNet reads it: (1, 3, 96, 80), channels last."""
    return CAFFE_INPUT.apply(torch.from_numpy(np.ascontiguousarray(data.astronaut()[None, :96, 150:230])))


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """GoogLeNet with fresh weights, seven outputs."""
    torch.manual_seed(0)
    return GoogLeNet(7).eval()


def test_both_formats_are_written_and_compute_what_torch_computes(
    openvino: ModuleType, network: GoogLeNet, photograph: Tensor, tmp_path: Path
) -> None:
    files = export_part(backbone_part(network, 32), [photograph], tmp_path / "new" / "folder", ("onnx", "openvino"))
    assert [file.path.name for file in files] == ["backbone.onnx", "backbone.xml"]
    written = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert written == {"backbone.onnx", "backbone.xml", "backbone.bin"}, "and nothing is left over"
    with torch.inference_mode():
        expected = network(photograph)
    for file in files:
        ((name, difference, largest),) = file.differences
        assert name == "logits" and difference < 1e-4 * largest
        assert largest == pytest.approx(float(expected.abs().max()))
        compiled = openvino.Core().compile_model(file.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = torch.from_numpy(compiled([photograph.contiguous().numpy()])[0])
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * largest)


def test_a_difference_is_seen(
    openvino: ModuleType, network: GoogLeNet, photograph: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compared is the file, not the model that it was written from."""
    from inception_rcnn.backbones.runtimes import export

    monkeypatch.setattr(export, "onnx_model", lambda recording: wrong)
    torch.manual_seed(1)
    from inception_rcnn.backbones.runtimes.onnx_graph import onnx_model
    from inception_rcnn.backbones.runtimes.recording import record

    wrong = onnx_model(record(backbone_part(GoogLeNet(7).eval(), 32)))
    (file,) = export_part(backbone_part(network, 32), [photograph], tmp_path, ("onnx",))
    ((_, difference, largest),) = file.differences
    assert difference > 0.1 * largest


def test_files_of_the_same_names_are_replaced_and_others_left_alone(
    openvino: ModuleType, network: GoogLeNet, photograph: Tensor, tmp_path: Path
) -> None:
    (tmp_path / "backbone.onnx").write_text("an older one")
    (tmp_path / "backbone.bin").write_text("of somebody else")
    (file,) = export_part(backbone_part(network, 32), [photograph], tmp_path, ("onnx",))
    assert file.path.stat().st_size > 1e6
    assert (tmp_path / "backbone.bin").read_text() == "of somebody else"


def test_a_failure_leaves_the_old_files(
    openvino: ModuleType, network: GoogLeNet, photograph: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending in (".xml", ".bin"):
        (tmp_path / "backbone").with_suffix(ending).write_text("an older one")

    def full(*args: object, **options: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(openvino, "save_model", full)
    with pytest.raises(OSError, match="no space left"):
        export_part(backbone_part(network, 32), [photograph], tmp_path, ("openvino",))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "backbone.xml": "an older one",
        "backbone.bin": "an older one",
    }


def test_unknown_formats_are_refused_before_anything_is_written(
    network: GoogLeNet, photograph: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="unknown format 'tflite'; known are onnx, openvino"):
        export_part(backbone_part(network, 32), [photograph], tmp_path / "out", ("onnx", "tflite"))
    assert not (tmp_path / "out").exists()


def test_without_openvino_the_error_says_how_to_install_it(
    network: GoogLeNet, photograph: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(MissingDependencyError, match="pip install"):
        export_part(backbone_part(network, 32), [photograph], tmp_path / "out", ("onnx",))
    assert not (tmp_path / "out").exists()


def test_a_network_without_classes_gives_features(network: GoogLeNet) -> None:
    assert [port.name for port in backbone_part(GoogLeNet(0).eval(), 32).outputs] == ["features"]
    assert [port.name for port in backbone_part(network, 32).outputs] == ["logits"]
