"""Work of a fixed shape captured once, started by a single call: what a network of many small steps needs on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Output = TypeVar("Output")


@torch.inference_mode()
def captured(
    function: Callable[[Tensor], Output], inputs: Tensor, *, tune: bool = False, pool: Any = None
) -> Callable[[], Output]:
    """Return a call that computes `function(inputs)` anew from what `inputs` holds then.

    On CUDA the call starts a graph, and its output is the same memory every time: copy what is to be kept. Elsewhere
    it calls the function.

    Args:
        function: Of one tensor; it must not wait for the device, nor depend on values in Python.
        inputs: Its argument; its memory belongs to the graph from now on.
        tune: On CUDA, let cuDNN try which algorithm is fastest for each convolution. The answers of two processes may
            then differ by rounding.
        pool: What `memory_pool` gave: graphs with the same one share memory, so that one graph's output holds until
            another one of them is started.

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
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(2):
                    function(inputs)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile; only this one's work is captured.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                outputs = function(inputs)
    finally:
        torch.backends.cudnn.benchmark = before

    def replay() -> Output:
        graph.replay()
        return outputs

    return replay


def memory_pool(device: torch.device) -> Any:
    """Return a pool of memory for graphs that never run at the same time; None where there are no graphs."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None
