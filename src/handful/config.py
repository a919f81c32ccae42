"""What a job is asked to do: plain values, checked once, when they are put together."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from handful.errors import UsageError

PRECISIONS = ("auto", "bf16", "f32", "int8")
RESIZES = ("squash", "crop", "halfway")
CLASS_WEIGHTS = ("auto", "balanced", "none")
STRATEGIES = ("transfer", "scratch", "augmented", "fine-tune", "distilled")
RECIPES = ("handful", "exercise", "mnist")
# What `compare` trains of each recipe.
_COMPARED = {
    "handful": ("scratch", "augmented", "transfer", "fine-tune"),
    "exercise": ("scratch", "augmented", "transfer"),
    "mnist": ("scratch",),
}
RUNS_FOLDER = Path("runs")
QUICK_MINUTES = 0.4  # for each network of a quick comparison


def cache_folder() -> Path:
    """Folder for everything that can be made again: embeddings and converted networks.

    Returns:
        The environment variable `HANDFUL_CACHE` where it is set, else the user's cache folder
        of the platform. Nothing is created. A place where nothing can be for a user without a
        home folder: such a job goes on without a cache.
    """
    given = os.environ.get("HANDFUL_CACHE")
    if given:
        return Path(given).expanduser()
    # platformdirs costs a few milliseconds that a set variable saves.
    from platformdirs import user_cache_path

    found = user_cache_path("handful")
    return found if found.is_absolute() else Path(os.devnull) / "handful"


def own_environment() -> dict[str, str]:
    """Variables with which other libraries write to our cache and send nothing.

    They are for processes of ours; in a host program, its user decides.

    Returns:
        Name -> value of those that are not set: matplotlib's list of fonts and Keras' settings
        go to `cache_folder`, where the user has no folder of Keras' yet; ONNX Runtime's telemetry
        is off.
    """
    wanted = {"MPLCONFIGDIR": cache_folder() / "matplotlib", "ORT_DISABLE_TELEMETRY": "1"}
    if not Path("~/.keras").expanduser().exists():
        wanted["KERAS_HOME"] = cache_folder() / "keras"
    return {name: str(value) for name, value in wanted.items() if name not in os.environ}


@contextmanager
def default_variables(**values: str) -> Iterator[None]:
    """Set environment variables that are not set, for as long as a block lasts.

    For libraries that read them once, when they are imported: they are the host program's.

    Args:
        **values: Name -> value.
    """
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what `train` makes from a set of photos.

    Args:
        strategy: "transfer" fits a head to a pretrained network's features; "scratch" trains a
            network on the photos alone, "augmented" on ever new views of them; "fine-tune" trains
            the pretrained network on; "distilled" has the small network imitate it.
        recipe: "handful" is our way, "exercise" the well-known exercise's, "mnist" its way for
            handwritten digits; see `handful.training.recipes`.
        backbone: Name of the pretrained network, see `handful.features.registry`; None takes the
            recipe's: efficientnet-lite0, or xception in the exercise.
        weights: Weights file to use instead of the backbone's own, or None.
        network: "file.py:build" for a network of the user's own instead of the recipe's.
        epochs: Passes over the training photos; None takes the recipe's, as do the next three.
        batch_size: Photos a step.
        learning_rate: The largest one.
        patience: Epochs without a better validation loss after which training stops, and goes
            back to the best.
        time_budget_minutes: Time that training may take: as many epochs are planned as fit.
        image_size: Side in pixels that photos are decoded to; None takes the network's own.
        resize: "squash" keeps the whole photo and not its proportions, "crop" the reverse,
            "halfway" does half of each; None takes the recipe's, which is "halfway" in our way.
        precision: "int8", "bf16" or "f32" arithmetic in the network; "auto" takes int8 for the
            EfficientNet-Lites, which alone have it, and for others bf16 where the processor has
            matrix units for it, else f32; networks trained from scratch compute in f32.
        views: Views of each training photo to fit the head on: the photo itself, and others drawn
            from `handful.data.augmentation.VIEWS_POLICY`; 1 is the photo alone.
        test_time_mirror: Average a photo's and its mirror image's embedding when predicting.
        class_weight: "balanced" weighs classes by inverse frequency, "none" does not, "auto"
            does when the largest class has over 3 times the photos of the smallest.
        validation_fraction: Share of each class held out when the photos bring no split, in (0, 1).
        drop_leaks: Leave out training photos that near-duplicate a held-out one.
        fixes: Fix list of the photos, a CSV as `handful check --fix-list` writes it, or None.
        num_seeds: Random splits on which a head is fitted anew, to see how far its scores spread;
            with folds, how often these are drawn. 1 is the run's own split alone.
        num_folds: Folds of a cross-validation that shows the same, or None for none.
        learning_curve: Measure how accuracy grows with the number of photos, for the report.
        difference: Difference of two accuracies that the validation photos should be able to
            show, a fraction in (0, 1]; too few of them are warned of.
        seed: Seed of everything drawn at random, 0 or more.
        max_megapixels: Larger pictures are rejected before they are decoded.

    Raises:
        ValueError: When a value is outside its range, or is of no use to what is trained.
    """

    strategy: str = "transfer"
    recipe: str = "handful"
    backbone: str | None = None
    weights: str | None = None
    network: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    patience: int | None = None
    time_budget_minutes: float | None = None
    image_size: int | None = None
    resize: str | None = None
    precision: str = "auto"
    views: int = 1
    test_time_mirror: bool = False
    class_weight: str = "auto"
    validation_fraction: float = 0.2
    drop_leaks: bool = False
    fixes: str | None = None
    num_seeds: int = 1
    num_folds: int | None = None
    learning_curve: bool = False
    difference: float = 0.02
    seed: int = 0
    max_megapixels: float = 100.0

    def __post_init__(self) -> None:
        _check_choice("strategy", self.strategy, STRATEGIES)
        _check_choice("recipe", self.recipe, RECIPES)
        _check_choice("resize", self.resize or "halfway", RESIZES)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("class_weight", self.class_weight, CLASS_WEIGHTS)
        _check_range("image_size", self.image_size or 224, 32, 1024)
        _check_range("epochs", self.epochs or 1, 1, 100_000)
        _check_range("batch_size", self.batch_size or 1, 1, 4096)
        _check_range("patience", self.patience or 1, 1, 100_000)
        for name in ("learning_rate", "time_budget_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"`{name}` is {value}; expected more than 0.")
        for name in ("epochs", "batch_size", "patience", "image_size"):
            if getattr(self, name) == 0:
                raise UsageError(f"`{name}` is 0; expected 1 or more.")
        if self.precision == "int8" and self.strategy != "transfer":
            raise UsageError(
                f"`precision` is 'int8' and `strategy` {self.strategy!r}; 8 bits are for transfer."
            )
        if self.network is not None and self.strategy not in ("scratch", "augmented"):
            raise UsageError(
                f"`network` is {self.network!r} and `strategy` {self.strategy!r}; a network of "
                "one's own is trained by the strategies scratch and augmented."
            )
        _check_range("views", self.views, 1, 64)
        _check_range("seed", self.seed, 0, 2**32 - 1)
        _check_range("max_megapixels", self.max_megapixels, 0.001, 4_000)
        if not 0.0 < self.validation_fraction < 1.0:
            raise UsageError(
                f"`validation_fraction` is {self.validation_fraction}; expected a fraction "
                "between 0 and 1, such as 0.2."
            )
        _check_difference(self.difference)
        _check_resampling(self)
        if self.fits_head:
            _check_epochless(self)

    @property
    def fits_head(self) -> bool:
        """Whether a head is fitted to a frozen network, without epochs."""
        return self.strategy == "transfer" and self.recipe == "handful"

    @property
    def is_resampled(self) -> bool:
        """Whether the head is fitted on other splits too, to see how far its scores spread."""
        return self.num_seeds > 1 or self.num_folds is not None

    @property
    def decode_resize(self) -> str:
        """How the frozen network's photos are resized."""
        return self.resize or "halfway"


@dataclass(frozen=True)
class CompareConfig:
    """What `compare` trains.

    Args:
        strategies: Which ones, in this order; empty takes those of the recipe.
        recipe: As in `TrainConfig`.
        num_seeds: Trainings of each strategy, with the seeds `seed`, `seed` + 1, ...
        quick: Cut training short to have a first look in a few minutes, without "fine-tune"
            unless it is named.
        backbone: As in `TrainConfig`, as are the rest.
        weights: Weights file to use instead of the backbone's own, or None.
        network: "file.py:build" for a network of the user's own in scratch and augmented.
        epochs: Passes over the training photos, for all networks; None takes the recipe's.
        validation_fraction: Share of each class held out when the photos bring no split.
        difference: As in `TrainConfig`.
        fixes: As in `TrainConfig`.
        seed: First seed; the split's too.
        max_megapixels: Larger pictures are rejected before they are decoded.

    Raises:
        ValueError: When a value is outside its range.
    """

    strategies: tuple[str, ...] = ()
    recipe: str = "handful"
    num_seeds: int = 1
    quick: bool = False
    backbone: str | None = None
    weights: str | None = None
    network: str | None = None
    epochs: int | None = None
    validation_fraction: float = 0.2
    difference: float = 0.02
    fixes: str | None = None
    seed: int = 0
    max_megapixels: float = 100.0

    def __post_init__(self) -> None:
        _check_choice("recipe", self.recipe, RECIPES)
        _check_range("num_seeds", self.num_seeds, 1, 100)
        for name in self.strategies:
            _check_choice("strategies", name, STRATEGIES)
        if len(set(self.strategies)) < len(self.strategies):
            raise UsageError(f"`strategies` are {', '.join(self.strategies)}; expected each once.")
        for strategy in self.chosen:
            self.train_config(strategy, self.seed)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The strategies to train; a quick comparison leaves the slowest to those who ask."""
        known = _COMPARED[self.recipe]
        quick = tuple(name for name in known if name != "fine-tune")
        return self.strategies or (quick if self.quick else known)

    def train_config(self, strategy: str, seed: int) -> TrainConfig:
        """One training's configuration.

        Args:
            strategy: Which one.
            seed: Its seed.

        Returns:
            What `train` takes.
        """
        pictures = strategy in ("scratch", "augmented")
        epochs = strategy != "transfer" or self.recipe != "handful"
        return TrainConfig(
            strategy=strategy,
            recipe=self.recipe,
            backbone=None if pictures else self.backbone,
            weights=None if pictures else self.weights,
            network=self.network if pictures else None,
            epochs=self.epochs if epochs else None,
            time_budget_minutes=QUICK_MINUTES if self.quick and epochs else None,
            validation_fraction=self.validation_fraction,
            difference=self.difference,
            fixes=self.fixes,
            seed=seed,
            max_megapixels=self.max_megapixels,
        )


@dataclass(frozen=True)
class ServeConfig:
    """How a classifier is served over HTTP.

    Args:
        host: Address to listen at; the default is reached from this machine alone.
        port: TCP port, or 0 for a free one.
        allowed_hosts: Names that requests may call the server by, besides the loopback's; without
            any, all are allowed where `host` is not a loopback address. Behind a proxy, the names
            that it is called by.
        root_path: Path that a proxy in front leaves before the server's own, such as "/photos".
        max_waiting: Pictures that may wait for a thread; more are refused with 503.
        max_body_megabytes: Size of one request.
        max_files: Files in one request.
        body_seconds: Time in which a whole request must have come.
        decode_seconds: What decoding the pictures of one request may cost, in seconds of a
            processor core; memory counts as time, 1.2 GB as 5 s.
        drain_seconds: Time that requests have to end in when the server is stopped.
        quiet: Log no requests, only warnings and errors.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    max_waiting: int = 128
    max_body_megabytes: float = 20.0
    max_files: int = 32
    body_seconds: float = 30.0
    decode_seconds: float = 10.0
    drain_seconds: float = 20.0
    quiet: bool = False

    def __post_init__(self) -> None:
        _check_range("port", self.port, 0, 65535)
        if self.root_path and (self.root_path[0] != "/" or self.root_path[-1] == "/"):
            raise ValueError(
                f"`root_path` is {self.root_path!r}; expected a path such as /photos, with no "
                "slash at its end."
            )
        _check_range("max_files", self.max_files, 1, 1000)
        # Else a request could be taken that never fits into the queue.
        _check_range("max_waiting", self.max_waiting, self.max_files, 100_000)
        _check_range("max_body_megabytes", self.max_body_megabytes, 0.001, 200.0)
        _check_range("body_seconds", self.body_seconds, 0.1, 3600.0)
        _check_range("decode_seconds", self.decode_seconds, 0.01, 3600.0)
        _check_range("drain_seconds", self.drain_seconds, 0.0, 3600.0)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def _check_difference(difference: float) -> None:
    if not 0.0 < difference <= 1.0:
        raise UsageError(
            f"`difference` is {difference}; expected a fraction above 0, up to 1: 0.02 is 2 points."
        )


def _check_resampling(config: TrainConfig) -> None:
    _check_range("num_seeds", config.num_seeds, 1, 1000)
    if config.num_folds is not None and not 2 <= config.num_folds <= 1000:
        raise UsageError(
            f"`num_folds` is {config.num_folds}; expected 2 to 1000, for each fold is scored by a "
            "head that the others fit."
        )
    if config.is_resampled and not config.fits_head:
        raise UsageError(
            f"strategy {config.strategy!r} of recipe {config.recipe!r} trains in epochs and does "
            "not use `num_seeds` or `num_folds`; leave them out, or choose strategy 'transfer' of "
            "recipe 'handful', whose head is fitted in a moment. To train a network with several "
            "seeds, use `handful compare`."
        )
    if config.learning_curve and not config.fits_head:
        raise UsageError(
            f"strategy {config.strategy!r} of recipe {config.recipe!r} trains in epochs and does "
            "not use `learning_curve`; leave it out, or choose strategy 'transfer' of recipe "
            "'handful', whose head is fitted anew for every number of photos."
        )


def _check_epochless(config: TrainConfig) -> None:
    """Refuse what a head that is fitted without epochs would silently leave unused."""
    for name in ("epochs", "batch_size", "learning_rate", "patience", "time_budget_minutes"):
        if getattr(config, name) is not None:
            raise UsageError(
                "strategy 'transfer' of recipe 'handful' fits its head without epochs and does not "
                f"use `{name}`; leave it out, or choose another strategy, such as 'fine-tune'."
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"`{name}` is {value!r}; expected one of {', '.join(choices)}.")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"`{name}` is {value}; expected {low} to {high}.")
