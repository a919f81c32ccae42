"""What every request passes, whatever it asks: who may ask, what is logged, what is sent along."""

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handful.serving.problems import MEDIA_TYPE, Problem
from handful.serving.service import STOPPING, Service

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# The pages are the same for everyone; a probe has no token.
_OPEN_PATHS = ("/", "/docs", "/healthz", "/readyz")
_OPEN_FOLDER = "/page/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Right for any page of handful's: nothing of it is shown within, or given to, other sites.
ISOLATION_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", _POLICY.encode()),
    *ISOLATION_HEADERS,
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
)
# A refused upload is read on for so long, so that the client gets to read why.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64_000_000

logger = logging.getLogger("handful.serve")


class Guard:
    """ASGI middleware around the application.

    It gives each request an id, refuses other hosts, other sites' pages and wrong tokens, turns
    failures into problems, and writes one line to the log.

    Args:
        app: The application.
        service: Says who may ask.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service
        self.allowed_hosts = frozenset(name.lower() for name in service.allowed_hosts)
        self.public_names = frozenset(name.lower() for name in service.public_names)
        self.token = service.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it.

        Args:
            scope: What is asked; handlers add to its `fields` what the log tells.
            receive: Gives the body.
            send: Takes the response.
        """
        root_path = self.service.root_path
        if root_path and scope["path"].startswith(f"{root_path}/"):
            scope["path"] = scope["path"].removeprefix(root_path)
        scope["fields"] = {}
        exchange = _Exchange(scope, receive, send)
        if scope["method"] == "HEAD":  # uvicorn leaves the body out
            scope = {**scope, "method": "GET"}
        try:
            self._check(scope["path"], exchange.headers)
            await self.app(scope, exchange.receive, exchange.send)
        except Problem as problem:
            await exchange.refuse(problem)
        except asyncio.CancelledError:
            # The time to stop has come, and this one was not done.
            await exchange.refuse(Problem("stopping", STOPPING))
        except Exception as error:
            logger.error("failed", exc_info=error, extra={"fields": exchange.fields()})
            detail = "the server has failed; its log has the reason."
            await exchange.refuse(Problem("internal", detail))
        finally:
            fields = exchange.fields()
            logger.info("request", extra={"fields": fields})
            seconds = fields["milliseconds"] / 1000
            self.service.metrics.observe_request(
                fields["method"], scope["path"], exchange.status, seconds
            )

    def _check(self, path: str, headers: Mapping[str, str]) -> None:
        host = headers.get("host", "")
        if self.allowed_hosts and without_port(host) not in self.allowed_hosts:
            raise Problem(
                "host",
                "the Host header names none of this server's names; expected one of "
                f"{', '.join(sorted(self.allowed_hosts))}. The server's option "
                "`allow_host` allows another.",
            )
        if "origin" in headers and not is_own_page(headers, self.public_names):
            raise Problem(
                "other-site",
                "the request comes from another site's page; open this server's own. Behind a "
                "proxy, the server's option `allow_host` tells the name in the page's address.",
            )
        if self.token is not None and path not in _OPEN_PATHS and not path.startswith(_OPEN_FOLDER):
            self._check_token(headers.get("authorization", ""))

    def _check_token(self, given: str) -> None:
        kind, _, token = given.partition(" ")
        if kind.lower() != "bearer" or not is_token(token.strip(), self.token or ""):
            found = "the token is not the right one" if given else "no token came"
            raise Problem(
                "token",
                f"{found}; expected the header Authorization: Bearer and the server's "
                "HANDFUL_TOKEN.",
                headers={"WWW-Authenticate": "Bearer"},
            )


def is_token(given: str, token: str) -> bool:
    """Whether a token is the right one, in a time that tells nothing of it.

    Args:
        given: What came.
        token: The server's; "" lets nobody in.

    Returns:
        Whether they are the same.
    """
    same = hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
    return same and bool(token)


def is_own_page(headers: Mapping[str, str], public_names: frozenset[str] = frozenset()) -> bool:
    """Whether a browser sent a request that has an Origin from a page of this server's own.

    Browsers say it themselves (Sec-Fetch-Site, which no page can set) at addresses with TLS and
    on this machine: true behind any proxy. Else the page's address must be the request's, or,
    where a proxy has put its own in place of that, the proxy's.

    Args:
        headers: The request's, names in lower case.
        public_names: Names that a proxy in front is called by.

    Returns:
        Whether it did.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    page = _address_of(headers["origin"])
    if not page:
        return False
    if page == headers.get("host", "").lower() or page in public_names:
        return True
    # No other site's page can send this header: a browser would ask first, and be refused.
    told = headers.get("x-forwarded-host", "").lower()
    return page == told and without_port(told) in public_names


def _address_of(origin: str) -> str:
    """Name and port of a page's origin; nothing where it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # no address at all, such as http://[
        return ""


def without_port(host: str) -> str:
    """The name in a Host header.

    Args:
        host: The header.

    Returns:
        It in lower case, without the port.
    """
    name, separator, port = host.lower().rpartition(":")
    return name if separator and port.isdecimal() else host.lower()


class _Exchange:
    """One request and its response, as they pass by."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive, self._send = receive, send
        # Headers that count are there once; the connection sees to it.
        self.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        given = self.headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        self.started = time.perf_counter()
        self.status = 0
        self.is_gone = False
        length = self.headers.get("content-length", "0")
        self.body_left = length != "0" or "transfer-encoding" in self.headers
        self.num_bytes = 0

    def fields(self) -> dict[str, Any]:
        """What the log says of the request: nothing of what was in it."""
        client = self.scope.get("client")
        return {
            "request_id": self.request_id,
            "client": client[0] if client else None,
            "method": self.scope["method"],
            "path": self.scope["path"][:200],
            "status": self.status or None,
            "bytes": self.num_bytes,
            "milliseconds": round(1000 * (time.perf_counter() - self.started), 2),
            **self.scope["fields"],
        }

    async def receive(self) -> Message:
        """Pass a message of the request on."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.num_bytes += len(message.get("body", b""))
            self.body_left = bool(message.get("more_body"))
        else:
            self.is_gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the response on, with the headers that all have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [*SECURITY_HEADERS, (b"x-request-id", self.request_id.encode())]
            if self.body_left:
                own.append((b"connection", b"close"))
            names = {name for name, _ in message.get("headers", ())}
            if b"cache-control" not in names:
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        elif not message.get("more_body"):
            if self.body_left and not self.is_gone:
                await self._send({**message, "more_body": True})
                await self._linger()
                message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, if nothing was answered yet."""
        if not self.status:
            body = problem.body(self.request_id)
            response = Response(body, problem.status, problem.headers, MEDIA_TYPE)
            await response(self.scope, self.receive, self.send)

    async def _linger(self) -> None:
        """Take and drop what is still being sent: closed at once, the response would be lost."""
        most = self.num_bytes + _LINGER_BYTES
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while self.body_left and not self.is_gone and self.num_bytes < most:
                    await self.receive()
        except TimeoutError:
            pass
