"""Proposals of other projects for pictures that lie ready; runs in an environment of its own.

    python peer_proposals.py METHOD FOLDER

METHOD is opencv-preset, opencv-x1, opencv-x2, dlib or selectivesearch. FOLDER holds pictures as .npy files, (H, W, 3)
uint8 RGB. Beside each `name.npy` one `name.METHOD.npz` is written: `boxes` (N, 4) x1 y1 x2 y2, exclusive, in the order
the library gives them, and `seconds` of processor time. Needs numpy and the library; knows nothing of this project.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def opencv(k: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """OpenCV's fast preset, or with `k` R-CNN's fast mode built from its parts: k and 2 k, each also the least size."""
    import cv2

    cv2.setNumThreads(1)
    module = cv2.ximgproc.segmentation

    def preset(picture: np.ndarray) -> np.ndarray:
        search = module.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(picture[:, :, ::-1]))
        search.switchToSelectiveSearchFast()
        return corners(search)

    def by_hand(picture: np.ndarray) -> np.ndarray:
        search = module.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(picture[:, :, ::-1]))
        search.clearImages()
        search.clearGraphSegmentations()
        search.clearStrategies()
        for space in (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_RGB2LAB):
            search.addImage(cv2.cvtColor(picture, space))
        for scale in (k, 2 * k):
            search.addGraphSegmentation(module.createGraphSegmentation(0.8, scale, scale))
        cues = [
            getattr(module, f"createSelectiveSearchSegmentationStrategy{cue}")
            for cue in ("Color", "Texture", "Size", "Fill")
        ]
        combine = module.createSelectiveSearchSegmentationStrategyMultiple
        search.addStrategy(combine(*[cue() for cue in cues]))
        search.addStrategy(combine(*[cue() for cue in cues[1:]]))
        return corners(search)

    def corners(search: object) -> np.ndarray:
        ctypes.CDLL(None).srand(0)  # its order comes from C's rand()
        found = np.asarray(search.process()).reshape(-1, 4)
        return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)

    return preset if k is None else by_hand


def dlib_locations(picture: np.ndarray) -> np.ndarray:
    """dlib's find_candidate_object_locations with its defaults."""
    import dlib

    rects: list[object] = []
    dlib.find_candidate_object_locations(picture, rects, min_size=20)
    return np.array([[r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in rects]).reshape(-1, 4)


def single_hierarchy(picture: np.ndarray) -> np.ndarray:
    """selectivesearch 0.4 with scale = min_size = 100; its rectangles are one pixel short."""
    import selectivesearch

    _, regions = selectivesearch.selective_search(picture, scale=100, sigma=0.8, min_size=100)
    rects = np.array([region["rect"] for region in regions]).reshape(-1, 4)
    return np.concatenate([rects[:, :2], rects[:, :2] + rects[:, 2:] + 1], axis=1)


def main() -> None:
    """Write the boxes of every picture that has none yet."""
    method, folder = sys.argv[1], Path(sys.argv[2])
    propose = {
        "opencv-preset": lambda: opencv(None),
        "opencv-x1": lambda: opencv(50),
        "opencv-x2": lambda: opencv(100),
        "dlib": lambda: dlib_locations,
        "selectivesearch": lambda: single_hierarchy,
    }[method]()
    propose(np.zeros((40, 40, 3), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None])
    for path in sorted(folder.glob("*.npy")):
        target = path.with_suffix(f".{method}.npz")
        if target.exists():
            continue
        picture = np.load(path)
        start = time.process_time()
        boxes = propose(picture)
        np.savez(target, boxes=boxes, seconds=time.process_time() - start)


if __name__ == "__main__":
    main()
