"""A stand-in for a hub of networks: the part of its API that huggingface_hub fetches files by."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secret"


@dataclass
class Hub:
    """What the server has, and what it was asked for.

    Args:
        files: "OWNER/NAME" to file name to content.
        private: Repositories that need the token.
        gated: Repositories whose terms nobody agreed to.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def environment(self, home: Path) -> dict[str, str]:
        """Variables with which huggingface_hub asks this server."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_ETAG_TIMEOUT": "2",
        }


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            answer(self, hub, with_body=False)

        def do_GET(self) -> None:
            answer(self, hub, with_body=True)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(request: BaseHTTPRequestHandler, hub: Hub, with_body: bool) -> None:
    """Answer as the hub would: errors by their own header, files with their commit and digest."""
    found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", request.path)
    status, headers, body = 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
    if found:
        repository, revision, name = found.groups()
        hub.asked.append(f"{request.command} {repository}/{name}@{revision}")
        files = hub.files.get(repository)
        is_known = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if files is None or (repository in hub.private and not is_known):
            status = 401
        elif repository in hub.gated:
            status, headers = 403, {"X-Error-Code": "GatedRepo"}
        elif revision not in ("main", "v1", COMMIT):
            headers = {"X-Error-Code": "RevisionNotFound"}
        elif name not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
        else:
            status, body = 200, files[name]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
    if status != 200:
        body = json.dumps({"error": "no"}).encode()
    request.send_response(status)
    for header, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(header, value)
    request.end_headers()
    if with_body:
        request.wfile.write(body)
