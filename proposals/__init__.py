"""Boxes that may hold an object: selective search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inception_rcnn.proposals.search import selective_search

__all__ = ["selective_search"]


def __getattr__(name: str) -> Any:
    if name == "selective_search":
        from inception_rcnn.proposals import search

        return search.selective_search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
