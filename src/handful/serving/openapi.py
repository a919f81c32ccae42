"""What /openapi.json says of addresses that FastAPI cannot describe by itself.

Source: OpenAPI Specification 3.1.
"""

from collections.abc import Mapping
from typing import Any

from handful.serving.problems import KINDS, MEDIA_TYPE

_ERROR_RATE = (
    'Say of each photo whether its answer is sure ("is_sure"): probable enough, and like the '
    "training photos. With 95 % confidence, no larger share than this of all sure answers about "
    "photos of that kind is wrong; where so few training photos cannot show that, no larger share "
    'than "shown_error_rate" in "abstaining". Above 0, below 1, such as 0.01.'
)
_COVERAGE = (
    'Give each photo a set of classes ("label_set"): on average over photos and classifiers of '
    "this kind, this share of the sets or more holds the right one. Above 0, below 1, such as 0.95."
)

_ERRORS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "reason": {"type": "string"}},
    },
}
BEARER_SCHEME: Mapping[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The server's HANDFUL_TOKEN; needed only where it has one.",
    }
}
# Part of an operation: with the token, or without where the server has none.
TOKEN_MAYBE: dict[str, Any] = {"security": [{"bearer": []}, {}]}


def describe_predict() -> dict[str, Any]:
    """Describe the address for programs.

    Returns:
        An OpenAPI operation object.
    """
    return {
        "summary": "Name what one or more photos show",
        "description": "The answer is that of `handful predict --json`. Files that cannot be read "
        "are in `errors`; when none can, the answer is a problem of status 422.",
        "operationId": "predict",
        "parameters": [
            _option("error_rate", _ERROR_RATE),
            _option("coverage", _COVERAGE),
        ],
        **TOKEN_MAYBE,
        **_predict_body(),
        "responses": {str(code): entry for code, entry in _predict_responses().items()},
    }


def _option(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema,
    }


def _predict_body() -> dict[str, Any]:
    picture = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "array", "items": picture}},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": picture},
                "application/octet-stream": {"schema": picture},
            },
        }
    }


def _predict_responses() -> dict[int | str, dict[str, Any]]:
    text, number, flag = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
    prediction = {
        "path": text,
        "label": text,
        "probability": number,
        "probabilities": {"type": "object", "additionalProperties": number},
        "unlike_training": {"type": ["boolean", "null"]},
        "is_sure": flag,
        "label_set": {"type": "array", "items": text},
    }
    answer = {
        "type": "object",
        "required": ["predictions", "errors"],
        "properties": {
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": list(prediction)[:5],
                    "properties": prediction,
                },
            },
            "errors": _ERRORS,
            "abstaining": {"type": "object"},
        },
    }
    found = {"description": "Answers, and files that could not be read."}
    return {
        200: {**found, "content": {"application/json": {"schema": answer}}},
        **describe_problems(400, 401, 403, 408, 413, 415, 421, 422, 500, 503),
    }


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problems for programs.

    Args:
        statuses: HTTP status codes.

    Returns:
        An OpenAPI response object of each.
    """
    names = ("type", "title", "detail", "request_id")
    schema = {
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            **{name: {"type": "string"} for name in names},
            "errors": {**_ERRORS, "description": "The files at fault, if any are."},
        },
    }
    titles = {code: "; ".join(t for c, t in KINDS.values() if c == code) for code in statuses}
    return {
        code: {"description": titles[code], "content": {MEDIA_TYPE: {"schema": schema}}}
        for code in statuses
    }
