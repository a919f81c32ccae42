"""Which folders are classes and which are parts, in a folder or in an archive.

Only folders with pictures in them count: what else lies among them decides nothing, and is named.
Where folders can be read in two ways, that is said instead of guessed.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from handful.data.formats import sniff_format
from handful.data.found_files import FoundFiles
from handful.data.part_names import find_parts, is_container, is_pair, mixed_parts
from handful.data.storage import FoundFile, path_parts
from handful.errors import DataError
from handful.wording import list_names

_ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff .heic .heif .avif .jp2 .jxl".split()
)
# Folders that wait for somebody to sort them, and small copies that programs made of photos.
_UNSORTED = frozenset(
    "unsorted unlabelled unlabeled unlabel unclassified uncategorized uncategorised unannotated "
    "untagged unsup unassigned tosort todo tolabel inbox notsorted notlabelled notlabeled".split()
)
_SMALL_COPIES = frozenset("thumbs thumb thumbnails thumbnail thumbscache".split())
_DEEPEST = 64  # folders below that are taken together
_START = 512
_NAMED = 5

Place = tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Files with their classes and parts.

    Args:
        files: Those in class folders. Where no file looks like a picture: all, without class.
        outside: Paths of files that lie in no folder of a class.
        warnings: What was left out, and what is odd.
    """

    files: FoundFiles
    outside: list[str]
    warnings: list[str]


@dataclass
class _Folder:
    """A folder on the way to pictures.

    Args:
        pictures: Number of pictures right in it.
        all_pictures: In it at any depth.
        all_files: Files of any kind, in it at any depth.
        folders: Those in it by name, without pictures too.
    """

    pictures: int = 0
    all_pictures: int = 0
    all_files: int = 0
    folders: dict[str, "_Folder"] = field(default_factory=dict)

    def filled(self) -> dict[str, "_Folder"]:
        """Folders with pictures in them; those that wait for sorting where there are no others."""
        found = {name: inner for name, inner in self.folders.items() if inner.all_pictures}
        return {name: found[name] for name in found if not _is_set_aside(name)} or found

    def is_set(self) -> bool:
        """Whether its folders are the parts of a data set."""
        parts = find_parts(self.folders)
        return is_pair(parts) and any(name in self.filled() for name in parts)

    def nest(self) -> dict[str, "_Folder"]:
        """Folders that make it look like one of classes, folders around all of them seen through.

        By their place in it; none where it looks like a class.
        """
        place, folder = "", self
        while not folder.pictures and len(folder.filled()) == 1:
            ((name, folder),) = folder.filled().items()
            place += f"{name}/"
        found = {} if folder.pictures else folder.filled()
        return {place + name: inner for name, inner in found.items()}


def arrange(files: Sequence[FoundFile], empty: Iterable[str] = ()) -> Layout:
    """Give files the class and the part that their folders say.

    Args:
        files: What was found below one folder, or in one archive.
        empty: Paths of folders with nothing in them.

    Returns:
        The layout.

    Raises:
        DataError: When pictures are not sorted into classes, or folders can be read in two ways; a
            clause that follows the source.
    """
    files = FoundFiles.of(files)
    root = _Folder()
    for path in empty:
        _descend(root, PurePosixPath(path).parts)
    _count(root, files)
    if not root.all_pictures:
        return Layout(files, [], [])
    base, folder = _see_through(root)
    parts = find_parts(folder.folders)
    if not folder.is_set() and set(folder.filled()) - set(parts):
        _refuse_unclear(base, folder)
        parts = {}
    # Folders of class folders, each with the part that it is.
    tops = {base: ""}
    if parts:
        tops = {(*base, *_inside(folder.folders[name], name)): parts[name] for name in parts}
    classes, warnings = _classes(root, tops)
    if not any(classes.values()):
        _refuse_unsorted(files, "/".join(next(iter(tops))))
    for bare in _without_labels(tops, classes):
        classes[bare] = {}
    # A part without class folders is none; what is in it is left out like what lies beside.
    tops = {top: part for top, part in tops.items() if classes[top]}
    rows, names, splits, outside = array("q"), [], [], []
    left: dict[Place, None] = {_shallowest(tops, PurePosixPath(path).parts): None for path in empty}
    for row, path in enumerate(files.paths):
        place = path_parts(path)[:-1]
        top = next((place[:n] for n in range(len(place)) if place[:n] in tops), None)
        if top is not None and place[len(top)] in classes[top]:
            rows.append(row)
            names.append(classes[top][place[len(top)]])
            splits.append(tops[top])
        elif not _shallowest(tops, place):
            outside.append(path)
        else:
            left[_shallowest(tops, place)] = None
    left.pop((), None)
    labeled = files.take(np.array(rows, np.int64)).labeled(names, splits)
    return Layout(labeled, outside, [*_say_left(root, left, tops, classes), *warnings])


def looks_like_image(file: FoundFile) -> bool:
    """Tell a picture, whole or not, by its name's ending or by its first bytes.

    Args:
        file: The file.

    Returns:
        Whether somebody who sorts photos would take it for one.
    """
    if _ending(file.path) in _ENDINGS:
        return True
    try:
        return sniff_format(file.read(first=_START)) is not None
    except DataError:
        return False


def _ending(path: str) -> str:
    """What a file's name ends in, such as ".jpg"; pathlib takes ten times as long to tell."""
    stem, dot, ending = path.rpartition("/")[2].rpartition(".")
    return f"{dot}{ending}".lower() if stem else ""


def _count(root: _Folder, files: FoundFiles) -> None:
    """Grow the tree of folders; files without a picture's ending are looked into only at need."""
    others: dict[int, tuple[list[_Folder], list[FoundFile]]] = {}
    for row, path in enumerate(files.paths):
        way = _descend(root, path_parts(path)[:-1])
        for folder in way:
            folder.all_files += 1
        if _ending(path) in _ENDINGS:
            _add_image(way)
        else:
            others.setdefault(id(way[-1]), (way, []))[1].append(files[row])
    for way, unsure in others.values():
        if not way[-1].pictures and any(map(looks_like_image, unsure)):
            _add_image(way)


def _descend(root: _Folder, place: Place) -> list[_Folder]:
    """The folders on the way to a place, made at need."""
    way = [root]
    for name in place[:_DEEPEST]:
        way.append(way[-1].folders.setdefault(name, _Folder()))
    return way


def _add_image(way: list[_Folder]) -> None:
    way[-1].pictures += 1
    for folder in way:
        folder.all_pictures += 1


def _see_through(root: _Folder) -> tuple[Place, _Folder]:
    """Go past folders that are only wrapped around the others."""
    place: Place = ()
    folder = root
    while True:
        filled = folder.filled()
        sets = [name for name, inner in filled.items() if inner.is_set()]
        if not folder.is_set() and len(sets) == 1:
            (name,) = sets
        elif len(filled) == 1:
            (name,) = filled
            if filled[name].pictures or find_parts([name]):
                return place, folder
        else:
            return place, folder
        place, folder = (*place, name), filled[name]


def _inside(folder: _Folder, name: str) -> Place:
    """A part's folder, or one in it around its classes: training_set/training_set."""
    place: Place = (name,)
    found, inner = place, folder
    while not inner.pictures and len(inner.filled()) == 1:
        ((below, inner),) = inner.filled().items()
        place = (*place, below)
        if inner.nest() or below == name or is_container(below):
            found = place
    return found


def _classes(
    root: _Folder, tops: dict[Place, str]
) -> tuple[dict[Place, dict[str, str]], list[str]]:
    """Names of the class folders in each folder of such, each with its class; what is odd."""
    classes: dict[Place, dict[str, str]] = {}
    warnings = []
    for top in tops:
        filled = _descend(root, top)[-1].filled()
        kept = [name for name in filled if not _is_set_aside(name)]
        # One way of writing for a name, whatever system made the folder.
        classes[top] = {name: unicodedata.normalize("NFC", name) for name in kept}
        nests = sorted(name for name in kept if filled[name].nest())
        warnings += [
            f"The folders {list_names(sorted(filled[name].nest()))} in {'/'.join((*top, name))} "
            f'count as one class, "{name}"'
            for name in nests[:_NAMED]
        ]
        odd = [name for name in kept if name.startswith("_")]
        if len(odd) < len(kept):
            warnings += [
                f"The folder {'/'.join((*top, name))} counts as a class; where it is none, take it "
                "away"
                for name in odd
            ]
    return classes, warnings


def _without_labels(
    tops: dict[Place, str], classes: dict[Place, dict[str, str]]
) -> Iterator[Place]:
    """Parts whose one folder is none of training's, as of competitions' tests: test/unknown."""
    learned = {
        name.casefold()
        for top, part in tops.items()
        if part == "train"
        for name in classes[top].values()
    }
    for top, part in tops.items():
        names = {name.casefold() for name in classes[top].values()}
        if learned and part != "train" and len(names) == 1 and not names & learned:
            yield top


def _is_set_aside(name: str) -> bool:
    return bool(_letters(name) & (_UNSORTED | _SMALL_COPIES))


def _letters(name: str) -> set[str]:
    """A name's words, and all of it as one, less a word for photos."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    plain = [word for word in words if not is_container(word)]
    return {"".join(plain), *(plain if len(plain) == 1 else [])}


def _refuse_unsorted(files: Sequence[FoundFile], top: str) -> None:
    pictures = sorted(file.path for file in files if looks_like_image(file))
    more = f" and {len(pictures) - 3} more" if len(pictures) > 3 else ""
    raise DataError(
        f"has {len(pictures)} photo{'s' * (len(pictures) != 1)} that "
        f"{'are' if len(pictures) != 1 else 'is'} not sorted into classes yet: "
        f"{', '.join(pictures[:3])}{more}. Expected a folder for each class with photos in it"
        f"{f', such as {top}/CLASS' if top else ''}: make them and move the photos there, or "
        "list the photos in a CSV with path,label."
    )


def _refuse_unclear(base: Place, folder: _Folder) -> None:
    """Stop where it cannot be told whether folders are parts, classes or something else."""
    filled = folder.filled()
    nests = {
        name: {PurePosixPath(place).name: f"{name}/{place}" for place in filled[name].nest()}
        for name in sorted(filled)
        if filled[name].nest()
    }
    where = f" in {'/'.join(base)}" if base else ""
    if mixed := mixed_parts(filled):
        raise DataError(
            f"has the folders {list_names(sorted(mixed))}{where}, whose names tell parts and more. "
            "If the rest is the class, move them to train/CLASS and so on; else give one set alone."
        )
    if not nests:
        return
    shared = sorted(set.intersection(*map(set, nests.values())))
    if len(nests) > 1 and 2 * len(nests) >= len(filled) and len(shared) > 1:
        names, inner = list_names(nests), list_names(shared)
        example = next(iter(nests.values()))[shared[0]]
        if is_pair(find_parts(shared)):
            raise DataError(
                f"has the folders {names}{where} with {inner} in each. Parts are expected around "
                f"classes: move {example} to {shared[0]}/{next(iter(nests))}, and so on."
            )
        raise DataError(
            f"has the folders {names}{where}, and in each of them {inner}; which are the classes? "
            f"If {inner} are, name the folders around them train, validation or test, or give one "
            f"of them alone. If {names} are, move the photos out of the folders in them (those "
            f"of {example} and so on), or list the photos in a CSV with path,label."
        )
    for name, inside in nests.items():
        # A folder with those beside it in it once more is a copy of the whole.
        if is_container(name) or len(set(inside) & set(filled)) > 1:
            beside = sorted(set(filled) - {name})
            raise DataError(
                f'has the folder "{name}"{where} with the folders {list_names(sorted(inside))} in '
                f"it, and beside it {list_names(beside)}; which are the classes? If those in "
                f"{name} are, give {'/'.join((*base, name))} alone. If {name} is one, move its "
                "photos out of the folders in it."
            )


def _shallowest(tops: Iterable[Place], place: Place) -> Place:
    """The folder around a place that is not on the way to class folders; () for none."""
    for depth in range(1, len(place) + 1):
        if not any(top[:depth] == place[:depth] for top in tops):
            return place[:depth]
    return ()


def _say_left(
    root: _Folder,
    left: Iterable[Place],
    tops: dict[Place, str],
    classes: dict[Place, dict[str, str]],
) -> Iterator[str]:
    """A sentence on each folder that is no class, though it stands where classes or parts do."""
    beside: list[tuple[str, int]] = []
    for place in sorted(left):
        folder, path = _descend(root, place)[-1], "/".join(place)
        if place[:-1] in classes and place[-1] in classes[place[:-1]]:
            continue  # what lies empty inside a class is nobody's loss
        if place[:-1] not in tops:
            beside.append((path, folder.all_pictures))
        elif not folder.all_files:
            yield f'The folder {path} has no files in it, so "{place[-1]}" is no class'
        elif not folder.all_pictures:
            yield f'The folder {path} has no photos in it, so "{place[-1]}" is no class'
        elif _letters(place[-1]) & _SMALL_COPIES:
            yield (
                f"The folder {path} is left out: small copies of photos are no class; where it is "
                "one, give it another name"
            )
        else:
            yield (
                f"The folder {path} is left out: its photos ({folder.all_pictures}) are not "
                "sorted into classes yet; move them into class folders, or give it another name "
                "if it is a class"
            )
    if beside:
        more = f" and {len(beside) - _NAMED} more" if len(beside) > _NAMED else ""
        names = ", ".join(
            f'"{path}" ({number} photo{"s" * (number != 1)})' for path, number in beside[:_NAMED]
        )
        around = list_names(sorted("/".join(top) for top in tops))
        yield f"Left out: {names}{more}; the photos are taken from {around}"
