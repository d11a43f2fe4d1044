"""Parts of networks computed by OpenVINO on the CPU, compiled once and kept on disk by what they contain.

    part --record--> operations, weights --checksum--> a file in the user's cache folder, if it was compiled before
      else --ONNX--> OpenVINO's compiler --> that file

OpenVINO fuses what lies between convolutions and keeps maps in the layout that its convolutions like. Images may
differ in size and regions in number: one compiled part serves all.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones.runtime import cpu_has_fast_bfloat16
from inception_rcnn.backbones.runtimes.onnx_graph import onnx_model
from inception_rcnn.backbones.runtimes.recording import Part, Recording, record
from inception_rcnn.structures import InputError, MissingDependencyError, write_whole
from inception_rcnn.structures.files import cache_folder
from inception_rcnn.structures.jobs import available_processors

# What OpenVINO calls the precisions that it is asked for.
_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_LAYOUT: Final = 1  # of the files; another number makes those from before unknown
_MOST_FILES: Final = 24  # that are kept, each of 10 to 30 MB: the least recently used go
_SUFFIX: Final = ".openvino"
_IMPORTING = threading.Lock()


class CompiledPart:
    """A part that OpenVINO computes. It may be called from several threads.

    Args:
        compiled: OpenVINO's.
        name: Of the part.
        inputs: How many it takes.
    """

    def __init__(self, compiled: Any, name: str, inputs: int) -> None:
        self.name = name
        self._compiled = compiled
        self._inputs = inputs
        self._of_thread = threading.local()

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Return the part's outputs, float32 on the CPU; those with four dimensions are channels last.

        Args:
            inputs: Float32 on the CPU; those with four dimensions are not copied if they are channels last.

        Raises:
            InputError: Another number of inputs.
        """
        if len(inputs) != self._inputs:
            raise InputError(f"{self.name} takes {self._inputs} inputs, got {len(inputs)}")
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        arrays = [_as_array(one) for one in inputs]
        results = request.infer(arrays, share_inputs=True, share_outputs=True)
        # The request writes over its outputs when it is called again.
        return [_as_tensor(results[number].copy()) for number in range(len(results))]


def compile_part(part: Part, precision: str, *, threads: int | None = None, folder: Path | None = None) -> CompiledPart:
    """Return a part compiled for this CPU: read from the cache if it was compiled before, else compiled and kept.

    Args:
        part: In float32; what comes in and goes out is float32 too.
        precision: In which OpenVINO multiplies: "fp32"; "bf16", where the CPU can; "int8" those convolutions whose
            ranges the part knows.
        threads: How many it uses at most; None: one for each processor.
        folder: Of the files; None: in the user's cache folder. Where it cannot be written nothing is kept.

    Raises:
        InputError: Unknown precision, int8 without ranges, or the part has no translation.
        MissingDependencyError: OpenVINO is not installed.
    """
    if precision not in _HINTS:
        raise InputError(f"precision should be one of {', '.join(_HINTS)}, got {precision!r}")
    if precision == "int8" and part.ranges is None:
        raise InputError(
            f"precision int8 needs calibrated weights, and the {part.name}'s are not; calibrate them with "
            "`inception-rcnn calibrate`, or use bf16"
        )
    core = openvino().Core()
    recording = record(part if precision == "int8" else replace(part, ranges=None))
    # What int8 leaves in floating point is made as `auto` would make it.
    floating = "bf16" if precision == "int8" and cpu_has_fast_bfloat16() else _HINTS[precision]
    settings = {
        "INFERENCE_PRECISION_HINT": floating,
        "INFERENCE_NUM_THREADS": threads or available_processors(),
        "PERFORMANCE_HINT": "LATENCY",
        # Threads that are bound to processors wait for whatever else runs there, our own other threads included: a head
        # took three times as long on a busy machine.
        "ENABLE_CPU_PINNING": False,
    }
    folder = folder or cache_folder("openvino")
    key = _key(core, recording, settings)
    path = None if folder is None else folder / f"{part.name}-{key[:32]}{_SUFFIX}"
    compiled = None if path is None else _from_cache(core, path, settings)
    if compiled is None:
        compiled = _compile(core, recording, settings)
        if path is not None:
            _keep(path, compiled.export_model())
    return CompiledPart(compiled, part.name, len(part.inputs))


def openvino() -> ModuleType:
    """Return the library, imported so that it tells nobody.

    Importing OpenVINO sends usage data to its makers unless the user has refused. Which detections somebody makes is
    nobody's business: the part that sends is kept from being found.

    Raises:
        MissingDependencyError: It is not installed.
    """
    with _IMPORTING, _without_telemetry():
        try:
            library: ModuleType = importlib.import_module("openvino")
        except ImportError as error:
            raise MissingDependencyError(
                f"OpenVINO cannot be imported ({error}): pip install 'inception-rcnn[cpu]', or use --runtime torch"
            ) from error
    return library


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:  # somebody else's choice
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails, which OpenVINO expects
    try:
        yield
    finally:
        del sys.modules[name]


def _compile(core: Any, recording: Recording, settings: dict[str, Any]) -> Any:
    """Return the recorded part compiled; maps go in and out with their channels last, as torch's kernels have them."""
    library = openvino()
    model = core.read_model(model=onnx_model(recording))
    steps = library.preprocess.PrePostProcessor(model)
    for ports, step in ((model.inputs, steps.input), (model.outputs, steps.output)):
        for number, port in enumerate(ports):
            if len(port.partial_shape) == 4:
                step(number).tensor().set_layout(library.Layout("NHWC"))
                step(number).model().set_layout(library.Layout("NCHW"))
    return core.compile_model(steps.build(), "CPU", settings)


def _key(core: Any, recording: Recording, settings: dict[str, Any]) -> str:
    """Return what no other part, setting, version or processor has, as 64 hexadecimal digits."""
    machine = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    words = (_LAYOUT, openvino().__version__, machine, sorted(settings.items()), recording.checksum())
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _from_cache(core: Any, path: Path, settings: dict[str, Any]) -> Any:
    """Return what was compiled before; None if there is nothing, or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, blob = data[:32], memoryview(data)[32:]
    if hashlib.sha256(blob).digest() != digest:
        return None
    try:
        compiled = core.import_model(bytes(blob), "CPU", settings)
    except RuntimeError:  # of another build of OpenVINO, though of the same version
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return compiled


def _keep(path: Path, exported: Any) -> None:
    """Write what was compiled into the cache, if that is possible, and remove what was not used for longest."""
    blob = exported if isinstance(exported, bytes) else exported.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, hashlib.sha256(blob).digest() + blob)
        others = sorted(path.parent.glob(f"*{_SUFFIX}"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in others[_MOST_FILES:]:
            old.unlink()
    except (OSError, InputError):
        pass  # a full disk, a folder of somebody else's, or removed just now: the next start compiles again


def _as_array(tensor: Tensor) -> NDArray[np.float32]:
    if tensor.ndim == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    array: NDArray[np.float32] = tensor.detach().float().contiguous().numpy()
    return array


def _as_tensor(array: NDArray[np.float32]) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
