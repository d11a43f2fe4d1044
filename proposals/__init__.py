"""Boxes that may hold an object: selective search, MultiBox, and both merged.

The names load what they need when first used: `import inception_rcnn.proposals` alone compiles nothing and does
without torch, and so does selective search.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inception_rcnn.proposals.merging import merge_proposals
    from inception_rcnn.proposals.network.checkpoints import load_multibox, multibox
    from inception_rcnn.proposals.network.predictor import MultiBox
    from inception_rcnn.proposals.proposer import ProposalSettings, Proposer
    from inception_rcnn.proposals.search.selective_search import selective_search

__all__ = [
    "MultiBox",
    "ProposalSettings",
    "Proposer",
    "load_multibox",
    "merge_proposals",
    "multibox",
    "selective_search",
]

_MODULE_OF = {
    "MultiBox": "network.predictor",
    "ProposalSettings": "proposer",
    "Proposer": "proposer",
    "load_multibox": "network.checkpoints",
    "merge_proposals": "merging",
    "multibox": "network.checkpoints",
    "selective_search": "search.selective_search",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
