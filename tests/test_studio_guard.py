import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")
from fastapi import FastAPI  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402

from conftest import draw_photo, write_photo  # noqa: E402
from handful.projects.project import Project  # noqa: E402
from handful.studio.desk import Desk  # noqa: E402
from handful.studio.guard import StudioGuard  # noqa: E402
from handful.studio.routes import make_routes  # noqa: E402

TOKEN = "a-token-that-is-long-enough"
BASE = "http://127.0.0.1:8050"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    write_photo(tmp_path / "heap" / "a.png", draw_photo("round", 0))
    project = Project.create(tmp_path / "work")
    project.add_source(tmp_path / "heap")
    return Desk(project)


@pytest.fixture
def stranger(desk: Desk) -> Iterator[TestClient]:
    app = FastAPI(openapi_url=None)
    app.include_router(make_routes(desk))
    with TestClient(StudioGuard(app, TOKEN, 8050), base_url=BASE) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    stranger.get("/data/photos", params={"token": TOKEN})
    return stranger


def test_the_token_comes_once_and_is_a_cookie_then(stranger: TestClient) -> None:
    assert stranger.get("/data/photos").status_code == 401
    assert stranger.get("/data/photos?token=wrong").status_code == 401
    first = stranger.get(f"/data/photos?shown=all&token={TOKEN}", follow_redirects=False)
    assert first.status_code == 303 and first.headers["location"] == "/data/photos?shown=all"
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    found = stranger.get("/data/photos")
    assert found.status_code == 200 and len(found.json()["cells"]) == 1
    assert "frame-ancestors 'none'" in found.headers["content-security-policy"]


def test_other_sites_and_other_names_are_refused(client: TestClient) -> None:
    assert client.get("/data/photos", headers={"host": "evil.example"}).status_code == 421
    other = {"origin": "http://evil.example"}
    assert client.post("/data/act", json={"action": "undo"}, headers=other).status_code == 403
    assert client.post("/data/act", json={}, headers={"origin": BASE}).status_code == 400


def test_beyond_this_computer_its_own_names_and_addresses_are_known(desk: Desk) -> None:
    app = FastAPI(openapi_url=None)
    app.include_router(make_routes(desk))
    address = "http://192.168.1.5:8050"
    with TestClient(
        StudioGuard(app, TOKEN, 8050, frozenset({"barn.local"})), base_url=address
    ) as client:
        for path in ("/", "/use", "/data/photos", "/_nicegui/x", "/data/shared/web", "/no"):
            for method in ("GET", "POST", "HEAD"):
                refused = client.request(method, path)
                assert refused.status_code == 401 and desk.project.name not in refused.text
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/_nicegui_ws/"):
            pass
        client.get("/data/photos", params={"token": TOKEN})
        for host in ("192.168.1.5:8050", "barn.local", "[fd00::5]:8050", "127.0.0.1:8050"):
            assert client.get("/data/photos", headers={"host": host}).status_code == 200
        for host in ("evil.example", "192.168.1.5.evil.example", "barn", ""):
            assert client.get("/data/photos", headers={"host": host}).status_code == 421
        own = client.post("/data/act", json={}, headers={"origin": address})
        other = client.post("/data/act", json={}, headers={"origin": "http://192.168.1.6:8050"})
        assert (own.status_code, other.status_code) == (400, 403)


@pytest.mark.parametrize("message", ["No response returned.", "something else"])
def test_a_browser_that_has_left_is_no_fault(message: str) -> None:
    async def left(*_: object) -> None:
        raise RuntimeError(message)

    guard = StudioGuard(left, TOKEN, 8050)
    headers = [(b"host", b"127.0.0.1"), (b"cookie", f"{guard.cookie}={TOKEN}".encode())]
    scope = {"type": "http", "path": "/", "headers": headers, "query_string": b""}

    async def ask() -> None:
        await guard(scope, None, None)  # type: ignore[arg-type]

    if message.startswith("No response"):
        asyncio.run(ask())
    else:
        with pytest.raises(RuntimeError, match=message):
            asyncio.run(ask())


def test_thumbnails_are_of_photos_alone(client: TestClient, desk: Desk) -> None:
    (photo,) = desk.project.photos
    found = client.get(f"/data/thumbnails/{photo.id}")
    assert found.headers["content-type"] == "image/webp" and found.content[:4] == b"RIFF"
    for wrong in ("0" * 32, "..", "%2e%2e%2fproject.json", "..%5cproject.json"):
        assert client.get(f"/data/thumbnails/{wrong}").status_code in (404, 400)


def test_actions_and_their_refusals(client: TestClient, desk: Desk) -> None:
    (photo,) = desk.project.photos
    values = {"action": "assign", "ids": [photo.id], "name": "Round"}
    assert client.post("/data/act", json=values).json() == {"said": "1 photo is Round now"}
    wrong = client.post("/data/act", json={"action": "add_class", "name": "a/b"})
    assert wrong.status_code == 400 and "slashes" in wrong.json()["error"]
    assert client.post("/data/act", content=b"{").status_code == 400


def test_uploads_are_checked_one_by_one(client: TestClient, desk: Desk, tmp_path: Path) -> None:
    write_photo(tmp_path / "b.png", draw_photo("square", 1))
    files = [
        ("file", ("../../b.png", (tmp_path / "b.png").read_bytes())),
        ("file", ("notes.txt", b"milk")),
    ]
    found = client.post("/data/upload", files=files).json()
    assert found["added"] == 1 and "notes.txt" in found["rejected"][0]
    assert len(desk.project.photos) == 2
    kept = list((desk.project.folder / "photos").rglob("*.png"))
    assert len(kept) == 1 and not list(tmp_path.parent.glob("b.png"))
    assert client.post("/data/upload", content=b"x").status_code == 415
    assert "no classifier yet" in client.post("/data/classify", files=files[:1]).json()["error"]
