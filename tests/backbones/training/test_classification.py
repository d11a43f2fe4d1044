"""Training a classifier: the loss against its definition, what is kept and refused, statistics of averaged weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, googlenet, read_checkpoint
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.backbones.training.classification import (
    ClassifierTask,
    ClassifierTraining,
    ClassifierTrainingSettings,
    measure_accuracy,
    network_input,
    settle_statistics,
    train_classifier,
)
from inception_rcnn.backbones.training.log import read_log
from inception_rcnn.backbones.training.loop import seeded
from inception_rcnn.backbones.training.patches import LabelledPhotographs, PatchSampler, PatchSettings
from inception_rcnn.backbones.training.sgd import SgdSettings
from inception_rcnn.structures import CheckpointError, InputError

CPU = Runtime(torch.device("cpu"), torch.float32, 4)
PHOTOGRAPHS = (data.chelsea(), data.coffee())
SETTINGS = ClassifierTrainingSettings(
    training=SgdSettings(iterations=2, learning_rate=0.02, warm_up=1, train_from="conv1", averaging=0.5),
    patches=PatchSettings(side=64, photometric=0.1),
    batch=4,
)


def photographs(count: int = 6) -> LabelledPhotographs:
    """Two photographs in turn, each its own class."""
    return LabelledPhotographs(lambda number: PHOTOGRAPHS[number % 2], [number % 2 for number in range(count)], "x")


def network(variant: str = "batchnorm", *, aux_heads: bool = True) -> GoogLeNet:
    """Fresh, of two classes."""
    torch.manual_seed(3)
    return googlenet(variant, num_classes=2, aux_heads=aux_heads)


def task(output: Path, **other: object) -> ClassifierTask:
    """On these photographs."""
    given = {"network": network(), "val": photographs(3), "class_names": ("cat", "coffee"), **other}
    return ClassifierTask(photographs=photographs(), runtime=CPU, output=output, quiet=True, **given)  # type: ignore[arg-type]


def test_the_loss_is_the_heads_three_tenths_and_the_step_goes_down_it() -> None:
    batch = PatchSampler(photographs(), 4, SETTINGS.patches).draw(0)
    start, trained = network(), network()
    training = ClassifierTraining(trained, SETTINGS, CPU)
    loss = training.step(batch)["loss"]
    start.train()
    with seeded(0, CPU.device):
        found = start(network_input(start, batch, CPU.device))
    labels = torch.from_numpy(batch.labels)
    each = [functional.cross_entropy(one, labels) for one in found]
    wanted = each[0] + 0.3 * (each[1] + each[2])
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    means = training.averaged.mean_losses()
    assert means["classes"] == pytest.approx(each[0].item(), rel=1e-5)
    assert means["auxiliary"] == pytest.approx((each[1] + each[2]).item(), rel=1e-5)
    # The same gradient by hand: weights move by the rate, biases by twice of it, with the decay of weights.
    wanted.backward()
    norm = nn.utils.clip_grad_norm_(start.parameters(), SETTINGS.training.clip)
    assert norm > 0 and start.conv1.conv.weight.grad is not None and start.conv1.bn.bias.grad is not None
    before, after = start.conv1.conv.weight, trained.conv1.conv.weight
    moved = before - 0.02 * (before.grad + 5e-4 * before)
    assert torch.allclose(after, moved, atol=1e-6)
    assert torch.allclose(trained.conv1.bn.bias, start.conv1.bn.bias - 0.04 * start.conv1.bn.bias.grad, atol=1e-6)
    assert not torch.equal(after, before)


def test_stages_that_do_not_learn_keep_weights_and_statistics() -> None:
    settings = replace(SETTINGS, training=replace(SETTINGS.training, train_from="5a"))
    trained = network(aux_heads=False)
    before = copy.deepcopy(trained.state_dict())
    ClassifierTraining(trained, settings, CPU).step(PatchSampler(photographs(), 4, settings.patches).draw(0))
    changed = {name.split(".")[0] for name, one in trained.state_dict().items() if not torch.equal(one, before[name])}
    assert changed == {"inception_5a", "inception_5b", "classifier"}


def test_a_trunk_has_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="this one is a trunk"):
        ClassifierTraining(googlenet("batchnorm", num_classes=0), SETTINGS, CPU)


def test_statistics_are_those_of_the_batches() -> None:
    one, sampler = network(aux_heads=False), PatchSampler(photographs(), 4, SETTINGS.patches)
    settle_statistics(one, sampler, CPU, batches=3)
    conv = one.conv1
    means, variances = [], []
    with torch.no_grad():
        for number in range(3):
            x = conv.conv(network_input(one, sampler.draw(number), CPU.device))
            means.append(x.mean(dim=(0, 2, 3)))
            variances.append(x.var(dim=(0, 2, 3)))
    assert torch.allclose(conv.bn.running_mean, torch.stack(means).mean(dim=0), atol=1e-5)
    assert torch.allclose(conv.bn.running_var, torch.stack(variances).mean(dim=0), rtol=1e-4)
    assert conv.bn.momentum == 0.1 and not one.training


def test_accuracy_is_counted_over_photographs() -> None:
    one = network(aux_heads=False).eval()
    assert one.classifier is not None
    nn.init.zeros_(one.classifier.weight)
    one.classifier.bias.data = torch.tensor([1.0, 0.0])  # always the cat
    found = measure_accuracy(one, photographs(5), 64, CPU)
    assert (found.top1, found.top5) == (0.6, 1.0)
    one.classifier.bias.data.zero_()
    assert measure_accuracy(one, photographs(5), 64, CPU).top1 == 0.6, "of equals the first comes first"
    one.classifier.bias.data.fill_(torch.nan)
    assert measure_accuracy(one, photographs(5), 64, CPU).top1 == 0, "what is no number comes last"


def test_what_a_training_leaves(tmp_path: Path) -> None:
    settings = replace(SETTINGS, log_every=1, validate_every=1)
    made = train_classifier(task(tmp_path), settings)
    log = read_log(tmp_path / "log.csv")
    assert log["iteration"] == ("1", "2") and {"loss", "classes", "auxiliary", "top1", "top5"} <= set(log)
    assert made.accuracy is not None and float(log["top1"][-1]) == pytest.approx(made.accuracy.top1, abs=1e-5)
    found = read_checkpoint(made.path, "googlenet")
    assert found.description["class_names"] == ["cat", "coffee"] and found.description["variant"] == "batchnorm"
    assert not any(name.startswith("aux_") for name in found.tensors)
    loaded = googlenet("batchnorm", weights=made.path, num_classes=2)
    assert measure_accuracy(loaded, photographs(3), 64, CPU) == made.accuracy


def test_the_file_has_the_stages_that_do_not_learn_as_they_were(tmp_path: Path) -> None:
    schedule, small = replace(SETTINGS.training, train_from="5b", iterations=1), PatchSettings(side=32)
    settings = ClassifierTrainingSettings(training=schedule, patches=small, batch=2)
    start = network(aux_heads=False)
    before = copy.deepcopy(start.state_dict())
    made = train_classifier(task(tmp_path, network=start, val=None), settings)
    found = read_checkpoint(made.path, "googlenet").tensors
    changed = {name.split(".")[0] for name, one in found.items() if not torch.equal(one, before[name])}
    assert changed == {"inception_5b", "classifier"}


def test_the_last_network_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inception_rcnn.backbones.training import classification

    measured: list[int] = []
    real = measure_accuracy
    monkeypatch.setattr(
        classification,
        "measure_accuracy",
        lambda *given: (measured.append(1), real(*given))[1],  # type: ignore[func-returns-value]
    )
    made = train_classifier(task(tmp_path), SETTINGS)
    assert len(measured) == 1
    again = train_classifier(task(tmp_path), SETTINGS)  # nothing is left to do
    assert again.accuracy == made.accuracy and len(measured) == 2


def test_another_run_is_refused(tmp_path: Path) -> None:
    train_classifier(task(tmp_path), SETTINGS)
    with pytest.raises(CheckpointError, match="batch"):
        train_classifier(task(tmp_path), replace(SETTINGS, batch=3))
    other = LabelledPhotographs(lambda _: PHOTOGRAPHS[0], [0, 1], "y")
    with pytest.raises(CheckpointError, match="photographs or their classes"):
        train_classifier(replace(task(tmp_path), photographs=other), SETTINGS)


def test_what_cannot_end_well_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="223 to 270 px, got 64"):
        train_classifier(task(tmp_path, network=network("paper")), SETTINGS)
    three = LabelledPhotographs(lambda _: PHOTOGRAPHS[0], [0, 2], "x")
    with pytest.raises(InputError, match=r"val should have classes 0\.\.1, one of the outputs, got 2"):
        train_classifier(task(tmp_path, val=three), SETTINGS)
    with pytest.raises(InputError, match="class_names should have 2 names"):
        train_classifier(task(tmp_path, class_names=("cat",)), SETTINGS)
    assert not any(tmp_path.iterdir())


def test_as_many_batches_as_take_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inception_rcnn.backbones.training import classification

    monkeypatch.setattr(classification, "iterations_within", lambda seconds, step, *_, **__: (step(0), 3)[1])
    made = train_classifier(task(tmp_path), replace(SETTINGS, minutes=0.5))
    assert made.iterations == 3
    monkeypatch.setattr(classification, "iterations_within", lambda *_, **__: 99)
    assert train_classifier(task(tmp_path), replace(SETTINGS, minutes=0.5)).iterations == 3  # kept in the state


@pytest.mark.parametrize(("field", "value"), [("batch", 0), ("auxiliary", -1.0), ("minutes", 0.0), ("save_every", 0)])
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        ClassifierTrainingSettings(**{field: value})  # type: ignore[arg-type]


def test_the_papers_recipe_is_the_default() -> None:
    settings = ClassifierTrainingSettings()
    training = settings.training
    assert (settings.auxiliary, training.momentum, training.schedule) == (0.3, 0.9, "paper-step")
    rates = [training.rate_at(iteration, 10) / training.learning_rate for iteration in (60, 79, 80, 160)]
    assert np.allclose(rates, [1, 1, 0.96, 0.96**2])
