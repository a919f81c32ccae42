"""Who may ask: browsers that have the token and name this computer, and no other site's pages."""

import ipaddress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handful.serving.guards import (
    ISOLATION_HEADERS,
    LOOPBACK_NAMES,
    is_own_page,
    is_token,
    without_port,
)

# The framework's pages have scripts in them, and compile their templates.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = [(b"content-security-policy", _POLICY.encode()), *ISOLATION_HEADERS]
_NEEDS_TOKEN = (
    "The studio is open to those who have its full address: the one that the terminal shows, "
    "with ?token= at its end."
)


class StudioGuard:
    """ASGI middleware around all pages, files and WebSockets of the studio.

    The token comes in the address first, and in a cookie afterwards.

    Args:
        app: The application.
        token: What a browser must bring.
        port: The server's, which the cookie is named after: two studios may be open.
        names: What this computer is called besides the loopback's names, where others reach it;
            then by its addresses too.
    """

    def __init__(
        self, app: ASGIApp, token: str, port: int, names: frozenset[str] = frozenset()
    ) -> None:
        self.app, self.token, self.names = app, token, names
        self.cookie = f"handful-studio-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Args:
            scope: What is asked.
            receive: Gives the body.
            send: Takes the response.
        """
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is not None and scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        try:
            await (self.app if refusal is None else refusal)(scope, receive, with_headers)
        except RuntimeError as error:
            # The framework's middleware says so of a browser that has left meanwhile.
            if str(error) != "No response returned.":
                raise

    def _refuse(self, scope: Scope) -> Response | None:
        """The answer to a request that may not pass; None where it may."""
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        if not self._is_named(without_port(headers.get("host", ""))):
            return PlainTextResponse("The Host header names another server.", 421)
        if "origin" in headers and not is_own_page(headers):
            return PlainTextResponse("The request comes from another site's page.", 403)
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        given = dict(query).get("token")
        if given is not None and scope["type"] == "http" and is_token(given, self.token):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            response = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return response
        if is_token(_cookies(headers.get("cookie", "")).get(self.cookie, ""), self.token):
            return None
        return PlainTextResponse(_NEEDS_TOKEN, 401)

    def _is_named(self, host: str) -> bool:
        if host in LOOPBACK_NAMES or host in self.names:
            return True
        # No name of another's can lead to an address that is asked for by itself.
        return bool(self.names) and _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}
