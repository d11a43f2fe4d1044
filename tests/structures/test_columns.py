"""What Proposals, Detections, GroundTruth and both tables share: entries, selections, equality, how they are shown."""

from __future__ import annotations

import copy
import pickle
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.structures import (
    AnnotatedObject,
    Detection,
    Detections,
    DetectionTable,
    GroundTruth,
    GroundTruthTable,
    InputError,
    Proposal,
    Proposals,
)
from inception_rcnn.structures.detections import DetectionRow
from inception_rcnn.structures.ground_truth import GroundTruthRow

NAMES = ("cat", "dog", "cow")
BOXES = [[0, 0, 10, 10], [5, 5, 20, 20], [1, 2, 3, 4], [7, 7, 8, 9]]
SCORES = [0.75, 0.5, 0.5, 0.25]


def detections(**change: Any) -> Detections:
    given_arguments: dict[str, Any] = {"boxes": BOXES, "scores": SCORES, "labels": [2, 0, 1, 1], "class_names": NAMES}
    return Detections(**(given_arguments | change))


def proposals(**change: Any) -> Proposals:
    given_arguments: dict[str, Any] = {"boxes": BOXES, "scores": SCORES, "source": [0, 1, 1, 0]}
    return Proposals(**(given_arguments | {"source_names": ("a", "b"), "objectness": [1, 0.5, 0.25, 0]} | change))


def truth(**change: Any) -> GroundTruth:
    given_arguments: dict[str, Any] = {"boxes": BOXES, "labels": [2, 0, 1, 1], "class_names": NAMES, "image_id": "a"}
    return GroundTruth(**(given_arguments | {"ignore": [0, 1, 0, 0], "areas": [9, 8, 7, 6]} | change))


def detection_table(**change: Any) -> DetectionTable:
    return DetectionTable(**({"image": [0, 1, 1, 4], "label": [2, 0, 1, 1], "score": SCORES, "box": BOXES} | change))


def truth_table(**change: Any) -> GroundTruthTable:
    given_arguments: dict[str, Any] = {"class_names": NAMES, "image_ids": ("a", "b"), "image": [0, 0, 1, 1]}
    return GroundTruthTable(
        **(given_arguments | {"label": [2, 0, 1, 1], "box": BOXES, "ignore": [0, 1, 0, 0]} | change)
    )


MAKERS = [detections, proposals, truth, detection_table, truth_table]
every_kind = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def test_entries_are_plain_values() -> None:
    assert detections()[1] == Detection(0, "cat", 0.5, (5.0, 5.0, 20.0, 20.0))
    assert proposals()[1] == Proposal((5.0, 5.0, 20.0, 20.0), 0.5, "b", 0.5)
    assert Proposals.ordered(BOXES, SCORES)[1] == Proposal((5.0, 5.0, 20.0, 20.0), 0.5, "selective-search", None)
    assert truth()[1] == AnnotatedObject(0, "cat", (5.0, 5.0, 20.0, 20.0), True, 8.0)
    assert truth(areas=None, ignore=[])[1] == AnnotatedObject(0, "cat", (5.0, 5.0, 20.0, 20.0))
    assert detection_table()[1] == DetectionRow(1, 0, 0.5, (5.0, 5.0, 20.0, 20.0))
    assert truth_table()[2] == GroundTruthRow("b", 1, 1, "dog", (1.0, 2.0, 3.0, 4.0), False, None)
    assert truth_table(area=[9, 8, 7, 6])[1].area == 8.0
    assert type(detections()[0].score) is float and type(detections()[0].label) is int


@every_kind
def test_they_are_sequences_of_their_entries(make: Any) -> None:
    entries = list(make())
    assert len(entries) == len(make()) == 4
    assert [make()[place] for place in range(4)] == entries
    assert [make()[place - 4] for place in range(4)] == entries
    assert make()[np.int64(2)] == entries[2]
    assert list(reversed(make())) == entries[::-1]
    assert entries[2] in make() and entries[2] not in make()[:2]
    assert list(make()[[]]) == [] and not make()[[]]
    for outside in (4, -5, np.int32(4)):
        with pytest.raises(IndexError, match=f"there is no entry {outside}; .* has 4"):
            make()[outside]
    with pytest.raises(AttributeError):
        entries[0].box = None


@every_kind
@given(data=st.data())
def test_any_selection_gives_the_entries_it_names(make: Any, data: st.DataObject) -> None:
    whole, entries = make(), list(make())
    by_score = make in (detections, proposals)
    chosen = data.draw(st.lists(st.integers(0, 3), unique=True))
    signed = [place - 4 if data.draw(st.booleans()) else place for place in chosen]
    expected = [entries[place] for place in (sorted(chosen) if by_score else chosen)]
    for kind in (list, tuple, lambda places: np.array(places, np.int8), lambda places: np.array(places, np.int64)):
        assert list(whole[kind(signed)]) == expected
    assert list(whole[np.array(chosen, np.uint64)]) == expected
    mask = np.isin(np.arange(4), chosen)
    for flags in (mask, mask.tolist()):
        assert list(whole[flags]) == [entry for entry, flag in zip(entries, mask, strict=True) if flag]
    cut = slice(
        data.draw(st.integers(-6, 6)), data.draw(st.integers(-6, 6)), data.draw(st.sampled_from([1, 2, -1, -3]))
    )
    places = range(4)[cut]
    assert list(whole[cut]) == [entries[place] for place in (sorted(places) if by_score else places)]


@every_kind
@pytest.mark.parametrize(
    ("keep", "text"),
    [
        ([0, 2, 0], "positions should differ from each other, but 0 is there 2 times"),
        ([1, -3, 1], "but 1 is there 3 times"),
        ([True, False], r"mask should have shape \(4,\)"),
        (True, "select boxes by a number, a slice, a mask or positions, got True"),
        (np.True_, r"mask should have shape \(4,\), .* got \(\)"),
        ([0, 4], "positions should be in 0..3, got 0..4"),
        ([-5], "positions should be in 0..3"),
        ([0.5], "slice, a mask or positions"),
        ([[0], [1]], "slice, a mask or positions"),
        ([[0], [1, 2]], "slice, a mask or positions"),
        ("cat", "slice, a mask or positions, got 'cat'; columns are attributes, such as .boxes"),
        (None, "slice, a mask or positions"),
    ],
)
def test_selections_that_do_not_fit_are_named(make: Any, keep: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()[keep]


DIFFERENT: list[tuple[Any, dict[str, Any]]] = [
    (detections, {"boxes": [*BOXES[:3], [7, 7, 8, np.nextafter(np.float32(9), np.float32(10))]]}),
    (detections, {"scores": [0.75, 0.5, 0.5, 0.125]}),
    (detections, {"labels": [2, 0, 1, 0]}),
    (detections, {"class_names": ("cat", "dog", "Cow")}),
    (detections, {"size": (20, 30)}),
    (proposals, {"source": [0, 1, 1, 1]}),
    (proposals, {"source_names": ("a", "c")}),
    (proposals, {"objectness": [1, 0.5, 0.25, 0.125]}),
    (proposals, {"objectness": None}),
    (truth, {"ignore": [0, 0, 0, 0]}),
    (truth, {"areas": None}),
    (truth, {"image_id": "b"}),
    (truth, {"width": 5}),
    (detection_table, {"image": [0, 1, 1, 5]}),
    (detection_table, {"score": [0.75, 0.5, 0.5, 0.25 + 1e-16]}),
    (truth_table, {"image_ids": ("a", "c")}),
    (truth_table, {"area": [1, 2, 3, 4]}),
    (truth_table, {"sizes": ((5, 5), (None, None))}),
    (truth_table, {"category_ids": (1, 2, 4)}),
]


@pytest.mark.parametrize(("make", "change"), DIFFERENT)
def test_other_content_is_not_equal(make: Any, change: dict[str, Any]) -> None:
    assert make() != make(**change) and make(**change) != make()
    assert make(**change) == make(**change)


@every_kind
def test_equal_content_is_equal_and_has_no_hash(make: Any) -> None:
    assert make() == make() and make() == make()[:] == make()[np.arange(4)]
    assert make() != make()[:3] and make()[:3] != make() and make()[[]] == make()[4:]
    assert [other() for other in MAKERS if other() == make()] == [make()]
    assert make() != list(make()) and make() is not None and make() != 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(make())


@every_kind
def test_they_are_pickled_and_copied(make: Any) -> None:
    one = make()
    for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert type(again) is type(one) and again is not one and again == one
    deep, shallow = copy.deepcopy(one), copy.copy(one)
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert vars(deep)[name] is not value and vars(shallow)[name] is value


def many(count: int) -> Detections:
    names = tuple(f"class {number}" for number in range(80))
    scores = np.linspace(1, 0.5, count)
    return Detections.ordered(np.tile([0, 0, 9, 9], (count, 1)), scores, np.arange(count) % 80, names)


def test_what_is_printed_is_short() -> None:
    found = Detections.ordered(BOXES[:3], [0.98, 0.55, 0.31], [0, 1, 2], ("cat", "dog", "cup", *map(str, range(77))))
    assert repr(found) == "Detections(3 of 80 classes: cat 0.98, dog 0.55, cup 0.31)"
    assert repr(found[:0]) == "Detections(0 of 80 classes)"
    assert repr(many(100)).endswith("class 4 0.98, class 5 0.97 and 94 more)") and len(repr(many(100))) < 130
    assert repr(many(6)).endswith("class 5 0.50)")
    assert repr(proposals()) == "Proposals(4 from a and b, scores 0.75 to 0.25)"
    assert repr(Proposals.empty()) == "Proposals(0 from selective-search)"
    assert repr(truth()) == "GroundTruth(4 of 3 classes in image 'a': cow, cat (ignored), dog, dog)"
    assert repr(detection_table()) == "DetectionTable(4 detections in 3 images)"
    assert repr(truth_table()) == "GroundTruthTable(4 objects of 3 classes in 2 images)"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "\u202eright to left"])
def test_names_do_not_spoil_the_line(name: str) -> None:
    found = Detections.ordered(BOXES[:1], [0.5], [0], (name,))
    assert repr(found) == f"Detections(1 of 1 classes: {name + ' 0.50'!r})" and repr(found).isprintable()


class Reader(HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@every_kind
def test_a_notebook_shows_a_table(make: Any) -> None:
    page = Reader(make()._repr_html_())
    fields = list(vars(make()[0]))
    assert page.texts[0] == repr(make())
    assert page.texts[1 : 1 + len(fields)] == fields
    assert page.tags.count("tr") == 5 and set(page.tags) == {"table", "caption", "tr", "th", "td"}
    assert "5.0, 5.0, 20.0, 20.0" in page.texts
    assert Reader(make()[[]]._repr_html_()).texts == [repr(make()[[]])]


def test_where_it_was_found_is_no_part_of_what_was_found() -> None:
    one = detections(path="a/cat.jpg")
    assert one == detections() == detections(path=Path("dog.jpg")) and one != detections(size=(30, 30))
    assert one.path == Path("a/cat.jpg") and "cat.jpg" not in repr(one)
    for other in (one[1:], one.of("dog"), one.above(0.3), one.top(1), pickle.loads(pickle.dumps(one))):
        assert other.path == one.path


def test_a_long_table_is_cut_and_says_so() -> None:
    page = Reader(many(100)._repr_html_())
    assert page.tags.count("tr") == 22 and page.texts[-1] == "and 80 more"
    assert Reader(many(20)._repr_html_()).tags.count("tr") == 21


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "a & b"])
def test_names_and_ids_are_text_and_nothing_else(name: str) -> None:
    shown: list[Any] = [
        Detections.ordered(BOXES[:1], [0.5], [0], (name,)),
        Proposals(BOXES, SCORES, source_names=(name,)),  # type: ignore[arg-type]
        truth(image_id=name, class_names=(name, name, name)),
        truth_table(image_ids=(name, "b")),
    ]
    for one in shown:
        page = Reader(one._repr_html_())
        assert set(page.tags) == {"table", "caption", "tr", "th", "td"}
        assert name in page.texts
