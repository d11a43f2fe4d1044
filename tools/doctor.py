"""inception-rcnn doctor

Says what this installation consists of and what is wrong with it, each fault with its remedy.

Checks the versions of the libraries, that torch and torchvision fit together, that cv2 comes from one distribution
alone, that compiled kernels can be kept, why a GPU is not seen, which fast arithmetic there is, whether memory is left,
what further parts are installed, and the checksums of all weights that are shipped. Exit status 1 if anything is wrong.
Paste the output into a bug report.

Examples:
  inception-rcnn doctor
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

import inception_rcnn
from inception_rcnn.tools.cli import echo, run_command

# What the package imports, by the name it is installed under; cv2 and the pair of torch and torchvision have checks of
# their own.
_LIBRARIES = (
    *("numpy", "numba", "scipy", "scikit-image", "pillow", "selectivesearch", "pycocotools", "safetensors", "msgspec"),
    *("defusedxml", "pyyaml", "jinja2", "rich", "typer"),
)
# The rooms whose folder `weights` is shipped: the region classifiers, and MultiBox, without which no detector starts.
_ROOMS_WITH_WEIGHTS = ("detector", "proposals")
# All four install the folder cv2, one over the other, and pip does not notice.
_CV2_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
# What brings further commands, by the extra that installs it.
_EXTRAS = {
    "cpu": ("openvino", "onnx"),
    "serve": ("fastapi", "uvicorn"),
    "tables": ("pandas", "pyarrow"),
    "timm": ("timm",),
    "train": ("tensorboard",),
}
# A detection takes 1.0 to 1.8 GB, by `benchmarks/bench_speed.py --only growth`.
_LEAST_MEMORY = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the report; with a remedy it is a fault."""

    subject: str
    text: str
    remedy: str | None = None


def main() -> None:
    """Print all findings; exit status 1 if one is a fault."""
    faults = 0
    for finding in examine(Path(__file__).resolve().parent.parent):
        echo(f"{finding.subject:<16} {finding.text}")
        if finding.remedy is not None:
            faults += 1
            echo(f"{'':<16} -> {finding.remedy}")
    echo(f"{faults} faults" if faults != 1 else "1 fault")
    if faults:
        raise typer.Exit(1)


def examine(package: Path) -> Iterator[Finding]:
    """Yield what there is to say about this installation, line by line.

    Args:
        package: The folder that holds the rooms, and in some of them the shipped checkpoints.
    """
    yield Finding("inception-rcnn", f"{inception_rcnn.__version__} in {Path(__file__).resolve().parent.parent}")
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield from (library_version(name) for name in _LIBRARIES)
    yield opencv([name for name in _CV2_DISTRIBUTIONS if _version(name) is not None])
    torch_fault = _why_not_importable("torch", "torchvision")
    yield torch_and_torchvision(torch_fault)
    yield kernels()
    yield memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))
    yield extras()
    if torch_fault is None:
        yield from devices()
        for room in _ROOMS_WITH_WEIGHTS:
            yield from shipped_weights(package / room / "weights")
        yield from ensembles()


def library_version(name: str) -> Finding:
    """Return the version of an installed distribution, or how to get it."""
    version = _version(name)
    if version is None:
        return Finding(name, "is not installed", f"pip install {name}")
    return Finding(name, version)


def opencv(installed: Sequence[str]) -> Finding:
    """Return whether cv2 is sound: one distribution of any kind, not several in one folder.

    Args:
        installed: The names of the OpenCV distributions that are installed.
    """
    text = ", ".join(f"{name} {_version(name)}" for name in installed)
    if not installed:
        return Finding("opencv", "is not installed", "pip install opencv-python")
    remedy = f"pip uninstall --yes {' '.join(installed)} && pip install opencv-python"
    if len(installed) > 1:
        return Finding("opencv", f"{text}: they overwrite each other's folder cv2", remedy)
    fault = _why_not_importable("cv2")
    if fault is not None:
        return Finding("opencv", f"{text} cannot be imported: {fault}", remedy)
    return Finding("opencv", text)


def torch_and_torchvision(fault: str | None) -> Finding:
    """Return the versions of the pair, and whether they work together.

    Args:
        fault: What importing both of them says, None if they can be imported.
    """
    text = f"{_version('torch')} with torchvision {_version('torchvision')}"
    if fault is None:
        return Finding("torch", text)
    remedy = "pip install --upgrade torch torchvision"
    return Finding("torch", f"{text} cannot be imported (each torchvision fits one torch): {fault}", remedy)


def devices() -> Iterator[Finding]:
    """Yield the CUDA device, the CPU's fast arithmetic, and the threads torch uses."""
    import torch

    from inception_rcnn.structures.jobs import available_processors

    if torch.cuda.is_available():
        size = torch.cuda.get_device_properties(0).total_memory / 2**30
        yield Finding("cuda", f"{torch.cuda.get_device_name(0)}, {size:.0f} GiB ({torch.cuda.device_count()} in all)")
    else:
        yield no_cuda(torch.version.cuda, Path("/dev"))
    # An old torch has no such function; a CPU that is not x86 has none of these names.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = [name for name in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if capabilities.get(name)]
    kernels = torch.backends.cpu.get_cpu_capability()  # type: ignore[no-untyped-call,unused-ignore]
    yield Finding("cpu", f"{platform.machine()}, kernels for {kernels}, has {', '.join(fast) or 'nothing torch tells'}")
    yield openvino()
    yield Finding(
        "threads",
        f"torch uses {torch.get_num_threads()} of {available_processors()} processors that this process may use",
    )


def no_cuda(built_for: str | None, devices: Path, wsl: Path = Path("/usr/lib/wsl/lib")) -> Finding:
    """Return why torch sees no GPU: there is none, it is hidden, torch is built without, or the driver does not fit.

    Args:
        built_for: The version of CUDA that torch is built for, None if it is built without.
        devices: The folder of device files; a driver for NVIDIA's cards makes `nvidia0` there. Under WSL it is `dxg`,
            for a card of any kind. Absent on other systems.
        wsl: Where Windows puts its driver's libraries under WSL, CUDA's among them if the card is NVIDIA's.
    """
    cards = sorted(path.name for path in devices.glob("nvidia[0-9]*"))
    if not cards and (devices / "dxg").exists():
        if not any(wsl.glob("libcuda.so*")):
            text = "no device: Windows has a card, and no CUDA for it, which NVIDIA's driver for Windows brings"
            return Finding("cuda", f"{text}; everything runs on the CPU")
        cards = ["dxg"]
    if not cards:
        return Finding("cuda", "no device; everything runs on the CPU")
    seen = f"torch sees no GPU, though {devices / cards[0]} is there"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return Finding("cuda", f"{seen}: CUDA_VISIBLE_DEVICES is {hidden!r}", "unset CUDA_VISIBLE_DEVICES")
    if built_for is None:
        text = (
            f"{seen}: this torch is built without CUDA; on Linux PyPI's is built with it, else see https://pytorch.org"
        )
        return Finding("cuda", text, "pip install --force-reinstall torch torchvision")
    text = f"{seen}: torch is built for CUDA {built_for}, which the driver may be too old for; nvidia-smi says what it "
    return Finding(
        "cuda", f"{text}can do, and a newer driver or an older torch is needed where that is less", "nvidia-smi"
    )


def kernels() -> Finding:
    """Return where compiled kernels are kept: without such a place each process compiles them anew, for ten seconds."""
    try:
        from inception_rcnn.structures import nms
        from inception_rcnn.structures.suppression import greedy

        nms([[0, 0, 9, 9]], [1])
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # numba against numpy, most often
        fault = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding("kernels", f"cannot be compiled: {fault}", "pip install --upgrade numba numpy")
    kernel: Any = greedy
    kept = getattr(kernel.dispatcher, "stats", None)  # NUMBA_DISABLE_JIT leaves a plain function
    if kept is None:
        return Finding(
            "kernels", "numba is switched off, which is some hundred times slower", "unset NUMBA_DISABLE_JIT"
        )
    if not kept.cache_path:
        text = "cannot be kept: every process compiles them anew, for some ten seconds; any folder for them will do"
        return Finding("kernels", text, "export NUMBA_CACHE_DIR=~/.cache/numba; inception-rcnn warmup")
    return Finding("kernels", f"kept in {kept.cache_path}")


def memory(system: Path, control_group: Path) -> Finding:
    """Return how much memory is free: what the system has, or what the control group leaves if that is less.

    Args:
        system: Linux' `/proc/meminfo`; elsewhere nothing can be said.
        control_group: Where the process's control group is mounted, version 2.
    """
    free = []
    with suppress(OSError, StopIteration, ValueError):
        line = next(line for line in system.read_text().splitlines() if line.startswith("MemAvailable:"))
        free.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):  # "max" where there is no limit
        free.append(
            int((control_group / "memory.max").read_text()) - int((control_group / "memory.current").read_text())
        )
    if not free:
        return Finding("memory", "this system does not say how much is free")
    gigabytes = max(min(free), 0) / 1e9
    if gigabytes < _LEAST_MEMORY:
        remedy = f"end other programs: a detection needs {_LEAST_MEMORY:.0f} GB, training more"
        return Finding("memory", f"{gigabytes:.1f} GB are free", remedy)
    return Finding("memory", f"{gigabytes:.1f} GB are free")


def extras() -> Finding:
    """Return which optional parts are installed, and what installs the others."""
    there = [name for name, needed in _EXTRAS.items() if all(_version(one) for one in needed)]
    missing = [name for name in _EXTRAS if name not in there]
    more = f"; pip install 'inception-rcnn[{','.join(missing)}]' adds the others" if missing else ""
    return Finding("extras", f"{', '.join(there) or 'none'}{more}")


def openvino() -> Finding:
    """Return what `--runtime auto` means on a CPU, and how to make it faster."""
    from inception_rcnn.backbones.runtime import choose_runtime

    runtime, version = choose_runtime("cpu", "auto"), _version("openvino")
    more = "" if version else "; pip install 'inception-rcnn[cpu]' adds OpenVINO, faster where there is bfloat16"
    return Finding("openvino", f"{version or 'is not installed'}: on the CPU auto means {runtime}{more}")


def shipped_weights(folder: Path) -> Iterator[Finding]:
    """Yield each shipped checkpoint with the outcome of reading it, data and checksum.

    Args:
        folder: Where the `.safetensors` files lie.
    """
    from inception_rcnn.backbones import read_checkpoint, read_description
    from inception_rcnn.structures import CheckpointError

    remedy = f"install inception-rcnn again (in a checkout: git restore {folder.parent.name}/weights)"
    paths = sorted(folder.rglob("*.safetensors"))
    if not paths:
        yield Finding("weights", f"none in {folder}", remedy)
    for path in paths:
        try:
            checkpoint = read_checkpoint(path, read_description(path)["kind"])
        except CheckpointError as error:
            yield Finding("weights", str(error), remedy)
            continue
        size = path.stat().st_size / 1e6
        yield Finding("weights", f"{path.relative_to(folder)}: {checkpoint.kind}, {size:.1f} MB, its checksum is right")


def ensembles() -> Iterator[Finding]:
    """Yield each shipped ensemble with the number of its members, all of which must be there."""
    from inception_rcnn.detector.checkpoints import ENSEMBLES
    from inception_rcnn.detector.ensemble_file import read_ensemble_file
    from inception_rcnn.structures import CheckpointError

    for name in ENSEMBLES:
        try:
            members = read_ensemble_file(name).members
        except CheckpointError as error:
            remedy = "install inception-rcnn again (in a checkout: git restore detector/weights)"
            yield Finding("ensemble", str(error), remedy)
        else:
            yield Finding("ensemble", f"{name}: an ensemble of {len(members)}: {', '.join(map(str, members))}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _why_not_importable(*names: str) -> str | None:
    """Return the first line of what goes wrong, or None when all modules can be imported and are more than a husk."""
    for name in names:
        try:
            # Uninstalling one of two distributions that share a folder leaves a module without content.
            import_module(name).__version__  # noqa: B018
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            return f"{name}: {(str(error).splitlines() or [type(error).__name__])[0]}"
    return None


if __name__ == "__main__":
    run_command(main)
