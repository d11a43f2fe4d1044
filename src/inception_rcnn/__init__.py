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
    from inception_rcnn.backbones import googlenet
    from inception_rcnn.datasets import open_dataset
    from inception_rcnn.detector import DetectionSettings, Detector, evaluate_detector, load_detector
    from inception_rcnn.detector.training import train_detector, train_multibox
    from inception_rcnn.proposals import multibox, selective_search
    from inception_rcnn.proposals.stored import propose_for_set
    from inception_rcnn.structures import Detections, GroundTruth, InceptionError, Proposals, load_image

__version__ = "0.1.0"

_ROOM_OF = {
    "DetectionSettings": "inception_rcnn.detector",
    "Detections": "inception_rcnn.structures",
    "Detector": "inception_rcnn.detector",
    "GroundTruth": "inception_rcnn.structures",
    "InceptionError": "inception_rcnn.structures",
    "Proposals": "inception_rcnn.structures",
    "evaluate_detector": "inception_rcnn.detector",
    "googlenet": "inception_rcnn.backbones",
    "load_detector": "inception_rcnn.detector",
    "load_image": "inception_rcnn.structures",
    "multibox": "inception_rcnn.proposals",
    "open_dataset": "inception_rcnn.datasets",
    "propose_for_set": "inception_rcnn.proposals.stored",
    "selective_search": "inception_rcnn.proposals",
    "train_detector": "inception_rcnn.detector.training",
    "train_multibox": "inception_rcnn.detector.training",
}

__all__ = [
    "DetectionSettings",
    "Detections",
    "Detector",
    "GroundTruth",
    "InceptionError",
    "Proposals",
    "__version__",
    "evaluate_detector",
    "googlenet",
    "load_detector",
    "load_image",
    "multibox",
    "open_dataset",
    "propose_for_set",
    "selective_search",
    "train_detector",
    "train_multibox",
]


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
    return sorted({*globals(), *__all__} - {"Path", "TYPE_CHECKING", "import_module"})
