"""Objects on photographs that come with scikit-image, marked by hand to a few pixels: facts for any clone.

x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage import data

MARKED: dict[str, dict[str, tuple[int, int, int, int]]] = {
    "astronaut": {
        "person": (21, 16, 362, 512),
        "shuttle": (353, 0, 470, 284),
        "helmet": (279, 343, 512, 512),
        "badge": (136, 346, 208, 422),
        "head": (153, 16, 300, 189),
        "flag": (0, 0, 94, 512),
    },
    "chelsea": {
        "cat": (0, 0, 382, 300),
        "left eye": (134, 86, 206, 147),
        "right eye": (295, 110, 342, 164),
        "nose": (237, 226, 292, 265),
    },
    "coffee": {"saucer": (77, 69, 480, 390), "cup": (171, 18, 408, 312), "spoon": (317, 67, 424, 327)},
    "rocket": {"rocket": (308, 126, 336, 410)},
}


def marked(name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a photograph (H, W, 3) and the boxes (N, 4) of its objects."""
    return getattr(data, name)(), np.array(list(MARKED[name].values()), np.float32)
