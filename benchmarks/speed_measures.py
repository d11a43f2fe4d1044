"""What a speed benchmark is made of: times in turns with their spread, the machine's matrix rate, a network's work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from inception_rcnn.backbones import GoogLeNet
from inception_rcnn.detector.region_classifier import ClassifierDescription
from inception_rcnn.detector.region_pooling import PooledNetwork

Item = TypeVar("Item")


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, and the 5th and 95th percentile: of fewer than twenty the ends nearly."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        low, middle, high = np.percentile(values, [5, 50, 95]).tolist()
        return cls(middle, low, high)

    def text(self, digits: int = 3) -> str:
        """Median and ends, such as "0.31 (0.29-0.35)"."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times faster ours is: the spread over pairs that were measured one right after the other."""
    if len(theirs) != len(ours):
        raise ValueError(f"{len(theirs)} and {len(ours)} measurements are no pairs")
    return Spread.of([their / our for their, our in zip(theirs, ours, strict=True)])


@dataclass
class Table:
    """A table of the record: printed as it stands, and kept as plain values.

    Attributes:
        title: Of its heading.
        heads: Of the columns.
        rows: Of cells: text, numbers, spreads.
        note: What has to be known to read it.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: Any) -> None:
        """Add a row."""
        if len(cells) != len(self.heads):
            raise ValueError(f"{self.title}: {len(cells)} cells for {len(self.heads)} columns")
        self.rows.append(cells)

    def text(self) -> str:
        """The table in Markdown."""
        lines = [f"## {self.title}", *([self.note] if self.note else []), ""]
        lines += [f"| {' | '.join(self.heads)} |", f"|{'---|' * len(self.heads)}"]
        return "\n".join([*lines, *(f"| {' | '.join(map(cell_text, row))} |" for row in self.rows)]) + "\n"

    def record(self) -> dict[str, Any]:
        """The table as plain values."""
        rows = [[asdict(cell) if isinstance(cell, Spread) else cell for cell in row] for row in self.rows]
        return {"title": self.title, "note": self.note, "heads": list(self.heads), "rows": rows}


def cell_text(cell: Any) -> str:
    """A cell as it is printed: three digits of a fraction, "-" where nothing is known."""
    if cell is None:
        return "-"
    if isinstance(cell, Spread):
        return cell.text(1 if cell.median >= 10 else 2 if cell.median >= 1 else 3)
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)


def interleaved(
    calls: Mapping[str, Callable[[Item], Any]], items: Sequence[Item], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each call with each item, in the same order of pairs for all calls.

    Every call comes once for an item before the next item does, another one first each time, so that a machine that
    slows down does so for all. Each call was made once before, with the first item, without being timed.
    """
    names = list(calls)
    for name in names:
        calls[name](items[0])
    seconds: dict[str, list[float]] = {name: [] for name in names}
    turn = 0
    for _ in range(rounds):
        for item in items:
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                start = time.perf_counter()
                calls[name](item)
                seconds[name].append(time.perf_counter() - start)
            turn += 1
    return seconds


@torch.inference_mode()
def matrix_rate(dtype: torch.dtype, *, side: int = 2048, repeats: int = 5) -> float:
    """FLOP/s that this machine reaches: the best of a matrix product and a 3x3 convolution of GoogLeNet's kind."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator).to(dtype) for _ in range(2))
    x, weight = torch.randn(16, 192, 56, 56, generator=generator), torch.randn(192, 192, 3, 3, generator=generator)
    x, weight = (one.to(dtype).contiguous(memory_format=torch.channels_last) for one in (x, weight))
    convolution = 2 * x.shape[0] * x.shape[2] * x.shape[3] * weight.numel()
    works: list[tuple[float, Callable[[], Tensor]]] = [
        (2 * side**3, lambda: a @ b),
        (convolution, lambda: functional.conv2d(x, weight, padding=1)),
    ]
    return max(work / min(_seconds(run) for _ in range(repeats)) for work, run in works)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.inference_mode()
def network_flops(description: ClassifierDescription, width: int, height: int, regions: int) -> int:
    """What the products of a classifier's network come to for a photograph: two FLOP a multiplication with addition.

    Counted on a network without numbers, so it costs nothing, and does not depend on how the products are computed.
    """
    with torch.device("meta"):
        spec, classes = description.pooling, len(description.class_names)
        network: nn.Module
        arguments: tuple[Tensor, ...]
        if spec is None:
            side = description.input_spec.side
            network, arguments = GoogLeNet(classes + 1, lrn=description.lrn), (torch.empty(regions, 3, side, side),)
        else:
            scale = spec.scale_for(width, height)
            image = torch.empty(1, 3, round(height * scale), round(width * scale))
            moves = description.box_regression
            network = PooledNetwork(classes, spec, box_regression=moves, lrn=description.lrn)
            arguments = (image, torch.zeros(regions, 5))
        with FlopCounterMode(display=False) as counter:
            network.eval()(*arguments)
    return int(counter.get_total_flops())
