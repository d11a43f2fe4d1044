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
        [[41.5, 0.3, 397.3, 500.6], [285.9, 348.3, 512, 512]],
        [7.32, 3.52],
        [0.920, 0.728, 0.825, 0.113, 0.047, 0.175],
    ),
    "chelsea": ([[0, 3.7, 440.7, 300], [8.6, 116.4, 357, 300]], [11.17, -4.70], [0.990, 0, 0, 0]),
    "coffee": ([[163.9, 62, 388.7, 309.3], [59.6, 16, 488.9, 388.1]], [5.95, 1.98], [0.839, 0.721, 0.013]),
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
