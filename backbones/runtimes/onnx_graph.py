"""A recorded part of a network as an ONNX model.

`torch.onnx.export` solves equations about the map's size for every pooling that rounds up, half a minute of them for a
trunk whose images differ in size, and its older form is deprecated. The networks here have some twenty operations,
each of which ONNX has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones.runtimes.recording import Call, Port, Ranges, Recording, Value, flat
from inception_rcnn.structures import InputError, MissingDependencyError

OPSET: Final = 19
# Written out, so that runtimes older than the library that writes the file read it. Source: ONNX's table of versions.
_IR_VERSION: Final = 9
_CONVOLUTION: Final = "convolution"


def onnx_model(recording: Recording) -> bytes:
    """Return an ONNX model that computes what the part computes, its weights inside.

    Raises:
        InputError: The part calls what has no translation, or its ranges are of another number of convolutions.
        MissingDependencyError: onnx is not installed.
    """
    part = recording.part
    _check_ranges(recording)
    graph = _Graph(part.ranges)
    for port, tensor, value in zip(part.inputs, part.example, recording.inputs, strict=True):
        graph.add_input(port, tensor, value)
    for call in recording.calls:
        graph.add(call)
    for port, tensor, made in zip(part.outputs, recording.results, recording.outputs, strict=True):
        graph.add_output(port, tensor, made)
    return graph.serialised(part.name)


def _check_ranges(recording: Recording) -> None:
    """Raise if there are ranges, and not one for each convolution with a bias."""
    part = recording.part
    convolutions = sum(call.name == _CONVOLUTION and call.arguments[2] is not None for call in recording.calls)
    if part.ranges is not None and len(part.ranges) != convolutions:
        raise InputError(
            f"the {part.name}'s activation ranges should be of its {convolutions} convolutions, and are of "
            f"{len(part.ranges)}; calibrate the weights again with `inception-rcnn calibrate`"
        )


class _Graph:
    """An ONNX graph in the making; with ranges, of convolutions in int8."""

    def __init__(self, ranges: Ranges | None) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError(
                "ONNX models need the library onnx: pip install 'inception-rcnn[export]' (or [cpu], for OpenVINO)"
            ) from error
        self._onnx = onnx
        self._ranges = None if ranges is None else iter(ranges)
        self._nodes: list[Any] = []
        self._constants: dict[int, tuple[Tensor, str]] = {}
        self._initializers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._names: dict[Value, str] = {}
        self._roundings: dict[tuple[Value, float], str] = {}
        self._translations: dict[str, Callable[..., str | list[str]]] = {
            _CONVOLUTION: self._convolution,
            "native_batch_norm": self._batch_norm,
            "max_pool2d_with_indices": self._max_pool,
            "split_with_sizes": self._split,
            "cat": lambda tensors, axis=0: self._node("Concat", tensors, axis=axis),
            "relu": lambda x: self._node("Relu", [x]),
            "sqrt": lambda x: self._node("Sqrt", [x]),
            "rsqrt": lambda x: self._node("Reciprocal", [self._node("Sqrt", [x])]),
            "exp": lambda x: self._node("Exp", [x]),
            "log": lambda x: self._node("Log", [x]),
            "amax": lambda x, axes, keep=False: self._node("ReduceMax", [x, _whole(axes)], keepdims=int(keep)),
            "sub": lambda x, y: self._node("Sub", [x, y]),
            "mm": lambda x, y: self._node("MatMul", [x, y]),
            "add": lambda x, y: self._node("Add", [x, y]),
            "mul": lambda x, y: self._node("Mul", [x, y]),
            "mean": lambda x, axes, keep=False: self._node("ReduceMean", [x, _whole(axes)], keepdims=int(keep)),
            "addmm": lambda bias, x, weight: self._node("Gemm", [x, weight, bias]),
            "permute": lambda x, order: self._node("Transpose", [x], perm=list(order)),
            "view": self._view,
            "_unsafe_view": self._view,
            "squeeze": lambda x, axis: self._node("Squeeze", [x, _whole([axis])]),
            "upsample_nearest2d": self._upsample,
        }

    def add_input(self, port: Port, tensor: Tensor, value: Value) -> None:
        """Name an input."""
        self._names[value] = port.name
        self._inputs.append(self._described(port, tensor))

    def add_output(self, port: Port, tensor: Tensor, value: Any) -> None:
        """Name an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [self._operand(value)], [port.name]))
        self._outputs.append(self._described(port, tensor))

    def add(self, call: Call) -> None:
        """Translate one operation.

        Raises:
            InputError: There is no translation.
        """
        translation = self._translations.get(call.name)
        if translation is None:
            raise InputError(f"torch's operation {call.name} has no translation to ONNX; see onnx_graph.py")
        made = translation(*call.arguments)
        for value, name in zip(call.results, [made] if isinstance(made, str) else made, strict=False):
            self._names[value] = name

    def serialised(self, name: str) -> bytes:
        """Return the model as bytes."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="inception-rcnn", opset_imports=opsets, ir_version=_IR_VERSION)
        self._onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data

    def _described(self, port: Port, tensor: Tensor) -> Any:
        shape = [length if axis is None else axis for axis, length in zip(port.axes, tensor.shape, strict=True)]
        return self._onnx.helper.make_tensor_value_info(port.name, self._onnx.TensorProto.FLOAT, shape)

    def _node(self, kind: str, operands: Sequence[Any], **attributes: Any) -> str:
        return self._nodes_with(kind, operands, 1, **attributes)[0]

    def _nodes_with(self, kind: str, operands: Sequence[Any], results: int, **attributes: Any) -> list[str]:
        number = len(self._nodes)
        names = [f"{kind}_{number}" + (f"_{part}" if results > 1 else "") for part in range(results)]
        operand_names = [self._operand(one) for one in operands]
        self._nodes.append(
            self._onnx.helper.make_node(kind, operand_names, names, name=f"{kind}_{number}", **attributes)
        )
        return names

    def _operand(self, operand: Any) -> str:
        """Return the name of a value, of a node's result, or of a constant, which becomes a part of the model."""
        if operand is None:
            return ""  # an optional operand that is left out
        if isinstance(operand, str):
            return operand
        if isinstance(operand, Value):
            return self._names[operand]
        if type(operand) in (int, float):
            operand = np.float32(operand)
        known = self._constants.get(id(operand))
        if known is None:
            known = self._constants[id(operand)] = (operand, f"constant_{len(self._constants)}")
            array = operand.detach().contiguous().numpy() if isinstance(operand, Tensor) else np.asarray(operand)
            self._initializers.append(self._onnx.numpy_helper.from_array(array, known[1]))
        return known[1]

    def _convolution(
        self,
        x: Any,
        weight: Tensor,
        bias: Tensor | None,
        strides: Sequence[int],
        padding: Sequence[int],
        dilations: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: int,
    ) -> str:
        if transposed:
            raise InputError("a transposed convolution has no translation to ONNX; see onnx_graph.py")
        read: Any = x
        factors: Any = weight
        if self._ranges is not None and bias is not None:
            read, factors = self._rounded(x, next(self._ranges)), self._rounded_weight(weight)
        return self._node(
            "Conv",
            [read, factors, *([] if bias is None else [bias])],
            strides=list(strides),
            pads=[*padding, *padding],
            dilations=list(dilations),
            group=groups,
        )

    def _batch_norm(self, x: Any, *arguments: Any) -> str:
        *factors_and_statistics, training, _, epsilon = arguments
        if training:
            raise InputError("batch norm of a batch's own statistics has no translation to ONNX; call eval() first")
        return self._node("BatchNormalization", [x, *factors_and_statistics], epsilon=epsilon)

    def _rounded(self, x: Value, limits: tuple[float, float]) -> str:
        """Return the value rounded to 256 steps between its limits, of which 0 is one."""
        low, high = min(limits[0], 0.0), max(limits[1], 0.0)
        step = np.float32((high - low) / 255)
        if step < np.finfo(np.float32).tiny:  # nothing but zeros was read
            step = np.float32(1.0)
        how = [step, np.uint8(round(-low / float(step)))]
        # Convolutions that read the same share what is rounded.
        key = (x, float(step))
        if key not in self._roundings:
            steps = self._node("QuantizeLinear", [x, *how])
            self._roundings[key] = self._node("DequantizeLinear", [steps, *how])
        return self._roundings[key]

    def _rounded_weight(self, weight: Tensor) -> str:
        """Return a weight rounded to 255 steps, the largest number of each output channel being the last."""
        array = weight.detach().numpy()
        step = np.abs(array).reshape(len(array), -1).max(axis=1) / np.float32(127)
        step[step == 0] = 1
        rounded = np.rint(array / step[:, None, None, None]).astype(np.int8)
        return self._node("DequantizeLinear", [rounded, step, np.zeros(len(step), np.int8)], axis=0)

    def _max_pool(
        self,
        x: Any,
        kernel: Sequence[int],
        strides: Sequence[int] = (),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        ceil_mode: bool = False,
    ) -> str:
        steps = list(strides or kernel)
        # Rounded up is rounded down with the end padded by a stride less one; runtimes refuse a window that is larger
        # than the map, as the last one is of the smallest images.
        more = [step - 1 if ceil_mode else 0 for step in steps]
        end = [around + one for around, one in zip(padding, more, strict=True)]
        return self._node(
            "MaxPool",
            [x],
            kernel_shape=list(kernel),
            strides=steps,
            pads=[*padding, *end],
            dilations=list(dilation),
        )

    def _split(self, x: Any, sizes: Sequence[int], axis: int = 0) -> list[str]:
        return self._nodes_with("Split", [x, _whole(sizes)], len(sizes), axis=axis)

    def _view(self, x: Value, shape: Sequence[int]) -> str:
        # ONNX: 0 means as long as it was. The first dimension is the batch, which may have any length.
        if shape[0] != x.length:
            raise InputError("a change of shape that touches the batch has no translation to ONNX")
        return self._node("Reshape", [x, _whole([0, *shape[1:]])])

    def _upsample(self, x: Any, size: Sequence[int] | None, *scales: Any) -> str:
        if size is None or any(scale is not None for scale in flat(scales)):
            raise InputError("enlarging by a factor has no translation to ONNX; name the size in pixels")
        # Sizes of all four dimensions are wanted; the first two stay.
        shape = self._node("Shape", [x], end=2)
        sizes = self._node("Concat", [shape, _whole(size)], axis=0)
        return self._node(
            "Resize",
            [x, None, None, sizes],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )


def _whole(numbers: Sequence[int]) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)
