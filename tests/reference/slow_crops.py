"""The 144 crops one at a time, as section 7 of "Going deeper with convolutions" says them, with Pillow."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps


def slow_crop(image: np.ndarray, shorter: int, square: str, which: str, mirrored: bool) -> np.ndarray:
    """One crop, uint8 (224, 224, 3).

    Args:
        image: uint8 (H, W, 3).
        shorter: 256, 288, 320 or 352.
        square: "first" (left or top), "middle" or "last" (right or bottom).
        which: "top left", "top right", "bottom left", "bottom right", "centre" or "whole".
        mirrored: Whether left and right are changed.
    """
    picture = Image.fromarray(image)
    scale = shorter / min(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    room = max(width, height) - shorter
    shift = {"first": 0, "middle": room // 2, "last": room}[square]
    x, y = (shift, 0) if width > height else (0, shift)
    picture = picture.crop((x, y, x + shorter, y + shorter))
    if which == "whole":
        picture = picture.resize((224, 224), Image.Resampling.BILINEAR)
    else:
        far, half = shorter - 224, (shorter - 224) // 2
        corners = {
            "top left": (0, 0),
            "top right": (far, 0),
            "bottom left": (0, far),
            "bottom right": (far, far),
            "centre": (half, half),
        }
        left, top = corners[which]
        picture = picture.crop((left, top, left + 224, top + 224))
    return np.asarray(ImageOps.mirror(picture) if mirrored else picture)
