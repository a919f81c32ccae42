"""What a job is asked to do: plain values, checked once, when they are put together."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from handful.augmentation_policy import AugmentationPolicy
from handful.errors import UsageError
from handful.options import Options, changed, option

PRECISIONS = ("auto", "bf16", "f16", "f32", "int8")
DEVICES = ("auto", "cpu", "gpu")
RESIZES = ("squash", "crop", "halfway")
CLASS_WEIGHTS = ("auto", "balanced", "none")
QUALITIES = ("fast", "good", "best")
STRATEGIES = ("transfer", "scratch", "augmented", "fine-tune", "distilled")
RECIPES = ("handful", "keras-tutorial", "mnist")
# What `compare` trains of each recipe.
_COMPARED = {
    "handful": ("scratch", "augmented", "transfer", "fine-tune"),
    "keras-tutorial": ("scratch", "augmented", "transfer"),
    "mnist": ("scratch",),
}
# What jobs that train nothing use of the options of a training.
_NETWORK = ("backbone", "weights", "image_size", "resize", "precision", "device")
_LOOKING = ("fixes", *_NETWORK, "seed")
CHECK_OPTIONS = (*_LOOKING, "max_megapixels", "validation_fraction")
EMBED_OPTIONS = (*_NETWORK, "preprocessing", "max_megapixels")
CURVE_OPTIONS = (*_LOOKING, "max_megapixels", "class_weight")
_AUGMENTED = ("augmented", "distilled")
RUNS_FOLDER = Path("runs")
QUICK_MINUTES = 0.4  # for each network of a quick comparison


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """Which photos are learned from.

    Args:
        fixes: Fix list of the photos, a CSV as `handful check --fix-list` writes it, or None.
        validation_fraction: Fraction of each class held out when the photos bring no split.
        drop_leaks: Leave out training photos that near-duplicate a held-out one.
        max_megapixels: Larger photos are rejected before they are decoded.
        seed: Seed of everything drawn at random.
    """

    heading = "Data"

    fixes: str | None = option(
        None,
        "Fix list that `check` wrote: leave out and relabel what it says; files stay.",
        metavar="FILE",
    )
    validation_fraction: float = option(
        0.2,
        "Fraction held out for validation if the data has no split.",
        above=0,
        below=1,
        is_common=True,
    )
    drop_leaks: bool = option(False, "Leave out training photos that leak.")
    max_megapixels: float = option(
        100.0, "Larger photos are rejected unread.", least=0.001, most=4_000
    )
    seed: int = option(
        0, "Seed of all that is drawn at random.", least=0, most=2**32 - 1, is_common=True
    )


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """Which network is used.

    Args:
        recipe: "handful" is our way, "keras-tutorial" the well-known exercise's, "mnist" its
            way for handwritten digits; see `handful.training.recipes`.
        backbone: Name of the pretrained network, see `handful.backbones`; or a network's file; or
            hf:OWNER/NAME, of a hub. None takes the recipe's: efficientnet-lite0, or xception in
            the exercise.
        weights: Weights file to use instead of the backbone's own, or None.
        preprocessing: What a backbone in a file or of a hub takes and gives, see
            `handful.features.preprocessing`; None takes what is said beside it.
        network: "file.py:build" for a network of the user's own instead of the recipe's.
    """

    heading = "Network"

    recipe: str = option(
        "handful",
        "handful (ours), keras-tutorial (the well-known exercise's), or mnist.",
        choices=RECIPES,
    )
    backbone: str | None = option(
        None,
        "Pretrained network: a name that `handful backbones` lists, a file (.onnx, .xml, .tflite, "
        ".keras), or hf:OWNER/NAME of a hub [the recipe's].",
        is_common=True,
    )
    weights: str | None = option(
        None, "Weights file to use instead of the backbone's own.", metavar="FILE"
    )
    preprocessing: str | None = option(
        None,
        "What a backbone in a file or of a hub takes and gives, such as 'mean=0.5 std=0.5 "
        "pooling=cls'; or a JSON file of it [found beside it].",
        metavar="TEXT",
    )
    network: str | None = option(
        None,
        "A network of your own for scratch and augmented: build(input_shape, num_classes) returns "
        "a Keras model.",
        metavar="FILE.py:FUNCTION",
    )


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Where networks compute.

    Args:
        device: "auto" takes a GPU where there is one that works, else the processor; "cpu" never
            looks for one; "gpu" ends with an error where there is none.
    """

    heading = "Device"

    device: str = option(
        "auto", "auto (a GPU where one works), cpu or gpu, for networks.", choices=DEVICES
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How it is trained.

    Args:
        strategy: "transfer" fits a head to a pretrained network's features; "scratch" trains a
            network on the photos alone, "augmented" on ever new views of them; "fine-tune" trains
            the pretrained network on; "distilled" has the small network imitate it.
        quality: How much a frozen network may cost: "fast" takes the last layer of the smallest;
            "good" takes several layers of it, for photos unlike ImageNet's; "best" tries larger
            photos and several networks together as well, and fine-tuning where Keras is installed,
            and takes what cross-validation of the training photos shows to be better. A `backbone`
            or `image_size` that is given wins.
        epochs: Passes over the training photos; None takes the recipe's, as do the next three.
        batch_size: Photos per step.
        learning_rate: The largest one.
        patience: Epochs without a better validation loss after which training stops, and goes
            back to the best.
        time_budget: Minutes that training may take: as many epochs are planned as fit, or as much
            is tried for `quality` "best", whose fine-tuning has ten where none are given.
        image_size: Side in pixels that photos are decoded to; None takes the network's own.
        resize: "squash" keeps the whole photo and not its proportions, "crop" the reverse,
            "halfway" is a compromise between both; None takes the recipe's, which is "halfway" in
            our way.
        precision: "int8", "bf16", "f16" or "f32" arithmetic in the network; "auto" takes int8 for
            the EfficientNet-Lites, which alone have it, and for others bf16 where the processor has
            matrix units for it, else f32; on a GPU always f32; networks trained from scratch
            compute in f32. "f16" is for GPUs; processors compute it in f32.
        views: Augmented copies of each training photo to fit the head on: the photo itself, and
            others drawn from `handful.data.augmentation.VIEWS_POLICY`; 1 is the photo alone.
        tta: Average a photo's and its mirror image's embedding when predicting.
        class_weight: "balanced" weighs classes by inverse frequency, "none" does not, "auto"
            does when the largest class has over 3 times the photos of the smallest.
        loss: "focal", or another name that Keras knows, of the loss that a network is trained
            with; None takes cross-entropy.
        metrics: Names of Keras' of what is measured besides loss and accuracy, such as "auc".
        policy: What views of training photos are drawn from, instead of the recipe's policy:
            for "augmented" and "distilled", and for "transfer" with several `views`.
    """

    heading = "Training"

    strategy: str = option(
        "transfer",
        "transfer (a head on a pretrained network), scratch, augmented, fine-tune or distilled.",
        choices=STRATEGIES,
        is_common=True,
    )
    quality: str = option(
        "fast",
        "fast; where accuracy is low, good (more of the network) or best (tries several networks, "
        "and with Keras fine-tuning too).",
        choices=QUALITIES,
        is_common=True,
    )
    epochs: int | None = option(
        None,
        "Passes over the training photos [the recipe's].",
        least=1,
        most=100_000,
        is_common=True,
    )
    batch_size: int | None = option(None, "Photos per step [the recipe's].", least=1, most=4096)
    learning_rate: float | None = option(None, "Largest learning rate [the recipe's].", above=0)
    patience: int | None = option(
        None,
        "Stop after so many epochs without a better validation loss, and go back to the best.",
        least=1,
        most=100_000,
    )
    time_budget: float | None = option(
        None,
        "Plan epochs, or trials of best, to fit.",
        above=0,
        metavar="MINUTES",
        is_common=True,
    )
    image_size: int | None = option(
        None, "Image side in pixels [the network's own].", least=32, most=1024
    )
    resize: str | None = option(
        None,
        '"squash" keeps the whole photo, "crop" its proportions, "halfway" is a compromise '
        "between both [the recipe's].",
        choices=RESIZES,
    )
    precision: str = option(
        "auto",
        "auto, int8, bf16, f16 (on a GPU) or f32 arithmetic in the network; int8 is "
        "efficientnet-lite's.",
        choices=PRECISIONS,
    )
    views: int = option(
        1,
        "Augmented copies per training photo: itself, and others with small shifts, zooms and "
        "flips.",
        least=1,
        most=64,
    )
    tta: bool = option(
        False, "Flip at prediction (test-time augmentation): average with the flipped photo."
    )
    class_weight: str = option(
        "auto",
        "auto, balanced or none; auto balances classes skewed past 3:1.",
        choices=CLASS_WEIGHTS,
    )
    loss: str | None = option(
        None,
        "focal, or another loss of Keras', for scratch, augmented and fine-tune [crossentropy].",
    )
    metrics: tuple[str, ...] = option(
        (), "Metric of Keras' to measure in each epoch, such as auc; once for each.", metavar="NAME"
    )
    policy: AugmentationPolicy | None = None  # has options of its own


@dataclass(frozen=True, kw_only=True)
class TrustOptions(Options):
    """How far its figures can be trusted.

    Args:
        seeds: Random splits on which a head is fitted anew, to see how far its scores spread;
            with folds, how often these are drawn. 1 is the run's own split alone.
        folds: Folds of a cross-validation that shows the same, or None for none.
        curve: Measure how accuracy grows with the number of photos, for the report.
        difference: Difference of two accuracies that the validation photos should be able to
            show; too few of them are warned of.
    """

    heading = "Trust"

    seeds: int = option(
        1, "Random splits to train on, to see how much the accuracy varies.", least=1, most=1000
    )
    folds: int | None = option(
        None,
        "Folds of a cross-validation for the same; with several seeds repeated.",
        least=2,
        most=1000,
    )
    curve: bool = option(False, "Show in the report what more photos would bring.")
    difference: float = option(
        0.02,
        "Warn if there are too few validation photos to show such a difference in accuracy.",
        above=0,
        most=1,
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrustOptions, NetworkOptions, DeviceOptions, TrainingOptions, DataOptions):
    """Everything that decides what `train` makes from a set of photos.

    Raises:
        UsageError: When a value is outside its range, or is of no use to what is trained.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision == "int8" and self.strategy != "transfer":
            raise UsageError(
                f"`precision` is 'int8' and `strategy` {self.strategy!r}; 8 bits are for transfer."
            )
        if self.network is not None and self.strategy not in ("scratch", "augmented"):
            raise UsageError(
                f"`network` is {self.network!r} and `strategy` {self.strategy!r}; a network of "
                "one's own is trained by the strategies scratch and augmented."
            )
        if self.strategy == "distilled":
            refuse_objective(self.loss, self.metrics)
        _check_policy(self)
        _check_resampling(self)
        if self.fits_head:
            _check_epochless(self)
        elif self.quality != "fast":
            raise UsageError(
                f"`quality` is {self.quality!r} and `strategy` {self.strategy!r} of recipe "
                f"{self.recipe!r}, which trains in epochs; qualities are for strategy 'transfer' "
                "of recipe 'handful'. Leave one of the two out."
            )

    @property
    def fits_head(self) -> bool:
        """Whether a head is fitted to a frozen network, without epochs."""
        return self.strategy == "transfer" and self.recipe == "handful"

    @property
    def is_resampled(self) -> bool:
        """Whether the head is fitted on other splits too, to see how far its scores spread."""
        return self.seeds > 1 or self.folds is not None

    @property
    def decode_resize(self) -> str:
        """How the frozen network's photos are resized."""
        return self.resize or "halfway"


@dataclass(frozen=True, kw_only=True)
class CompareConfig(NetworkOptions, DeviceOptions, DataOptions):
    """What `compare` trains.

    Args:
        strategy: Which ones, in this order; empty takes those of the recipe.
        seeds: Trainings of each strategy, with the seeds `seed`, `seed` + 1, ...
        quick: Cut training short to have a first look in a few minutes, without "fine-tune"
            unless it is named.
        policy: As in `TrainingOptions`, for "augmented" and "distilled".
        epochs: Passes over the training photos, for all networks; None takes the recipe's.
        difference: As in `TrustOptions`.

    Raises:
        UsageError: When a value is outside its range.
    """

    heading = "Comparison"

    strategy: tuple[str, ...] = option(
        (),
        "Strategy to train; once for each [those of the recipe].",
        choices=STRATEGIES,
        is_common=True,
    )
    seeds: int = option(
        1,
        "Trainings of each strategy, to see how much is luck.",
        least=1,
        most=100,
        is_common=True,
    )
    quick: bool = option(
        False, "A first look in under three minutes, no fine-tune.", is_common=True
    )
    epochs: int | None = option(
        None, "Passes over the training photos [the recipe's].", least=1, most=100_000
    )
    difference: float = option(
        0.02,
        "Warn if there are too few validation photos to show such a difference in accuracy.",
        above=0,
        most=1,
    )
    policy: AugmentationPolicy | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.strategy)) < len(self.strategy):
            raise UsageError(f"`strategy` is {', '.join(self.strategy)}; expected each once.")
        for strategy in self.chosen:
            self.train_config(strategy, self.seed)
        if self.policy is not None and not {*self.chosen} & {*_AUGMENTED}:
            raise UsageError(
                f"An augmentation policy is given, and `strategy` is {', '.join(self.chosen)}; "
                f"expected {' or '.join(_AUGMENTED)} among them."
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The strategies to train; a quick comparison leaves the slowest to those who ask."""
        known = _COMPARED[self.recipe]
        quick = tuple(name for name in known if name != "fine-tune")
        return self.strategy or (quick if self.quick else known)

    def train_config(self, strategy: str, seed: int) -> TrainConfig:
        """One training's configuration.

        Args:
            strategy: Which one.
            seed: Its seed.

        Returns:
            What `train` takes.
        """
        trains_network = strategy in ("scratch", "augmented")
        has_epochs = strategy != "transfer" or self.recipe != "handful"
        shared = {found.name: getattr(self, found.name) for found in fields(DataOptions)}
        shared["seed"] = seed
        return TrainConfig(
            **shared,
            strategy=strategy,
            recipe=self.recipe,
            backbone=None if trains_network else self.backbone,
            weights=None if trains_network else self.weights,
            preprocessing=None if trains_network else self.preprocessing,
            network=self.network if trains_network else None,
            device=self.device,
            policy=self.policy if strategy in _AUGMENTED else None,
            epochs=self.epochs if has_epochs else None,
            time_budget=QUICK_MINUTES if self.quick and has_epochs else None,
            difference=self.difference,
        )


@dataclass(frozen=True, kw_only=True)
class ServeConfig(DeviceOptions):
    """How a classifier is served over HTTP.

    Args:
        host: Address to listen at; the default is reached from this machine alone.
        port: TCP port, or 0 for a free one.
        allow_host: Names that requests may call the server by, besides the loopback's; without
            any, all are allowed where `host` is not a loopback address. Behind a proxy, the names
            that it is called by.
        root_path: Path that a proxy in front leaves before the server's own, such as "/photos".
        max_waiting: Images that may wait for a thread; more are refused with 503.
        max_body: Size of one request in megabytes.
        max_files: Files in one request.
        body_seconds: Time in which a whole request must have come.
        decode_seconds: What decoding the images of one request may cost, in seconds of a
            processor core; memory counts as time, 1.2 GB as 5 s.
        drain_seconds: Time that requests have to end in when the server is stopped.
        corrections: Folder of the project that takes corrections, made where nothing is; None takes
            the one that the run lies in, and no corrections where that is in none.
        quiet: Log no requests, only warnings and errors.
    """

    heading = "Server"

    host: str = option(
        "127.0.0.1", "Address to listen at; any but the default lets others in.", is_common=True
    )
    port: int = option(8000, "TCP port; 0 takes a free one.", least=0, most=65535, is_common=True)
    allow_host: tuple[str, ...] = option(
        (), "Name that requests may call the server by; once for each.", metavar="NAME"
    )
    root_path: str = option("", "Path that a proxy in front leaves in addresses.", metavar="/PATH")
    max_waiting: int = option(
        128, "Photos that may wait; more are refused with 503.", least=1, most=100_000
    )
    max_body: float = option(20.0, "Size of one request.", metavar="MB", least=0.001, most=200)
    max_files: int = option(32, "Photos in one request.", least=1, most=1000)
    body_seconds: float = option(
        30.0, "Time in which a whole request must come.", least=0.1, most=3600
    )
    decode_seconds: float = option(
        10.0, "What decoding the photos of one request may cost.", least=0.01, most=3600
    )
    drain_seconds: float = option(
        20.0, "Time that requests have to end in when stopped.", least=0, most=3600
    )
    corrections: str | None = option(
        None,
        'Project that takes what people say is "wrong, it is ..." [the one that the run is in].',
        metavar="DIR",
    )
    quiet: bool = option(False, "Log warnings and errors, not requests.", short="-q")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root_path and (self.root_path[0] != "/" or self.root_path[-1] == "/"):
            raise UsageError(
                f"`root_path` is {self.root_path!r}; expected a path such as /photos, with no "
                "slash at its end."
            )
        if self.max_waiting < self.max_files:  # a request could never fit into the queue
            raise UsageError(
                f"`max_waiting` is {self.max_waiting}; expected {self.max_files} or more, as "
                "`max_files` is."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Args:
        host: An address of it, or a name.

    Returns:
        Whether that is so.
    """
    return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True, kw_only=True)
class StudioConfig(Options):
    """How the studio is opened.

    Args:
        project: Folder that labels, thumbnails and runs are kept in; None takes NAME.handful in the
            current folder.
        host: Address to listen at; the default is reached from this machine alone, others by those
            who have the token.
        port: TCP port, or 0 for a free one.
        no_browser: Only say the address.
    """

    heading = "Studio"

    project: str | None = option(
        None,
        "Folder that labels, small pictures and runs are kept in [NAME.handful].",
        metavar="DIR",
    )
    host: str = option(
        "127.0.0.1", "Address to listen at; 0.0.0.0 lets phones nearby in, with a token."
    )
    port: int = option(8050, "TCP port; 0 takes a free one.", least=0, most=65535)
    no_browser: bool = option(False, "Open no browser; only print the address.")


def train_config(values: Mapping[str, Any]) -> TrainConfig:
    """Make a configuration of plain values, as JSON has them.

    Args:
        values: Options by name; those of a `policy` are a dictionary too.

    Returns:
        The configuration.

    Raises:
        UsageError: For a name that is no option, or a value that it does not take.
    """
    values = dict(values)
    if isinstance(values.get("policy"), Mapping):
        values["policy"] = changed(AugmentationPolicy(), dict(values["policy"]))
    return changed(TrainConfig(), values)


def refuse_objective(loss: object, metrics: object) -> None:
    """Refuse a loss and metrics where a teacher's probabilities take the labels' place.

    Args:
        loss: What was given, or None.
        metrics: What was given; empty for none.

    Raises:
        UsageError: When there is one of them.
    """
    if loss is not None or metrics:
        raise UsageError(
            f"`{'metrics' if loss is None else 'loss'}` is given and `strategy` 'distilled', which "
            "learns a teacher's probabilities and not labels; leave it out, or choose scratch, "
            "augmented or fine-tune."
        )


def _check_policy(config: TrainConfig) -> None:
    policy = config.policy
    if policy is None:
        return
    if not isinstance(policy, AugmentationPolicy):
        raise UsageError(f"`policy` is {policy!r}; expected an AugmentationPolicy.")
    if policy.rescale is not None:
        raise UsageError(
            f"`policy` has rescale {policy.rescale:g}; leave it out: the recipe scales values as "
            "its network needs them. It is for `handful.batches`."
        )
    if policy.changes_nothing:
        raise UsageError("`policy` changes nothing; give a range or a flip, or leave it out.")
    if config.strategy not in _AUGMENTED and not (config.fits_head and config.views > 1):
        raise UsageError(
            f"An augmentation policy is given, and `strategy` {config.strategy!r} takes photos as "
            "they are; expected augmented or distilled, or transfer with 2 or more `views`."
        )


def _check_resampling(config: TrainConfig) -> None:
    if config.is_resampled and not config.fits_head:
        raise UsageError(
            f"strategy {config.strategy!r} of recipe {config.recipe!r} trains in epochs and does "
            "not use `seeds` or `folds`; leave them out, or choose strategy 'transfer' of "
            "recipe 'handful', whose head is fitted in a moment. To train a network with several "
            "seeds, use `handful compare`."
        )
    if config.curve and not config.fits_head:
        raise UsageError(
            f"strategy {config.strategy!r} of recipe {config.recipe!r} trains in epochs and does "
            "not use `curve`; leave it out, or choose strategy 'transfer' of recipe "
            "'handful', whose head is fitted anew for every number of photos."
        )


def _check_epochless(config: TrainConfig) -> None:
    """Refuse what a head that is fitted without epochs would silently leave unused."""
    refused = ["epochs", "batch_size", "learning_rate", "patience", "loss", "metrics"]
    if config.quality != "best":
        refused.append("time_budget")
    for name in refused:
        if getattr(config, name) not in (None, ()):
            raise UsageError(
                "strategy 'transfer' of recipe 'handful' fits its head without epochs and does not "
                f"use `{name}`; leave it out, or choose another strategy, such as 'fine-tune'."
            )
