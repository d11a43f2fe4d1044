"""Pages that explain a detector's figures, and the same figures as text for the terminal.

The pages' libraries are imported when a page is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inception_rcnn.evaluation.report.inputs import ReportInput
    from inception_rcnn.evaluation.report.pages import write_comparison, write_report

__all__ = ["ReportInput", "write_comparison", "write_report"]

_MODULE_OF = {"ReportInput": "inputs", "write_comparison": "pages", "write_report": "pages"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
