"""The chain that a GPU runs, on the CPU: the same answers as region by region, in batches of fixed sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import GoogLeNet, InputSpec
from inception_rcnn.detector import Ensemble, RegionClassifier, Runtime
from inception_rcnn.detector.runtimes.device_chain import WarpedChain
from inception_rcnn.structures import InputError


@pytest.fixture
def make_chain(
    classifiers: tuple[RegionClassifier, ...], spec: InputSpec, cpu: Runtime
) -> Callable[[int], WarpedChain]:
    """Size of the largest batch -> a chain of two networks."""

    def make(batch: int) -> WarpedChain:
        return WarpedChain([one.network for one in classifiers], (), spec, replace(cpu, batch=batch))

    return make


def test_it_says_what_the_members_say(
    make_chain: Callable[[int], WarpedChain],
    classifiers: tuple[RegionClassifier, ...],
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
) -> None:
    expected = Ensemble(classifiers).score(photograph, boxes).probabilities
    for batch in (32, 16):  # 30 regions: one batch filled up; one full and one filled up
        chain = make_chain(batch)
        found = chain.score(photograph, boxes)
        assert found.shape == (2, 30, 4) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=0.02)  # a grey level of a pixel, here and there
        assert sorted(chain._batches) == [batch]
    again = chain.score(photograph, boxes[:5])
    np.testing.assert_allclose(again, found[:, :5], atol=1e-5)
    assert sorted(chain._batches) == [16]


def test_no_regions_give_no_rows(make_chain: Callable[[int], WarpedChain], photograph: NDArray[np.uint8]) -> None:
    assert make_chain(16).score(photograph, np.zeros((0, 4), np.float32)).shape == (2, 0, 4)


def test_short_memory_halves_the_batches_and_goes_on(
    make_chain: Callable[[int], WarpedChain],
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = make_chain(32)
    expected = chain.score(photograph, boxes)
    seen: list[int] = []
    compute = chain.probabilities

    def short(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        if len(inputs) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(inputs)

    monkeypatch.setattr(chain, "probabilities", short)
    np.testing.assert_allclose(chain.score(photograph, boxes), expected, atol=0.02)
    assert seen == [32, 16, 8, 8, 8, 8] and chain.batch == 8
    chain.score(photograph, boxes[:8])
    assert seen[6:] == [8]  # it has learned


def test_no_room_for_one_region_is_said(
    make_chain: Callable[[int], WarpedChain],
    photograph: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = make_chain(2)

    def never(inputs: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(chain, "probabilities", never)
    with pytest.raises(torch.OutOfMemoryError):
        chain.score(photograph, boxes)


def test_what_cannot_be_scored_is_refused(
    make_chain: Callable[[int], WarpedChain], photograph: NDArray[np.uint8], make_network: Callable[[int], GoogLeNet]
) -> None:
    with pytest.raises(InputError, match="without area"):
        make_chain(16).score(photograph, np.array([[3, 3, 3, 9]], np.float32))
    with pytest.raises(InputError, match="uint8 array"):
        make_chain(16).score(photograph[:, :, 0], np.array([[3, 3, 5, 9]], np.float32))
    with pytest.raises(InputError, match="call eval"):
        WarpedChain([make_network(1).train()], (), InputSpec(), Runtime(torch.device("cpu"), torch.float32, 4))
