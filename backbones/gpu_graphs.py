"""Work of a fixed shape captured once, started by a single call: what a network of many small steps needs on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Output = TypeVar("Output")


@torch.inference_mode()
def captured(function: Callable[[Tensor], Output], inputs: Tensor, *, tune: bool = False) -> Callable[[], Output]:
    """Return a call that computes `function(inputs)` anew from what `inputs` holds then.

    On CUDA the call starts a graph, and its output is the same memory every time: copy what is to be kept. Elsewhere
    it calls the function.

    Args:
        function: Of one tensor; it must not wait for the device, nor depend on values in Python.
        inputs: Its argument; its memory belongs to the graph from now on.
        tune: On CUDA, let cuDNN try which algorithm is fastest for each convolution. The answers of two processes may
            then differ by rounding.

    Raises:
        torch.OutOfMemoryError: There is no room.
    """
    if not inputs.is_cuda:
        return lambda: function(inputs)
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = tune
    try:
        with torch.cuda.device(inputs.device):
            # What is compiled, chosen or allocated at a first run must not be in the graph.
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(2):
                    function(inputs)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile; only this one's work is captured.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                outputs = function(inputs)
    finally:
        torch.backends.cudnn.benchmark = before

    def replay() -> Output:
        graph.replay()
        return outputs

    return replay
