"""The data set that a command scores or proposes for, as options name it: --data [FORMAT:]DIR, or the older ones."""

from __future__ import annotations

from pathlib import Path

import typer


def named_set(data: str | None, root: Path | None, dataset: str | None) -> tuple[str | None, Path | None]:
    """Return format and folder of the data set that options name; of what they do not name, None.

    Args:
        data: [FORMAT:]DIR.
        root: DIR alone, the older spelling.
        dataset: The format, where `data` does not begin with it.

    Raises:
        typer.BadParameter: The set is named twice, or two formats are.
    """
    if data is None:
        return dataset, root
    if root is not None:
        raise typer.BadParameter(
            "names the data set that --root names too; leave one of the two out", param_hint="--data"
        )
    format, folder = format_and_folder(data)
    if format is not None and dataset is not None and format != dataset:
        raise typer.BadParameter(f"says {dataset}, but --data begins with {format}", param_hint="--dataset")
    return format or dataset, folder


def format_and_folder(text: str) -> tuple[str | None, Path]:
    r"""Return format and folder of "voc:VOC2012"; None and the folder where no format stands before it.

    >>> [format_and_folder(text)[0] for text in ("voc:VOC2012", "VOC2012", "C:\\photographs")]
    ['voc', None, None]
    """
    from inception_rcnn.datasets import FORMATS

    format, colon, folder = text.partition(":")
    return (format, Path(folder)) if colon and format in FORMATS else (None, Path(text))
