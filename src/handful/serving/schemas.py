"""What /openapi.json says beyond what FastAPI reads from the routes.

Source: OpenAPI Specification 3.1.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Security
from fastapi.security import HTTPBearer

from handful.models.calibration import Abstention
from handful.models.classifier import Prediction
from handful.serving.problems import KINDS, MEDIA_TYPE
from handful.serving.uploads import FIELD, UploadLimits

# Neither of them checks: an answer out of range says why, in the words of `handful predict`.
_BETWEEN = {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
ErrorRate = Annotated[
    float | None,
    Query(
        description='Say of each photo whether its answer is sure ("is_confident"): probable '
        "enough, and like the training photos. With 95 % confidence, no larger share than this of "
        "all sure answers about photos of that kind is wrong; where so few training photos cannot "
        'show that, no larger share than "shown_error_rate" in "abstaining". Such as 0.01.',
        json_schema_extra=_BETWEEN,
    ),
]
Coverage = Annotated[
    float | None,
    Query(
        description='Give each photo a set of classes ("prediction_set"): on average over photos '
        "and classifiers of this kind, this share of the sets or more holds the right one. Such as "
        "0.95.",
        json_schema_extra=_BETWEEN,
    ),
]

# The token itself is checked by `Guard`, before any address is looked at.
_TOKEN = HTTPBearer(
    scheme_name="bearer",
    description="The server's HANDFUL_TOKEN; needed only where it has one.",
    auto_error=False,
)
# Of a route: with the token, or without where the server has none.
TOKEN_MAYBE: dict[str, Any] = {
    "dependencies": [Security(_TOKEN)],
    "openapi_extra": {"security": [{}]},
}


@dataclass(frozen=True)
class FileError:
    """A file that could not be read.

    Args:
        path: Its name, as for a prediction.
        reason: What is wrong with it.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Predictions:
    """What `handful predict --json` gives.

    Args:
        predictions: Of the photos that could be read.
        errors: The other files.
        abstaining: The rule behind "is_confident", where an error rate was asked for.
    """

    predictions: list[Prediction]
    errors: list[FileError]
    abstaining: Abstention | None = None


def describe_body(limits: UploadLimits) -> dict[str, Any]:
    """Describe what /predict takes.

    Args:
        limits: How much of it.

    Returns:
        Part of an OpenAPI operation object.
    """
    photo = {"type": "string", "format": "binary", "maxLength": limits.body_bytes}
    photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": limits.num_files}
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: photos}}
    schemas = {"multipart/form-data": form, "image/*": photo, "application/octet-stream": photo}
    return {
        "requestBody": {
            "required": True,
            "description": f"At most {limits.body_bytes:,} bytes, all within "
            f"{limits.body_seconds:g} s, and {limits.num_files} files, which together may cost "
            f"{limits.decode_seconds:g} s to decode.",
            "content": {kind: {"schema": schema} for kind, schema in schemas.items()},
        }
    }


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problems.

    Args:
        statuses: HTTP status codes.

    Returns:
        An OpenAPI response object of each.
    """
    text = {"type": "string"}
    error = {"type": "object", "properties": {"path": text, "reason": text}}
    properties = {
        **dict.fromkeys(("type", "title", "detail", "request_id"), text),
        "status": {"type": "integer"},
        "errors": {"type": "array", "items": error, "description": "The files at fault, if any."},
    }
    content = {MEDIA_TYPE: {"schema": {"type": "object", "properties": properties}}}
    titles = {code: "; ".join(t for c, t in KINDS.values() if c == code) for code in statuses}
    return {code: {"description": titles[code], "content": content} for code in statuses}
