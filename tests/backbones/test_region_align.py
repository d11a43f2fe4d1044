"""Regions read off maps: against points interpolated by hand, against torchvision, forwards and backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from inception_rcnn.backbones.region_align import align_regions
from inception_rcnn.structures import InputError
from reference.slow_region_align import slow_align

HEIGHT, WIDTH, SCALE = 9, 13, 1 / 8
# In pixels of an image of 104 x 72, number of the map before.
ODD = {
    "inside": (0, 10, 9, 70, 50),
    "of another map": (1, 10, 9, 70, 50),
    "the whole map": (0, 0, 0, 104, 72),
    "out at the top left": (0, -30, -25, 33, 41),
    "out at the bottom right": (0, 60, 31, 131, 99),
    "larger than the map": (1, -50, -40, 160, 120),
    "huge": (0, -1e6, -1e6, 1e6, 1e6),
    "beyond it": (0, 200, 10, 300, 60),
    "a pixel off the edge": (0, -9, -9, -3, -3),
    "points on pixels' centres": (0, 0, 0, 56, 56),
    "tiny": (0, 33.3, 21.1, 33.9, 21.4),
    "without area": (1, 40, 30, 40, 30),
    "a line": (0, 20, 30, 90, 30),
    "turned round": (0, 70, 50, 10, 9),
}


def maps_of(channels: int, *, batch: int = 2, seed: int = 0) -> Tensor:
    """Maps in which no two numbers are alike, channels last."""
    drawn = torch.randn(batch, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return drawn.contiguous(memory_format=torch.channels_last)


def random_boxes(count: int, *, batch: int = 2, seed: int = 0) -> Tensor:
    """Boxes of all sizes, a third of them partly outside."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(-20, 110, (count, 2))
    corners = np.concatenate([first, first + np.exp(rng.uniform(0, 4.5, (count, 2)))], axis=1)
    return torch.from_numpy(np.column_stack([rng.integers(0, batch, count), corners]).astype(np.float32))


def torchvisions(maps: Tensor, boxes: Tensor, cells: int, sampling: int = 2) -> Tensor:
    """What torchvision's answer is."""
    answer: Tensor = roi_align(maps, boxes, cells, SCALE, sampling, aligned=True)
    return answer


@pytest.mark.parametrize("box", ODD.values(), ids=ODD)
def test_equals_points_interpolated_by_hand_and_torchvision(box: tuple[float, ...]) -> None:
    maps, boxes = maps_of(5), torch.tensor([box], dtype=torch.float32)
    found = align_regions(maps, boxes, 7, SCALE)
    expected = slow_align(maps.double().numpy(), boxes.double().numpy(), 7, SCALE, 2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    torch.testing.assert_close(found, torchvisions(maps, boxes, 7), atol=2e-6, rtol=0)


@pytest.mark.parametrize("cells", range(1, 15))
def test_any_number_of_cells(cells: int) -> None:
    maps, boxes = maps_of(3 * cells), random_boxes(12, seed=cells)
    found = align_regions(maps, boxes, cells, SCALE)
    assert found.shape == (12, 3 * cells, cells, cells)
    expected = slow_align(maps.double().numpy(), boxes.double().numpy(), cells, SCALE, 2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    torch.testing.assert_close(found, torchvisions(maps, boxes, cells), atol=2e-6, rtol=0)


@pytest.mark.parametrize("sampling", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 2, 15, 16, 17, 131])
def test_any_number_of_channels_and_points(channels: int, sampling: int) -> None:
    maps, boxes = maps_of(channels), random_boxes(20, seed=channels)
    found = align_regions(maps, boxes, 4, SCALE, sampling)
    torch.testing.assert_close(found, torchvisions(maps, boxes, 4, sampling), atol=2e-6, rtol=0)


def test_maps_of_one_pixel_and_of_one_row() -> None:
    boxes = torch.tensor([[0.0, -3, -3, 9, 9], [0, 0, 0, 8, 8], [0, 12, 2, 30, 5]])
    for shape in ((1, 6, 1, 1), (1, 6, 1, 5), (1, 6, 4, 1), (1, 1, 1, 1)):
        maps = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(align_regions(maps, boxes, 3, SCALE), torchvisions(maps, boxes, 3))


def test_the_answer_is_channels_last_and_does_not_depend_on_how_the_maps_lie() -> None:
    maps, boxes = maps_of(24), random_boxes(10)
    found = align_regions(maps, boxes, 5, SCALE)
    assert found.is_contiguous(memory_format=torch.channels_last) and found.dtype == torch.float32
    assert torch.equal(found, align_regions(maps.contiguous(), boxes, 5, SCALE))
    wide = torch.cat([maps, maps], dim=3)[:, :, :, :WIDTH]  # a part of a larger one
    assert torch.equal(found, align_regions(wide, boxes, 5, SCALE))


def test_no_regions() -> None:
    maps = maps_of(6).requires_grad_()
    found = align_regions(maps, torch.zeros(0, 5), 7, SCALE)
    assert found.shape == (0, 6, 7, 7)
    found.sum().backward()
    assert maps.grad is not None and not maps.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_do_not_depend_on_threads(dtype: torch.dtype) -> None:
    boxes = random_boxes(61)
    answers, gradients = [], []
    for threads in (1, 2, 5):
        maps = maps_of(300).to(dtype).requires_grad_()
        found = align_regions(maps, boxes, 3, SCALE, threads=threads)
        found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(dtype))
        answers.append(found)
        gradients.append(maps.grad)
    assert all(torch.equal(answers[0], other) for other in answers[1:])
    assert all(torch.equal(gradients[0], other) for other in gradients[1:])  # type: ignore[arg-type]


# --- other types


def test_bfloat16_is_the_rounded_answer_of_float32() -> None:
    maps, boxes = maps_of(67).bfloat16(), random_boxes(40)
    found = align_regions(maps, boxes, 7, SCALE)
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, align_regions(maps.float(), boxes, 7, SCALE).bfloat16())


def test_bfloat16_is_rounded_as_torch_rounds() -> None:
    """Halves of the last place go to the even neighbour, and what is infinite or no number stays so."""
    # The one cell is the mean of four points on the centres of four pixels.
    pixels = torch.tensor(
        [[1, 1, 1, 1 + 2**-5], [1, 1, 1, 1 + 3 * 2**-6], [1, 1, 1, 1 + 2**-6], [-1, -1, -1, -1.046875]]
    )
    special = torch.tensor([[torch.inf] * 4, [-torch.inf] * 4, [torch.nan, 1, 1, 1], [-0.0] * 4, [3.4e38] * 4])
    maps = torch.cat([pixels, special]).reshape(1, -1, 2, 2)
    boxes = torch.tensor([[0.0, 0, 0, 2, 2]])
    exact = align_regions(maps, boxes, 1, 1.0)
    assert exact.flatten()[:2].tolist() == [1 + 2**-7, 1 + 3 * 2**-8]
    maps = maps.bfloat16()
    found, expected = (align_regions(each, boxes, 1, 1.0).flatten() for each in (maps, maps.float()))
    torch.testing.assert_close(found, expected.bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert found[1].item() == 1 + 2**-6 and found[2].item() == 1  # 1.5 and 0.5 of the last place: both to the even one
    assert found[6].isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_types_come_back_as_they_were(dtype: torch.dtype) -> None:
    maps, boxes = maps_of(9).to(dtype).requires_grad_(), random_boxes(9)
    found = align_regions(maps, boxes, 3, SCALE)
    torch.testing.assert_close(found, align_regions(maps.detach().float(), boxes, 3, SCALE).to(dtype))
    found.sum().backward()
    assert maps.grad is not None and maps.grad.dtype == dtype


# --- gradient


@pytest.mark.parametrize("channels", [1, 17, 128, 300])
def test_gradient_equals_torchvisions(channels: int) -> None:
    boxes = torch.cat([random_boxes(30, seed=channels), torch.tensor(list(ODD.values()))])
    ours, theirs = (maps_of(channels).requires_grad_() for _ in range(2))
    weights = torch.randn(len(boxes), channels, 5, 5, generator=torch.Generator().manual_seed(2))
    align_regions(ours, boxes, 5, SCALE).backward(weights)
    torchvisions(theirs, boxes, 5).backward(weights)
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=2e-5, rtol=1e-5)


def test_gradient_equals_finite_differences() -> None:
    """The cells are linear in the maps, so that differences may be as large as the maps themselves."""
    maps, boxes = maps_of(3).requires_grad_(), random_boxes(6, seed=4)
    weights = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(5)).double()

    def weighed(given: Tensor) -> Tensor:
        return (align_regions(given, boxes, 4, SCALE).double() * weights).sum()

    weighed(maps).backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    plain = maps.detach()
    for at in np.random.default_rng(6).integers(0, [2, 3, HEIGHT, WIDTH], (60, 4)).tolist():
        step = torch.zeros_like(plain)
        step[tuple(at)] = 1
        difference = (weighed(plain + step) - weighed(plain - step)) / 2
        assert float(maps.grad[tuple(at)]) == pytest.approx(float(difference), abs=2e-6)


def test_gradient_under_autocast_in_bfloat16() -> None:
    """As the network trains: a convolution in bfloat16 before, and after it."""
    torch.manual_seed(0)
    before, after = torch.nn.Conv2d(4, 24, 1), torch.nn.Conv2d(24, 2, 1)
    images, boxes = maps_of(4), random_boxes(20)
    gradients = []
    for fast in (False, True):
        before.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            cells = align_regions(before(images), boxes, 7, SCALE)
            loss = after(cells.relu_()).float().square().mean()
        assert cells.dtype == (torch.bfloat16 if fast else torch.float32)
        loss.backward()
        gradients.append(before.weight.grad.clone())  # type: ignore[union-attr]
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 0.03


def test_a_gradient_of_another_layout_or_of_one_number() -> None:
    boxes = random_boxes(16)
    found = []
    for weights in (torch.ones(16, 6, 3, 3), torch.ones(()).expand(16, 6, 3, 3)):
        maps = maps_of(6).requires_grad_()
        align_regions(maps, boxes, 3, SCALE).backward(weights)
        found.append(maps.grad)
    assert torch.equal(found[0], found[1])  # type: ignore[arg-type]


def test_second_derivatives_are_refused() -> None:
    maps = maps_of(2).requires_grad_()
    cells = align_regions(maps, random_boxes(3), 2, SCALE)
    (gradient,) = torch.autograd.grad(cells.square().sum(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()  # type: ignore[no-untyped-call]


# --- what is refused, and what is no number


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"maps": torch.zeros(3, 9, 9)}, r"maps should be \(B, C, h, w\) with pixels, got \(3, 9, 9\)"),
        ({"maps": torch.zeros(1, 3, 0, 9)}, "with pixels"),
        ({"boxes": torch.zeros(2, 4)}, r"boxes should be \(R, 5\)"),
        ({"boxes": torch.tensor([[1.0, 0, 0, 8, 8]])}, r"maps 0\.\.0, got 1\.\.1"),
        ({"boxes": torch.tensor([[0.0, 0, 0, 8, 8], [-1, 0, 0, 8, 8]])}, r"got -1\.\.0"),
        ({"boxes": torch.tensor([[torch.nan, 0, 0, 8, 8]])}, "got nan"),
        ({"cells": 0}, "cells should be at least 1, got 0"),
        ({"sampling": 0}, "sampling should be at least 1, got 0"),
        ({"threads": 0}, "threads should be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(changed: dict[str, object], text: str) -> None:
    given = {"maps": maps_of(3, batch=1), "boxes": torch.zeros(1, 5), "cells": 7, "spatial_scale": SCALE} | changed
    with pytest.raises(InputError, match=text):
        align_regions(**given)  # type: ignore[arg-type]


def test_corners_that_are_no_numbers_read_nothing() -> None:
    boxes = torch.tensor([[0, torch.nan, 0, 8, 8], [0, -torch.inf, 0, torch.inf, 8], [0, 0, 0, 3e38, 3e38]])
    assert not align_regions(maps_of(3), boxes, 7, SCALE).any()
