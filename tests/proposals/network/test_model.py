"""The network: shapes, the order of its outputs, and what it says before it has learned anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inception_rcnn.backbones import STAGES, InputSpec
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.proposals import MultiBox
from inception_rcnn.proposals.network.model import BOX_SCALE, MultiBoxNet
from inception_rcnn.proposals.network.priors import STRIDES, PriorSettings, grid_priors
from inception_rcnn.structures import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
Make = Callable[[int], MultiBoxNet]
SIDES = (8, 4, 2, 1)  # cells of the four grids at 64 px


@pytest.fixture(scope="module")
def fresh() -> MultiBoxNet:
    """A network as it starts; its last layers are changed by no test."""
    torch.manual_seed(0)
    return MultiBoxNet(64, channels=16).eval()


@pytest.fixture(scope="module")
def used(make_network: Make) -> MultiBoxNet:
    """A network whose boxes differ from its priors; read only."""
    return make_network(3).eval()


def images(count: int, side: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 60


@pytest.mark.parametrize("side", [256, 320])
def test_shapes(side: int) -> None:
    """Without weights: only what comes out where."""
    with torch.device("meta"):
        network = MultiBoxNet(side, channels=128).to("meta")  # the priors too
        output = network(torch.empty(2, 3, side, side))
    count = 6 * sum((side // stride) ** 2 for stride in STRIDES)
    assert output.boxes.shape == output.residuals.shape == (2, count, 4) and output.logits.shape == (2, count)
    assert output.regions.shape == (2, 64, side // 8, side // 8)


def test_other_grids_have_other_outputs() -> None:
    priors = PriorSettings(sides=((0.1,), (0.2,), (0.4,), (0.8,)), ratios=(1.0, 2.0))
    with torch.device("meta"):
        network = MultiBoxNet(128, priors, 32).to("meta")
        assert network(torch.empty(1, 3, 128, 128)).logits.shape == (1, 2 * 340)


def test_a_side_that_the_grids_do_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 64 px, got 100"), torch.device("meta"):
        MultiBoxNet(100)


def test_the_trunks_maps_are_those_at_8_16_and_32_pixels(fresh: MultiBoxNet) -> None:
    with torch.no_grad():
        maps = fresh.maps(images(1))
        assert [tuple(one.shape[1:]) for one in maps] == [(480, 8, 8), (832, 4, 4), (1024, 2, 2)]
        torch.testing.assert_close(maps[2], fresh.trunk.trunk(images(1), stop=STAGES[-1]))


@torch.no_grad()
def test_at_the_start_boxes_are_priors_and_seven_are_believed_in(fresh: MultiBoxNet) -> None:
    output = fresh(images(2))
    priors = torch.from_numpy(grid_priors(PriorSettings(), 64))
    assert not output.residuals.any()
    assert torch.equal(output.boxes, priors.expand(2, -1, -1))
    bias = fresh.confidence.bias
    assert bias is not None and float(bias.sigmoid().mean()) * len(priors) == pytest.approx(7, rel=1e-4)


@torch.no_grad()
def test_a_residual_moves_a_corner_by_a_tenth_of_the_side(used: MultiBoxNet) -> None:
    output = used(images(1))
    sides = (used.priors[:, 2:] - used.priors[:, :2]).repeat(1, 2)
    assert float(output.residuals.std()) > 0.1
    torch.testing.assert_close(output.boxes[0], used.priors + BOX_SCALE * sides * output.residuals[0])


def slow_order(x: Tensor, numbers: int) -> list[list[float]]:
    """(A * numbers, h, w) -> rows of `numbers` in the order of the priors: row by row, then their kinds."""
    return [
        [float(x[kind * numbers + number, y, column]) for number in range(numbers)]
        for y in range(x.shape[1])
        for column in range(x.shape[2])
        for kind in range(len(x) // numbers)
    ]


@torch.no_grad()
def test_outputs_stand_in_the_order_of_the_priors(used: MultiBoxNet) -> None:
    """What the last two layers give on each of the four maps, read off cell by cell."""
    said: dict[str, list[Tensor]] = {"location": [], "confidence": []}
    hooks = [
        used.get_submodule(name).register_forward_hook(lambda _, __, out, kept=kept: kept.append(out))
        for name, kept in said.items()
    ]
    output = used(images(2))
    for hook in hooks:
        hook.remove()
    assert [one.shape[2] for one in said["location"]] == list(SIDES)
    for row in (0, 1):
        residuals = [one for level in said["location"] for one in slow_order(level[row], 4)]
        logits = [one for level in said["confidence"] for one in slow_order(level[row], 1)]
        assert output.residuals[row].tolist() == residuals and output.logits[row, :, None].tolist() == logits


@torch.no_grad()
@pytest.mark.parametrize(("level", "row", "column"), [(0, 1, 5), (0, 7, 0), (1, 3, 1), (2, 0, 1)])
def test_a_cell_answers_for_the_priors_around_it(fresh: MultiBoxNet, level: int, row: int, column: int) -> None:
    """One cell of a joined map is changed: of this map the priors that answer have their middle in this cell."""
    cells = SIDES[level]
    changed = torch.zeros(1, 16, cells, cells)
    changed[0, :, row, column] = 1.0

    def logits_with(added: Tensor) -> Tensor:
        hook = fresh.smooth[level].register_forward_hook(lambda _, __, out: torch.zeros_like(out) + added)
        head = fresh.head.weight.detach().clone()
        torch.nn.init.dirac_(fresh.head.weight)  # each cell by itself
        logits: Tensor = fresh(images(1)).logits[0]
        fresh.head.weight.copy_(head)
        hook.remove()
        return logits

    differ = logits_with(changed) != logits_with(torch.zeros_like(changed))
    own = slice(6 * sum(side**2 for side in SIDES[:level]), 6 * sum(side**2 for side in SIDES[: level + 1]))
    assert int(differ[own].sum()) == 6
    middles = ((fresh.priors[:, :2] + fresh.priors[:, 2:]) / 2)[own][differ[own]]
    assert (middles * cells).floor().tolist() == [[column, row]] * 6
    outside = differ.clone()
    outside[own] = False
    assert int(outside.sum()) == (6 if level == 2 else 0)  # the last grid is made of the one before


def test_the_finer_maps_know_what_the_coarser_ones_do(used: MultiBoxNet) -> None:
    """A change at 32 pixels reaches the confidences of every grid; one at 8 pixels stays there."""
    with torch.no_grad():
        before = used(images(1)).logits[0]
    for level, reached in ((2, [True] * 4), (0, [True, False, False, False])):
        hook = used.lateral[level].register_forward_hook(lambda _, __, out: out + 5)
        with torch.no_grad():
            after = used(images(1)).logits[0]
        hook.remove()
        parts = torch.split(before != after, [6 * side**2 for side in SIDES])
        assert [bool(part.any()) for part in parts] == reached


# --- objectness

REGIONS = torch.randn(3, 64, 8, 8, generator=torch.Generator().manual_seed(1))
BOXES = [
    torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.0, 0.0, 1.0, 1.0]]),
    torch.zeros(0, 4),
    torch.tensor([[0.1, 0.1, 0.4, 0.5]]),
]


@torch.no_grad()
def test_the_score_of_a_box_does_not_depend_on_the_other_photographs(used: MultiBoxNet) -> None:
    together = used.objectness(REGIONS, BOXES)
    alone = [used.objectness(REGIONS[number : number + 1], [boxes]) for number, boxes in enumerate(BOXES)]
    assert together.shape == (3,)
    torch.testing.assert_close(together, torch.cat(alone))
    assert abs(float(together[0] - together[2])) > 1e-4  # the same box on another photograph


@torch.no_grad()
def test_the_score_of_a_box_depends_on_what_is_inside_it(used: MultiBoxNet) -> None:
    box = torch.tensor([[0.5, 0.25, 0.75, 0.5]])  # columns 4 and 5, rows 2 and 3 of the map
    before = used.objectness(REGIONS[:1], [box])
    for row, column, changes in ((2, 4, True), (3, 5, True), (0, 4, False), (2, 1, False), (7, 7, False)):
        other = REGIONS[:1].clone()
        other[0, :, row, column] += 3
        assert bool(used.objectness(other, [box]) != before) is changes, (row, column)


@torch.no_grad()
def test_the_score_of_a_box_depends_on_its_size(used: MultiBoxNet) -> None:
    flat = torch.ones(1, 64, 8, 8)
    scores = used.objectness(flat, [torch.tensor([[0.4, 0.4, 0.6, 0.6], [0.3, 0.3, 0.7, 0.7], [0.4, 0.4, 0.4, 0.4]])])
    assert len(scores.unique()) == 3 and bool(torch.isfinite(scores).all())


# --- precision and the first layers


def test_priors_stay_in_float32_in_a_network_of_bfloat16(spec: InputSpec) -> None:
    torch.manual_seed(0)
    runtime = Runtime(torch.device("cpu"), torch.bfloat16, 4)
    box = MultiBox(MultiBoxNet(64, channels=16), spec, runtime)
    assert box.network.priors.dtype == torch.float32 and box.network.head.weight.dtype == torch.bfloat16
    view = box.look([np.full((40, 50, 3), 90, np.uint8)])[0]
    assert view.boxes.dtype == view.logits.dtype == torch.float32
    assert torch.equal(view.boxes, torch.from_numpy(grid_priors(PriorSettings(), 64)))
    scores = box.objectness(view, np.array([[3, 3, 30, 20]], np.float32))
    assert scores.dtype == np.float32 and np.isfinite(scores).all()


def test_the_first_new_layers_start_with_a_spread_of_one() -> None:
    torch.manual_seed(0)
    network, seen = MultiBoxNet(64, channels=16), images(2)

    @torch.no_grad()
    def spreads() -> list[float]:
        return [float(one(x).std()) for x, one in zip(network.maps(seen), network.lateral, strict=True)]

    assert max(abs(spread - 1) for spread in spreads()) > 0.5
    network.fit_laterals(seen)
    assert spreads() == pytest.approx([1, 1, 1], rel=1e-4)


def test_every_layer_learns(used: MultiBoxNet) -> None:
    """Each parameter has a gradient after boxes, confidences and objectness were asked for."""
    output: Any = used(images(2, seed=5))
    score = used.objectness(output.regions, [BOXES[0], BOXES[2]])
    (output.residuals.square().sum() + output.logits.sum() + score.sum()).backward()
    idle = [name for name, one in used.named_parameters() if one.grad is None or not one.grad.any()]
    used.zero_grad(set_to_none=True)
    assert idle == []
