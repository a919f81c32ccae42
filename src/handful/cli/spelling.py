"""Fields of the library's arguments, as the command line spells them."""

import re
from dataclasses import fields

from handful.augmentation_policy import AugmentationPolicy
from handful.config import CompareConfig, ServeConfig, TrainConfig
from handful.options import flag

# Options that have another name than their field.
_RENAMED = {"class_name": "class", "from_run": "from", "rival_name": "rival"}
_ARGUMENTS = (
    *("at", "class_name", "coverage", "data", "dtype", "engine", "error_rate", "fix_list"),
    *("folders", "format"),
    *("from_run", "links", "note", "num_classes", "output", "part", "photos", "resume"),
    *("rival_name", "runtime", "sort_into", "split", "target"),
)
_KINDS = (TrainConfig, CompareConfig, ServeConfig, AugmentationPolicy)
_FIELDS = {
    *_ARGUMENTS,
    *(field.name for kind in _KINDS for field in fields(kind) if "rule" in field.metadata),
}
OPTIONS = {field: flag(_RENAMED.get(field, field)) for field in sorted(_FIELDS)}


def with_options(text: str) -> str:
    """Put options in the place of fields.

    Args:
        text: A message of the library, with fields between backticks.

    Returns:
        Such as "--epochs is 0" for "`epochs` is 0"; what is no field stays as it is.
    """
    return re.sub(r"`([a-z_]+)`", lambda found: OPTIONS.get(found[1], found[0]), text)
