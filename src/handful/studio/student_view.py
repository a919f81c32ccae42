"""What students choose and see, as plain values: strategy, network, epochs, views of photos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from handful.augmentation_policy import AugmentationPolicy
from handful.config import STRATEGIES, train_config
from handful.data.augmentation import VIEWS_POLICY
from handful.errors import HandfulError, MissingExtraError, UsageError
from handful.features.keras_runtime import require_keras
from handful.features.registry import DEFAULT_BACKBONE, known_backbones
from handful.reports.training_charts import history_charts
from handful.training.cutting import TUNABLE
from handful.training.jobs import chosen_recipe
from handful.training.recipes import Recipe, find_recipe

STRATEGY_WORDS = {
    "transfer": "a head on a pretrained network's features",
    "scratch": "a network learns from these photos alone",
    "augmented": "the same, from ever new views of them",
    "fine-tune": "the pretrained network itself is trained on",
    "distilled": "a small network learns to imitate the pretrained one",
}
RECIPE_WORDS = {"handful": "handful: ours", "keras-tutorial": "keras-tutorial: the exercise's"}
FILL_WORDS = {
    "nearest": "its edge",
    "reflect": "its mirror image",
    "wrap": "its other side",
    "constant": "black",
}
_CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Slider:
    """A range of views that has a slider.

    Args:
        name: As in `AugmentationPolicy`.
        label: For people.
        most: Its right end; the left one is 0.
        step: From one place to the next.
    """

    name: str
    label: str
    most: float
    step: float


SLIDERS = (
    Slider("rotation_range", "Rotation, degrees", 90, 1),
    Slider("width_shift_range", "Shift to the sides, share of the width", 0.5, 0.01),
    Slider("height_shift_range", "Shift up and down, share of the height", 0.5, 0.01),
    Slider("shear_range", "Shear, degrees", 45, 0.2),
    Slider("zoom_range", "Zoom, share more or less", 0.8, 0.01),
)
FLIPS = {"horizontal_flip": "Mirror left to right", "vertical_flip": "Turn upside down"}


@dataclass(frozen=True)
class Choice:
    """What a student has chosen; what is None or "" is left to the recipe.

    Args:
        recipe: "handful" or "keras-tutorial".
        strategy: One that the recipe has.
        backbone: The pretrained network.
        epochs: Passes over the training photos.
        image_size: Side of the photos in pixels.
        views: Augmented copies of each photo, for a head.
        policy: Options of `AugmentationPolicy`; None takes the recipe's.
    """

    recipe: str = "handful"
    strategy: str = "transfer"
    backbone: str = ""
    epochs: int | None = None
    image_size: int | None = None
    views: int = 1
    policy: Mapping[str, Any] | None = None

    def options(self) -> dict[str, Any]:
        """The options of a training, as plain values, without those that it does not use."""
        found: dict[str, Any] = {"recipe": self.recipe, "strategy": self.strategy}
        if _has_backbone(self.strategy) and self.backbone:
            found["backbone"] = self.backbone
        if self.recipe_found is not None and self.epochs is not None:
            found["epochs"] = self.epochs
        if self.image_size is not None:
            found["image_size"] = self.image_size
        if self.recipe_found is None and self.views != 1:
            found["views"] = self.views
        if self.has_policy and self.policy is not None:
            found["policy"] = dict(self.policy)
        return found

    @property
    def recipe_found(self) -> Recipe | None:
        """The numbers behind it; None for the head that is fitted without epochs."""
        return find_recipe(self.recipe, self.strategy)

    @property
    def has_policy(self) -> bool:
        """Whether it learns from views of the photos."""
        recipe = self.recipe_found
        return self.views > 1 if recipe is None else recipe.policy is not None

    @property
    def shown_policy(self) -> AugmentationPolicy:
        """What views are drawn from, as far as that can be drawn."""
        if self.policy is not None:
            return AugmentationPolicy(**self.policy)
        recipe = self.recipe_found
        return VIEWS_POLICY if recipe is None or recipe.policy is None else recipe.policy

    def with_policy(self, **changes: Any) -> "Choice":
        """The same with other views; the rest of the recipe's stay.

        Args:
            **changes: Options of `AugmentationPolicy`.

        Returns:
            The choice.

        Raises:
            UsageError: When a range is impossible.
        """
        policy = replace(self.shown_policy, **changes)
        changed = {
            one.name: getattr(policy, one.name)
            for one in fields(policy)
            if getattr(policy, one.name) != one.default
        }
        return replace(self, policy=changed)


def change(choice: Choice, name: str, text: str) -> Choice:
    """Take what a page's field says.

    Args:
        choice: What was chosen before.
        name: Of the field.
        text: What it holds; "" leaves it to the recipe.

    Returns:
        What is chosen now; what another recipe or strategy does not have goes.

    Raises:
        UsageError: When it is no number where one is due.
    """
    if name == "recipe":
        strategy = choice.strategy if choice.strategy in strategies_of(text) else "transfer"
        return Choice(text, strategy)
    if name == "strategy":
        return Choice(choice.recipe, text)
    if name == "backbone":
        return replace(choice, backbone=text)
    try:
        number = int(text) if text else None
    except ValueError:
        raise UsageError(f"`{name}` is {text!r}; expected a whole number.") from None
    if name == "epochs":
        return replace(choice, epochs=number)
    if name == "image_size":
        return replace(choice, image_size=number)
    return replace(choice, views=1 if number is None else number)


def strategies_of(recipe: str) -> tuple[str, ...]:
    """Tell which strategies a recipe has.

    Args:
        recipe: Its name.

    Returns:
        Their names.
    """
    found = []
    for name in STRATEGIES:
        try:
            find_recipe(recipe, name)
        except UsageError:
            continue
        found.append(name)
    return tuple(found)


@dataclass(frozen=True)
class StudentView:
    """What there is to choose.

    Args:
        strategies: Names with what they are.
        backbones: Names with what they are, the recipe's first; empty where none is used.
        epochs: The recipe's; None for a head, which has none.
        image_size: The recipe's or the network's own.
        network: What `handful.training.summaries` calls the network.
        has_views: Whether it may have augmented copies.
        has_policy: Whether it learns from views.
        needs: What is to be installed for it, or "".
        refusal: Why it cannot be trained so, or "".
        kept: Ranges of the policy that have no slider, in words.
    """

    strategies: tuple[tuple[str, str], ...]
    backbones: tuple[tuple[str, str], ...]
    epochs: int | None
    image_size: int
    network: str
    has_views: bool
    has_policy: bool
    needs: str = ""
    refusal: str = ""
    kept: str = ""


def student_view(choice: Choice) -> StudentView:
    """Tell what there is to choose, and what speaks against what was chosen.

    Args:
        choice: What was chosen.

    Returns:
        The view.
    """
    recipe, backbones = choice.recipe_found, _backbones(choice)
    sizes = {name: size for name, size, _ in backbones}
    backbone = choice.backbone or (recipe and recipe.backbone) or DEFAULT_BACKBONE
    network = backbone if recipe is None or recipe.network in ("head", "body") else recipe.network
    own = {*(one.name for one in SLIDERS), *FLIPS, "fill_mode", "cval", "rescale"}
    rest = {k: v for k, v in asdict(choice.shown_policy).items() if k not in own}
    return StudentView(
        strategies=tuple((name, STRATEGY_WORDS[name]) for name in strategies_of(choice.recipe)),
        backbones=tuple((name, words) for name, _, words in backbones),
        epochs=None if recipe is None else recipe.epochs,
        image_size=sizes.get(backbone, 224) if recipe is None else recipe.image_size,
        network=network,
        has_views=recipe is None,
        has_policy=choice.has_policy,
        needs=_needs(choice),
        refusal=_refusal(choice, list(sizes)),
        kept=AugmentationPolicy(**rest).in_words(),
    )


def _has_backbone(strategy: str) -> bool:
    return strategy in ("transfer", "fine-tune")


def _backbones(choice: Choice) -> list[tuple[str, int, str]]:
    """Name, image size and words of the networks that a strategy takes, its own first."""
    if not _has_backbone(choice.strategy):
        return []
    recipe, found = choice.recipe_found, []
    for _, backbone in known_backbones():
        name = backbone.metadata.name
        if choice.strategy == "fine-tune" and name not in TUNABLE:
            continue
        if recipe is not None and backbone.build is None:
            continue
        needs = "" if backbone.needs is None else backbone.needs(backbone.metadata)
        words = f"{name}, {backbone.metadata.image_size} pixels" + f" ({needs})" * bool(needs)
        found.append((name, backbone.metadata.image_size, words))
    own = (recipe and recipe.backbone) or DEFAULT_BACKBONE
    return sorted(found, key=lambda one: one[0] != own)


def _needs(choice: Choice) -> str:
    if choice.recipe_found is None:
        return ""
    try:
        require_keras(f"Strategy {choice.strategy} of recipe {choice.recipe}")
    except MissingExtraError as error:
        return str(error)
    return ""


def _refusal(choice: Choice, backbones: Sequence[str]) -> str:
    """Why a training would be refused: by the configuration of the command line itself."""
    if choice.backbone and choice.backbone not in backbones:
        # No page may name a file.
        return f"`backbone` is {choice.backbone!r}; choose one of the list."
    try:
        chosen_recipe(train_config(choice.options()))
    except HandfulError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Curve:
    """A chart.

    Args:
        title: Its heading.
        svg: The drawing.
    """

    title: str
    svg: str


def curves(name: str, epochs: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """Draw accuracy and loss by epoch: training dashed, validation solid.

    Args:
        name: What was trained.
        epochs: As `JobFolder.epochs` gives them.

    Returns:
        Two charts; none before the first epoch has ended.
    """
    if not epochs:
        return ()
    history: dict[str, list[float]] = {column: [] for column in _CURVES}
    known = {int(epoch["epoch"]): epoch for epoch in epochs}
    for number in range(1, max(known) + 1):
        for column in _CURVES:
            value = known.get(number, {}).get(column)
            history[column].append(math.nan if value is None else float(value))
    return tuple(
        Curve(chart.title, chart.__html__()) for chart in history_charts({name or "all": history})
    )


@dataclass(frozen=True)
class NetworkTable:
    """A network's layers.

    Args:
        sentence: How many there are, and how many parameters.
        rows: Name, kind, shape of the output and parameters of each.
    """

    sentence: str
    rows: tuple[tuple[str, str, str, str], ...]


def network_table(summary: Mapping[str, Any]) -> NetworkTable:
    """Show a network's summary.

    Args:
        summary: As `NetworkSummary.to_dict` gives it.

    Returns:
        The table.
    """
    rows = tuple(
        (
            str(layer["name"]),
            str(layer["type"]),
            " × ".join("?" if side is None else f"{side:,}" for side in layer["output_shape"] or ())
            or "?",
            f"{layer['parameters']:,}",
        )
        for layer in summary["layers"]
    )
    trained = f"{summary['parameters']:,} parameters, of which {summary['trainable']:,} are trained"
    body = summary.get("body")
    if body:
        trained += f"; {body['parameters']:,} of them in the pretrained {body['name']}"
    return NetworkTable(f"{len(rows)} layers, {trained}.", rows)
