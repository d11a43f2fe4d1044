"""What each stage of the shipped detector makes of one photograph that comes with scikit-image, in one picture.

    python benchmarks/stage_pictures.py --output docs/images/stages.jpg

Six panels, row by row: superpixels; the first 60 proposals of selective search, and those of MultiBox; the 24 regions
that score best, as a network that warps them sees them; boxes above the threshold, before suppression; what is found.
Prints how many there were of each.
"""

from __future__ import annotations

import numpy as np
from example_pictures import output_and_detector
from numpy.typing import NDArray
from skimage import data
from skimage.segmentation import mark_boundaries

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.postprocessing import candidates
from inception_rcnn.detector.region_warp import warp_regions
from inception_rcnn.detector.server.stages import Walk, walk_through
from inception_rcnn.structures import draw_boxes, draw_detections, resize_image, write_picture

WIDTH, HEIGHT, GAP = 336, 226, 6
FIRST = 60  # proposals of a source that are drawn
TILES = (6, 4)  # regions side by side, and below each other

Image = NDArray[np.uint8]


def panels(walk: Walk, detector: Detector) -> list[Image]:
    """Draw the six, in order, and print their numbers."""
    names = np.array(walk.proposals.source_names)[walk.proposals.source]
    count = int(walk.superpixels.max()) + 1
    print(f"superpixels {count}; proposals", {str(name): int((names == name).sum()) for name in np.unique(names)})
    boxes, values = candidates(walk.scores, detector.settings)
    best, above = values.max(axis=1), values >= detector.settings.score_threshold
    print(f"regions looked at {len(boxes)}; boxes above the threshold {above.sum()}; found {len(walk.found)}")
    print([(record["label"], round(record["score"], 2)) for record in walk.found.to_records()])
    small = resize_image(walk.image, walk.superpixels.shape[1], walk.superpixels.shape[0])
    outlined = np.rint(mark_boundaries(small, walk.superpixels, color=(1, 0.84, 0.04)) * 255).astype(np.uint8)
    own = [draw_boxes(walk.image, walk.proposals.boxes[names == name][:FIRST]) for name in np.unique(names)[::-1]]
    ranked = np.argsort(-best, kind="stable")[: TILES[0] * TILES[1]]
    regions = warp_regions(walk.image, walk.scores.proposals.boxes[ranked], InputSpec())
    rows = np.split(regions, TILES[1])
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    unsuppressed = draw_boxes(walk.image, boxes[above.any(axis=1)])
    return [outlined, *own, sheet, unsuppressed, draw_detections(walk.image, walk.found)]


def main() -> None:
    """Walk through the stages, print, draw."""
    output, detector = output_and_detector(__doc__)
    walk = walk_through(detector, data.stereo_motorcycle()[0])
    sheet = np.full((2 * HEIGHT + GAP, 3 * WIDTH + 2 * GAP, 3), 255, np.uint8)
    for number, panel in enumerate(panels(walk, detector)):
        top, left = number // 3 * (HEIGHT + GAP), number % 3 * (WIDTH + GAP)
        sheet[top : top + HEIGHT, left : left + WIDTH] = resize_image(panel, WIDTH, HEIGHT)
    write_picture(output, sheet)


if __name__ == "__main__":
    main()
