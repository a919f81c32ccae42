"""What each strategy of training a network does, number by number: the exercise's way, and ours."""

from dataclasses import dataclass, replace

from handful.augmentation_policy import AugmentationPolicy
from handful.data.augmentation import CROPS_POLICY, EXERCISE_POLICY, HANDFUL_POLICY
from handful.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        network: Name in `handful.training.networks.NETWORKS`; "head" for a head on frozen
            features, "body" for a pretrained network that is trained on.
        image_size: Side in pixels of the pictures in the end, and of those that are predicted.
        resize: What becomes of the photos' proportions, see `DecodeSettings`.
        epochs: Passes over the training photos.
        batch_size: Photos a step.
        optimizer: "adam", "adamw" or "sgd" (Nesterov momentum 0.9).
        learning_rate: The largest one.
        cosine: Warm up over 8 % of the steps, then fall along a cosine to zero; else constant.
        rate_callback: Name of a callback of the user's that sets the learning rate instead.
        weight_decay: Decoupled decay of kernels ("adamw"); biases and norms are left alone.
        label_smoothing: Share of the truth spread over all classes.
        policy: What training views are drawn from; None takes the photos as they are.
        stored_size: Side in pixels that training photos are kept at, for views to be cut out of;
            None keeps `image_size`.
        sizes: (share of the epochs, side in pixels) in rising order, for training that begins
            small; empty trains at `image_size` throughout.
        scale: Factor on the pixels' values, 0 to 255.
        center: Take the training photos' mean value off, after scaling.
        gray: One channel instead of three.
        mirror: Average with the mirror image when predicting.
        patience: Epochs without a better validation loss after which training stops, and goes
            back to the best; None trains to the end.
        validate_every: Epochs from one look at the validation photos to the next.
        backbone: The pretrained network of "head" and "body"; None leaves it to the user.
    """

    network: str
    image_size: int
    epochs: int
    batch_size: int
    learning_rate: float
    resize: str = "squash"
    optimizer: str = "adam"
    cosine: bool = False
    rate_callback: str = ""
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    policy: AugmentationPolicy | None = None
    stored_size: int | None = None
    sizes: tuple[tuple[float, int], ...] = ()
    scale: float = 1 / 255
    centre: bool = False
    grey: bool = False
    mirror: bool = False
    patience: int | None = None
    validate_every: int = 1
    backbone: str | None = None

    def size_at(self, epoch: int, epochs: int) -> int:
        """Side of the training views in an epoch.

        Args:
            epoch: 0 to `epochs` - 1.
            epochs: Number of epochs planned.

        Returns:
            Pixels.
        """
        for share, size in self.sizes:
            if epoch < round(share * epochs):
                return size
        return self.image_size


_EXERCISE_SCRATCH = Recipe("scratch", 150, epochs=30, batch_size=64, learning_rate=5e-4)
_HANDFUL_SCRATCH = Recipe(
    "small",
    144,
    resize="halfway",
    epochs=150,
    batch_size=25,
    optimizer="adamw",
    learning_rate=2e-3,
    cosine=True,
    weight_decay=0.05,
    label_smoothing=0.1,
    policy=HANDFUL_POLICY,
    stored_size=164,
    # Training views magnify: photos are predicted at a size at which things look as large.
    sizes=((0.1, 80), (0.3, 96), (0.5, 112), (1.0, 128)),
    scale=1.0,
    mirror=True,
    validate_every=5,
)
_TABLE = {
    ("keras-tutorial", "scratch"): _EXERCISE_SCRATCH,
    ("keras-tutorial", "augmented"): replace(_EXERCISE_SCRATCH, epochs=100, policy=EXERCISE_POLICY),
    ("keras-tutorial", "transfer"): Recipe(
        "head", 150, epochs=10, batch_size=64, learning_rate=1e-3, scale=1.0, backbone="xception"
    ),
    # The same network and schedule without views: what augmentation is worth.
    ("handful", "scratch"): replace(
        _HANDFUL_SCRATCH, policy=None, stored_size=None, sizes=(), epochs=20
    ),
    ("handful", "augmented"): _HANDFUL_SCRATCH,
    ("handful", "fine-tune"): Recipe(
        "body",
        224,
        resize="halfway",
        epochs=12,
        batch_size=32,
        learning_rate=5e-4,
        cosine=True,
        policy=CROPS_POLICY,
        stored_size=256,
        # None smoothed: the loss decides whether tuning beats the fitted head, fairly.
        scale=1.0,
        validate_every=4,
        backbone="efficientnet-lite0-multilevel",
    ),
    # Its teacher looks at every view too, so that an epoch takes longer.
    ("handful", "distilled"): replace(_HANDFUL_SCRATCH, epochs=70, label_smoothing=0.0),
    ("mnist", "scratch"): Recipe(
        "mnist",
        28,
        epochs=20,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.01,
        centre=True,
        grey=True,
    ),
}


def find_recipe(name: str, strategy: str) -> Recipe | None:
    """Look a recipe up.

    Args:
        name: One of `handful.config.RECIPES`.
        strategy: One of `handful.config.STRATEGIES`.

    Returns:
        The recipe; None for the strategy "transfer" in our way, which fits a head without epochs.

    Raises:
        ValueError: When there is no such recipe.
    """
    if (name, strategy) == ("handful", "transfer"):
        return None
    found = _TABLE.get((name, strategy))
    if found is None:
        known = ", ".join(key[1] for key in _TABLE if key[0] == name)
        raise UsageError(
            f"The recipe {name!r} has no strategy {strategy!r}; expected {known}, or another "
            "recipe."
        )
    return found
