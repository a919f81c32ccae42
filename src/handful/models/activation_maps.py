"""Where a classifier looked: class activation maps, exact for an average and a linear head.

The embedding is the average of a feature map over its places, and a head's logit is linear in
it. So the logit is itself an average, of what each place would answer if all places looked like
it. That is the map: nothing is estimated, and its mean is what the classifier decides by. Where the
embedding is a power mean, a place counts by its share of the powers' sum; the mean is the same.

Softmax sees differences of logits only, so a map shows one class against a rival. Its mean is the
logarithm of how many times more probable the class is.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from handful.data.decoding import DecodeSettings, decode, mirror, read_header, resize
from handful.data.ignored import mark_figure
from handful.data.index import ImageIndex, RejectedFile, load_unlabeled
from handful.data.inputs import Picture, in_memory, is_path
from handful.data.storage import read_file
from handful.display import Shown
from handful.errors import DataError, ModelFileError, OutputError, UsageError
from handful.features.extractor import FeatureMap
from handful.files.atomic import new_file
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.reporting import Progress
from handful.wording import format_share

PICTURE_SIZE = 800
_JPEG_QUALITY = 85
# Lightness of the gray photo in an overlay, CIE L*, where both tints can be told from gray.
_LIGHTNESS = (35.0, 80.0)
_UNSEEN_LIGHTNESS = (10.0, 35.0)
# Chroma (a*, b*) of the strongest place, for the class and for its rival: orange and blue differ
# along the axis that people with red-green blindness see.
_FOR, _AGAINST = (26.0, 62.0), (4.0, -52.0)
_OTHER_PICTURES = (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Shown):
    """Where in a photo a classifier found what speaks for a class, and what for its rival.

    Args:
        path: The photo's path, or what it was called.
        class_name: The class explained.
        rival_name: The class it is held against.
        probability: Probability of the class explained, 0 to 1, as `Classifier.predict` gives it.
        map: (h, w) float32, nats: what each place of the network's last feature map would answer
            alone, as the log of the class's over the rival's probability. Above 0 it speaks for
            the class, below 0 for the rival; its mean is the photo's own answer.
        image: (H, W, 3) uint8 RGB, the photo in its own proportions.
        seen: The part of it that the network saw, which the map covers: left, top, right, bottom
            as shares of width and height. Resizing cuts the rest away.
        picture: PNG file that was written, or None.
    """

    path: str
    class_name: str
    rival_name: str
    probability: float
    map: NDArray[np.float32]
    image: NDArray[np.uint8]
    seen: tuple[float, float, float, float]
    picture: Path | None = None

    def _in_words(self) -> str:
        why = f"why {self.class_name}, {format_share(self.probability)}, and not {self.rival_name}"
        return f"{why}; {self.path[-60:] or 'a photo'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the picture is left out.

        Returns:
            `path`, `label`, `rival`, `probability`, `map` (rows of floats) and `seen`.
        """
        return {
            "path": self.path,
            "label": self.class_name,
            "rival": self.rival_name,
            "probability": self.probability,
            "map": self.map.tolist(),
            "seen": list(self.seen),
        }


@dataclass(frozen=True, eq=False)
class WrittenExplanations:
    """What `write_explanations` wrote.

    Args:
        explanations: One for each readable photo, in order, its `image` left out, (0, 0, 3): a
            thousand of them would fill the memory.
        pictures: Their overlays' PNG files.
        rejected: Photos that could not be read.
    """

    explanations: tuple[Explanation, ...] = field(repr=False)
    pictures: tuple[Path, ...]
    rejected: tuple[RejectedFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns:
            `explanations`, as `Explanation.to_dict` with `picture`; and `errors`.
        """
        both = zip(self.explanations, self.pictures, strict=True)
        return {
            "explanations": [{**found.to_dict(), "picture": str(path)} for found, path in both],
            "errors": [{"path": file.path, "reason": file.reason} for file in self.rejected],
        }


class Explainer:
    """Explains a classifier's answers; the network is compiled once, for any number of photos.

    Args:
        classifier: A classifier whose network ends in the average of a feature map.
        size: Longest side in pixels of the pictures kept for overlays.
        look: What gives the feature map; None opens the network.

    Raises:
        ModelFileError: When the network ends in another way, or its files cannot be read.
        ValueError: When the size is not positive.
    """

    def __init__(
        self, classifier: Classifier, size: int = PICTURE_SIZE, look: FeatureMap | None = None
    ) -> None:
        if size < 1:
            raise UsageError(f"size is {size}; expected 1 pixel or more.")
        self.classifier = classifier
        self.size = size
        self._look = look or open_map(classifier)

    def explain(
        self,
        image: Picture,
        class_name: str | None = None,
        rival_name: str | None = None,
        path: str = "",
    ) -> Explanation:
        """Explain one photo.

        Args:
            image: A photo as `Classifier.predict` takes it, given by its own path.
            class_name: Class to explain; None takes the most probable one.
            rival_name: Class to hold it against; None takes the most probable one of the others.
            path: What to call a photo that is given as bytes or array.

        Returns:
            The explanation.

        Raises:
            DataError: When the photo cannot be read.
            ValueError: For an unknown class, a class against itself, or another kind of array.
        """
        self._check_names(class_name, rival_name)
        try:
            if is_path(image):
                file = Path(os.fspath(image))
                path = path or str(file)
                seen_image, picture = self._pictures(read_file(file))
            else:
                seen_image, picture = self._pictures(in_memory(image))
        except DataError as error:
            raise DataError(
                f"{path or 'The photo'} {error}; expected a whole JPEG, PNG, WebP, BMP, GIF or "
                "TIFF. Name another photo."
            ) from error
        return self._explain(seen_image, picture, class_name, rival_name, path)

    def explain_index(
        self,
        index: ImageIndex,
        class_name: str | None = None,
        rival_name: str | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Explanation | RejectedFile]:
        """Explain the photos of an index one after the other, going on past unreadable ones.

        Args:
            index: N photos.
            class_name: Class to explain; None takes each photo's most probable one.
            rival_name: Class to hold it against; None takes the most probable one of the others.
            progress: Called with (photos done, photos in all).

        Yields:
            An explanation a photo, or why the photo cannot be read.

        Raises:
            ValueError: For an unknown class.
        """
        self._check_names(class_name, rival_name)
        for row, path in enumerate(index.paths):
            try:
                seen_image, picture = self._pictures(index.read(row))
            except DataError as error:
                yield RejectedFile(path, str(error))
            else:
                yield self._explain(seen_image, picture, class_name, rival_name, path)
            if progress is not None:
                progress(row + 1, len(index))

    def _explain(
        self,
        seen_image: NDArray[np.uint8],
        picture: NDArray[np.uint8],
        class_name: str | None,
        rival_name: str | None,
        path: str,
    ) -> Explanation:
        """Explain a decoded photo."""
        head, names = self.classifier.head, self.classifier.class_names
        features, embedding = self._look(seen_image)
        maps = class_maps(features, head)  # (h, w, C)
        if self.classifier.test_time_mirror:
            features, mirrored = self._look(mirror(seen_image))
            maps = (maps + class_maps(features, head)[:, ::-1]) / 2
            embedding = (embedding + mirrored) / np.float32(2)
        probabilities = head.predict_proba(embedding[np.newaxis])[0]
        chosen, rival = _choose(names, probabilities, class_name, rival_name)
        height, width = picture.shape[:2]
        return Explanation(
            path,
            names[chosen],
            names[rival],
            float(probabilities[chosen]),
            (maps[:, :, chosen] - maps[:, :, rival]).astype(np.float32),
            picture,
            seen_box(height, width, self.classifier.settings.resize),
        )

    def _pictures(self, image: bytes | NDArray[np.uint8]) -> tuple[Any, Any]:
        """The square that the network sees, and the photo in its own proportions."""
        settings = self.classifier.settings
        if isinstance(image, bytes):
            header = read_header(image)
            height, width = header.height, header.width
            if header.orientation >= 5:
                height, width = width, height
            square = decode(image, settings)
            # Decoded at about the size wanted, which for photos from cameras saves most time.
            side = max(1, min(self.size, max(height, width)))
            whole = decode(image, DecodeSettings(side, "squash", settings.max_megapixels))
        else:
            height, width = image.shape[:2]
            square, whole = resize(image, settings), image
        target = _fitting(height, width, self.size)
        return square, np.asarray(cv2.resize(whole, target, interpolation=cv2.INTER_AREA), np.uint8)

    def _check_names(self, class_name: str | None, rival_name: str | None) -> None:
        names = self.classifier.class_names
        for argument, name in (("class_name", class_name), ("rival_name", rival_name)):
            if name is not None and name not in names:
                raise UsageError(f"`{argument}` is {name!r}; expected one of {', '.join(names)}.")
        if class_name is not None and class_name == rival_name:
            raise UsageError(
                f"`rival_name` is {rival_name!r} as `class_name` is; expected another."
            )


def explain(
    classifier: Classifier,
    image: Picture,
    class_name: str | None = None,
    rival_name: str | None = None,
) -> Explanation:
    """Show where a classifier looked in one photo; for several, keep an `Explainer`.

    Args:
        classifier: A classifier whose network ends in the average of a feature map: of all
            pretrained backbones but ConvNeXt, fine-tuned too, and of our own small network.
        image: A photo as `Classifier.predict` takes it, given by its own path.
        class_name: Class to explain; None takes the most probable one.
        rival_name: Class to hold it against; None takes the most probable one of the others.

    Returns:
        The map, the photo, and the class's probability.

    Raises:
        DataError: When the photo cannot be read.
        ModelFileError: When the network ends in another way, or its files cannot be read.
        ValueError: For an unknown class or another kind of array.

    Example:
        ```python
        found = explain(Classifier.load("runs/photos"), "new.jpg")
        print(found.class_name, "rather than", found.rival_name)
        save_overlay(found, Path("new-explained.png"))
        ```

    Source:
        Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016),
        arXiv:1512.04150; here of a difference of two logits, with the head's constants in it.
    """
    return Explainer(classifier).explain(image, class_name, rival_name)


def class_maps(features: NDArray[np.float32], head: LinearHead) -> NDArray[np.float64]:
    """Logits of a head at each place of a feature map.

    Args:
        features: (h, w, D) float32, whose average over places is the embedding.
        head: A head on D features.

    Returns:
        (h, w, C) float64; the average over places is the embedding's logits.
    """
    weights = head.weights.astype(np.float64) / head.scale.astype(np.float64)[:, np.newaxis]
    centered = features.astype(np.float64) - head.mean.astype(np.float64)
    return np.asarray(centered @ weights + head.bias.astype(np.float64))


def seen_box(height: int, width: int, how: str) -> tuple[float, float, float, float]:
    """Part of a photo that is left when it is made a square.

    Args:
        height: Of the photo, in any unit.
        width: Of the photo, in the same unit.
        how: "squash", "crop" or "halfway", as in `DecodeSettings`.

    Returns:
        Left, top, right, bottom as shares of width and height.
    """
    shorter = min(height, width)
    power = {"squash": 0.0, "halfway": 0.5, "crop": 1.0}[how]
    across, down = (1 - (shorter / width) ** power) / 2, (1 - (shorter / height) ** power) / 2
    return across, down, 1 - across, 1 - down


def overlay(explanation: Explanation, size: int | None = None) -> NDArray[np.uint8]:
    """Tint a gray photo by its map: orange speaks for the class, blue for its rival.

    Lightness is the photo's and tells nothing; strength is chroma in CIELAB, even to the eye, in
    two hues that people with red-green blindness tell apart. The strongest place of the photo has
    full chroma. What the network did not see is dark.

    Args:
        explanation: What to show.
        size: Longest side in pixels; None takes the picture's own.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: When the size is not positive.
    """
    if size is not None and size < 1:
        raise UsageError(f"size is {size}; expected 1 pixel or more.")
    image = explanation.image
    if size is not None:
        target = _fitting(image.shape[0], image.shape[1], size, enlarge=True)
        image = np.asarray(cv2.resize(image, target, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = image.shape[:2]
    lightness = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[:, :, 0] / 100
    lab = np.zeros((height, width, 3), np.float32)
    lab[:, :, 0] = _between(lightness, _UNSEEN_LIGHTNESS)
    left, top, right, bottom = _pixel_box(explanation.seen, height, width)
    C = _enlarge(explanation.map, bottom - top, right - left)
    inside = lab[top:bottom, left:right]
    inside[:, :, 0] = _between(lightness[top:bottom, left:right], _LIGHTNESS)
    for axis in (0, 1):
        chroma = np.where(C > 0, _FOR[axis], -_AGAINST[axis])
        inside[:, :, 1 + axis] = C * chroma
    rgb = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
    return np.asarray(np.rint(rgb * 255), dtype=np.uint8)


def overlay_thumbnail(explanation: Explanation, size: int = 160) -> bytes:
    """Make a small JPEG of an overlay, for pages.

    Args:
        explanation: What to show.
        size: Longest side in pixels; smaller pictures stay as they are.

    Returns:
        JPEG file.

    Raises:
        ValueError: When the size is not positive.
    """
    picture = overlay(explanation, min(size, max(explanation.image.shape[:2])))
    encoded = simplejpeg.encode_jpeg(picture, quality=_JPEG_QUALITY, colorsubsampling="444")
    return bytes(encoded)


def save_overlay(explanation: Explanation, path: Path) -> None:
    """Write an overlay as a PNG file.

    Args:
        explanation: What to show.
        path: File to make; its name ends in `.png`.

    Raises:
        ValueError: When the name has another ending.
        OutputError: When the file exists, or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"`output` is {path}; expected a name that ends in .png.")
    _, encoded = cv2.imencode(".png", cv2.cvtColor(overlay(explanation), cv2.COLOR_RGB2BGR))
    with new_file(path) as temporary:
        temporary.write_bytes(mark_figure(encoded.tobytes()))


def write_explanations(
    classifier: Classifier,
    images: str | Path | Sequence[str | Path],
    output: Path | None = None,
    class_name: str | None = None,
    rival_name: str | None = None,
    progress: Progress | None = None,
) -> WrittenExplanations:
    """Write an overlay for each photo, going on past those that cannot be read.

    Args:
        classifier: A classifier whose network ends in the average of a feature map.
        images: Files, folders and zips; or one of them.
        output: Folder for `NAME-explained.png`, made if need be; or, for one photo, the file,
            whose name ends in `.png`. None takes the current folder.
        class_name: Class to explain; None takes each photo's most probable one.
        rival_name: Class to hold it against; None takes the most probable one of the others.
        progress: Called with (photos done, photos in all).

    Returns:
        Explanations, files and rejects.

    Raises:
        ModelFileError: When the network cannot be explained.
        OutputError: When a file exists, before anything is written; or cannot be written.
        ValueError: For an unknown class, no photos, or one file for several photos.
    """
    index = load_unlabeled(images)
    places = overlay_places(index.paths, output)
    explanations, pictures, rejected = [], [], list(index.rejected)
    found = Explainer(classifier).explain_index(index, class_name, rival_name, progress)
    for place, result in zip(places, found, strict=True):
        if isinstance(result, RejectedFile):
            rejected.append(result)
            continue
        save_overlay(result, place)
        explanations.append(replace(result, image=np.zeros((0, 0, 3), np.uint8)))
        pictures.append(place)
    return WrittenExplanations(tuple(explanations), tuple(pictures), tuple(rejected))


def open_map(classifier: Classifier) -> FeatureMap:
    """Find the last feature map of a classifier's network.

    Args:
        classifier: The classifier.

    Returns:
        What gives it besides the embedding.

    Raises:
        ModelFileError: As `Explainer`.
    """
    look: FeatureMap | None = getattr(classifier.extractor, "feature_map", lambda: None)()
    if look is None:
        raise ModelFileError(
            f"The network {classifier.provenance.get('backbone', 'of this classifier')} does not "
            "end in the average of a feature map, so no place can be named that its answer "
            "comes from. Use another backbone with strategy transfer, such as "
            "efficientnet-lite0; give a network of tokens pooling=mean in `preprocessing`; or end "
            "a network of your own in GlobalAveragePooling2D and "
            "one Dense layer."
        )
    return look


def _choose(
    names: Sequence[str],
    probabilities: NDArray[np.float64],
    class_name: str | None,
    rival_name: str | None,
) -> tuple[int, int]:
    """Numbers of the class to explain and of its rival."""
    order = [int(number) for number in np.argsort(-probabilities, kind="stable")]
    rival = None if rival_name is None else names.index(rival_name)
    if class_name is None:
        chosen = next(number for number in order if number != rival)
    else:
        chosen = names.index(class_name)
    if rival is None:
        rival = next(number for number in order if number != chosen)
    return chosen, rival


def _enlarge(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A map over (height, width) pixels, its strongest place at 1 or -1.

    Each value belongs to the middle of its place; between them it is interpolated.
    """
    largest = float(np.abs(values).max())
    scaled = values / largest if largest > 0 else np.zeros_like(values)
    smooth = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth, -1, 1), dtype=np.float32)


def _between(lightness: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.float32]:
    return limits[0] + lightness * np.float32(limits[1] - limits[0])


def _pixel_box(
    box: tuple[float, float, float, float], height: int, width: int
) -> tuple[int, int, int, int]:
    """A box of shares in whole pixels, at least one each way."""
    left, top = (min(round(box[n] * side), side - 1) for n, side in ((0, width), (1, height)))
    right, bottom = round(box[2] * width), round(box[3] * height)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _fitting(height: int, width: int, size: int, enlarge: bool = False) -> tuple[int, int]:
    """Width and height in these proportions, the longer one `size`."""
    scale = size / max(height, width)
    if not enlarge:
        scale = min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def overlay_places(paths: Sequence[str], output: Path | None) -> list[Path]:
    """A file for each photo; photos of one name in several folders get numbers.

    Args:
        paths: The photos' paths.
        output: As for `write_explanations`.

    Returns:
        Paths of PNG files.

    Raises:
        UsageError: For one file for several photos, or another ending than `.png`.
        OutputError: When a file exists.
    """
    places = _overlay_names(paths, output)
    for place in places:
        if place.exists() or place.is_symlink():
            raise OutputError(
                f"{place} exists already; choose another `output`, or remove it first."
            )
    return places


def _overlay_names(paths: Sequence[str], output: Path | None) -> list[Path]:
    if output is not None and output.suffix.lower() == ".png" and not output.is_dir():
        if len(paths) > 1:
            raise UsageError(
                f"`output` is {output} and there are {len(paths)} photos; expected a folder."
            )
        return [output] * len(paths)
    if output is not None and output.suffix.lower() in _OTHER_PICTURES and not output.is_dir():
        raise UsageError(f"`output` is {output}; expected a folder or a name that ends in .png.")
    folder, taken, places = output or Path(), set(), []
    for path in paths:
        stem, number = Path(path).stem, 1
        name = f"{stem}-explained.png"
        while name in taken:
            number += 1
            name = f"{stem}-{number}-explained.png"
        taken.add(name)
        places.append(folder / name)
    return places
