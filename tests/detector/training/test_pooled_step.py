"""One step of pooled training: the photographs as the network sees them, the losses, the gradient, what learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector import PooledNetwork
from inception_rcnn.detector.training.pooled.sampling import INTERPOLATIONS, PooledBatch
from inception_rcnn.detector.training.pooled.step import (
    DeviceBatch,
    PooledTuning,
    StoredPhotographs,
    region_losses,
    to_device,
)
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.structures import InceptionError, InputError
from inception_rcnn.structures.boxes import encode_boxes
from inception_rcnn.structures.images import resize_image
from reference import slow_region_loss
from reference.marked_objects import marked

CPU = torch.device("cpu")
SIDE = 96  # of stored photographs: canvases of 72 x 96
# Height and width of photographs, none of which fills its canvas.
SIZES = [(60, 90), (66, 80)]


def photographs() -> list[NDArray[np.uint8]]:
    """A cat and a cup of coffee, small."""
    names = ("chelsea", "coffee")
    return [resize_image(marked(name)[0], width, height) for name, (height, width) in zip(names, SIZES, strict=True)]


def stored(images: list[NDArray[np.uint8]], **options: Any) -> StoredPhotographs:
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    return StoredPhotographs(images.__getitem__, sizes, SIDE, CAFFE_INPUT.fill, CPU, quiet=True, **options)


BOXES = np.array([[0, 5, 8, 60, 50], [0, 30, 20, 90, 60], [1, 4, 4, 44, 50], [1, 20, 10, 80, 66]], np.float32)
TRUTHS = np.array([[8, 4, 66, 55], [0, 0, 0, 0], [1, 1, 50, 40], [0, 0, 0, 0]], np.float32)
LABELS = np.array([1, 3, 0, 3])


def drawn(**changes: Any) -> PooledBatch:
    """Two regions of each photograph, one that shows an object and one that does not."""
    offsets = np.zeros((4, 4), np.float32)
    offsets[::2] = encode_boxes(BOXES[::2, 1:], TRUTHS[::2])
    batch = PooledBatch(np.array([0, 1]), 1.0, np.zeros(2, np.bool_), None, BOXES, LABELS, offsets)
    return replace(batch, **changes)


# --- photographs


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_mirroring_the_photograph_and_its_boxes_is_mirroring_by_the_sampler(scale: float) -> None:
    images = photographs()
    by_sampler = to_device(drawn(mirror=np.array([True, True]), scale=scale), stored(images), CAFFE_INPUT, CPU)
    width = np.array([size[1] for size in SIZES], np.float32)[[0, 0, 1, 1]]

    def mirrored(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.column_stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]])

    boxes, truths = mirrored(BOXES[:, 1:]), mirrored(TRUTHS)
    offsets = np.zeros((4, 4), np.float32)
    offsets[::2] = encode_boxes(boxes[::2], truths[::2])
    batch = drawn(boxes=np.column_stack([BOXES[:, 0], boxes]), offsets=offsets, scale=scale)
    before = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    by_hand = to_device(batch, stored(before), CAFFE_INPUT, CPU)
    assert torch.equal(by_sampler.images, by_hand.images) and torch.equal(by_sampler.sizes, by_hand.sizes)
    torch.testing.assert_close(by_sampler.boxes, by_hand.boxes)
    torch.testing.assert_close(by_sampler.offsets, by_hand.offsets, rtol=1e-4, atol=1e-4)
    as_it_was = to_device(drawn(scale=scale), stored(images), CAFFE_INPUT, CPU)
    assert not torch.equal(by_sampler.images, as_it_was.images)
    assert not torch.allclose(by_sampler.boxes, as_it_was.boxes)


def test_each_photograph_is_mirrored_by_itself_and_keeps_its_padding_on_the_right() -> None:
    images = photographs()
    batch = to_device(drawn(mirror=np.array([False, True])), stored(images), CAFFE_INPUT, CPU)
    plain = to_device(drawn(), stored(images), CAFFE_INPUT, CPU)
    assert torch.equal(batch.images[0], plain.images[0])
    assert torch.equal(batch.images[1, :, :, :80], plain.images[1, :, :, :80].flip(2))
    for position, (height, width) in enumerate(SIZES):
        padding = torch.cat(
            [batch.images[position, :, height:].flatten(), batch.images[position, :, :, width:].flatten()]
        )
        assert padding.abs().max() <= 0.5  # the fill is the mean's nearest whole colour


def test_the_network_sees_the_stored_pixels() -> None:
    images = photographs()
    batch = to_device(drawn(), stored(images), CAFFE_INPUT, CPU)
    assert batch.images.shape == (2, 3, 72, 96) and batch.images.is_contiguous(memory_format=torch.channels_last)
    for position, image in enumerate(images):
        expected = CAFFE_INPUT.shift(torch.from_numpy(image)[None].float()).permute(0, 3, 1, 2)[0]
        height, width = SIZES[position]
        torch.testing.assert_close(batch.images[position, :, :height, :width], expected)
    assert batch.boxes.tolist() == BOXES.tolist() and batch.sizes.tolist() == [list(size) for size in SIZES]


def test_boxes_grow_with_the_photograph() -> None:
    batch = to_device(drawn(scale=1.5), stored(photographs()), CAFFE_INPUT, CPU)
    assert batch.images.shape == (2, 3, 108, 144)
    np.testing.assert_allclose(batch.boxes[:, 1:], BOXES[:, 1:] * 1.5)
    assert batch.boxes[:, 0].tolist() == [0, 0, 1, 1] and batch.sizes.tolist() == [[90, 135], [99, 120]]


def test_recolouring_follows_the_matrix_and_leaves_the_padding() -> None:
    images = photographs()
    colour = np.array([[[0.9, 0.1, 0, 5], [0, 1.2, 0, -9], [0.1, 0, 0.8, 0]]] * 2, np.float32)
    batch = to_device(drawn(colour=colour), stored(images), CAFFE_INPUT, CPU)
    plain = to_device(drawn(), stored(images), CAFFE_INPUT, CPU)
    for position, image in enumerate(images):
        height, width = SIZES[position]
        changed = np.clip(image.astype(np.float64) @ colour[position, :, :3].T + colour[position, :, 3], 0, 255)
        expected = CAFFE_INPUT.shift(torch.from_numpy(changed)[None].float()).permute(0, 3, 1, 2)[0]
        torch.testing.assert_close(batch.images[position, :, :height, :width], expected, rtol=1e-4, atol=1e-3)
        assert torch.equal(batch.images[position, :, height:], plain.images[position, :, height:])
        assert torch.equal(batch.images[position, :, :, width:], plain.images[position, :, :, width:])


def test_resident_photographs_are_those_that_are_read() -> None:
    images = [*photographs(), np.ascontiguousarray(photographs()[0].transpose(1, 0, 2))]
    resident, others = stored(images, resident=True), stored(images)
    assert resident.resident and not others.resident  # on the CPU they are read when they are asked for
    for numbers in (np.array([1, 0]), np.array([2]), np.array([0, 0])):
        read = others.read(numbers)
        assert read is not None and resident.read(numbers) is None
        assert torch.equal(resident.batch(numbers), others.batch(numbers, read))
        assert torch.equal(others.batch(numbers), others.batch(numbers, read))


@pytest.mark.parametrize("resident", [True, False])
def test_a_photograph_of_another_size_is_refused(resident: bool) -> None:
    with pytest.raises(InputError, match="photograph 0 should be 70x60, and is 90x60"):
        StoredPhotographs(
            photographs().__getitem__, [(60, 70)], SIDE, CAFFE_INPUT.fill, CPU, resident=resident, quiet=True
        ).read(np.array([0]))


def test_padding_never_enters_the_mean_of_a_photograph(
    make_pooled: Callable[..., PooledNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_pooled(1)
    coarse, fine = torch.rand(2, 832, 6, 7), torch.rand(2, 480, 12, 14)
    sizes = torch.tensor([[40, 97], [96, 30]])  # of 96 x 112 pixels: 3 x 7 and 6 x 2 cells of 16 have a part of them
    monkeypatch.setattr(
        "inception_rcnn.detector.region_pooling.feature_maps", lambda *_: {"3b": fine, "4e": coarse.clone()}
    )
    images = torch.zeros(2, 3, 96, 112)
    for cells, position in ((coarse[0, :, :3, :7], 0), (coarse[1, :, :6, :2], 1)):
        mean = network.maps(images, sizes).mean
        assert mean is not None
        torch.testing.assert_close(mean[position], cells.mean(dim=(1, 2)))
    before = network.maps(images, sizes).mean
    coarse[0, :, 3:], coarse[1, :, :, 2:] = 1e6, -1e6
    after = network.maps(images, sizes).mean
    assert before is not None and after is not None and torch.equal(before, after)


@pytest.mark.parametrize("scale", [1.3, 0.8])
def test_each_photograph_is_enlarged_in_its_own_way(scale: float) -> None:
    several = [*photographs(), *photographs()]
    sizes = [image.shape[:2] for image in several]
    kept = StoredPhotographs(several.__getitem__, sizes, SIDE, CAFFE_INPUT.fill, CPU, quiet=True)
    batch = drawn(images=np.arange(4), scale=scale, mirror=np.zeros(4, np.bool_))
    ways = np.array([INTERPOLATIONS.index(one) for one in ("area", "bicubic", "nearest-exact", "bilinear")])
    plain = to_device(replace(batch, scale=1.0), kept, CAFFE_INPUT, CPU).images
    found = to_device(replace(batch, interpolation=ways), kept, CAFFE_INPUT, CPU)
    same = to_device(batch, kept, CAFFE_INPUT, CPU)
    assert found.images.shape == same.images.shape and found.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found.boxes, same.boxes) and torch.equal(found.images[3], same.images[3])
    size = list(found.images.shape[2:])
    for row, mode in ((0, "area"), (2, "nearest-exact")):
        torch.testing.assert_close(found.images[row], functional.interpolate(plain[row, None], size, mode=mode)[0])
    cubic = functional.interpolate(plain[1, None], size, mode="bicubic", align_corners=False)[0]
    ends = [CAFFE_INPUT.shift(torch.full((1, 1, 1, 3), value)).flatten() for value in (0.0, 255.0)]
    low, high = torch.minimum(*ends)[:, None, None], torch.maximum(*ends)[:, None, None]
    torch.testing.assert_close(found.images[1], cubic.clamp(low, high))
    assert not any(torch.allclose(found.images[row], same.images[row]) for row in range(3))


# --- losses


def loss_case(seed: int, unknown: bool) -> tuple[Tensor, Tensor, DeviceBatch]:
    """Twenty regions of three photographs, five classes; on two of these photographs some are unknown."""
    rng = np.random.default_rng(seed)
    logits, offsets = torch.from_numpy(rng.normal(0, 2, (20, 6))), torch.from_numpy(rng.normal(0, 1, (20, 4)))
    labels = torch.from_numpy(np.concatenate([rng.integers(0, 5, 8), np.full(12, 5)]))
    position = torch.from_numpy(rng.integers(0, 3, 20))
    missing = torch.tensor([[1, 0, 1, 0, 0, 0], [0] * 6, [0, 0, 0, 1, 0, 0]]).bool() if unknown else None
    if missing is not None:  # what is unknown on a photograph is no label there
        labels[:8] = torch.tensor([1, 3, 4])[torch.from_numpy(rng.integers(0, 2, 8))]
        position[:8] = torch.from_numpy(rng.integers(0, 2, 8))
    boxes = torch.cat([position[:, None].float(), torch.zeros(20, 4)], dim=1)
    targets = torch.from_numpy(rng.normal(0, 1, (20, 4)).astype(np.float32))
    nothing = torch.zeros(0)
    return logits, offsets, DeviceBatch(nothing, nothing, boxes, labels, targets, missing)


def region_loss(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """The means of both losses over the regions."""
    classes, moved = region_losses(*arguments, **options)
    return classes.mean(), moved.mean()


def slowly(logits: Tensor, offsets: Tensor | None, batch: DeviceBatch, smoothing: float) -> tuple[float, float]:
    return slow_region_loss.region_loss(
        logits.numpy(),
        None if offsets is None else offsets.numpy(),
        batch.boxes[:, 0].long().numpy(),
        batch.labels.numpy(),
        batch.offsets.double().numpy(),
        None if batch.unknown is None else batch.unknown.numpy(),
        smoothing,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("unknown", [False, True])
def test_losses_are_those_of_the_obvious_loop(unknown: bool, smoothing: float) -> None:
    for seed in range(5):
        logits, offsets, batch = loss_case(seed, unknown)
        classes, moved = region_loss(logits, offsets, batch, smoothing=smoothing)
        expected = slowly(logits, offsets, batch, smoothing)
        assert (float(classes), float(moved)) == pytest.approx(expected, rel=1e-5)
        classes, moved = region_loss(logits, None, batch, smoothing=smoothing)
        assert float(classes) == pytest.approx(expected[0], rel=1e-5) and float(moved) == 0


def test_unknown_classes_make_a_difference_to_background_on_their_photographs_alone() -> None:
    logits, offsets, batch = loss_case(0, True)
    with_all, _ = region_loss(logits, offsets, replace(batch, unknown=None))
    assert float(region_loss(logits, offsets, batch)[0]) < float(with_all)
    none = torch.zeros_like(batch.unknown) if batch.unknown is not None else None
    assert torch.equal(region_loss(logits, offsets, replace(batch, unknown=none), smoothing=0.1)[0],
                       region_loss(logits, offsets, replace(batch, unknown=None), smoothing=0.1)[0])  # fmt: skip
    foreground = DeviceBatch(
        batch.images, batch.sizes, batch.boxes[:8], batch.labels[:8], batch.offsets[:8], batch.unknown
    )
    of_known = region_loss(logits[:8], None, foreground)[0]
    assert torch.equal(of_known, region_loss(logits[:8], None, replace(foreground, unknown=None))[0])


@pytest.mark.parametrize("unknown", [False, True])
def test_the_losses_gradient_is_that_of_finite_differences(unknown: bool) -> None:
    logits, offsets, batch = loss_case(3, unknown)
    for tensor, which in ((logits, 0), (offsets, 1)):
        tensor.requires_grad_()
        loss = region_loss(logits, offsets, batch, smoothing=0.05)[which]
        (gradient,) = torch.autograd.grad(loss, tensor)
        tensor.requires_grad_(False)
        for row, column in ((0, 1), (5, 3), (9, 0), (14, 2), (19, 3)):
            values = []
            for step in (1e-5, -1e-5):
                tensor[row, column] += step
                values.append(slowly(logits, offsets, batch, 0.05)[which])
                tensor[row, column] -= step
            assert float(gradient[row, column]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3, abs=1e-6)


# --- the network's path


def test_the_gradient_of_the_pooled_path_is_that_of_finite_differences(
    make_pooled: Callable[..., PooledNetwork],
) -> None:
    """In double precision but for RoIAlign, whose sums are float32."""
    network = make_pooled(2).double().eval()
    batch = to_device(drawn(), stored(photographs()), CAFFE_INPUT, CPU)
    generator = torch.Generator().manual_seed(0)
    of_logits, of_offsets = (torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (4, 4))

    def value() -> Tensor:
        logits, offsets = network(batch.images.double(), batch.boxes, batch.sizes, 4)
        assert offsets is not None
        return (logits * of_logits).sum() + (offsets * of_offsets).sum()

    parameters = {
        name: network.get_parameter(name)
        for name in (
            "trunk.inception_3a.conv3x3.weight",
            "trunk.inception_4c.reduce5x5.weight",
            "lateral.weight",
            "mix_coarse.weight",
            "mix_fine.weight",
            "trunk.inception_5b.conv1x1.bias",
            "regressor.weight",
        )
    }
    gradients = torch.autograd.grad(value(), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        step = gradient / gradient.norm() * 1e-4 * parameter.detach().norm()  # the steepest way, a little
        with torch.no_grad():
            parameter += step
            above = value()
            parameter -= 2 * step
            below = value()
            parameter += step
        assert float((above - below) / 2) == pytest.approx(float((gradient * step).sum()), rel=0.02), name


def tuning(network: PooledNetwork, runtime: Runtime, **changes: Any) -> PooledTuning:
    settings = TrainingSettings(iterations=10, warm_up=0, learning_rate=0.01, train_from="4e", averaging=0.5)
    return PooledTuning(network, replace(settings, **changes), runtime)


def test_stages_before_the_first_that_learns_stay_as_they_were(
    make_pooled: Callable[..., PooledNetwork], cpu: Runtime
) -> None:
    network = make_pooled(1)
    before = {name: one.detach().clone() for name, one in network.state_dict().items()}
    one = tuning(network, cpu)
    one.step(to_device(drawn(), stored(photographs()), CAFFE_INPUT, CPU))
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    stages = {name.split(".")[1] for name in changed if name.startswith("trunk.")}
    assert stages == {"inception_4e", "inception_5a", "inception_5b"}
    assert {"lateral.weight", "mix_fine.weight", "mix_coarse.weight", "classifier.bias", "regressor.weight"} <= changed


def test_a_stage_and_a_layer_are_frozen_by_name(make_pooled: Callable[..., PooledNetwork], cpu: Runtime) -> None:
    network = make_pooled(1)
    before = {name: one.detach().clone() for name, one in network.state_dict().items()}
    one = tuning(network, cpu, frozen=("5a", "lateral"))
    one.step(to_device(drawn(), stored(photographs()), CAFFE_INPUT, CPU))
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[1] for name in changed if name.startswith("trunk.")} == {"inception_4e", "inception_5b"}
    assert {"mix_fine.weight", "classifier.bias", "regressor.weight"} <= changed
    assert not any(name.startswith("lateral") for name in changed)
    with pytest.raises(InputError, match=r"there is no stage '6a' to freeze; known are conv1, .*5b, lateral, mix"):
        tuning(make_pooled(1), cpu, frozen=("6a",))


def test_of_hard_examples_only_those_of_the_largest_loss_count(
    make_pooled: Callable[..., PooledNetwork], cpu: Runtime
) -> None:
    batch = to_device(drawn(), stored(photographs()), CAFFE_INPUT, CPU)
    each: list[Tensor] = []

    def watched(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        found = region_losses(*arguments, **options)
        each.append((found[0] + found[1]).detach())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inception_rcnn.detector.training.pooled.step.region_losses", watched)
        some = tuning(make_pooled(1), cpu, hard_examples=2).step(batch)["loss"]
        all_of_them = tuning(make_pooled(1), cpu).step(batch)["loss"]
    torch.testing.assert_close(each[0], each[1])
    assert some == pytest.approx(float(each[0].sort(descending=True).values[:2].mean()), rel=1e-5)
    assert all_of_them == pytest.approx(float(each[0].mean()), rel=1e-5) and some > all_of_them


def test_biases_learn_twice_as_fast_and_new_layers_by_their_factor(
    make_pooled: Callable[..., PooledNetwork], cpu: Runtime
) -> None:
    one = tuning(make_pooled(1), cpu, new_layer_factor=3.0, weight_decay=0.01)
    group = {id(parameter): group for group in one.averaged.optimizer.param_groups for parameter in group["params"]}
    for name, factor, decay in (
        ("trunk.inception_5a.conv1x1.weight", 1, 0.01),
        ("trunk.inception_5a.conv1x1.bias", 2, 0),
        ("mix_coarse.weight", 1, 0.01),
        ("classifier.weight", 3, 0.01),
        ("lateral.bias", 6, 0),
    ):
        found = group[id(one.network.get_parameter(name))]
        assert (found["factor"], found["weight_decay"]) == (factor, decay), name


def test_cells_are_those_of_the_batch_and_the_specification_stays(
    make_pooled: Callable[..., PooledNetwork], cpu: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, seen = make_pooled(1), []
    head = network.head
    monkeypatch.setattr(network, "head", lambda cells, mean: (seen.append(cells.shape[2]), head(cells, mean))[1])
    one = tuning(network, cpu)
    for cells in (5, None, 4):
        one.step(to_device(drawn(cells=cells), stored(photographs()), CAFFE_INPUT, CPU))
    assert seen == [5, 3, 4] and network.spec.cells == 3


def test_dropout_is_of_seed_and_iteration(make_pooled: Callable[..., PooledNetwork], cpu: Runtime) -> None:
    batch = to_device(drawn(), stored(photographs()), CAFFE_INPUT, CPU)
    losses = []
    for seed in (0, 0, 1):
        torch.rand(3)  # whatever else was drawn
        losses.append(tuning(make_pooled(1), cpu, seed=seed).step(batch)["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_a_loss_that_is_not_finite_stops_and_says_where(
    make_pooled: Callable[..., PooledNetwork], cpu: Runtime
) -> None:
    one = tuning(make_pooled(1), cpu)
    batch = to_device(drawn(), stored(photographs()), CAFFE_INPUT, CPU)
    one.step(batch)
    with pytest.raises(InceptionError, match="the loss is nan at iteration 1; lower the learning rate"):
        one.step(replace(batch, images=batch.images * torch.nan))


def test_a_batch_that_does_not_fit_into_a_gpu_is_named(
    make_pooled: Callable[..., PooledNetwork], cpu: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tuning(make_pooled(1), cpu)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(one.network, "forward", full)
    with pytest.raises(InputError, match="cpu has no memory for 2 photographs of 96x72 with 4 regions together; ask"):
        one.step(to_device(drawn(), stored(photographs()), CAFFE_INPUT, CPU))
