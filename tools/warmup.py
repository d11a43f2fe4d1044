"""inception-rcnn warmup

Compiles the kernels of selective search ahead of the first picture, and keeps them.

The first call on a machine takes some seconds; later calls find the compiled kernels in numba's cache. Useful when an
image of a machine is built, or before a measurement.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import run_command


def main() -> None:
    """Compiles the kernels and prints how long that took."""
    from inception_rcnn.proposals import warm_up

    start = time.perf_counter()
    warm_up()
    typer.echo(f"the kernels of selective search are ready: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    run_command(main)
