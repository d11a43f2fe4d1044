"""The addresses: what they answer, and how they refuse."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inception_rcnn.detector import Detector
from inception_rcnn.structures import CheckpointError, Detections, InputError, load_image


def test_detect_answers_what_the_detector_finds(client: Any, model: Detector, jpeg: bytes) -> None:
    answer = client.post("/detect", content=jpeg)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["model"], found["width"], found["height"]) == ("coco", 225, 150)
    assert found["detections"] == model(jpeg).to_records() != []


def test_a_photograph_is_sent_as_curl_sends_it(client: Any, jpeg: bytes) -> None:
    """`curl --data-binary @photo.jpg` calls every file a form."""
    answer = client.post("/detect", content=jpeg, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 200 and answer.json()["width"] == 225


def test_a_walk_has_what_each_stage_saw(client: Any, model: Detector, jpeg: bytes) -> None:
    walk = client.post("/walk", content=jpeg).json()
    assert walk["detections"] == model(jpeg).to_records()
    proposals, regions, scores = walk["proposals"], walk["regions"], walk["scores"]
    assert len(proposals["boxes"]) == len(proposals["source"]) > len(regions["boxes"]) == 40
    assert set(proposals["source"]) <= set(range(len(proposals["sources"])))
    assert min(regions["rank"]) >= 0 and regions["rank"] == sorted(regions["rank"])
    for box, rank in zip(regions["boxes"], regions["rank"], strict=True):
        assert np.abs(np.subtract(box, proposals["boxes"][rank])).max() <= 0.051
    assert len(regions["moved"]) == len(regions["background"]) == 40
    assert len(scores["row"]) == len(scores["label"]) == len(scores["score"])
    assert min(scores["score"]) >= scores["lowest"] and max(scores["row"]) < 40
    assert walk["picture"].startswith("data:image/jpeg;base64,") and walk["superpixels"]["count"] > 5
    assert walk["superpixels"]["picture"].startswith("data:image/png;base64,")
    assert {"reading", "superpixels", "proposals", "suppression"} <= set(walk["seconds"])
    assert walk["network"]["regions"] == "pool" and len(walk["colours"]) == len(walk["classes"]) == 80


def test_a_walk_has_all_that_a_lower_threshold_of_the_detector_shows(
    client_of: Callable[..., Any], model: Detector, jpeg: bytes
) -> None:
    low = model.with_settings(score_threshold=0.0005)
    walk = client_of({"low": lambda: low}).post("/walk", content=jpeg).json()
    assert walk["scores"]["lowest"] == 0.0005 <= min(walk["scores"]["score"]) < 0.02
    assert {one["score"] for one in walk["detections"]} <= set(walk["scores"]["score"])


def test_the_same_photograph_is_remembered(
    client: Any, jpeg: bytes, model: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.post("/walk", content=jpeg).json()
    monkeypatch.setattr(Detector, "score", None)
    assert client.post("/walk", content=jpeg).json() == first


@pytest.mark.parametrize(
    ("content", "headers", "status", "text"),
    [
        (b"no picture", {}, 422, "is none of JPEG"),
        (b"", {}, 422, "there is no photograph in the body"),
        (b"x" * 3001, {}, 413, "more than 3000 bytes"),
        (b"--x", {"content-type": "multipart/form-data; boundary=x"}, 415, "curl --data-binary"),
        (b"--x", {"content-type": "Multipart/Form-Data; boundary=x"}, 415, "curl --data-binary"),
        (b"a=1", {"content-type": "application/x-www-form-urlencoded"}, 422, "is none of JPEG"),
        (b"<html>hello</html>", {}, 422, "a web page, not the file itself"),
    ],
)
def test_what_is_no_photograph_gets_one_clear_error(
    client_of: Callable[..., Any], content: bytes, headers: dict[str, str], status: int, text: str
) -> None:
    answer = client_of(max_bytes=3000).post("/detect", content=content, headers=headers)
    assert answer.status_code == status and text in answer.json()["error"]
    assert set(answer.json()) == {"error"}


def test_a_body_without_a_length_is_cut_off_at_the_limit(client_of: Callable[..., Any]) -> None:
    sent = []

    def pieces() -> Any:
        for number in range(100):
            sent.append(number)
            yield b"x" * 1000

    answer = client_of(max_bytes=3000).post("/detect", content=pieces())
    assert answer.status_code == 413


def test_too_many_pixels_are_refused_before_they_are_decoded(client_of: Callable[..., Any], jpeg: bytes) -> None:
    answer = client_of(max_pixels=1000).post("/detect", content=jpeg)
    assert answer.status_code == 422 and "225 x 150 = 33750 pixels, more than max_pixels=1000" in answer.json()["error"]


def test_models_are_loaded_when_they_are_asked_for_and_unknown_ones_are_named(
    client_of: Callable[..., Any], model: Detector, jpeg: bytes
) -> None:
    loaded: list[str] = []

    def load(name: str) -> Detector:
        loaded.append(name)
        return model.with_settings(score_threshold=0.9 if name == "strict" else None or model.settings.score_threshold)

    client = client_of({name: lambda name=name: load(name) for name in ("usual", "strict")})
    assert loaded == ["usual"]
    for _ in range(2):
        found = client.post("/detect?model=strict", content=jpeg).json()
        assert found["model"] == "strict" and all(one["score"] >= 0.9 for one in found["detections"])
    assert loaded == ["usual", "strict"]
    answer = client.post("/detect?model=absent", content=jpeg)
    assert answer.status_code == 404 and answer.json()["error"] == "there is no model 'absent'; there are usual, strict"
    assert client.get("/page.json").json()["models"] == ["usual", "strict"]


def test_a_model_that_cannot_be_loaded_is_an_error_like_any_other(
    client_of: Callable[..., Any], model: Detector, jpeg: bytes
) -> None:
    def gone() -> Detector:
        raise CheckpointError("gone.safetensors does not exist")

    client = client_of({"coco": lambda: model, "gone": gone})
    for address in ("/walk?model=gone", "/detect?model=gone"):
        answer = client.post(address, content=jpeg)
        assert (answer.status_code, answer.json()) == (500, {"error": "gone.safetensors does not exist"})
    for answer, status in ((client.get("/nothing"), 404), (client.get("/detect"), 405)):
        assert answer.status_code == status and set(answer.json()) == {"error"}


class Slow:
    """A detector that waits until it is told to go on."""

    def __init__(self, model: Detector) -> None:
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()
        self.class_names = model.class_names

    def __call__(self, image: Any) -> Detections:
        self.begun.release()
        assert self.go_on.wait(30)
        return Detections.empty(self.class_names)


def test_when_the_queue_is_full_others_are_told_when_to_come_back(
    client_of: Callable[..., Any], model: Detector, jpeg: bytes
) -> None:
    slow = Slow(model)
    client = client_of({"slow": lambda: slow}, queue=2)  # type: ignore[dict-item, return-value]
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(client.post("/detect", content=jpeg))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert slow.begun.acquire(timeout=30)
    for _ in range(300):
        if client.get("/health").json()["waiting"] == 2:
            break
        threading.Event().wait(0.02)
    refused = client.post("/detect", content=jpeg)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert "too many requests are waiting; try again in" in refused.json()["error"]
    slow.go_on.set()
    for thread in threads:
        thread.join()
    assert [one.status_code for one in answers] == [200, 200]
    assert client.post("/detect", content=jpeg).status_code == 200
    text = client.get("/metrics").text
    assert "inception_rcnn_refused_total 1\n" in text and "inception_rcnn_waiting 0\n" in text


def test_a_token_is_asked_for_everywhere_but_for_health(client_of: Callable[..., Any], jpeg: bytes) -> None:
    client = client_of(token="correct horse")
    assert client.get("/health").status_code == 200
    for path in ("/", "/page.js", "/samples/cat.jpg", "/metrics", "/openapi.json", "/page.json"):
        answer = client.get(path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", path
    assert client.post("/detect", content=jpeg).status_code == 401
    for shown in ("Bearer correct hors", "Basic correct horse", "correct horse"):
        assert client.get("/metrics", headers={"Authorization": shown}).status_code == 401
    good = {"Authorization": "Bearer correct horse"}
    assert client.get("/metrics", headers=good).status_code == 200
    assert client.post("/detect", content=jpeg, headers=good).status_code == 200
    page = client.get("/?token=correct%20horse")
    cookie = page.headers["set-cookie"]
    assert page.status_code == 200 and "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert client.get("/page.js").status_code == 200, "the page's own requests carry the cookie"


def test_without_a_token_only_this_machines_names_are_answered(client: Any) -> None:
    for host, status in (("127.0.0.1:8000", 200), ("localhost", 200), ("evil.example:8000", 400), ("[::1]:8000", 200)):
        assert client.get("/health", headers={"host": host}).status_code == status, host


def test_the_page_asks_for_nothing_from_elsewhere(client: Any) -> None:
    for path in ("/", "/page.css", "/page.js", "/suppression.js"):
        answer = client.get(path)
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.findall(
            r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"//[^\n]*", "", answer.text) if path.endswith("js") else answer.text
        )
    page = client.get("/").text
    assert set(re.findall(r'(?:href|src)="([^"]+)"', page)) == {"data:,", "/page.css", "/page.js", "#result"}
    assert client.get("/samples/cat.jpg").headers["content-type"] == "image/jpeg"
    assert client.get("/samples/..%2Fapp.py").status_code == 404


def test_openapi_describes_what_detect_answers(client: Any, jpeg: bytes) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/detect", "/health", "/metrics"}
    described = document["paths"]["/detect"]["post"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    found = client.post("/detect", content=jpeg).json()
    assert set(schema["required"]) == set(found) == set(schema["properties"])
    one = schema["properties"]["detections"]["items"]
    assert set(one["required"]) == set(found["detections"][0])
    assert {"401", "413", "415", "422", "429"} <= set(described["responses"])
    assert client.get("/docs").status_code == 404, "FastAPI's page would load scripts from another machine"


def test_figures_are_prometheus_text(client: Any, jpeg: bytes) -> None:
    client.post("/detect", content=jpeg)
    client.post("/detect", content=b"no picture")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.]+', line) for line in lines)
    values = dict(line.rsplit(" ", 1) for line in lines)
    assert float(values['inception_rcnn_requests_total{path="/detect",status="422"}']) >= 1
    count = float(values['inception_rcnn_requests_total{path="/detect",status="200"}'])
    assert float(values['inception_rcnn_request_seconds_count{path="/detect"}']) == count >= 1
    assert float(values['inception_rcnn_request_seconds_bucket{path="/detect",le="+Inf"}']) == count


def test_the_first_sample_is_looked_at_before_anybody_asks(
    model: Detector, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi.testclient import TestClient

    from inception_rcnn.detector.server.app import create_app

    (tmp_path / "cat.jpg").write_bytes(jpeg)
    with TestClient(create_app({"coco": lambda: model}, {"cat.jpg": tmp_path / "cat.jpg"}, warm_up=True)) as client:
        for _ in range(600):
            if client.get("/health").json()["waiting"] == 0:
                break
            threading.Event().wait(0.05)
        monkeypatch.setattr(Detector, "score", None)
        assert client.post("/walk", content=jpeg).status_code == 200


def test_settings_out_of_range_are_refused() -> None:
    from inception_rcnn.detector.server.app import ServerSettings, create_app

    for changes, text in (
        ({"queue": 0}, "queue should"),
        ({"token": "short"}, "8 characters"),
        ({"read_seconds": 0.0}, "read_seconds"),
    ):
        with pytest.raises(InputError, match=text):
            ServerSettings(**changes)
    with pytest.raises(InputError, match="no model to serve"):
        create_app({})


def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    from starlette.requests import Request

    from inception_rcnn.detector.server.app import RefusedError, ServerSettings, _body

    async def never() -> Any:
        await asyncio.sleep(60)

    request = Request({"type": "http", "headers": [], "method": "POST"}, never)
    with pytest.raises(RefusedError, match=r"did not come within 0\.05 s"):
        asyncio.run(_body(request, ServerSettings(read_seconds=0.05), lambda count: None))


def test_a_body_that_breaks_off_is_no_fault_of_the_server() -> None:
    from starlette.requests import Request

    from inception_rcnn.detector.server.app import RefusedError, ServerSettings, _body

    messages = iter(({"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}))

    async def receive() -> Any:
        return next(messages)

    counted: list[int] = []
    request = Request({"type": "http", "headers": [], "method": "POST"}, receive)
    with pytest.raises(RefusedError, match="broke off after 4 bytes"):
        asyncio.run(_body(request, ServerSettings(), counted.append))
    assert counted == [4]


def test_the_bundled_sample_is_what_the_page_begins_with(client: Any, tmp_path: Path) -> None:
    answer = client.get("/samples/cat.jpg")
    assert load_image(answer.content).shape == (150, 225, 3)
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_long_answer_is_handed_out_in_pieces() -> None:
    from inception_rcnn.detector.server.app import _in_pieces

    async def sent() -> list[bytes]:
        return [piece async for piece in _in_pieces(content, "image/png").body_iterator]

    content = bytes(range(256)) * 700
    pieces = asyncio.run(sent())
    assert b"".join(pieces) == content and [len(one) for one in pieces] == [65_536, 65_536, 48_128]
