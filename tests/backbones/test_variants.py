"""GoogLeNet with batch norm: torchvision's to the bit, the paper's widths, and a body whose statistics stay."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.feature_extraction import create_feature_extractor

from inception_rcnn.backbones import (
    SYMMETRIC_INPUT,
    VARIANTS,
    GoogLeNet,
    googlenet,
    googlenet_body,
    network_of,
    write_checkpoint,
)
from inception_rcnn.backbones.body import InputConversion
from inception_rcnn.backbones.inception import BatchNormInception, FrozenBatchNorm
from inception_rcnn.backbones.inference import for_inference
from inception_rcnn.backbones.runtimes.export import backbone_part, body_part, export_part
from inception_rcnn.structures import CheckpointError, InputError


def theirs(num_classes: int = 7, **options: bool) -> nn.Module:
    """torchvision's network, each batch norm with statistics and factors of its own; in evaluation mode."""
    torch.manual_seed(3)
    network = torchvision.models.googlenet(
        weights=None, init_weights=True, num_classes=num_classes, **{"transform_input": True, **options}
    )
    disturb(network)
    return network.eval()


def disturb(network: nn.Module) -> None:
    """Give each batch norm statistics and factors of its own."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """(2, 3, 224, 224) R, G, B in 0..1."""
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_torchvisions_network_to_the_bit(images: Tensor) -> None:
    """As it computes, `transform_input` left out; the auxiliary heads and the statistics in training too."""
    reference = theirs()
    ours = googlenet("torchvision", weights=reference, num_classes=7, aux_heads=True)
    reference.transform_input = False
    with torch.no_grad():
        assert torch.equal(ours(images), reference(images))
        torch.manual_seed(1)
        found = ours.train()(images)
        torch.manual_seed(1)
        expected = reference.train()(images)
    for one, wanted in zip(found, (expected.logits, expected.aux_logits1, expected.aux_logits2), strict=True):
        assert torch.equal(one, wanted)
    assert torch.equal(ours.conv1.bn.running_var, reference.conv1.bn.running_var)


def test_torchvisions_probabilities_for_images_as_it_prepares_them(images: Tensor) -> None:
    """With `transform_input`, which is what our conversion does: to 1e-5, since it multiplies in another order."""
    reference = theirs()
    prepared = (images - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    ours = googlenet("torchvision", weights=reference, num_classes=7)
    with torch.no_grad():
        expected = reference(prepared)
        found = ours(InputConversion("imagenet", ours.input_spec)(prepared))
        pixels = ours(InputConversion("rgb01", ours.input_spec)(images))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-5)
    caffe = images.flip(1) * 255 - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    with torch.no_grad():
        found = ours(InputConversion("caffe", SYMMETRIC_INPUT)(caffe))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_sizes_of_each_variant() -> None:
    def parameters(variant: str, aux_heads: bool) -> int:
        with torch.device("meta"):
            return sum(one.numel() for one in GoogLeNet(variant=variant, aux_heads=aux_heads).parameters())

    assert parameters("torchvision", False) == 6_624_904 and parameters("torchvision", True) == 13_004_888
    # The paper's, and one more for each of 7,280 channels: a factor and a term in the place of a bias.
    assert parameters("batchnorm", False) == 6_998_552 + 7_280 and parameters("naive", False) == 97_526_008


def test_where_torchvision_differs_from_the_paper() -> None:
    with torch.device("meta"):
        networks = {variant: GoogLeNet(3, variant=variant) for variant in VARIANTS}
    for variant, side, last_pool, dropout in (("batchnorm", 5, 3, 0.4), ("torchvision", 3, 2, 0.2)):
        network = networks[variant]
        module = network.get_submodule("inception_4c")
        assert isinstance(module, BatchNormInception) and module.conv5x5.conv.kernel_size == (side, side)
        assert network.pool4.size == last_pool and network.pool3.size == 3 and network.dropout.p == dropout
        assert isinstance(network.norm1, nn.Identity) and not network.lrn and network.input_spec == SYMMETRIC_INPUT
    assert networks["paper"].input_spec != SYMMETRIC_INPUT


@pytest.mark.parametrize("variant", ["batchnorm", "torchvision"])
def test_it_learns_from_scratch(variant: str) -> None:
    torch.manual_seed(0)
    network = googlenet(variant, num_classes=2, aux_heads=True).train()
    images, labels = torch.rand(8, 3, 64, 64) * 0.2, torch.arange(8) % 2
    images[labels == 1, 0] += 0.8
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(6):
        outputs = network(images)
        assert len(outputs) == 3
        loss = sum(nn.functional.cross_entropy(one, labels) for one in outputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses


def test_a_bodys_frozen_batch_norm_keeps_its_statistics() -> None:
    body = googlenet_body("batchnorm", out_stages=["3b"], frozen_until="3a").train()
    before = {name: one.clone() for name, one in body.state_dict().items()}
    nn.Sequential(body).train()(torch.rand(2, 3, 64, 64))
    changed = {name.split(".")[0] for name, one in body.state_dict().items() if not torch.equal(one, before[name])}
    assert changed == {"inception_3b"}
    assert body.training and not any(layer.training for layer in body.eval().modules())


@pytest.mark.parametrize("under", ["getter", "pyramid", "extractor"])
def test_frozen_batch_norm_stays_frozen_without_its_body(under: str) -> None:
    """Detectors take the layers out of the body, and put those into training mode."""
    body = googlenet_body("batchnorm", out_stages=["conv2", "3a"], frozen_until="conv2").train()
    if under == "pyramid":
        whole: nn.Module = BackboneWithFPN(body, body.return_layers, body.out_channels, 8)
    else:
        whole = (IntermediateLayerGetter if under == "getter" else create_feature_extractor)(body, body.return_layers)
    before = {name: one.clone() for name, one in whole.state_dict().items()}
    whole.train()(torch.rand(2, 3, 64, 64))
    changed = {name for name, one in whole.state_dict().items() if not torch.equal(one, before[name])}
    assert changed and all("inception_3a." in name for name in changed)


def test_batch_norm_that_processes_share_leaves_frozen_layers_alone() -> None:
    body = googlenet_body("batchnorm", out_stages=["3a"], frozen_until="conv2")
    names = list(body.state_dict())
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(body)
    assert isinstance(shared.conv1.bn, FrozenBatchNorm) and list(shared.state_dict()) == names
    assert isinstance(shared.inception_3a.conv1x1.bn, nn.SyncBatchNorm)


def test_a_frozen_batch_norm_computes_as_in_evaluation() -> None:
    network, x = googlenet("batchnorm", num_classes=0), torch.rand(1, 3, 64, 64)
    disturb(network)
    learning = googlenet_body("batchnorm", weights=network, out_stages=["3a"])
    frozen = googlenet_body("batchnorm", weights=network, out_stages=["3a"], frozen_until="3a").train()
    with torch.no_grad():
        assert torch.equal(frozen(x)["3a"], learning(x)["3a"])
    assert list(frozen.state_dict()) == list(learning.state_dict())
    assert not frozen.conv1.bn.training and not frozen.conv1.bn.weight.requires_grad


def test_a_body_of_torchvisions_network(images: Tensor) -> None:
    """Its maps are those of torchvision's own layers, and its cells lie where that network has them."""
    reference = theirs(aux_logits=False)
    body = googlenet_body("torchvision", weights=reference, input="rgb01", out_stages=["3b", "4e", "5b"])
    reference.transform_input = False
    nodes = {"inception3b": "3b", "inception4e": "4e", "inception5b": "5b"}
    with torch.no_grad():
        expected = create_feature_extractor(reference, nodes)(images * 2 - 1)
        found = body(images)
    assert body.offsets == {"3b": 6.0, "4e": 14.0, "5b": 22.0}
    assert body.out_channels == [one.shape[1] for one in found.values()]
    for name, one in found.items():
        torch.testing.assert_close(one, expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", ["batchnorm", "torchvision"])
def test_exported_it_computes_the_same(openvino: ModuleType, tmp_path: Path, variant: str) -> None:
    torch.manual_seed(0)
    network = googlenet(variant, num_classes=3)
    disturb(network)
    image = torch.rand(1, 3, 96, 64) * 2 - 1
    body = googlenet_body(variant, weights=network, out_stages=["3b", "5b"])
    for part in (backbone_part(network, 64), body_part(body, 64)):
        for file in export_part(part, [image], tmp_path, ("onnx", "openvino")):
            assert all(difference < 1e-4 * largest for _, difference, largest in file.differences), file
    with pytest.raises(InputError, match=r"own statistics has no translation to ONNX; call eval\(\) first"):
        export_part(backbone_part(network.train(), 64), [image], tmp_path, ("onnx",))


def test_torch_follows_it(images: Tensor) -> None:
    body = googlenet_body("batchnorm", out_stages=["4a"])
    small = images[:, :, :64, :96]
    with torch.no_grad():
        expected = body(small)["4a"]
        assert torch.equal(torch.compile(body, fullgraph=True, backend="eager")(small)["4a"], expected)
        length = torch.export.Dim.DYNAMIC
        program = torch.export.export(body, (small,), dynamic_shapes=({0: length, 2: length, 3: length},))
        assert torch.equal(program.module()(small)["4a"], expected)


def test_a_networks_own_file_and_what_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    for variant in VARIANTS:
        if variant == "naive":  # large, and as the paper's
            continue
        network = googlenet(variant, num_classes=2)
        disturb(network)
        write_checkpoint(path, "googlenet", {"num_classes": 2}, network.state_dict())
        loaded = network_of(path)
        assert loaded.variant == variant and loaded.num_classes == 2 and not loaded.training
        assert all(torch.equal(one, network.state_dict()[name]) for name, one in loaded.state_dict().items())
        wrong = "torchvision" if variant != "torchvision" else "batchnorm"
        with pytest.raises(CheckpointError, match=f"of the variant '{variant}', not '{wrong}'; ask for variant="):
            googlenet(wrong, weights=path)
    assert network_of("coco").num_classes == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="unknown variant 'resnet'; known are paper, naive, batchnorm, torchvision"):
        GoogLeNet(variant="resnet")
    with pytest.raises(InputError, match="variant 'batchnorm' cannot be made ready for inference; call it as it is"):
        for_inference(googlenet("batchnorm"))
