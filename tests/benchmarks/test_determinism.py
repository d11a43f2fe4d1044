"""The same detections however the work is cut up: a little of benchmarks/faults/determinism.py, and how it compares.

Ranks of `eval_map` and other processes are the script's alone: each takes longer than all of this.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

if not Path("/proc/self/stat").exists():
    pytest.skip("the script's neighbours inject faults on Linux alone", allow_module_level=True)

from faults.determinism import BOUNDS, NOTHING, WAYS, Bound, Objects, all_ways, difference, load
from faults.small_runs import OBJECTS, _cut


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A cat and a cup, small, in a folder of their own."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name in ("chelsea.png", "coffee.png"):
        assert name in OBJECTS
        image = Image.fromarray(_cut(name, rng)[0])
        image.thumbnail((128, 128))
        image.save(folder / name)
    return sorted(folder.iterdir())


def test_in_float32_every_way_gives_the_same_within_what_rounding_may_change(files: list[Path]) -> None:
    usual, found = all_ways(load("pooled", "fp32"), files)
    assert sum(len(one.names) for one in usual) > 0
    assert [one.way for one in found] == [way.name for way in WAYS]
    assert {one.bound for one in found} == {NOTHING, BOUNDS["fp32"]}
    for one in found:
        assert [each.beyond(one.bound) for each in one.differences] == ["", ""], one.line("pooled")


def objects(*found: tuple[str, float, tuple[float, ...]], lowest: float = 0.5) -> Objects:
    boxes = np.array([box for _, _, box in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in found], np.float32)
    return Objects(tuple(name for name, _, _ in found), scores, boxes, lowest)


CAT, CUP = ("cat", 0.9, (0.0, 0.0, 10.0, 10.0)), ("cup", 0.75, (20.0, 0.0, 30.0, 10.0))
OTHER_CAT = ("cat", 0.8, (1.0, 0.0, 11.0, 10.0))


def test_objects_are_paired_by_class_and_overlap_whatever_their_order() -> None:
    assert difference(objects(CAT, CUP), objects(CUP, CAT)).beyond(NOTHING) == ""
    assert difference(objects(), objects()).beyond(NOTHING) == ""
    moved = difference(objects(OTHER_CAT, CUP, CAT), objects(CUP, CAT, OTHER_CAT))
    assert (moved.others, moved.score, moved.box) == ((), 0.0, 0.0)
    moved = difference(objects(CAT), objects(OTHER_CAT))
    assert moved.others == () and moved.score == pytest.approx(0.1, abs=1e-6) and moved.box == 1
    assert "a score differs by 0.1" in moved.beyond(Bound(0.05, 2)) and "a box differs by 1 px" in moved.beyond(
        Bound(0.2, 0.5)
    )
    assert moved.beyond(Bound(0.2, 2)) == ""


def test_an_object_of_one_alone_is_allowed_near_the_threshold_only() -> None:
    alone = difference(objects(CAT, CUP, lowest=0.74), objects(CAT))
    assert alone.others == (0.75,)
    assert alone.beyond(Bound(0.02, 1)) == ""
    assert alone.beyond(Bound(0.001, 1)) == alone.beyond(NOTHING) == "an object with a score of 0.750 is in one alone"
    assert len(difference(objects(CAT), objects(("cup", 0.9, CAT[2]))).others) == 2, "classes are not mixed up"


def test_objects_survive_json_to_the_bit() -> None:
    one = objects(("cat", 1 / 3, (0.1, 0.2, 10.3, 10.7)), CUP)
    assert difference(one, Objects.from_json(one.as_json())).beyond(NOTHING) == ""
