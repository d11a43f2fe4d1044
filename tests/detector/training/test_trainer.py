"""From a data set to a checkpoint: end to end on three small photographs, killed and resumed, refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from inception_rcnn.backbones import GoogLeNet, InputSpec, googlenet, read_checkpoint
from inception_rcnn.detector import ClassifierDescription, Runtime, load_detector
from inception_rcnn.detector.checkpoints import read_classifier_description
from inception_rcnn.detector.training.initial_weights import PretrainedNetwork, frozen_features, start_linear
from inception_rcnn.detector.training.region_labels import LabelledRegions
from inception_rcnn.detector.training.run import TrainingTask
from inception_rcnn.detector.training.settings import TrainingSettings
from inception_rcnn.detector.training.sources import TrainingPhotographs, TrainingSource
from inception_rcnn.detector.training.warped.sampling import RegionSampler, SamplingSettings, cut_batch
from inception_rcnn.detector.training.warped.step import FineTuning
from inception_rcnn.detector.training.warped.trainer import AS_THEY_ARE, FineTuneSettings, fine_tune
from inception_rcnn.structures import CheckpointError, GroundTruth, GroundTruthTable, InputError, Proposals, load_image
from inception_rcnn.structures.dataset import ImageCache
from inception_rcnn.structures.files import sha256_of
from inception_rcnn.structures.provenance import SeenPart

NAMES = ("cat", "cup", "person")


@dataclass
class Photographs:
    """A cat, a cup and an astronaut, 90 x 60 pixels each, in files; a crowd above the cup."""

    folder: Path
    class_names: tuple[str, ...] = NAMES
    shift: int = 0  # of the first photograph's box

    @property
    def display_names(self) -> tuple[str, ...]:
        return self.class_names

    @property
    def image_ids(self) -> list[int]:
        return [10, 11, 12]

    def __post_init__(self) -> None:
        for number, image in enumerate((data.chelsea(), data.coffee(), data.astronaut()[:342])):
            Image.fromarray(image).resize((90, 60)).save(self.folder / f"{number}.png")

    def __len__(self) -> int:
        return 3

    def path(self, index: int) -> Path:
        return self.folder / f"{index}.png"

    def load_image(self, index: int) -> NDArray[np.uint8]:
        return load_image(self.path(index))

    def ground_truths(self) -> GroundTruthTable:
        return GroundTruthTable.from_ground_truths([self.ground_truth(index) for index in range(3)])

    def ground_truth(self, index: int) -> GroundTruth:
        boxes = [[(24 + self.shift, 4, 84, 58)], [(24, 12, 64, 48), (0, 0, 50, 20)], [(8, 0, 68, 60)]][index]
        return GroundTruth(
            np.array(boxes, np.float32),
            np.full(len(boxes), index, np.int64),
            self.class_names,
            np.array([False, True][: len(boxes)]),
            width=90,
            height=60,
        )


def random_proposals(count: int = 30) -> list[Proposals]:
    """Boxes anywhere on each photograph."""
    rng, found = np.random.default_rng(0), []
    for _ in range(3):
        corner, size = rng.uniform(0, 40, (count, 2)), rng.uniform(8, 20, (count, 2)) * [2.4, 1]
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        found.append(Proposals(boxes, np.linspace(1, 0, count, dtype=np.float32)))
    return found


SETTINGS = FineTuneSettings(
    training=TrainingSettings(iterations=4, learning_rate=0.005, warm_up=1, train_from="5b", averaging=0.5),
    sampling=SamplingSettings(foreground=3, background=3),
    linear_batches=2,
    jitter=2,
    save_every=2,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    """Three photographs."""
    return Photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def train(
    dataset: Photographs, make_network: Callable[[int], GoogLeNet], description: ClassifierDescription, cpu: Runtime
) -> Callable[..., Path]:
    """Fine-tunes the network of a seed into a folder."""

    def run(
        output: Path,
        seed: int = 1,
        proposals: Sequence[Proposals] | None = None,
        *,
        pretrained: int = 1,
        images: Photographs = dataset,
        **changes: Any,
    ) -> Path:
        """Of another `seed` is the fresh last layer alone, of `pretrained` all the rest."""
        given = random_proposals() if proposals is None else proposals
        network = with_last_layer(make_network(pretrained), make_network(seed), len(images.class_names) + 1)
        start = PretrainedNetwork(network, False, {"pretrained": "some"})
        described = replace(description, class_names=images.class_names)
        settings = replace(SETTINGS, **changes)
        sources = [TrainingSource("marked", images, lambda: given)]
        found = fine_tune(
            TrainingTask(
                sources=sources,
                propose=nothing,
                start=start,
                description=described,
                runtime=cpu,
                output=output,
                quiet=True,
            ),
            settings,
        )
        assert found.threshold.value == description.score_threshold  # nothing can be measured
        assert "of fewer than 50 images none are held out" in found.threshold.origin
        return found.path

    return run


def with_last_layer(network: GoogLeNet, other: GoogLeNet, outputs: int) -> GoogLeNet:
    """The network with the first outputs of another one's last layer, repeated if need be."""
    layer, rows = other.classifier, torch.arange(outputs) % other.num_classes
    assert layer is not None
    last = {"classifier.weight": layer.weight.detach()[rows], "classifier.bias": layer.bias.detach()[rows]}
    return googlenet(num_classes=outputs, weights={**network.state_dict(), **last})


def test_both_files_list_the_photographs_they_saw(output: Path, dataset: Photographs) -> None:
    part = SeenPart.of_files("marked", [sha256_of(dataset.path(row)) for row in range(3)])
    for name in ("linear", "model"):
        assert read_classifier_description(output / f"{name}.safetensors").seen == (part,)


def nothing(image: NDArray[np.uint8]) -> Proposals:
    """Proposes nothing."""
    return Proposals.empty()


@pytest.fixture(scope="module")
def output(train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run; read only."""
    folder = tmp_path_factory.mktemp("runs") / "deep" / "down"
    assert train(folder) == folder / "model.safetensors"
    return folder


def test_a_run_leaves_a_model_that_detects(output: Path, dataset: Photographs) -> None:
    detector = load_detector(output / "model.safetensors", "cpu")
    assert detector.ensemble.class_names == NAMES and detector.settings.score_threshold == 0.25
    scores = detector.with_settings(score_threshold=0.0).score(dataset.load_image(0), random_proposals()[0])
    assert scores.probabilities.shape == (1, len(scores.proposals), 4)
    np.testing.assert_allclose(scores.mean().sum(axis=1), 1, rtol=1e-3)
    assert len(detector.with_settings(score_threshold=0.0).postprocess(scores)) > 0


def test_a_run_leaves_the_linear_start_and_its_state(output: Path) -> None:
    names = {f"{name}.safetensors" for name in ("model", "linear", "state")}
    assert {path.name for path in output.iterdir()} == {*names, "log.csv", "curves.svg"}
    assert read_checkpoint(output / "state.safetensors", "training-state").description["iteration"] == 4
    model, linear = (
        read_checkpoint(output / f"{name}.safetensors", "region-classifier").tensors for name in ("model", "linear")
    )
    changed = {name for name, tensor in model.items() if not torch.equal(tensor, linear[name])}
    assert {"inception_5b.conv1x1.weight", "inception_5b.conv5x5.weight", "classifier.weight"} <= changed
    assert all(name.startswith(("inception_5b.", "classifier.")) for name in changed)


def test_the_model_tells_how_it_was_made(output: Path) -> None:
    model, linear = (
        read_checkpoint(output / f"{name}.safetensors", "region-classifier").description["training"]
        for name in ("model", "linear")
    )
    assert (
        model["data"] == ["marked"]
        and model["images"] == 3
        and model["iterations"] == 4
        and model["train_from"] == "5b"
    )
    assert model["held_out"] == 0 and model["pretrained"] == "some" and "not measured" in model["score_threshold"]
    assert model["jitter"] == 2 and model["linear_batches"] == 2 and model["sampling"]["foreground"] == 3
    assert linear["recipe"] == "linear softmax on frozen features" and "learning_rate" not in linear
    assert linear["sampling"] == model["sampling"] and linear["data"] == ["marked"]


def test_the_same_command_again_changes_nothing(output: Path, train: Callable[..., Path]) -> None:
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    train(output, seed=2)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_killed_run_goes_on_to_the_same_end(
    output: Path, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = FineTuning.step

    def killed(self: FineTuning, *batch: Any) -> float:
        if self.averaged.iteration == 3:  # one step after the state was saved
            raise KeyboardInterrupt
        return step(self, *batch)

    monkeypatch.setattr(FineTuning, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert read_checkpoint(tmp_path / "state.safetensors", "training-state").description["iteration"] == 2
    monkeypatch.undo()
    train(tmp_path, seed=2)  # other weights to begin with: the state's must win
    assert (tmp_path / "model.safetensors").read_bytes() == (output / "model.safetensors").read_bytes()


def test_another_setting_is_refused(output: Path, train: Callable[..., Path]) -> None:
    for changes, message in (
        ({"training": replace(SETTINGS.training, momentum=0.5)}, "was made with momentum = 0.9, this run has 0.5"),
        ({"jitter": 3}, "was made with jitter = 2, this run has 3"),
        ({"sampling": replace(SETTINGS.sampling, seed=4)}, "was made with sampling = "),
        ({"pretrained": 2}, r"the pre-trained weights \(--pretrained\) have changed since it was made"),
    ):
        with pytest.raises(CheckpointError, match=message):
            train(output, **changes)


def test_other_data_are_refused_before_proposals_are_made_and_change_nothing(
    output: Path, train: Callable[..., Path], tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    replaced = Photographs(tmp_path)
    Image.fromarray(data.coffee()).resize((90, 60)).save(replaced.path(0))
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    for images, message in (
        (replaced, "the photographs or their annotations have changed since it was made"),
        (Photographs(elsewhere, shift=3), "the photographs or their annotations have changed since it was made"),
        (Photographs(elsewhere, ("cup", "cat", "person")), "they were cat, cup, person; now cup, cat, person"),
        (Photographs(elsewhere, ("Cat", "cup", "person")), "they were cat, cup, person; now Cat, cup, person"),
        (Photographs(elsewhere, (*NAMES, "flag")), r"with 3 classes, the data set has 4 \(new: flag\); name another"),
    ):
        # Too few proposals: they are not looked at, since the run is refused before.
        with pytest.raises(CheckpointError, match=message):
            train(output, images=images, proposals=[])
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_other_proposals_are_refused(output: Path, train: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match=r"the proposals \(--proposals, --source\) have changed since"):
        train(output, proposals=random_proposals(29))


def test_the_same_data_in_another_folder_are_the_same(output: Path, train: Callable[..., Path], tmp_path: Path) -> None:
    before = (output / "model.safetensors").read_bytes()
    train(output, images=Photographs(tmp_path))
    assert (output / "model.safetensors").read_bytes() == before


def test_without_a_linear_start_there_is_no_linear_file(train: Callable[..., Path], tmp_path: Path) -> None:
    train(tmp_path, linear_batches=0, training=replace(SETTINGS.training, iterations=1))
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.safetensors",
        "state.safetensors",
        "log.csv",
        "curves.svg",
    }


def test_what_does_not_fit_is_refused_before_anything_is_written(
    dataset: Photographs,
    make_network: Callable[[int], GoogLeNet],
    description: ClassifierDescription,
    cpu: Runtime,
    tmp_path: Path,
) -> None:
    def run(proposals: list[Proposals], network: GoogLeNet, described: ClassifierDescription = description) -> None:
        start, sources = PretrainedNetwork(network, False, {}), [TrainingSource("marked", dataset, lambda: proposals)]
        fine_tune(
            TrainingTask(
                sources=sources,
                propose=nothing,
                start=start,
                description=described,
                runtime=cpu,
                output=tmp_path / "out",
                quiet=True,
            ),
            SETTINGS,
        )

    network = make_network(1)
    with pytest.raises(InputError, match="proposals of 2 images, the data set has 3"):
        run(random_proposals()[:2], network)
    with pytest.raises(InputError, match="a classifier of 3 classes has one output more, for background; this"):
        run(random_proposals(), GoogLeNet(3))
    with pytest.raises(InputError, match="marked has none of the detector's 3 classes"):
        run(random_proposals(), network, replace(description, class_names=("kite", "kiwi", "koala")))
    assert not (tmp_path / "out").exists()


def test_nothing_to_tell_objects_from_is_refused(train: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="these 3 photographs have 9 and 0: check annotations and proposals"):
        train(tmp_path, proposals=[Proposals.empty()] * 3)


def region_pool(dataset: Photographs, proposals: list[Proposals], jitter: int, seed: int) -> list[LabelledRegions]:
    """The labelled regions of every photograph."""
    source = TrainingSource("marked", dataset, lambda: proposals)
    photographs = TrainingPhotographs([source], NAMES, stored_side=AS_THEY_ARE, jitter=jitter, seed=seed)
    return [one.regions for one in photographs.photographs]


def test_the_pool_holds_objects_shaken_copies_and_proposals(dataset: Photographs) -> None:
    pool = region_pool(dataset, random_proposals(), 2, 0)
    assert [one.labels[:3].tolist() for one in pool] == [[0] * 3, [1] * 3, [2] * 3]
    assert len(pool[0]) == 3 + 30 and len(pool[1]) < 3 + 30  # those inside the crowd are left out
    for index, one in enumerate(pool):
        assert np.array_equal(one.boxes[0], dataset.ground_truth(index).boxes[0])
    again, other = region_pool(dataset, random_proposals(), 2, 0), region_pool(dataset, random_proposals(), 2, 1)
    assert all(np.array_equal(one.boxes, two.boxes) for one, two in zip(pool, again, strict=True))
    assert not np.array_equal(pool[0].boxes, other[0].boxes)


class Twins(Photographs):
    """Photographs with the same object each."""

    def ground_truth(self, index: int) -> GroundTruth:
        return super().ground_truth(0)


def test_every_photograph_shakes_its_copies_its_own_way(tmp_path: Path) -> None:
    pool = region_pool(Twins(tmp_path), [Proposals.empty()] * 3, 2, 0)
    assert np.array_equal(pool[0].boxes[0], pool[1].boxes[0])
    assert not np.array_equal(pool[0].boxes, pool[1].boxes) and not np.array_equal(pool[1].boxes, pool[2].boxes)


@pytest.fixture
def sampler(dataset: Photographs) -> RegionSampler:
    """Draws six regions a batch."""
    return RegionSampler(region_pool(dataset, random_proposals(), 2, 0), 3, SETTINGS.sampling)


def test_frozen_features_are_the_network_s(
    dataset: Photographs,
    sampler: RegionSampler,
    make_network: Callable[[int], GoogLeNet],
    spec: InputSpec,
    cpu: Runtime,
) -> None:
    network, images = make_network(1), ImageCache(dataset.load_image)
    features, labels = frozen_features(network, sampler, images, spec, cpu, 2, quiet=True)
    assert features.shape == (12, 1024) and features.dtype == torch.float32 and labels.shape == (12,)
    batch = sampler.draw(1_000_000_001)  # numbered apart from the batches of the training
    with torch.inference_mode():
        inputs = spec.apply(torch.from_numpy(cut_batch(images, batch, spec)))
        expected = network.pooled(network.trunk(inputs))
    torch.testing.assert_close(features[6:], expected, rtol=1e-4, atol=1e-5)
    assert labels[6:].tolist() == batch.labels.tolist()


def test_the_linear_start_knows_the_batches_it_was_fitted_to(
    dataset: Photographs,
    sampler: RegionSampler,
    make_network: Callable[[int], GoogLeNet],
    spec: InputSpec,
    cpu: Runtime,
) -> None:
    network, images = make_network(1), ImageCache(dataset.load_image)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start_linear(network, sampler, images, spec, cpu, 2, quiet=True)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    features, labels = frozen_features(network, sampler, images, spec, cpu, 2, quiet=True)
    assert network.classifier is not None
    with torch.no_grad():
        assert (network.classifier(features).argmax(dim=1) == labels).all()
