"""inception-rcnn pack_training_data --data coco:coco --data voc:VOC2012 --split train --split trainval --output parts

Packs parts of data sets into files of about 32 MB, to be carried to the machine that trains.

Photographs go as they lie, byte for byte, with their annotations. There, what has arrived is laid out again, as often
as something arrives:

    inception-rcnn pack_training_data --unpack parts --output data

gives data/coco and data/VOC2012, each with the parts that were packed, in the formats that they had. A part is a .tar
file; OUTPUT/parts.json has the checksum of each. --unpack needs none of the parts but those that are there, checks each
against its checksum, and says at the end which are still missing.

Examples:
  inception-rcnn pack_training_data --data photographs/mine --output parts --part-size 100
  inception-rcnn pack_training_data --unpack parts --output data
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import echo, run_command
from inception_rcnn.tools.training_sets import TrainingSet, open_sets

_LIST = "parts.json"
_BLOCK = 512  # of a tar file: a header, and what a file is filled up to


def main(
    output: Annotated[Path, typer.Option(help="Folder for the parts, or with --unpack for the data sets.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Data set, [FORMAT:]PATH (coco, voc, ilsvrc, yolo, folder); may be repeated."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Part of it: once for all, or once for each. Default: train, or the only one."),
    ] = None,
    unpack: Annotated[Path | None, typer.Option(help="Folder of parts to lay out again in OUTPUT.")] = None,
    part_size: Annotated[float, typer.Option(help="Megabytes of a part, at least 1.", min=1)] = 32,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken in the data sets, and count it.")
    ] = False,
) -> None:
    """Parse, call, print."""
    if unpack is not None:
        if data or split:
            raise typer.BadParameter("packs, and --unpack unpacks; leave one of the two out", param_hint="--data")
        missing = unpack_parts(unpack, output)
        echo(f"laid out in {output}" + (f"; still missing: {', '.join(missing)}" if missing else ""))
        return
    sets = open_sets(data or [], None, None, split or [], skip_broken=skip_broken)
    sizes = pack(sets, output, int(part_size * 1e6))
    total = sum(sizes.values()) / 1e6
    echo(f"wrote {len(sizes)} parts, {total:.1f} MB, {sum(len(one.dataset) for one in sets)} images, to {output}")


def pack(sets: Sequence[TrainingSet], output: Path, part_size: int) -> dict[str, int]:
    """Write the parts, and return their sizes in bytes by name.

    Args:
        sets: Parts of data sets. Those of one folder name come to lie in one folder, so two folders of one name must
            not have parts of one name.
        output: A folder, made if need be; without parts in it.
        part_size: Bytes of a part; a larger file is a part by itself.

    Raises:
        InputError: `output` has parts already, or a data set cannot be written (see `write_voc`).
    """
    from inception_rcnn.datasets import write_dataset
    from inception_rcnn.structures import InputError, write_json
    from inception_rcnn.structures.files import sha256_of, write_whole

    if (output / _LIST).exists():
        raise InputError(f"{output / _LIST} is already there; name another folder")
    output.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=output) as laid_out:
        for one in sets:
            folder = one.root.name or one.root.resolve().name
            write_dataset(one.format, one.dataset, Path(laid_out) / folder, one.part or "all")
        for number, files in enumerate(_portions(Path(laid_out), part_size)):
            name = f"part-{number:03}.tar"
            write_whole(output / name, _tar_of(files, Path(laid_out)))
            sizes[name] = (output / name).stat().st_size
    write_json(output / _LIST, {name: sha256_of(output / name) for name in sizes})
    return sizes


def unpack_parts(parts: Path, output: Path) -> list[str]:
    """Lay out the data sets of the parts that are there, and return the names of those that are not.

    Args:
        parts: Folder with parts.json and some or all of the parts.
        output: A folder, made if need be. What is there already is written again.

    Raises:
        InputError: There is no list of parts, or a part is damaged; nothing of that part is laid out.
    """
    from inception_rcnn.structures import InputError
    from inception_rcnn.structures.files import decode_json, read_bytes, sha256_of

    checksums = decode_json(read_bytes(parts / _LIST), parts / _LIST)
    if not isinstance(checksums, dict):
        raise InputError(f"{parts / _LIST} should have the checksum of each part; carry it over again")
    missing = [name for name in checksums if not (parts / Path(name).name).is_file()]
    for name in checksums:
        if name in missing:
            continue
        path = parts / Path(name).name
        if sha256_of(path) != checksums[name]:
            raise InputError(f"{path} is damaged: its checksum is not that of {_LIST}; carry it over again")
        output.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path) as tar:
            tar.extractall(output, filter="data")  # refuses what would leave the folder
    return missing


def _portions(folder: Path, part_size: int) -> Iterator[list[Path]]:
    """Yield all files below a folder, in portions that make tar files of at most that size."""
    portion: list[Path] = []
    size = 0
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        needed = 2 * _BLOCK + path.stat().st_size
        if portion and size + needed > part_size:
            yield portion
            portion, size = [], 0
        portion.append(path)
        size += needed
    if portion:
        yield portion


def _tar_of(files: Sequence[Path], folder: Path) -> bytes:
    """Return a tar file, the same for the same files whenever and by whomever it is made."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)
    return packed.getvalue()


if __name__ == "__main__":
    run_command(main)
