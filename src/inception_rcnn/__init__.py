"""R-CNN style object detection on GoogLeNet: an image in, boxes with class names and scores out.

>>> from inception_rcnn import Detections
>>> len(Detections.empty(("cat", "dog")))
0

The public names below are imported on first use, so that `import inception_rcnn` is quick and needs no torch.
Everything else is imported from its room: `inception_rcnn.proposals`, `inception_rcnn.backbones`, ...
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inception_rcnn.detector import load_detector
    from inception_rcnn.structures import Detections, GroundTruth, Proposals, load_image

__version__ = "0.1.0"

__all__ = ["Detections", "GroundTruth", "Proposals", "__version__", "load_detector", "load_image"]

_ROOM_OF = {
    "Detections": "inception_rcnn.structures",
    "GroundTruth": "inception_rcnn.structures",
    "Proposals": "inception_rcnn.structures",
    "load_detector": "inception_rcnn.detector",
    "load_image": "inception_rcnn.structures",
}


def _checkout_root(package: Path) -> Path | None:
    """Return the repository's root when `package` is `src/inception_rcnn` of a checkout, else None."""
    root = package.parent.parent
    in_checkout = (
        package.parent.name == "src"
        and (root / "pyproject.toml").is_file()
        and (root / "proposals" / "__init__.py").is_file()
    )
    return root if in_checkout else None


# In a checkout the sub-packages are the folders at its root; in an installed wheel they lie beside this file.
if (_root := _checkout_root(Path(__file__).resolve().parent)) is not None:
    __path__.append(str(_root))


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_ROOM_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
