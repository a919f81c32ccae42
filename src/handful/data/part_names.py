"""What the parts of a data set are called: folders, archives and tables go by the same words."""

import re
import unicodedata
from collections.abc import Iterable

SPLIT_NAMES = ("train", "validation", "test")
_WORDS = {
    "train": "train training trainval trn",
    "validation": "val valid validation validate validating dev devel development eval evaluation "
    "evaluate",
    "test": "test testing tst holdout heldout",
}
# What people write around these words, and what folders around class folders are called.
_FILLERS = (
    "set sets data dataset datasets image images img imgs photo photos picture pictures pic pics "
    "sample samples split splits part parts folder folders dir file files"
)
_PART_OF = {word: part for part, words in _WORDS.items() for word in words.split()}
# Longer words first: "training" is not "train" and "ing".
_WORD = "|".join(sorted(_PART_OF, key=len, reverse=True))
_FILLER = "|".join(sorted(_FILLERS.split(), key=len, reverse=True))
_PART = re.compile(f"(?:{_FILLER})*({_WORD})s?(?:{_FILLER})*")
_CONTAINER = re.compile(f"(?:{_FILLER}|class|classes|all|raw)+")


def find_parts(names: Iterable[str]) -> dict[str, str]:
    """Find the names that are those of parts, in any case, number and company.

    "training_set", "Test Images", "data-train", "val2017" are parts by themselves; "seg_train"
    and "seg_test" are by each other, for what stands beside the word is the same.

    Args:
        names: Of folders that lie together, or of one column.

    Returns:
        Name to "train", "validation" or "test", of those that are parts.
    """
    families = _families(names)
    plain = families.pop("", {})
    if is_pair(plain):
        return plain
    pairs = [family for family in families.values() if is_pair(family)]
    return pairs[0] if len(pairs) == 1 and not plain else plain


def mixed_parts(names: Iterable[str]) -> list[str]:
    """Find names that tell parts and more of the photos: "train_cats", "train_dogs", "test_cats".

    Args:
        names: Of folders that lie together.

    Returns:
        Those names where there are parts with several words beside them; else none.
    """
    pairs = {rest: family for rest, family in _families(names).items() if is_pair(family)}
    return (
        []
        if len(pairs) < 2 or "" in pairs
        else [name for family in pairs.values() for name in family]
    )


def is_pair(parts: dict[str, str]) -> bool:
    """Tell whether parts are those of a data set: one to learn from and another.

    Args:
        parts: Name to part.

    Returns:
        Whether names so alike cannot be classes.
    """
    return "train" in parts.values() and len(set(parts.values())) > 1


def is_container(name: str) -> bool:
    """Tell whether a name says that classes or parts are inside: "images", "my data", "train".

    Args:
        name: Of a folder.

    Returns:
        Whether it is an unlikely name for a class that has folders in it.
    """
    return bool(_CONTAINER.fullmatch(_letters(name))) or bool(find_parts([name]))


def _families(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The words beside a part's to the names with them, each with its part."""
    families: dict[str, dict[str, str]] = {}
    for name in names:
        part, rest = _read(name)
        if part:
            families.setdefault(rest, {})[name] = part
    return families


def _read(name: str) -> tuple[str, str]:
    """Part that a name says, and the words beside it; "" and "" for none."""
    letters = _letters(name)
    if found := _PART.fullmatch(letters):
        return _PART_OF[found[1]], ""
    humps = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    words = re.findall(r"[^\W\d_]+", humps.casefold())
    parts = [found[1] for word in words if (found := _PART.fullmatch(word))]
    if len(parts) != 1:
        return "", ""
    rest = [word for word in words if not _PART.fullmatch(word) and not _CONTAINER.fullmatch(word)]
    return _PART_OF[parts[0]], " ".join(rest)


def _letters(name: str) -> str:
    """A name's letters alone, in lower case."""
    return re.sub(r"[\W\d_]", "", unicodedata.normalize("NFKC", name).casefold())
