"""RoIAlign against torchvision's: 200 regions of both pooled maps, and MultiBox's, forwards and backwards.

    python benchmarks/bench_region_align.py

Medians of ten runs, in ms; torchvision's includes the conversion to float32 and back that bfloat16 needs there, and
the change to channels last that the network behind it needs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from machine import machine_line
from torch import Tensor
from torchvision.ops import roi_align

from inception_rcnn.backbones.region_align import align_regions
from inception_rcnn.backbones.runtime import keep_freed_memory

RUNS = 10
# name, channels, rows, columns, stride, regions, cells
CASES = (
    ("4e, 832 channels", 832, 30, 40, 16, 200, 7),
    ("3b, 256 channels", 256, 60, 79, 8, 200, 7),
    ("MultiBox, 64 channels", 64, 40, 40, 8, 1200, 5),
)


def torchvisions(maps: Tensor, boxes: Tensor, cells: int, scale: float) -> Tensor:
    """What the network had before: the same answer by torchvision."""
    pooled = roi_align(maps.float(), boxes, cells, scale, 2, aligned=True)
    answer: Tensor = pooled.to(maps.dtype).contiguous(memory_format=torch.channels_last)
    return answer


def boxes_in(count: int, width: int, height: int) -> Tensor:
    """Boxes of 20 to 330 pixels, cut at the image's border."""
    size = torch.tensor([width, height] * 2)
    centres, sides = torch.rand(count, 2) * size[:2], torch.exp(3 + 2.8 * torch.rand(count, 2))
    corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    return torch.cat([torch.zeros(count, 1), corners.clamp_min(0).minimum(size)], dim=1)


def median(work: Callable[[], object]) -> float:
    """Milliseconds."""
    seconds = []
    work()
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def backwards(align: Callable[..., Tensor], maps: Tensor, *arguments: object) -> float:
    """Milliseconds of the gradient alone."""
    maps = maps.detach().requires_grad_()
    cells = align(maps, *arguments)
    gradient = torch.randn(cells.shape).to(cells.dtype).contiguous(memory_format=torch.channels_last)
    return median(lambda: torch.autograd.grad(cells, maps, gradient, retain_graph=True))


def main() -> None:
    """Print the table."""
    keep_freed_memory()
    torch.manual_seed(0)
    print(f"{machine_line('torch', 'torchvision', 'numba')}; {torch.get_num_threads()} threads")
    print(f"{'map':24}{'type':10}{'forward':>10}{'torchvision':>13}{'backward':>10}{'torchvision':>13}")
    for name, channels, height, width, stride, count, cells in CASES:
        boxes = boxes_in(count, width * stride, height * stride)
        for dtype in (torch.float32, torch.bfloat16):
            maps = torch.randn(1, channels, height, width).to(dtype).contiguous(memory_format=torch.channels_last)
            row = []
            for align in (align_regions, torchvisions):
                with torch.inference_mode():
                    row.append(median(lambda: align(maps, boxes, cells, 1 / stride)))  # noqa: B023
                row.append(backwards(align, maps, boxes, cells, 1 / stride))
            figures = f"{row[0]:10.1f}{row[2]:13.1f}{row[1]:10.1f}{row[3]:13.1f}"
            print(f"{name:24}{str(dtype).removeprefix('torch.'):10}{figures}", flush=True)


if __name__ == "__main__":
    main()
