"""Options that several commands share, each declared once: which detector, what of it, and what computes it."""

from __future__ import annotations

from typing import Annotated

import typer

Weights = Annotated[
    list[str] | None, typer.Option(help="Checkpoint, or several: an ensemble. Default: the shipped model.")
]
Regions = Annotated[
    str | None, typer.Option(help="pool or warp (the paper's way): which shipped model. Default: as the weights.")
]
MultiBoxWeights = Annotated[
    str | None, typer.Option(help="MultiBox that proposes. Default: the one the checkpoint names, beside it.")
]
ScoreThreshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Lowest score shown. Default: the checkpoint's.")
]
MaxProposals = Annotated[
    int | None, typer.Option(min=0, help="Classify only the first N proposals; 0: all. Default: the checkpoint's.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
RuntimeName = Annotated[str, typer.Option(help="auto, torch or openvino, which computes on the CPU.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or int8 (calibrated weights, openvino).")]
