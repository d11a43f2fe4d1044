"""A user's program that uses every public name as it is meant; `test_typing.py` reads it, nothing runs it."""

from pathlib import Path

import numpy as np

from inception_rcnn import (
    Detections,
    DetectionSettings,
    Detector,
    GroundTruth,
    InceptionError,
    Proposals,
    __version__,
    evaluate_detector,
    googlenet,
    load_detector,
    load_image,
    multibox,
    open_dataset,
    propose_for_set,
    selective_search,
    train_detector,
    train_multibox,
)
from inception_rcnn.datasets.video import Tracker, TrackSettings, VideoFrames, VideoWriter
from inception_rcnn.detector import TileSettings, detect_in_tiles
from inception_rcnn.evaluation import Candidates, Explanation, compare, explain
from inception_rcnn.evaluation.report import write_report
from inception_rcnn.structures import ImageError


def main(folder: Path) -> float:
    """Detect, propose, train, evaluate."""
    image = load_image(folder / "cat.jpg")
    detector: Detector = load_detector("coco", "cpu", score_threshold=0.3, max_proposals=100, proposals="both")
    found: Detections = detector(image)
    several: list[Detections] = detector([image, "dog.jpg", detector.prepare(image)])
    for either in detector.stream(folder, on_error="return"):
        print(either if isinstance(either, ImageError) else either.path)
    for one in detector.stream(folder.glob("*.jpg"), workers=2, on_error="skip"):
        one.save("drawn.png")
        print(one[0].class_name, one.of("cat").scores.max(), one.to_records()[0]["box"], several)
    mine = Proposals.ordered([[0, 0, 9, 9]], [0.5])
    settings = DetectionSettings(mirror=True, max_detections=None)
    other = load_detector(["coco", folder / "b.safetensors"], proposals=lambda image: mine, settings=settings)
    print(selective_search(image, threads=1).top(2).boxes, multibox(image, top_k=50).objectness, found.class_names)
    small: Detections = detect_in_tiles(detector, image, TileSettings(side=320, overlap=0.2))
    tracker = Tracker(TrackSettings(smoothing=0.3))
    with VideoFrames(folder / "clip.mp4") as frames, VideoWriter(folder / "drawn.mp4", frames.rate) as writer:
        for frame, seen in zip(VideoFrames(folder / "clip.mp4"), detector.stream(frames), strict=True):
            steadied, numbers = tracker.follow(seen)
            writer.write(steadied.draw(frame))
            print(numbers.max(), small.names())
    dataset = open_dataset("coco", folder, "val")
    pixels, objects = dataset[0]
    truth: GroundTruth = dataset.ground_truth(0)
    told: Explanation = explain(
        truth,
        found,
        Candidates(
            proposals=mine.boxes,
            regions=mine.boxes,
            boxes=mine.boxes,
            scores=np.zeros((1, 80), np.float32),
            score_threshold=0.3,
            iou_threshold=0.4,
        ),
    )
    print([one.text for one in told.lost()], [one.reason for one in told.false()])
    stored = propose_for_set(dataset, selective_search, {"method": "mine"}, "val.safetensors")
    network: Path = train_multibox(dataset, "out", pretrained="multibox", parts=[dataset])
    path: Path = train_detector(
        [dataset], folder, val=dataset, proposals="val.safetensors", multibox=network, minutes=3
    )
    print(pixels.shape, objects[0].class_name, truth, stored.proposals[0], path.name, __version__)
    try:
        print(sum(weights.numel() for weights in googlenet(lrn=False).parameters()))
        moved = other.to("cpu").with_settings(score_threshold=0.2, max_proposals=None, mirror=False)
        before, after = (evaluate_detector(each, dataset, limit=10) for each in (detector, moved))
        print(compare(before, after).interval, write_report(folder / "report", before))
        return evaluate_detector(moved, dataset, limit=10, output=folder / "kept.safetensors").map
    except InceptionError as error:
        print(error)
        return 0.0
