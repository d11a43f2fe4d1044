"""Where the pooled cells of a region lie in the image."""

from __future__ import annotations

import pytest
import torch

from inception_rcnn.backbones.feature_maps import FIRST_CENTRES, STRIDES
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec


@pytest.mark.parametrize("stage", ["3b", "4e"])
@pytest.mark.parametrize("centred", [True, False])
def test_cells_are_read_where_the_region_is(stage: str, centred: bool) -> None:
    """A map that says where in the image each of its pixels looks is read as the places of the region's cells."""
    stride = STRIDES[stage]
    # The middle of pixel 0 of an image is at 0.5.
    first = FIRST_CENTRES[stage] + 0.5 if centred else stride / 2
    across, down = (first + stride * torch.arange(length) for length in (40, 30))
    places = torch.stack([across.expand(30, 40), down[:, None].expand(30, 40)])[None]
    network = PooledNetwork(2, PoolingSpec(fine_channels=0, centred=centred))
    x1, y1, x2, y2 = (
        float(corner) for corner in (3 * stride + 1.5, 2 * stride + 3, 30 * stride - 5, 20 * stride + 2.25)
    )
    cells = network._pool(places, torch.tensor([[0.0, x1, y1, x2, y2]]), stage)
    middles = (torch.arange(7) + 0.5) / 7
    torch.testing.assert_close(cells[0, 0], (x1 + (x2 - x1) * middles).expand(7, 7), atol=1e-3, rtol=0)
    torch.testing.assert_close(cells[0, 1], (y1 + (y2 - y1) * middles)[:, None].expand(7, 7), atol=1e-3, rtol=0)
