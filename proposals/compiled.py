"""Kernels are compiled by `structures.compiled`; the name stays here for the kernels of this room."""

from inception_rcnn.structures.compiled import SECONDS_BEFORE_NOTICE, CompileClock, clock, compiled

__all__ = ["SECONDS_BEFORE_NOTICE", "CompileClock", "clock", "compiled"]
