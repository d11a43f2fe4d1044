"""Learning from teachers: the loss by hand, no gradient into them, and a student that comes to say what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.detector import PoolingSpec
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.detector.training.pooled.distillation import (
    Answer,
    DistillationSettings,
    Teachers,
    teacher_losses,
)
from inception_rcnn.detector.training.pooled.step import DeviceBatch
from inception_rcnn.structures import InputError

CPU = Runtime(torch.device("cpu"), torch.float32, 8)
SPEC = PoolingSpec(short_side=64, cells=2, fine_channels=0)


def network(seed: int, *, box_regression: bool = True) -> PooledNetwork:
    torch.manual_seed(seed)
    return PooledNetwork(2, SPEC, box_regression=box_regression)


def batch() -> DeviceBatch:
    generator = torch.Generator().manual_seed(0)
    return DeviceBatch(
        images=50 * torch.randn(1, 3, 64, 64, generator=generator),
        sizes=torch.tensor([[64, 64]]),
        boxes=torch.tensor([[0, 2.0, 3, 40, 50], [0, 10, 10, 60, 60], [0, 0, 0, 30, 30]]),
        labels=torch.tensor([0, 1, 2]),
        offsets=torch.zeros(3, 4),
        unknown=None,
    )


def test_the_answer_is_the_mean_of_what_each_says() -> None:
    networks = [network(0), network(1), network(2, box_regression=False)]
    answer = Teachers(networks, DistillationSettings(temperature=2.0), CPU).answer(batch())
    one = batch()
    with torch.no_grad():
        said = [net.eval()(one.images, one.boxes, one.sizes, one.cells) for net in networks]
    probabilities = sum(torch.softmax(logits / 2, 1) for logits, _ in said) / 3
    torch.testing.assert_close(answer.probabilities, probabilities)
    assert answer.offsets is not None and said[0][1] is not None and said[1][1] is not None
    torch.testing.assert_close(answer.offsets, (said[0][1] + said[1][1]) / 2)
    torch.testing.assert_close(answer.object, 1 - sum(torch.softmax(logits, 1)[:, 2] for logits, _ in said) / 3)


def test_teachers_read_as_many_cells_as_they_learned_whatever_the_student_reads() -> None:
    teachers = Teachers([network(0)], DistillationSettings(), CPU)
    usual, other = teachers.answer(batch()), teachers.answer(replace(batch(), cells=5))
    torch.testing.assert_close(other.probabilities, usual.probabilities, rtol=0, atol=0)


def test_the_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
    wanted = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    answer = Answer(wanted, torch.tensor([[0.5, 0, 0, 0], [0, 0, 3.0, 0]]), torch.tensor([1.0, 0.25]))
    settings = DistillationSettings(temperature=2.0)
    classes, boxes = (one.mean() for one in teacher_losses(logits, torch.zeros(2, 4), answer, settings))
    expected = 0.0
    for row in range(2):
        total = sum(math.exp(float(value) / 2) for value in logits[row])
        for column in range(3):
            p, q = float(wanted[row, column]), math.exp(float(logits[row, column]) / 2) / total
            expected += 4 * p * math.log(p / q) / 2
    assert float(classes) == pytest.approx(expected, rel=1e-5)
    assert float(boxes) == pytest.approx((0.5 * 0.5**2 * 1 + (3 - 0.5) * 0.25) / 2, rel=1e-6)


def test_a_student_that_says_the_same_loses_nothing() -> None:
    answer = Teachers([network(0)], DistillationSettings(), CPU).answer(batch())
    one = batch()
    logits, offsets = network(0).eval()(one.images, one.boxes, one.sizes, one.cells)
    classes, boxes = (one.mean() for one in teacher_losses(logits, offsets, answer, DistillationSettings()))
    assert float(classes.detach()) == pytest.approx(0, abs=1e-6)
    assert float(boxes.detach()) == pytest.approx(0, abs=1e-9)


def test_where_nobody_moves_boxes_there_is_no_such_loss() -> None:
    answer = Teachers([network(0, box_regression=False)], DistillationSettings(), CPU).answer(batch())
    assert answer.offsets is None
    _, boxes = teacher_losses(torch.zeros(3, 3), torch.ones(3, 4), answer, DistillationSettings())
    assert not boxes.any()
    moving = Teachers([network(0)], DistillationSettings(), CPU).answer(batch())
    assert not teacher_losses(torch.zeros(3, 3), None, moving, DistillationSettings())[1].any()


def test_teachers_learn_nothing_and_the_student_comes_nearer() -> None:
    teacher, student = network(0), network(1).eval()
    before = {name: one.clone() for name, one in teacher.state_dict().items()}
    teachers, settings = Teachers([teacher], DistillationSettings(), CPU), DistillationSettings()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        one = batch()
        logits, offsets = student(one.images, one.boxes, one.sizes, one.cells)
        classes, boxes = (each.mean() for each in teacher_losses(logits, offsets, teachers.answer(one), settings))
        optimizer.zero_grad()
        (classes + boxes).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        losses.append(float((classes + boxes).detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(before[name], one) for name, one in teacher.state_dict().items())


def test_labels_and_teachers_share_the_loss() -> None:
    teachers = Teachers([network(0)], DistillationSettings(share=0.25), CPU)
    one, logits, offsets = batch(), torch.randn(3, 3), torch.randn(3, 4)
    own = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 4.0, 0.0])
    theirs = teacher_losses(logits, offsets, teachers.answer(one), teachers.settings)
    for found, mine, other in zip(teachers.blend(own, logits, offsets, one), own, theirs, strict=True):
        torch.testing.assert_close(found, 0.75 * mine + 0.25 * other)


@pytest.mark.parametrize(
    "numbers", [{"share": -0.1}, {"share": 1.1}, {"temperature": 0}, {"temperature": float("nan")}]
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(InputError, match="share should lie in"):
        DistillationSettings(**numbers)


def test_without_a_teacher_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(InputError, match="at least one teacher"):
        Teachers([], DistillationSettings(), CPU)
