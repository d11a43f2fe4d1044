"""The training benchmark on its own photographs: what it trains on, and its quickest table."""

from __future__ import annotations

import bench_training
import numpy as np
import torch

from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.structures import Proposals


def material() -> bench_training.Material:
    """The bundled photographs with boxes anywhere on them."""
    dataset, rng, proposals = bench_training.Bundled(), np.random.default_rng(0), []
    for row in range(len(dataset) // bench_training.TIMES):
        height, width = dataset.load_image(row).shape[:2]
        corner = rng.uniform(0, 0.7, (60, 2))
        boxes = np.hstack([corner, corner + 0.25]) * [width, height, width, height]
        proposals.append(Proposals(boxes.astype(np.float32), np.linspace(1, 0, 60, dtype=np.float32)))
    runtime = Runtime(torch.device("cpu"), torch.float32, 4)
    return bench_training.Material(dataset, proposals * bench_training.TIMES, runtime)


def test_a_batch_as_a_gpu_takes_it_is_drawn_and_timed() -> None:
    made = material()
    trainer, _ = made.pooled(16, 64, scales=bench_training.SCALES)
    batch, _ = trainer.draw(0)
    assert len(batch.images) == 16 and len(batch.boxes) == 16 * 64
    assert (batch.labels < 2).any() and (batch.labels == 2).sum() >= 0.75 * 16 * 64
    (row,) = bench_training.draws(made, 1).rows
    assert 0 < row[0].low <= row[0].median <= row[0].high


def test_one_pooled_step_of_each_scale_is_taken() -> None:
    made = material()
    trainers = [made.pooled(1, 4, scales=(scale,), cells=(2,)) for scale in bench_training.SCALES[:2]]
    for iteration in range(3):
        bench_training.pooled_step(trainers, iteration)
    assert [tuning.averaged.iteration for _, tuning in trainers] == [2, 1]
