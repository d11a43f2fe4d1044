"""The shipped MultiBox on photographs of scikit-image, against numbers it gave: renewed with each new default.

Channels in another order move the boxes by 10 pixels and more, and the objectness by 0.04 and more.
"""

from __future__ import annotations

import numpy as np
import pytest

from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.proposals import MultiBox, load_multibox
from inception_rcnn.proposals.network.checkpoints import DEFAULT_WEIGHTS
from inception_rcnn.structures import pairwise_iou
from reference.marked_objects import marked

pytestmark = pytest.mark.usefixtures("one_thread")

# photograph: the two most confident boxes, their confidences as logits, and the objectness of the marked objects
EXPECTED = {
    "astronaut": (
        [[47.6, 0, 412.6, 494.2], [278.8, 356.4, 512, 512]],
        [3.60, 1.99],
        [0.911, 0.767, 0.804, 0.072, 0.048, 0.279],
    ),
    "chelsea": ([[0, 0, 422.6, 300], [185.1, 72.6, 451, 300]], [8.75, -3.50], [0.978, 0, 0.003, 0.001]),
    "coffee": ([[2.5, 16.9, 486.3, 381.3], [156.8, 74.3, 393, 289.2]], [2.14, 1.18], [0.736, 0.749, 0.061]),
}


@pytest.fixture(scope="module")
def shipped(cpu: Runtime) -> MultiBox:
    return load_multibox(DEFAULT_WEIGHTS, cpu)


@pytest.mark.parametrize("name", EXPECTED)
def test_boxes_confidences_and_objectness_are_those_it_gave(shipped: MultiBox, name: str) -> None:
    image, objects = marked(name)
    boxes, confidences, objectness = EXPECTED[name]
    found = shipped.propose(image)
    np.testing.assert_allclose(found.boxes[:2], boxes, atol=2)
    np.testing.assert_allclose(found.scores[:2], confidences, atol=0.1)
    np.testing.assert_allclose(shipped.objectness(image, objects), objectness, atol=0.02)


def test_large_objects_are_among_the_first_twenty_boxes(shipped: MultiBox) -> None:
    for name, rows in (("astronaut", [0, 2]), ("chelsea", [0]), ("coffee", [0, 1])):
        image, objects = marked(name)
        assert pairwise_iou(objects[rows], shipped.propose(image, top_k=20).boxes).max(axis=1).min() > 0.6


def test_a_box_beside_the_object_has_less_objectness(shipped: MultiBox) -> None:
    """Half as large and further to the upper left: less than half of what the object has."""
    for name, rows in (("astronaut", [0, 1, 2]), ("chelsea", [0]), ("coffee", [0, 1])):
        image, objects = marked(name)
        whole = shipped.objectness(image, objects[rows])
        assert (shipped.objectness(image, objects[rows] / 2 + np.float32(20)) < whole / 2).all()
