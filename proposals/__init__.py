"""Boxes that may hold an object: selective search.

The names load what they need when first used: `import inception_rcnn.proposals` alone compiles nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inception_rcnn.proposals.search import selective_search
    from inception_rcnn.proposals.warming import warm_up

__all__ = ["selective_search", "warm_up"]

_MODULE_OF = {"selective_search": "search", "warm_up": "warming"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
