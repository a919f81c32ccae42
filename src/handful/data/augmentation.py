"""Random views of pictures: everything a policy draws, fused into ONE affine warp a picture.

One bilinear resampling instead of five keeps the picture sharper and is an order of magnitude
faster than a chain of rotation, shift, shear and zoom. Brightness and the like follow as one table
of 256 values.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.augmentation_policy import AugmentationPolicy, Pair, Shift

_BORDERS = {"nearest": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT}
_LUMA = np.array([[0.299, 0.587, 0.114]] * 3, np.float32)  # ITU-R BT.601, as Pillow's "L"


# The well-known exercise's; the first photo of a cat that many people augmented.
EXERCISE_POLICY = AugmentationPolicy(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=0.2,
    shear_range=0.2,
    zoom_range=0.2,
    horizontal_flip=True,
)

# Ours, for heads on a pretrained network, which has seen its share of turned and cropped photos.
VIEWS_POLICY = AugmentationPolicy(
    width_shift_range=0.05,
    height_shift_range=0.05,
    zoom_range=0.1,
    horizontal_flip=True,
    fill_mode="reflect",
)

# Ours, for training a pretrained network on: crops of about half the photo to all of it.
CROPS_POLICY = AugmentationPolicy(
    width_shift_range=0.1,
    height_shift_range=0.1,
    zoom_range=(0.7, 1.0),
    horizontal_flip=True,
    fill_mode="reflect",
)

# Ours, for training from scratch: milder turns, closer crops, light and color.
HANDFUL_POLICY = AugmentationPolicy(
    rotation_range=20,
    width_shift_range=0.1,
    height_shift_range=0.1,
    zoom_range=(0.65, 1.05),
    horizontal_flip=True,
    brightness_range=(0.7, 1.3),
    fill_mode="reflect",
    aspect_range=0.2,
    contrast_range=(0.7, 1.3),
    saturation_range=(0.7, 1.3),
)


@dataclass(frozen=True, eq=False)
class Views:
    """What was drawn for N views; every member is an (N,) float64 array, flips are (N,) bool.

    Args:
        rotation: Degrees.
        shift_x: Pixels of the picture.
        shift_y: Pixels of the picture.
        shear: Degrees.
        zoom_x: Factor.
        zoom_y: Factor.
        flip_horizontal: Whether mirrored.
        flip_vertical: Whether upside down.
        channel_shift: Added to all values.
        brightness: Factor.
        contrast: Factor.
        saturation: Factor.
    """

    rotation: NDArray[np.float64]
    shift_x: NDArray[np.float64]
    shift_y: NDArray[np.float64]
    shear: NDArray[np.float64]
    zoom_x: NDArray[np.float64]
    zoom_y: NDArray[np.float64]
    flip_horizontal: NDArray[np.bool_]
    flip_vertical: NDArray[np.bool_]
    channel_shift: NDArray[np.float64]
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    saturation: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rotation)


def draw_views(
    policy: AugmentationPolicy, count: int, height: int, width: int, rng: np.random.Generator
) -> Views:
    """Draw views of pictures of one size.

    Args:
        policy: Ranges to draw from.
        count: Number N of views.
        height: Pictures' height H in pixels.
        width: Pictures' width W in pixels.
        rng: Source of randomness.

    Returns:
        The N views' parameters.
    """

    def spread(reach: float) -> NDArray[np.float64]:
        return rng.uniform(-reach, reach, count) if reach else np.zeros(count)

    def factor(pair: Pair | None) -> NDArray[np.float64]:
        return np.ones(count) if pair is None else rng.uniform(*pair, count)

    zoom_x, zoom_y = factor(policy.zoom_interval), factor(policy.zoom_interval)
    if policy.aspect_range is not None:
        root = np.exp(spread(policy.aspect_range) / 2)
        zoom_x, zoom_y = zoom_x * root, zoom_x / root
    return Views(
        rotation=spread(policy.rotation_range),
        shift_x=_draw_shifts(policy.width_shift_range, width, count, rng),
        shift_y=_draw_shifts(policy.height_shift_range, height, count, rng),
        shear=spread(policy.shear_range),
        zoom_x=zoom_x,
        zoom_y=zoom_y,
        flip_horizontal=policy.horizontal_flip & (rng.random(count) < 0.5),
        flip_vertical=policy.vertical_flip & (rng.random(count) < 0.5),
        channel_shift=spread(policy.channel_shift_range),
        brightness=factor(policy.brightness_range),
        contrast=factor(policy.contrast_range),
        saturation=factor(policy.saturation_range),
    )


def _draw_shifts(
    given: Shift, size: int, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Keras' three ways to say how far, in pixels."""
    largest = max(given) if isinstance(given, tuple) else given
    if isinstance(given, tuple):
        drawn = rng.choice(np.array(given, float), count) * rng.choice((-1.0, 1.0), count)
    elif isinstance(given, int) and given > 0:
        drawn = rng.integers(0, given, count) * rng.choice((-1.0, 1.0), count)
    else:
        drawn = rng.uniform(-given, given, count) if given else np.zeros(count)
    return np.asarray(drawn * size if largest < 1 else drawn, np.float64)


def view_matrices(
    views: Views, size: tuple[int, int], view_size: tuple[int, int] | None = None
) -> NDArray[np.float64]:
    """Affine maps from the views' pixels back to their pictures'.

    Args:
        views: N views.
        size: Height and width of the pictures in pixels.
        view_size: Height and width of the views; None takes the pictures'.

    Returns:
        (N, 2, 3) float64: (x, y) of the picture = matrix @ (x, y, 1) of the view.

    Source:
        Keras' `apply_affine_transform`: center @ rotation @ shift @ shear @ zoom @ -center on
        (x, y, 1), multiplied out, then the flips.
    """
    height, width = size
    view_height, view_width = view_size or size
    angle, slant = np.radians(views.rotation), np.radians(views.rotation + views.shear)
    across = views.zoom_x * (width / view_width) * np.where(views.flip_horizontal, -1.0, 1.0)
    down = views.zoom_y * (height / view_height) * np.where(views.flip_vertical, -1.0, 1.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrices = np.empty((len(views), 2, 3))
    matrices[:, 0, 0], matrices[:, 0, 1] = cosine * across, -np.sin(slant) * down
    matrices[:, 1, 0], matrices[:, 1, 1] = sine * across, np.cos(slant) * down
    matrices[:, 0, 2] = (width - 1) / 2 + cosine * views.shift_x - sine * views.shift_y
    matrices[:, 1, 2] = (height - 1) / 2 + sine * views.shift_x + cosine * views.shift_y
    matrices[:, :, 2] -= matrices[:, :, :2] @ np.array(
        [(view_width - 1) / 2, (view_height - 1) / 2]
    )
    return matrices


def apply_views(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    views: Views,
    policy: AugmentationPolicy,
    view_size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Make views: one warp a picture, straight into the result.

    Args:
        images: (N, H, W, 3) uint8.
        views: What to do with each.
        policy: Where the views were drawn from; says which steps there are, and the fill mode.
        view_size: Height and width of the views; None takes the pictures'.

    Returns:
        (N, h, w, 3) uint8.
    """
    height, width = images[0].shape[:2]
    matrices = view_matrices(views, (height, width), view_size)
    result = np.empty((len(images), *(view_size or (height, width)), 3), np.uint8)
    for number, image in enumerate(images):
        view = result[number]
        warp_into(view, image, matrices[number], policy.fill_mode, policy.cval)
        if policy.saturation_range is not None:
            share = np.float32(views.saturation[number])
            mix = np.eye(3, dtype=np.float32) * share + _LUMA * (1 - share)
            cv2.transform(view, mix, dst=view)
        if policy.channel_shift_range or policy.brightness_range or policy.contrast_range:
            cv2.LUT(view, _table(view, views, number, policy), dst=view)
    return result


def warp_into(
    view: NDArray[np.uint8],
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    fill_mode: str = "nearest",
    cval: float = 0.0,
) -> None:
    """Resample a picture once, bilinearly.

    Args:
        view: (h, w, 3) uint8, C-contiguous; is written to.
        image: (H, W, 3) uint8.
        matrix: (2, 3) map from the view's (x, y) to the picture's.
        fill_mode: What lies outside the picture.
        cval: Value outside for "constant".

    Source:
        `scipy.ndimage.affine_transform`, which Keras uses: "constant" begins at the outermost
        pixels' centers without blending, and "wrap" has a period of W - 1 pixels.
    """
    size = (view.shape[1], view.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if fill_mode in _BORDERS:
        cv2.warpAffine(image, matrix, size, view, flags, borderMode=_BORDERS[fill_mode])
        return
    columns, rows = np.arange(size[0]), np.arange(size[1])[:, None]
    x = matrix[0, 0] * columns + (matrix[0, 1] * rows + matrix[0, 2])
    y = matrix[1, 0] * columns + (matrix[1, 1] * rows + matrix[1, 2])
    inside_x, inside_y = _is_inside(x, image.shape[1]), _is_inside(y, image.shape[0])
    if fill_mode == "constant":
        cv2.warpAffine(image, matrix, size, view, flags, borderMode=cv2.BORDER_REPLICATE)
        view[~(inside_x & inside_y)] = round(cval)
        return
    x = np.where(inside_x, x, np.mod(x, max(image.shape[1] - 1, 1))).astype(np.float32)
    y = np.where(inside_y, y, np.mod(y, max(image.shape[0] - 1, 1))).astype(np.float32)
    cv2.remap(image, x, y, cv2.INTER_LINEAR, view, borderMode=cv2.BORDER_REPLICATE)


def _is_inside(places: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    # A pixel's own place comes out of the multiplication a rounding beside it.
    return (places > -1e-6) & (places < count - 1 + 1e-6)


def _table(
    view: NDArray[np.uint8], views: Views, number: int, policy: AugmentationPolicy
) -> NDArray[np.uint8]:
    """What each of the 256 values becomes by channel shift, brightness and contrast."""
    values = np.arange(256, dtype=np.float32)
    if policy.channel_shift_range:
        # Keras keeps within the values that the picture has.
        shifted = values + np.float32(views.channel_shift[number])
        values = np.clip(shifted, view.min(), view.max())
    if policy.brightness_range is not None:
        # Pillow's enhancer, which Keras calls, cuts fractions off, before and after.
        brighter = np.floor(values) * np.float32(views.brightness[number])
        values = np.minimum(np.floor(brighter), 255)
    if policy.contrast_range is not None:
        mean = float(np.mean(cv2.mean(view)[:3]) * views.brightness[number])
        values = (values - mean) * np.float32(views.contrast[number]) + mean
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def content_view(
    image: NDArray[np.uint8], content_hash: str, view: int, policy: AugmentationPolicy
) -> NDArray[np.uint8]:
    """One of a photo's numbered views; the same number always gives the same view.

    Args:
        image: (H, W, 3) uint8, decoded from the file with this content hash.
        content_hash: Hash of the file's bytes; it seeds the draw, so that a view depends
            neither on the data set around the photo nor on the order of work.
        view: 0 for the picture itself, 1, 2, ... for drawn views.
        policy: Ranges to draw from.

    Returns:
        (H, W, 3) uint8.
    """
    if view == 0:
        return image
    seed = hashlib.blake2b(f"{content_hash}:{view}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    drawn = draw_views(policy, 1, image.shape[0], image.shape[1], rng)
    return np.asarray(apply_views(image[None], drawn, policy)[0], np.uint8)
