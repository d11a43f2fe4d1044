"""What a training starts from: pre-trained weights, and the linear softmax at its objective's minimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from inception_rcnn.backbones import GoogLeNet, googlenet, write_checkpoint
from inception_rcnn.backbones.training.classification import save_classifier
from inception_rcnn.detector import ClassifierDescription, PooledNetwork, PoolingSpec, Runtime, load_region_classifier
from inception_rcnn.detector.checkpoints import save_region_classifier
from inception_rcnn.detector.training.initial_weights import fit_linear_softmax, pretrained_network, pretrained_pooled
from inception_rcnn.structures import CheckpointError, InputError
from inception_rcnn.structures.provenance import MULTIBOX, SeenPart

# --- pre-trained weights


@pytest.fixture
def classifier(
    tmp_path: Path, make_network: Callable[[int], GoogLeNet], description: ClassifierDescription
) -> tuple[Path, GoogLeNet]:
    """A region classifier's file, in full precision, and its network."""
    network, path = make_network(3), tmp_path / "three.safetensors"
    save_region_classifier(path, network, description, dtype=torch.float32)
    return path, network


def same(first: GoogLeNet, second: GoogLeNet, *, but: str = "nothing") -> bool:
    """Whether two networks have equal weights, those of one layer aside."""
    states = first.state_dict(), second.state_dict()
    names = [name for name in states[0] if not name.startswith(but)]
    return all(torch.equal(states[0][name], states[1][name]) for name in names)


def test_a_classifier_of_the_same_classes_keeps_its_last_layer(
    classifier: tuple[Path, GoogLeNet], description: ClassifierDescription
) -> None:
    start = pretrained_network(classifier[0], description.class_names)
    assert start.knows_classes and same(start.network, classifier[1])
    assert start.origin == {"pretrained": "three.safetensors", "pretrained_training": description.training}


@pytest.mark.parametrize("names", [("cup", "cat", "person"), ("cat", "cup", "dog"), ("cat", "cup")])
def test_other_classes_or_another_order_get_a_fresh_last_layer(
    classifier: tuple[Path, GoogLeNet], names: tuple[str, ...]
) -> None:
    start = pretrained_network(str(classifier[0]), names)
    assert not start.knows_classes and start.network.num_classes == len(names) + 1
    assert same(start.network, classifier[1], but="classifier")
    layer, old = start.network.classifier, classifier[1].classifier
    assert layer is not None and old is not None
    assert not torch.equal(layer.weight[:2], old.weight[:2])


def test_what_the_weights_saw_goes_on_to_what_starts_from_them_but_not_what_their_multibox_did(
    tmp_path: Path, make_network: Callable[[int], GoogLeNet], description: ClassifierDescription
) -> None:
    own, theirs = SeenPart.of_files("a", ["ab" * 32]), SeenPart.of_files("b", ["cd" * 32], MULTIBOX)
    path = tmp_path / "saw.safetensors"
    save_region_classifier(path, make_network(3), replace(description, seen=(own, theirs)))
    assert pretrained_network(path, description.class_names).seen == (own,)
    assert pretrained_network(path, ("dog",)).seen == (own,)
    assert pretrained_pooled(path, ("dog",), PoolingSpec(fine_channels=8)).seen == (own,)


def test_what_starts_from_a_network_without_response_normalisation_has_none_either(
    tmp_path: Path, description: ClassifierDescription
) -> None:
    path = tmp_path / "without.safetensors"
    save_region_classifier(
        path, GoogLeNet(len(description.class_names) + 1, lrn=False), replace(description, lrn=False)
    )
    assert not pretrained_network(path, description.class_names).network.lrn
    assert not pretrained_pooled(path, ("dog",), PoolingSpec()).network.trunk.lrn
    save_classifier(tmp_path / "classifier.safetensors", googlenet(num_classes=3, lrn=False), None, training={})
    for start in (pretrained_network, partial(pretrained_pooled, spec=PoolingSpec())):
        network = start(tmp_path / "classifier.safetensors", ("dog",)).network
        assert not (network.trunk if isinstance(network, PooledNetwork) else network).lrn


def test_googlenets_own_weights_get_a_fresh_last_layer_where_their_classes_are_not_named(tmp_path: Path) -> None:
    network, path = googlenet(num_classes=7), tmp_path / "backbone.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 7}, network.state_dict())
    start = pretrained_network(path, ("cat", "cup"))
    assert not start.knows_classes and start.network.num_classes == 3
    assert same(start.network, network, but="classifier") and start.origin == {"pretrained": "backbone.safetensors"}


def test_the_shipped_classifier_can_be_named(cpu: Runtime) -> None:
    shipped = load_region_classifier("coco-mini", cpu)
    start = pretrained_network("coco-mini", shipped.description.class_names)
    assert start.knows_classes and same(start.network, shipped.network)
    assert start.origin["pretrained"] == "coco-mini"
    assert start.origin["pretrained_training"] == shipped.description.training


def test_what_is_no_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*missing\.safetensors"):
        pretrained_network(tmp_path / "missing.safetensors", ("cat",))
    with pytest.raises(InputError, match=r"weights\.pth is a pickle, which may run programs"):
        pretrained_network(tmp_path / "weights.pth", ("cat",))
    other = tmp_path / "state.safetensors"
    write_checkpoint(other, "training-state", {}, {"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="kind 'training-state'"):
        pretrained_network(other, ("cat",))


def test_of_a_pooled_classifier_a_warping_one_takes_the_trunk(
    pooled_file: tuple[Path, PooledNetwork], description: ClassifierDescription
) -> None:
    start = pretrained_network(pooled_file[0], description.class_names)
    assert not start.knows_classes and same(start.network, pooled_file[1].trunk, but="classifier")


# --- pooled regions


@pytest.fixture
def pooled_file(
    tmp_path: Path, make_pooled: Callable[..., PooledNetwork], pooled_description: ClassifierDescription
) -> tuple[Path, PooledNetwork]:
    """A pooled classifier's file, in full precision, and its network."""
    network, path = make_pooled(4), tmp_path / "pooled.safetensors"
    save_region_classifier(path, network, pooled_description, dtype=torch.float32)
    return path, network


def kept(network: PooledNetwork, other: nn.Module, prefix: str = "") -> set[str]:
    """Which layers of a network have the other one's weights."""
    own, theirs = network.state_dict(), other.state_dict()
    same_as = {name for name, one in theirs.items() if torch.equal(own.get(prefix + name, torch.zeros(0)), one)}
    return {".".join((prefix + name).split(".")[:-1]) for name in same_as}


def layers(network: nn.Module, *starts: str) -> set[str]:
    return {name for name, one in network.named_modules() if hasattr(one, "weight") and name.startswith(starts)}


def test_a_pooled_classifier_of_the_same_classes_keeps_all_layers(
    pooled_file: tuple[Path, PooledNetwork], pooled_description: ClassifierDescription
) -> None:
    path, network = pooled_file
    start = pretrained_pooled(path, pooled_description.class_names, network.spec)
    assert start.knows_classes and kept(start.network, network) == layers(network, "")
    assert start.origin == {"pretrained": "pooled.safetensors", "pretrained_training": pooled_description.training}
    finer = replace(network.spec, cells=5, short_side=200)
    other = pretrained_pooled(path, pooled_description.class_names, finer).network
    assert other.spec == finer and kept(other, network) == layers(network, "")


def test_a_pooled_classifier_of_other_classes_keeps_its_box_offsets_and_the_rows_of_those_it_knows(
    pooled_file: tuple[Path, PooledNetwork], pooled_description: ClassifierDescription
) -> None:
    """Also by another data set's name of the class: ILSVRC calls the cat n02121808."""
    path, network = pooled_file
    assert pooled_description.class_names == ("cat", "cup", "person")
    cases: dict[tuple[str, ...], list[int]] = {
        ("cup", "cat", "person"): [1, 0, 2, 3],
        ("dragon", "n02121808"): [-1, 0, 3],
        ("dragon", "kite"): [-1, -1, 3],
    }
    for names, expected in cases.items():
        start = pretrained_pooled(path, names, network.spec)
        assert not start.knows_classes and start.network.num_classes == len(names)
        assert layers(network, "") - kept(start.network, network) == {"classifier"}
        assert start.origin["kept_classes"] == sum(row >= 0 for row in expected[:-1])
        for place, row in enumerate(expected):
            own, old = (one.classifier for one in (start.network, network))
            assert torch.equal(own.weight[place], old.weight[row]) == (row >= 0)
            assert own.bias[place] == (old.bias[row] if row >= 0 else 0)


def test_layers_of_another_shape_are_fresh(
    pooled_file: tuple[Path, PooledNetwork], pooled_description: ClassifierDescription
) -> None:
    path, network = pooled_file
    names = pooled_description.class_names
    wider = pretrained_pooled(path, names, replace(network.spec, fine_channels=24))
    assert wider.knows_classes and layers(network, "") - kept(wider.network, network) == {"lateral", "mix_fine"}
    without_mean = pretrained_pooled(path, names, replace(network.spec, image_mean=False))
    assert not without_mean.knows_classes
    assert without_mean.network.classifier.weight.shape == (4, 1024)
    assert not torch.equal(without_mean.network.classifier.bias, network.classifier.bias)  # whole layers or nothing
    assert layers(network, "trunk.", "lateral", "mix") <= kept(without_mean.network, network)
    without_offsets = pretrained_pooled(path, names, network.spec, box_regression=False)
    assert without_offsets.knows_classes and without_offsets.network.regressor is None


def test_of_a_warping_classifier_the_trunk_is_taken(
    classifier: tuple[Path, GoogLeNet], description: ClassifierDescription
) -> None:
    start = pretrained_pooled(classifier[0], description.class_names, PoolingSpec(fine_channels=8))
    assert not start.knows_classes and start.origin["pretrained"] == "three.safetensors"
    trunk = {name for name, _ in start.network.named_modules() if name in kept(start.network, classifier[1], "trunk.")}
    assert trunk == layers(start.network, "trunk.")


def test_of_googlenet_s_own_weights_the_trunk_is_taken_and_the_rest_is_the_seed_s(tmp_path: Path) -> None:
    network, path = googlenet(num_classes=7), tmp_path / "backbone.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 7}, network.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, second, other = (pretrained_pooled(path, ("cat", "cup"), PoolingSpec(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)  # the generator was left as it was
    assert not first.knows_classes and first.origin == {"pretrained": "backbone.safetensors"}
    assert layers(first.network, "trunk.") <= kept(first.network, network, "trunk.")
    own, same_seed, another = (one.network.classifier.weight for one in (first, second, other))
    assert torch.equal(own, same_seed) and not torch.equal(own, another)


def test_what_is_no_weights_is_refused_for_pooled_regions_too(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*missing\.safetensors"):
        pretrained_pooled(tmp_path / "missing.safetensors", ("cat",), PoolingSpec())
    with pytest.raises(InputError, match=r"weights\.pth is a pickle, which may run programs"):
        pretrained_pooled(tmp_path / "weights.pth", ("cat",), PoolingSpec())


# --- a warm head


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GoogLeNet]:
    """Fresh weights with ImageNet's 1000 outputs, biases included, and their file."""
    torch.manual_seed(5)
    network, path = googlenet(), tmp_path_factory.mktemp("imagenet") / "googlenet.safetensors"
    assert network.classifier is not None
    nn.init.normal_(network.classifier.bias)
    write_checkpoint(path, "googlenet", {"num_classes": 1000}, network.state_dict())
    return path, network


def test_a_warm_head_has_the_mean_rows_of_imagenet_s_outputs_under_each_class(
    imagenet: tuple[Path, GoogLeNet],
) -> None:
    path, network = imagenet
    names = ("n02084071", "giraffe", "bicycle")  # 118 dogs, nothing, two bicycles
    start = pretrained_pooled(path, names, PoolingSpec(fine_channels=8), warm_head=True)
    assert not start.knows_classes and start.origin == {"pretrained": "googlenet.safetensors", "warm_classes": 2}
    layer, theirs = start.network.classifier.state_dict(), network.state_dict()
    weight, bias = layer["weight"], layer["bias"]
    assert same(start.network.trunk, network, but="classifier") and weight.shape == (4, 1024 + 832)
    rows = {0: range(151, 269), 2: (444, 671)}
    for row, outputs in rows.items():
        mean = sum(theirs["classifier.weight"][output].double() for output in outputs) / len(outputs)
        torch.testing.assert_close(weight[row, :1024].double(), 0.4 * mean, rtol=1e-4, atol=1e-6)
        assert float(bias[row]) == pytest.approx(0.4 * float(theirs["classifier.bias"][list(outputs)].mean()), rel=1e-4)
    assert not weight[[1, 3]].any() and not weight[:, 1024:].any() and bias[1] == 0
    assert float(bias[3].exp()) == pytest.approx(9)  # three to one against three classes that nothing is known of
    assert start.network.classifier.weight.requires_grad


def test_without_it_the_last_layer_is_fresh(imagenet: tuple[Path, GoogLeNet]) -> None:
    one, two = (
        pretrained_pooled(imagenet[0], ("bicycle",), PoolingSpec(fine_channels=8), **how)
        for how in ({}, {"warm_head": False})
    )
    assert same(one.network, two.network) and one.origin == {"pretrained": "googlenet.safetensors"}
    assert one.network.classifier.weight[:, 1024:].all()


def test_what_a_warm_head_cannot_start_from(
    imagenet: tuple[Path, GoogLeNet], classifier: tuple[Path, GoogLeNet], tmp_path: Path
) -> None:
    spec = PoolingSpec(fine_channels=8)
    with pytest.raises(InputError, match=r"ImageNet has no kind of any of the 2 classes, giraffe"):
        pretrained_pooled(imagenet[0], ("giraffe", "fork"), spec, warm_head=True)
    with pytest.raises(InputError, match="is a region classifier; a warm head needs GoogLeNet's own weights"):
        pretrained_pooled(classifier[0], ("cat",), spec, warm_head=True)
    seven = tmp_path / "seven.safetensors"
    write_checkpoint(seven, "googlenet", {"num_classes": 7}, googlenet(num_classes=7).state_dict())
    with pytest.raises(InputError, match="should have ImageNet's 1000 outputs, it has 7"):
        pretrained_pooled(seven, ("cat",), spec, warm_head=True)


# --- the linear softmax: right on what can be separated, in the features' own units


def clouds(count: int, spread: float) -> tuple[Tensor, Tensor]:
    """Points around three corners of a triangle, the first coordinate a thousand times the second."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    corners = torch.tensor([(0.0, 0.0), (1.0, 0.0), (0.5, 1.0)])
    points = corners[labels] + spread * torch.randn(count, 2, generator=generator)
    return points * torch.tensor([1000.0, 1.0]) + torch.tensor([500.0, -3.0]), labels


def test_separable_points_are_classified() -> None:
    features, labels = clouds(90, 0.05)
    fitted = fit_linear_softmax(features, labels, 3)
    logits = features @ fitted.weight.T + fitted.bias
    assert (logits.argmax(dim=1) == labels).all()
    assert fitted.loss == pytest.approx(functional.cross_entropy(logits, labels).item(), abs=1e-4) and fitted.loss < 0.1


@pytest.mark.parametrize("decay", [1e-4, 1e-2])
def test_the_objective_has_no_slope_left(decay: float) -> None:
    features, labels = clouds(120, 0.5)
    fitted = fit_linear_softmax(features, labels, 3, weight_decay=decay)
    # The penalty is on the weights of standardised features; the problem is convex, so no slope means the minimum.
    mean, spread = features.double().mean(dim=0), features.double().std(dim=0, correction=0)
    weight = (fitted.weight.double() * spread).requires_grad_()
    bias = (fitted.bias.double() + fitted.weight.double() @ mean).requires_grad_()
    logits = (features.double() - mean) / spread @ weight.T + bias
    loss = functional.cross_entropy(logits, labels) + decay * weight.square().sum()
    slopes = torch.autograd.grad(loss, (weight, bias))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-3
    start = torch.autograd.grad(functional.cross_entropy(torch.zeros(120, 3) + bias, labels), bias)[0]
    assert weight.abs().max() > 0.5 and start.isfinite().all()


def test_units_of_the_features_do_not_matter() -> None:
    features, labels = clouds(60, 0.4)
    other = features * 1e-3 + 7
    one, two = fit_linear_softmax(features, labels, 3), fit_linear_softmax(other, labels, 3)
    expected = (features @ one.weight.T + one.bias).softmax(dim=1)
    torch.testing.assert_close((other @ two.weight.T + two.bias).softmax(dim=1), expected, rtol=0, atol=0.01)


def test_stronger_decay_gives_smaller_weights() -> None:
    features, labels = clouds(60, 0.3)
    weak, strong = (fit_linear_softmax(features, labels, 3, weight_decay=decay) for decay in (1e-4, 1e-1))
    assert strong.weight.norm() < 0.5 * weak.weight.norm() and strong.loss > weak.loss


def test_features_that_never_change_and_classes_that_never_come() -> None:
    features, labels = clouds(60, 0.1)
    fitted = fit_linear_softmax(torch.cat([features, torch.full((60, 1), 4.0)], dim=1), labels, 5)
    assert fitted.weight.shape == (5, 3) and fitted.bias.shape == (5,)
    assert fitted.weight.isfinite().all() and fitted.bias.isfinite().all() and fitted.weight[:, 2].abs().max() < 1e-3
    logits = torch.cat([features, torch.full((60, 1), 4.0)], dim=1) @ fitted.weight.T + fitted.bias
    assert (logits.argmax(dim=1) == labels).float().mean() > 0.95


def test_a_single_example_is_learnt() -> None:
    fitted = fit_linear_softmax(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), 3)
    assert (torch.tensor([1.0, 2.0]) @ fitted.weight.T + fitted.bias).argmax() == 1


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), "N > 0"),
        (torch.zeros(4), torch.zeros(4, dtype=torch.long), r"features should be \(N, D\)"),
        (torch.zeros(4, 2), torch.zeros(3, dtype=torch.long), r"labels \(N,\)"),
        (torch.zeros(2, 2), torch.tensor([0, 3]), r"labels should lie in 0..2, got 0..3"),
        (torch.zeros(2, 2), torch.tensor([-1, 1]), r"labels should lie in 0..2, got -1..1"),
        (torch.tensor([[0.0], [torch.nan]]), torch.tensor([0, 1]), "features should be finite"),
    ],
)
def test_what_cannot_be_fitted(features: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_linear_softmax(features, labels, 3)
