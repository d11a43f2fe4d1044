"""Parts that OpenVINO computes: against torch, kept on disk by content, whatever happens to the files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from inception_rcnn.backbones import CAFFE_INPUT, GoogLeNet
from inception_rcnn.backbones.runtimes import openvino_runtime
from inception_rcnn.backbones.runtimes.export import backbone_part
from inception_rcnn.backbones.runtimes.openvino_runtime import compile_part
from inception_rcnn.backbones.runtimes.recording import Part, Port
from inception_rcnn.structures import InputError, MissingDependencyError


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """GoogLeNet with fresh weights, seven outputs."""
    torch.manual_seed(0)
    return GoogLeNet(7).eval()


@pytest.fixture(scope="module")
def part(network: GoogLeNet) -> Part:
    """All of it."""
    return backbone_part(network, 32)


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Two pieces of a photograph, as the network reads them: (2, 3, 96, 80), channels last."""
    pixels = np.stack([data.astronaut()[:96, 150:230], data.astronaut()[100:196, 150:230]])
    return CAFFE_INPUT.apply(torch.from_numpy(pixels))


@pytest.fixture
def compiled_anew(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the parts that were compiled and not found in the cache."""
    names: list[str] = []
    compile_it = openvino_runtime._compile

    def noted(core: Any, recording: Any, settings: Any) -> Any:
        names.append(recording.part.name)
        return compile_it(core, recording, settings)

    monkeypatch.setattr(openvino_runtime, "_compile", noted)
    return names


def little(weight: float = 1.0) -> Part:
    """A part that is compiled at once: a convolution (n, 3, h, w) -> (n, 2, h, w) and the mean over it."""

    class Little(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 2, 1)
            torch.nn.init.constant_(self.conv.weight, weight)
            torch.nn.init.constant_(self.conv.bias, 0.5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.conv(x)
            return y, y.mean(dim=(2, 3))

    return Part(
        name="little",
        module=Little(),
        example=(torch.zeros(1, 3, 4, 4),),
        inputs=(Port("x", ("n", None, "h", "w")),),
        outputs=(Port("map", ("n", None, "h", "w")), Port("mean", ("n", None))),
    )


def test_a_network_says_of_a_photograph_what_it_says_by_torch(
    openvino: ModuleType, network: GoogLeNet, part: Part, photographs: Tensor, tmp_path: Path
) -> None:
    with torch.inference_mode():
        expected = network(photographs).softmax(dim=1)
    for precision, tolerance in (("fp32", 1e-4), ("bf16", 0.03)):
        (logits,) = compile_part(part, precision, folder=tmp_path)(photographs)
        assert logits.dtype == torch.float32
        assert (logits.softmax(dim=1) - expected).abs().max() < tolerance, precision


def test_any_number_and_size_of_images_goes_through_one_compiled_part(
    openvino: ModuleType, network: GoogLeNet, part: Part, photographs: Tensor, tmp_path: Path
) -> None:
    compiled = compile_part(part, "fp32", folder=tmp_path)
    for images in (photographs[:1], photographs[:, :, :71, :64], photographs.repeat(2, 1, 1, 1)):
        with torch.inference_mode():
            expected = network(images)
        (found,) = compiled(images)
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_maps_come_with_channels_last_and_are_the_callers(openvino: ModuleType, tmp_path: Path) -> None:
    compiled = compile_part(little(), "fp32", folder=tmp_path)
    first, mean = compiled(torch.ones(1, 3, 5, 6))
    assert first.shape == (1, 2, 5, 6) and first.is_contiguous(memory_format=torch.channels_last)
    compiled(torch.zeros(1, 3, 5, 6))
    assert torch.allclose(first, torch.tensor(3.5)) and torch.allclose(mean, torch.tensor(3.5)), "written over"


def test_another_number_of_inputs_is_refused(openvino: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="little takes 1 inputs, got 2"):
        compile_part(little(), "fp32", folder=tmp_path)(torch.zeros(1, 3, 4, 4), torch.zeros(1))


def test_several_threads_may_call_one_part(openvino: ModuleType, tmp_path: Path) -> None:
    compiled = compile_part(little(), "fp32", folder=tmp_path)

    def called(number: int) -> float:
        return float(compiled(torch.full((1, 3, 32, 32), float(number)))[1][0, 0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(called, range(60))) == [3 * number + 0.5 for number in range(60)]


def test_what_was_compiled_is_found_again(openvino: ModuleType, compiled_anew: list[str], tmp_path: Path) -> None:
    x = torch.arange(48.0).reshape(1, 3, 4, 4)
    first = compile_part(little(), "fp32", folder=tmp_path / "new" / "folder")(x)
    second = compile_part(little(), "fp32", folder=tmp_path / "new" / "folder")(x)
    assert compiled_anew == ["little"]
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.name.startswith("little-") and file.suffix == ".openvino"


def test_other_weights_precision_or_threads_are_compiled_anew(
    openvino: ModuleType, compiled_anew: list[str], tmp_path: Path
) -> None:
    compile_part(little(), "fp32", threads=1, folder=tmp_path)
    compile_part(little(2.0), "fp32", threads=1, folder=tmp_path)
    compile_part(little(), "bf16", threads=1, folder=tmp_path)
    compile_part(little(), "fp32", threads=2, folder=tmp_path)
    compile_part(replace(little(), ranges=((-1.0, 1.0),)), "int8", threads=1, folder=tmp_path)
    assert len(compiled_anew) == 5 and len(list(tmp_path.iterdir())) == 5
    # Ranges are for int8 alone.
    compile_part(replace(little(), ranges=((-1.0, 1.0),)), "fp32", threads=1, folder=tmp_path)
    assert len(compiled_anew) == 5


def _cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _changed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _another_thing(file: Path) -> None:
    import hashlib

    file.write_bytes(hashlib.sha256(b"nothing").digest() + b"nothing")


@pytest.mark.parametrize("damage", [_cut_short, _changed, _emptied, _another_thing])
def test_a_damaged_file_is_made_anew(
    damage: Callable[[Path], None], openvino: ModuleType, compiled_anew: list[str], tmp_path: Path
) -> None:
    compile_part(little(), "fp32", folder=tmp_path)
    (file,) = tmp_path.iterdir()
    damage(file)
    (_, mean) = compile_part(little(), "fp32", folder=tmp_path)(torch.ones(1, 3, 4, 4))
    assert mean.tolist() == [[3.5, 3.5]] and len(compiled_anew) == 2
    compile_part(little(), "fp32", folder=tmp_path)
    assert len(compiled_anew) == 2, "it was repaired"


def test_a_folder_that_cannot_be_written_means_no_cache(
    openvino: ModuleType, compiled_anew: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        (_, mean) = compile_part(little(), "fp32", folder=tmp_path / "file" / "cache")(torch.ones(1, 3, 4, 4))
        assert mean.tolist() == [[3.5, 3.5]]
    assert len(compiled_anew) == 2
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_in_the_place_of_a_file_means_no_cache(
    openvino: ModuleType, compiled_anew: list[str], tmp_path: Path
) -> None:
    compile_part(little(), "fp32", folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    (_, mean) = compile_part(little(), "fp32", folder=tmp_path)(torch.ones(1, 3, 4, 4))
    assert mean.tolist() == [[3.5, 3.5]] and len(compiled_anew) == 2


def test_the_folder_may_be_removed_at_any_time(
    openvino: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While a part is written too: after the folder was made, and before the file is."""
    write, folder = openvino_runtime.write_whole, tmp_path / "cache"

    def too_late(path: Path, content: bytes) -> None:
        folder.rmdir()
        write(path, content)

    monkeypatch.setattr(openvino_runtime, "write_whole", too_late)
    (_, mean) = compile_part(little(), "fp32", folder=folder)(torch.ones(1, 3, 4, 4))
    assert mean.tolist() == [[3.5, 3.5]] and not folder.exists()


def test_only_the_files_used_last_are_kept(
    openvino: ModuleType, monkeypatch: pytest.MonkeyPatch, compiled_anew: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(openvino_runtime, "_MOST_FILES", 2)
    (tmp_path / "of-somebody-else.txt").write_text("kept")
    for number, weight in enumerate((1.0, 2.0)):
        compile_part(little(weight), "fp32", folder=tmp_path)
        for file in tmp_path.glob("*.openvino"):
            os.utime(file, (1000 + number, 1000 + number))
    compile_part(little(1.0), "fp32", folder=tmp_path)  # a hit, which counts as use
    compile_part(little(3.0), "fp32", folder=tmp_path)
    assert len(list(tmp_path.glob("*.openvino"))) == 2 and (tmp_path / "of-somebody-else.txt").exists()
    compile_part(little(1.0), "fp32", folder=tmp_path)
    assert len(compiled_anew) == 3, "the one that was used stayed"


def test_unknown_precisions_and_int8_without_ranges_are_refused(openvino: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision should be one of fp32, bf16, int8, got 'fp16'"):
        compile_part(little(), "fp16", folder=tmp_path)
    with pytest.raises(InputError, match=r"int8 needs calibrated weights.*inception-rcnn calibrate"):
        compile_part(little(), "int8", folder=tmp_path)


def test_without_openvino_the_error_says_how_to_install_it() -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'inception-rcnn\[cpu\]', or use --runtime torch"):
        compile_part(little(), "fp32")


def test_importing_it_tells_nobody(openvino: ModuleType, tmp_path: Path) -> None:
    code = """
import sys
from inception_rcnn.backbones.runtimes.openvino_runtime import openvino
openvino().Core()
sys.exit(" ".join(name for name in sys.modules if "openvino_telemetry" in name) or 0)
"""
    environment = {**os.environ, "HOME": str(tmp_path)}
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root / "src", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists(), "where it notes who uses it"
