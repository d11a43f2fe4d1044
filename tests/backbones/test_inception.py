"""The architecture, number by number: parameters, multiply-adds, sizes, branches, pools, normalisation, heads."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from inception_rcnn.backbones import (
    INCEPTION_TABLE,
    STAGES,
    GoogLeNet,
    Inception,
    InceptionWidths,
    LocalResponseNorm,
    NaiveInception,
    stages_between,
)
from inception_rcnn.backbones.inception import Downsample
from inception_rcnn.structures import InputError
from reference.slow_lrn import slow_lrn

# Parameters with biases, and millions of multiply-adds for a 224x224 image: counted by hand from table 1 and figure 3.
ROWS = {
    "conv1": (9_472, 118.01),
    "conv2": (114_944, 359.66),
    "inception_3a": (163_696, 128.05),
    "inception_3b": (388_736, 304.27),
    "inception_4a": (376_176, 73.61),
    "inception_4b": (449_160, 87.91),
    "inception_4c": (510_104, 99.85),
    "inception_4d": (605_376, 118.52),
    "inception_4e": (868_352, 170.00),
    "inception_5a": (1_043_456, 51.08),
    "inception_5b": (1_444_080, 70.70),
    "classifier": (1_025_000, 1.02),
}
# Input side -> sides after conv1 and after the four pools.
SIZES = {
    224: (112, 56, 28, 14, 7),
    227: (114, 57, 28, 14, 7),
    256: (128, 64, 32, 16, 8),
    299: (150, 75, 37, 18, 9),
    320: (160, 80, 40, 20, 10),
}
# How many of the pools lie before a stage's output.
POOLS_AT = {"conv1": 1, "conv2": 2, "3a": 2, "3b": 3, "4a": 3, "4b": 3, "4c": 3, "4d": 3, "4e": 4, "5a": 4, "5b": 4}
CHANNELS = {
    "conv1": 64,
    "conv2": 192,
    "3a": 256,
    "3b": 480,
    "4a": 512,
    "4b": 512,
    "4c": 512,
    "4d": 528,
    "4e": 832,
    "5a": 832,
    "5b": 1024,
}


def without_memory(num_classes: int = 1000, *, aux_heads: bool = False, naive: bool = False) -> GoogLeNet:
    """The network with shapes but no numbers: enough for counting."""
    with torch.device("meta"):
        return GoogLeNet(num_classes, aux_heads=aux_heads, variant="naive" if naive else "paper").eval()


def images(side: int, count: int = 1) -> Tensor:
    """Images without numbers."""
    return torch.empty(count, 3, side, side, device="meta")


def parameters(module: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(naive: bool = False) -> dict[str, int]:
    """Multiply-adds of one image of 224x224 by part of the network, seen at the operators themselves."""
    network = without_memory(naive=naive)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images(224))
    # Names are "Global", "GoogLeNet", "GoogLeNet.<part>", "GoogLeNet.<part>.<layer>"; a multiply-add is two operations.
    counts = {tuple(name.split(".")): sum(found.values()) // 2 for name, found in counter.get_flop_counts().items()}
    parts = {words[1]: count for words, count in counts.items() if len(words) == 2}
    # The band of the response normalisation is written as a 1x1 convolution but has no weights: it is not counted.
    del parts["norm1"], parts["norm2"]
    parts["conv2"] += parts.pop("conv2_reduce")
    return parts


@cache
def small_network() -> GoogLeNet:
    """A network with numbers, three classes, for small images; read only."""
    torch.manual_seed(0)
    return GoogLeNet(3).eval()


def test_parameters_with_1000_classes() -> None:
    assert parameters(without_memory()) == 6_998_552


def test_parameters_with_auxiliary_heads() -> None:
    network = without_memory(aux_heads=True)
    assert parameters(network) == 13_378_280
    assert network.aux_4a is not None and parameters(network.aux_4a) == 3_188_840
    assert network.aux_4d is not None and parameters(network.aux_4d) == 3_190_888


@pytest.mark.parametrize("outputs", [0, 1, 21, 81, 201])
def test_parameters_with_other_numbers_of_outputs(outputs: int) -> None:
    assert parameters(without_memory(outputs)) == 5_973_552 + 1025 * outputs


def test_multiply_adds_in_all() -> None:
    assert sum(multiply_adds().values()) == 1_582_671_872


def test_every_block_has_its_row_of_the_table() -> None:
    network, counted = without_memory(), multiply_adds()
    found = {name: parameters(network.get_submodule(name)) for name in ROWS}
    found["conv2"] += parameters(network.conv2_reduce)
    assert found == {name: count for name, (count, _) in ROWS.items()}
    millions = {name: round(count / 1e6, 2) for name, count in counted.items()}
    assert millions == {name: expected for name, (_, expected) in ROWS.items()}


@pytest.mark.parametrize("side", SIZES)
def test_sizes_of_all_stages(side: int) -> None:
    network, x = without_memory(), images(side)
    assert network.conv1(x).shape[2:] == (SIZES[side][0], SIZES[side][0])
    for name in STAGES:
        x = network.stage(name, x)
        expected = SIZES[side][POOLS_AT[name]]
        assert x.shape == (1, CHANNELS[name], expected, expected), name
    assert network.classify(x).shape == (1, 1000)


def test_height_and_width_may_differ() -> None:
    assert without_memory().trunk(torch.empty(2, 3, 224, 320, device="meta")).shape == (2, 1024, 7, 10)


def test_naive_modules_widen_at_every_step() -> None:
    network, x = without_memory(naive=True), images(224)
    x = network.trunk(x, stop="conv2")
    widths = []
    for name in INCEPTION_TABLE:
        x = network.stage(name, x)
        widths.append(x.shape[1])
    assert widths == [416, 832, 1280, 1728, 2176, 2640, 3344, 4048, 4944]
    assert network.out_channels == 4944 and network.classify(x).shape == (1, 1000)


def test_naive_modules_cost_eleven_times_the_work() -> None:
    def of_modules(counts: dict[str, int]) -> float:
        return sum(count for name, count in counts.items() if name.startswith("inception_")) / 1e9

    assert round(of_modules(multiply_adds(naive=True)), 2) == 12.09
    assert round(of_modules(multiply_adds()), 2) == 1.10


def test_naive_module_is_three_convolutions_and_a_pool_side_by_side() -> None:
    torch.manual_seed(1)
    module, x = NaiveInception(4, InceptionWidths(2, 9, 3, 9, 5, 9)), torch.randn(2, 4, 6, 5)
    expected = torch.cat(
        [
            functional.conv2d(x, module.conv1x1.weight, module.conv1x1.bias).relu(),
            functional.conv2d(x, module.conv3x3.weight, module.conv3x3.bias, padding=1).relu(),
            functional.conv2d(x, module.conv5x5.weight, module.conv5x5.bias, padding=2).relu(),
            functional.max_pool2d(x, 3, 1, 1),
        ],
        dim=1,
    )
    assert module.out_channels == 2 + 3 + 5 + 4
    torch.testing.assert_close(module(x), expected)


def test_inception_module_equals_its_branches_one_by_one() -> None:
    torch.manual_seed(2)
    module, x = Inception(6, InceptionWidths(4, 3, 5, 2, 3, 2)), torch.randn(2, 6, 7, 5)
    with torch.no_grad():
        for layer in (module.reduce3x3, module.reduce5x5):
            layer.bias.sub_(0.5)  # some reductions negative: their ReLU must show
    expected = torch.cat(
        [
            module.conv1x1(x).relu(),
            module.conv3x3(module.reduce3x3(x).relu()).relu(),
            module.conv5x5(module.reduce5x5(x).relu()).relu(),
            module.project(functional.max_pool2d(x, 3, 1, 1)).relu(),
        ],
        dim=1,
    )
    torch.testing.assert_close(module(x), expected)
    assert (module.reduce3x3(x) < 0).any() and (module.project(x) < 0).any()


def test_branches_are_joined_in_the_published_order() -> None:
    module = Inception(3, InceptionWidths(1, 1, 2, 1, 3, 4))
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    for value, layer in enumerate((module.conv1x1, module.conv3x3, module.conv5x5, module.project), start=1):
        nn.init.constant_(layer.bias, value)
    found = module(torch.ones(1, 3, 4, 4))
    assert found[0, :, 2, 2].tolist() == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]


def test_gradients_of_the_joined_convolutions_reach_each_of_them() -> None:
    torch.manual_seed(3)
    module, x = Inception(4, InceptionWidths(2, 3, 2, 2, 2, 2)), torch.randn(1, 4, 5, 5)
    module(x).square().sum().backward()
    together = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    module.zero_grad()
    parts = [
        module.conv1x1(x).relu(),
        module.conv3x3(module.reduce3x3(x).relu()).relu(),
        module.conv5x5(module.reduce5x5(x).relu()).relu(),
        module.project(functional.max_pool2d(x, 3, 1, 1)).relu(),
    ]
    torch.cat(parts, dim=1).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
        torch.testing.assert_close(together[name], parameter.grad)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_response_normalisation_equals_the_formula(channels: int) -> None:
    x = np.random.default_rng(0).normal(0, 300, (2, channels, 2, 3))  # the size of real activations: alpha matters
    found = LocalResponseNorm(channels)(torch.from_numpy(x).float()).numpy()
    np.testing.assert_allclose(found, slow_lrn(x), rtol=2e-6)
    assert np.abs(found - x).max() > 10


def test_response_normalisation_equals_torch_with_gradients() -> None:
    x = (torch.randn(2, 12, 3, 4, generator=torch.Generator().manual_seed(0)) * 200).requires_grad_()
    theirs = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)(x)
    (expected,) = torch.autograd.grad(theirs.square().sum(), x)
    ours = LocalResponseNorm(12)(x)
    (found,) = torch.autograd.grad(ours.square().sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("autocast", [False, True])
def test_response_normalisation_in_float16_of_activations_whose_squares_it_cannot_hold(autocast: bool) -> None:
    x = torch.rand(1, 16, 5, 5, generator=torch.Generator().manual_seed(0)) * 3000
    norm = LocalResponseNorm(16)
    given = x.half().requires_grad_()
    with torch.autocast("cpu", torch.float16, enabled=autocast):
        found = (norm if autocast else LocalResponseNorm(16).half())(given)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), norm(x), rtol=0.01, atol=0.01)
    found.sum().backward()
    assert given.grad is not None and given.grad.isfinite().all()


def test_response_normalisation_in_bfloat16_stays_near() -> None:
    x = torch.randn(1, 16, 5, 5, generator=torch.Generator().manual_seed(0)) * 300
    norm = LocalResponseNorm(16)
    found = norm(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), norm(x), rtol=0.03, atol=0.5)


def test_the_band_is_no_weight() -> None:
    state = small_network().state_dict()
    assert len(state) == 116 and not [name for name in state if "norm" in name]


def test_downsampling_hangs_over_the_edge() -> None:
    x = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    assert Downsample()(x).tolist() == [[[[11, 12], [15, 16]]]]


def test_downsampling_of_negative_numbers_takes_no_padding_for_a_maximum() -> None:
    x = -torch.arange(1.0, 26.0).reshape(1, 1, 5, 5)
    assert Downsample()(x).tolist() == [[[[-1, -3], [-11, -13]]]]


@pytest.mark.parametrize("side", range(7, 20))
def test_downsampled_size_is_rounded_up(side: int) -> None:
    assert Downsample()(torch.zeros(1, 1, side, side)).shape[2] == math.ceil((side - 1) / 2)


def test_the_trunk_can_be_walked_in_pieces() -> None:
    network, x = small_network(), torch.randn(2, 3, 64, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = network.trunk(x)
        pieces = network.trunk(network.trunk(network.trunk(x, stop="conv1"), start="conv2", stop="4c"), start="4d")
        assert torch.equal(whole, pieces) and whole.shape == (2, 1024, 2, 1)
        assert torch.equal(network(x), network.classify(whole))


def test_nothing_is_done_to_the_input() -> None:
    network, x = small_network(), torch.rand(1, 3, 32, 32) * 255 - 120
    before, seen = x.clone(), []
    handle = network.conv1.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    with torch.inference_mode():
        network(x)
    handle.remove()
    assert len(seen) == 1 and torch.equal(seen[0], before) and torch.equal(x, before)


def test_normalisation_stands_after_the_first_pool_and_before_the_second() -> None:
    network, x = small_network(), torch.rand(1, 3, 64, 64) * 255 - 120
    with torch.inference_mode():
        first = slow_lrn(Downsample()(network.conv1(x).relu()).double().numpy())
        np.testing.assert_allclose(network.stage("conv1", x).numpy(), first, rtol=1e-5, atol=1e-4)
        x = network.stage("conv1", x) * 50  # so that the second normalisation shows
        inner = network.conv2(network.conv2_reduce(x).relu()).relu().double().numpy()
        expected = Downsample()(torch.from_numpy(slow_lrn(inner))).numpy()
        np.testing.assert_allclose(network.stage("conv2", x).numpy(), expected, rtol=1e-5, atol=1e-4)


def test_without_normalisation_the_same_weights_are_read_and_nothing_is_divided() -> None:
    network, x = GoogLeNet(3, lrn=False).eval(), torch.rand(1, 3, 64, 64) * 255 - 120
    network.load_state_dict(small_network().state_dict())
    with torch.inference_mode():
        first = Downsample()(network.conv1(x).relu())
        assert torch.equal(network.stage("conv1", x), first)
        second = Downsample()(network.conv2(network.conv2_reduce(first).relu()).relu())
        assert torch.equal(network.trunk(x, stop="conv2"), second)
        assert not torch.allclose(network(x), small_network()(x), rtol=1e-3)


def test_memory_layout_does_not_change_the_answer() -> None:
    network, x = small_network(), torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(x.to(memory_format=torch.channels_last)), network(x), rtol=1e-4, atol=1e-5)


def test_pooling_is_the_mean_over_the_map() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert small_network().pooled(x).tolist() == [[3.0, 1.0]]


def test_without_classes_features_come_out() -> None:
    network = without_memory(0)
    assert network(images(64, 2)).shape == (2, 1024)


def test_auxiliary_heads_speak_in_training_only() -> None:
    network = without_memory(7, aux_heads=True)
    assert network(images(224, 2)).shape == (2, 7)
    outputs = network.train()(images(224, 2))
    assert isinstance(outputs, tuple) and [tuple(one.shape) for one in outputs] == [(2, 7)] * 3
    plain = without_memory(7).train()
    assert isinstance(plain(images(224)), Tensor)


def test_auxiliary_heads_read_4a_and_4d_and_change_nothing() -> None:
    torch.manual_seed(0)
    network = GoogLeNet(3, aux_heads=True).train()
    network.dropout.p = 0.0
    seen: dict[str, Tensor] = {}
    for name in ("4a", "4d"):
        block, head = network.get_submodule(f"inception_{name}"), network.get_submodule(f"aux_{name}")
        block.register_forward_hook(lambda _m, _i, output, key=name: seen.update({f"from {key}": output}))
        head.register_forward_pre_hook(lambda _m, inputs, key=name: seen.update({f"to {key}": inputs[0]}))
    with torch.no_grad():
        main, _, _ = network(x := torch.randn(1, 3, 224, 224))
        assert seen["to 4a"] is seen["from 4a"] and seen["to 4d"] is seen["from 4d"]
        torch.testing.assert_close(main, network.eval()(x))


@pytest.mark.parametrize(("side", "fits"), [(222, False), (223, True), (224, True), (270, True), (271, False)])
def test_auxiliary_heads_say_which_inputs_they_need(side: int, fits: bool) -> None:
    network = without_memory(3, aux_heads=True).train()
    if fits:
        assert network(images(side))[1].shape == (1, 3)
    else:
        with pytest.raises(InputError, match=r"223 to 270 px, got a map of"):
            network(images(side))


def test_shares_that_are_dropped() -> None:
    network = without_memory(aux_heads=True)
    assert network.dropout.p == 0.4
    assert network.aux_4a is not None and network.aux_4a.dropout.p == 0.7


def test_dropout_is_random_in_training_only() -> None:
    torch.manual_seed(0)
    network, x = GoogLeNet(3), torch.ones(1, 1024, 2, 2)
    with torch.no_grad():
        assert not torch.equal(network.train().classify(x), network.classify(x))
        assert torch.equal(network.eval().classify(x), network.classify(x))


def test_fresh_weights_are_uniform_with_variance_one_over_fan_in() -> None:
    network = small_network()
    for layer, fan_in in ((network.conv2, 64 * 9), (network.get_submodule("inception_5b.conv5x5"), 48 * 25)):
        limit = math.sqrt(3 / fan_in)
        assert 0.98 * limit < layer.weight.abs().max() <= limit
        assert layer.weight.var().item() == pytest.approx(1 / fan_in, rel=0.02)
        assert (layer.bias == 0.2).all()
    assert network.classifier is not None and (network.classifier.bias == 0).all()


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(3, 64, 64),
        torch.zeros(1, 1, 64, 64),
        torch.zeros(1, 64, 64, 3),
        torch.zeros(1, 3, 64, 31),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ],
)
def test_what_is_no_batch_of_images_is_refused(x: Tensor) -> None:
    with pytest.raises(InputError, match=r"float tensor \(N, 3, H, W\) with H, W >= 32, got"):
        small_network()(x)


@pytest.mark.parametrize(("classes", "aux_heads"), [(-1, False), (0, True)])
def test_numbers_of_classes_that_cannot_be(classes: int, aux_heads: bool) -> None:
    with pytest.raises(InputError, match="num_classes should be"):
        GoogLeNet(classes, aux_heads=aux_heads)


def test_stages_between() -> None:
    assert stages_between("conv1", "5b") == STAGES
    assert stages_between("3b", "4b") == ("3b", "4a", "4b")
    assert stages_between("4a", "4a") == ("4a",)
    assert stages_between("4b", "4a") == ()


def test_unknown_stages_are_refused_and_the_known_ones_named() -> None:
    with pytest.raises(InputError, match=r"unknown stage '6a'.*conv1, conv2, 3a"):
        stages_between("conv1", "6a")
    with pytest.raises(InputError, match=r"unknown stage 'inception_3a'.*conv1, conv2, 3a"):
        small_network().stage("inception_3a", torch.zeros(1, 192, 4, 4))
    with pytest.raises(InputError, match="unknown stage 'pool1'"):
        small_network().trunk(torch.zeros(1, 3, 32, 32), stop="pool1")
