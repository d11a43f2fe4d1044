"""The doctor finds what is wrong, and names the remedy."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from inception_rcnn.backbones import write_checkpoint
from inception_rcnn.detector import ensemble_file
from inception_rcnn.structures.suppression import greedy
from inception_rcnn.tools import doctor
from inception_rcnn.tools.doctor import library_version

ROOT = Path(__file__).resolve().parents[2]


def faults(findings: Iterator[doctor.Finding]) -> list[doctor.Finding]:
    return [finding for finding in findings if finding.remedy is not None]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "small.safetensors", "googlenet", {}, {"weight": torch.ones(100)})
    return tmp_path


def test_sound_weights_are_named(weights: Path) -> None:
    (finding,) = doctor.shipped_weights(weights)
    assert finding.remedy is None
    assert "small.safetensors: googlenet" in finding.text


def test_damaged_weights_are_a_fault(weights: Path) -> None:
    path = weights / "small.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (finding,) = faults(doctor.shipped_weights(weights))
    assert "small.safetensors" in finding.text


def test_missing_weights_are_a_fault(tmp_path: Path) -> None:
    (finding,) = faults(doctor.shipped_weights(tmp_path))
    assert str(tmp_path) in finding.text


def test_one_opencv_of_any_kind_is_accepted_and_two_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "5.0")
    assert doctor.opencv(["opencv-contrib-python-headless"]).remedy is None
    both = doctor.opencv(["opencv-python", "opencv-python-headless"])
    assert both.remedy is not None
    assert both.remedy.startswith("pip uninstall --yes opencv-python opencv-python-headless &&")
    assert doctor.opencv([]).remedy == "pip install opencv-python"


def test_husk_of_cv2_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))
    assert "cannot be imported" in doctor.opencv(["opencv-python"]).text


def test_torch_and_torchvision_that_do_not_fit_are_a_fault() -> None:
    finding = doctor.torch_and_torchvision("torchvision: operator torchvision::nms does not exist")
    assert "torchvision::nms" in finding.text
    assert finding.remedy == "pip install --upgrade torch torchvision"


def test_library_that_is_missing_is_a_fault() -> None:
    assert library_version("not-installed").remedy == "pip install not-installed"


def test_main_exits_1_only_if_there_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda weights: iter([doctor.Finding("numpy", "2.4")]))
    doctor.main()
    assert capsys.readouterr().out == "numpy            2.4\n0 faults\n"
    monkeypatch.setattr(doctor, "examine", lambda weights: iter([doctor.Finding("numpy", "none", "pip install numpy")]))
    with pytest.raises(doctor.typer.Exit) as end:
        doctor.main()
    assert end.value.exit_code == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["                 -> pip install numpy", "1 fault"]


def test_the_weights_of_every_room_are_examined() -> None:
    """MultiBox's too: without them the default detector does not start."""
    texts = [finding.text for finding in doctor.examine(ROOT) if finding.subject == "weights"]
    assert any("region-classifier" in text for text in texts) and any("multibox" in text for text in texts)
    shipped = sorted(ROOT.glob("*/weights/**/*.safetensors"))
    assert len(texts) == len(shipped) > 1 and all(any(path.name in text for text in texts) for path in shipped)


def test_every_dependency_is_listed() -> None:
    """torch, torchvision and OpenCV have checks of their own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=!~ ]", one)[0] for one in project["dependencies"]}
    assert names - {"torch", "torchvision", "opencv-python"} == set(doctor._LIBRARIES)


def test_report_of_this_installation(tmp_path: Path) -> None:
    findings = {finding.subject: finding for finding in doctor.examine(tmp_path)}
    said = (
        "inception-rcnn",
        "python",
        "numba",
        "opencv",
        "torch",
        "kernels",
        "memory",
        "extras",
        "cuda",
        "cpu",
        "threads",
    )
    assert {*said, "weights"} <= set(findings)
    assert findings["torch"].text.startswith(torch.__version__.partition("+")[0])


def test_a_card_that_torch_does_not_see_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert doctor.no_cuda("12.8", tmp_path).remedy is None
    (tmp_path / "nvidiactl").touch()
    assert doctor.no_cuda("12.8", tmp_path).remedy is None
    (tmp_path / "nvidia0").touch()
    old = doctor.no_cuda("12.8", tmp_path)
    assert "12.8" in old.text and "nvidia0" in old.text and old.remedy == "nvidia-smi"
    without = doctor.no_cuda(None, tmp_path)
    assert "built without CUDA" in without.text
    assert without.remedy == "pip install --force-reinstall torch torchvision"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert doctor.no_cuda("12.8", tmp_path).remedy == "unset CUDA_VISIBLE_DEVICES"


def test_under_wsl_a_card_of_nvidia_s_is_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "dxg").touch()
    other = doctor.no_cuda("12.8", tmp_path, tmp_path / "lib")
    assert other.remedy is None and "NVIDIA's driver for Windows" in other.text
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libcuda.so.1").touch()
    assert "torch sees no GPU, though" in doctor.no_cuda("12.8", tmp_path, tmp_path / "lib").text


def test_kernels_that_cannot_be_kept_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.kernels().text.startswith("kept in ")
    monkeypatch.setattr(greedy, "dispatcher", SimpleNamespace(stats=SimpleNamespace(cache_path=None)))
    assert "NUMBA_CACHE_DIR" in (doctor.kernels().remedy or "")
    monkeypatch.setattr(greedy, "dispatcher", greedy.function)
    assert doctor.kernels().remedy == "unset NUMBA_DISABLE_JIT"


@pytest.mark.parametrize(
    ("system", "limit", "used", "text", "is_fault"),
    [
        ("MemTotal: 9 kB\nMemAvailable:   16000000 kB\n", "max", 5, "16.4 GB are free", False),
        ("MemAvailable: 16000000 kB\n", 3_000_000_000, 2_500_000_000, "0.5 GB are free", True),
        ("MemAvailable: 1000000 kB\n", 9_000_000_000, 0, "1.0 GB are free", True),
        ("", 3_000_000_000, 500_000_000, "2.5 GB are free", False),
        ("MemTotal: 9 kB\n", "max", 5, "this system does not say how much is free", False),
    ],
)
def test_memory_is_the_lesser_of_the_system_and_the_control_group(
    tmp_path: Path, system: str, limit: object, used: int, text: str, is_fault: bool
) -> None:
    (tmp_path / "meminfo").write_text(system)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    found = doctor.memory(tmp_path / "meminfo", tmp_path)
    assert found.text == text and (found.remedy is not None) is is_fault


def test_extras_are_those_of_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that bring commands or calls: not those for tests, and `export`, whose packages are those of `cpu`."""
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, needed in doctor._EXTRAS.items():
        assert sorted(needed) == sorted(re.split(r"[<>=!~ ]", one)[0] for one in optional[name])
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name in ("pandas", "pyarrow", "onnx") else None)
    assert doctor.extras().text == "tables; pip install 'inception-rcnn[cpu,serve,timm,train]' adds the others"


def test_an_ensemble_is_named_with_its_members_or_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    six, of_ilsvrc = doctor.ensembles()
    assert six.remedy is None and six.text.startswith("six: an ensemble of 6: coco, ")
    assert of_ilsvrc.remedy is None and of_ilsvrc.text.startswith("ilsvrc-six: an ensemble of 6: ilsvrc-det200, ")
    monkeypatch.setattr(ensemble_file, "ensemble_path", lambda weights: ROOT / "nowhere.toml")
    gone, _ = doctor.ensembles()
    assert "nowhere.toml" in gone.text and "git restore" in (gone.remedy or "")
