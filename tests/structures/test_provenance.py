"""Which photographs a network saw: known by content, kept in 8 bytes each, and found again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from inception_rcnn.structures import InputError, sha256_of
from inception_rcnn.structures.provenance import (
    MULTIBOX,
    SeenPart,
    joined_seen,
    seen_from_json,
    seen_lines,
    seen_to_json,
)


def checksums(*texts: str) -> list[str]:
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def test_what_was_seen_is_found_again_and_nothing_else() -> None:
    many = checksums(*map(str, range(500)))
    part = SeenPart.of_files("set/train", many[::2])
    assert len(part) == 250 and len(part.checksums) == 2000
    assert part.holds(many).tolist() == [row % 2 == 0 for row in range(500)]
    assert part.holds([]).tolist() == [] and not SeenPart.of_files("none", []).holds(many).any()


def test_a_photograph_is_its_content_whatever_its_name(tmp_path: Path) -> None:
    for name, content in (("a.png", b"one"), ("b.png", b"one"), ("c.png", b"other")):
        (tmp_path / name).write_bytes(content)
    part = SeenPart.of_files("set", [sha256_of(tmp_path / "a.png")])
    assert part.holds([sha256_of(tmp_path / name) for name in ("a.png", "b.png", "c.png")]).tolist() == [
        *(True, True, False)
    ]


def test_order_and_repetition_do_not_matter() -> None:
    one, two, three = checksums("1", "2", "3")
    assert SeenPart.of_files("set", [one, two, three]) == SeenPart.of_files("set", [three, one, two, one])


def test_parts_come_back_from_the_text_that_a_header_keeps() -> None:
    parts = (SeenPart.of_files("a/train", checksums("1", "2")), SeenPart.of_files("b", [], MULTIBOX))
    text = json.dumps(seen_to_json(parts))
    assert seen_from_json(json.loads(text)) == parts
    assert seen_from_json(None) == () == seen_from_json([])


PART = SeenPart.of_files("a/train", checksums("1", "2")).to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": 1}, "seen should be a list"),
        (["x"], "should be a dict"),
        ([PART | {"name": 3}], "should be a dict with the texts"),
        ([{"name": "a", "network": "classifier"}], "should be a dict with the texts"),
        ([PART | {"checksums": "#"}], "checksums of a/train are no base64"),
        ([PART | {"checksums": "AAAA"}], "should have 8 bytes each, got 3"),
        ([PART | {"checksums": PART["checksums"][:0]}], "should have 2 photographs, its checksums are 0"),
        ([PART | {"checksums": "AAAAAAAAAAEAAAAAAAAAAA=="}], "rising order"),
    ],
)
def test_a_damaged_list_is_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        seen_from_json(values)


def test_joined_parts_come_once() -> None:
    one, two = SeenPart.of_files("a", checksums("1")), SeenPart.of_files("a", checksums("2"))
    assert joined_seen([one, two], (), [two, one]) == (one, two)


def test_one_line_for_each_network_that_saw_some() -> None:
    scored = checksums("1", "2", "3", "4")
    parts = [
        SeenPart.of_files("a/train", checksums("1", "2", "x")),
        SeenPart.of_files("b/train", checksums("2", "3")),
        SeenPart.of_files("c/train", checksums("y")),
        SeenPart.of_files("a/train", checksums("4"), MULTIBOX),
    ]
    assert seen_lines(parts, scored) == [
        "3 of the 4 photographs were learned from by the classifier (2 of a/train, 2 of b/train)",
        "1 of the 4 photographs were learned from by the MultiBox (1 of a/train)",
    ]
    assert seen_lines(parts, checksums("5", "6")) == [] == seen_lines([], scored)
