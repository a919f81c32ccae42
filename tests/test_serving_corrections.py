import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")

from handful.errors import DataError  # noqa: E402
from handful.projects.project import Project  # noqa: E402
from handful.serving import corrections  # noqa: E402
from handful.serving.corrections import find_project  # noqa: E402
from live_server import Live, live  # noqa: E402


@pytest.fixture(scope="module")
def server(tiny_run: Path) -> Iterator[Live]:
    with live(tiny_run) as found:
        yield found


@pytest.fixture
def project(server: Live, tmp_path: Path) -> Iterator[Project]:
    server.service.project = Project.create(tmp_path / "work")
    yield server.service.project
    server.service.project = None


@pytest.fixture
def photo(photo_folder: Path) -> bytes:
    return (photo_folder / "round" / "000.jpg").read_bytes()


def test_a_correction_waits_in_the_project(server: Live, project: Project, photo: bytes) -> None:
    options = {"label": "square", "predicted": "round"}
    files = {"file": ("../a.jpg", photo)}
    assert server.client.post("/corrections", params=options, files=files).status_code == 204
    (found,) = project.inbox.waiting
    assert (found.class_name, found.predicted, found.origin) == ("square", "round", "serve")
    assert project.read(found.id) == photo and project.labels.counts == {}
    assert server.client.get("/model").json()["takes_corrections"] is True
    options = {"label": "square", "predicted": "<b>"}
    server.client.post("/corrections", params=options, files=files)
    (again,) = project.inbox.waiting
    assert again.predicted == ""


def test_what_is_no_correction_is_refused(
    server: Live, project: Project, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"file": ("a.jpg", photo)}
    for label in ("", "triangle"):
        wrong = server.client.post("/corrections", params={"label": label}, files=files)
        assert wrong.status_code == 422 and "round, square" in wrong.json()["detail"]
    options = {"label": "square"}
    for data in (b"milk", photo[:500]):
        broken = {"file": ("a.jpg", data)}
        refused = server.client.post("/corrections", params=options, files=broken)
        assert refused.status_code == 422 and "a.jpg" in refused.json()["detail"]
    assert server.client.post("/corrections", params=options).status_code == 415
    monkeypatch.setattr(corrections, "MOST_WAITING", 0)
    full = server.client.post("/corrections", params=options, files=files)
    assert full.status_code == 503 and "wait already" in full.json()["detail"]
    assert project.inbox.waiting == () and project.photos == ()


def test_without_a_project_nothing_is_kept(server: Live, photo: bytes) -> None:
    files = {"file": ("a.jpg", photo)}
    found = server.client.post("/corrections", params={"label": "square"}, files=files)
    assert found.status_code == 404
    assert server.client.get("/model").json()["takes_corrections"] is False


def test_the_project_is_the_one_that_the_run_lies_in(tmp_path: Path, tiny_run: Path) -> None:
    project = Project.create(tmp_path / "work")
    run = project.runs / "first"
    shutil.copytree(tiny_run, run)
    found = find_project(run, None)
    assert found is not None and found.folder.samefile(project.folder)
    assert find_project(tiny_run, None) is None
    made = find_project(tiny_run, str(tmp_path / "other"))
    assert made is not None and made.folder == tmp_path / "other"
    with pytest.raises(DataError):
        find_project(tiny_run, str(run))
