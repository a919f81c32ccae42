"""What goes wrong while serving, as RFC 9457 problem details: a kind, a status, what to do."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

MEDIA_TYPE = "application/problem+json"
# Kind -> status and title; the page at /docs explains each.
KINDS: Mapping[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be understood"),
    "bad-form": (400, "The form cannot be read"),
    "token": (401, "A token is needed"),
    "other-site": (403, "Pages of other sites may not send requests"),
    "not-found": (404, "There is nothing at this address"),
    "method": (405, "This address does not take this method"),
    "too-slow": (408, "The body came too slowly"),
    "too-large": (413, "The body is too large"),
    "too-many-files": (413, "Too many files"),
    "too-costly": (413, "The photos take too much to decode"),
    "content-type": (415, "This content type is not accepted"),
    "host": (421, "The request is meant for another host"),
    "no-file": (422, "The request has no file"),
    "unreadable": (422, "No file is a readable photo"),
    "option": (422, "A parameter is out of range"),
    "head-too-large": (431, "The request's head is too large"),
    "internal": (500, "The server has failed"),
    "inbox-full": (503, "Too many corrections wait"),
    "queue-full": (503, "The queue is full"),
    "not-ready": (503, "The server is not ready"),
    "stopping": (503, "The server is stopping"),
}


class Problem(Exception):
    """A request that is refused.

    Args:
        kind: One of `KINDS`.
        detail: What was found, what was expected, what to do; a sentence.
        errors: The files it is about: "path" and "reason" of each.
        headers: Response headers that belong to it.
        retry_seconds: When to try again, where the problem passes (503).
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        retry_seconds: int = 1,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = KINDS[kind]
        self.errors = errors
        self.headers = dict(headers or {})
        if self.status == 503:
            self.headers["Retry-After"] = str(retry_seconds)

    def body(self, request_id: str = "") -> bytes:
        """The problem as JSON.

        Args:
            request_id: Of the request, to find it in the log.

        Returns:
            "type", "title", "status", "detail" as RFC 9457 has them, "request_id", and "errors"
            where files are at fault, in UTF-8.
        """
        fields = {
            "type": f"/docs#{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            "request_id": request_id,
        }
        return encode_json({**fields, "errors": self.errors} if self.errors else fields)


def encode_json(value: Any) -> bytes:
    """Write an answer as JSON.

    Args:
        value: Plain values.

    Returns:
        UTF-8; what a class's name has that is no text stands as JSON's own escapes.
    """
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
