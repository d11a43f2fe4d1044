"""GoogLeNet as timm knows networks; left out where timm is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from inception_rcnn.backbones import googlenet, googlenet_body


@pytest.fixture(scope="module")
def timm() -> Any:
    """The library, which knows our network."""
    library = pytest.importorskip("timm", reason="timm is not installed: pip install 'inception-rcnn[timm]'")
    import inception_rcnn.backbones.timm_models  # noqa: F401

    return library


def test_its_features_are_the_bodys_maps(timm: Any) -> None:
    body = timm.create_model("inception_rcnn_googlenet", features_only=True, weights="coco", out_indices=(1, -1))
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = body(images)
        expected = googlenet_body(weights="coco", input="imagenet", out_stages=["conv2", "5b"])(images)
    assert all(map(torch.equal, maps, expected.values()))
    assert body.feature_info.channels() == [192, 1024] and body.feature_info.reduction() == [4, 32]


def test_it_classifies_and_takes_another_last_layer(timm: Any) -> None:
    model = timm.create_model("inception_rcnn_googlenet", weights="coco", num_classes=5).eval()
    pixels = torch.rand(1, 3, 64, 64)
    mean, deviation = (torch.tensor(model.default_cfg[name])[:, None, None] for name in ("mean", "std"))
    network = googlenet(weights=model.network.state_dict(), num_classes=5)
    with torch.no_grad():
        given = pixels.flip(1) * 255 - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
        torch.testing.assert_close(model((pixels - mean) / deviation), network(given), rtol=1e-3, atol=1e-3)
        model.reset_classifier(2)
        assert model(pixels).shape == (1, 2) and model.get_classifier().out_features == 2
        model.reset_classifier(0)
        assert model(pixels).shape == (1, 1024)


def test_without_timm_the_error_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['timm'] = sys.modules['timm.models'] = None\n"
        "from inception_rcnn.structures import MissingDependencyError\n"
        "try:\n    import inception_rcnn.backbones.timm_models\n"
        "except MissingDependencyError as error:\n    sys.exit(0 if 'inception-rcnn[timm]' in str(error) else 1)\n"
        "sys.exit(2)"
    )
    root = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
