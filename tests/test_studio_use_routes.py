from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")
from fastapi import FastAPI  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from conftest import draw_photo, write_photo  # noqa: E402
from handful.models.classifier import Classifier  # noqa: E402
from handful.projects.project import Project  # noqa: E402
from handful.reporting import Reporter  # noqa: E402
from handful.studio.desk import Desk  # noqa: E402
from handful.studio.folder_answers import classify_folder  # noqa: E402
from handful.studio.use_routes import make_use_routes  # noqa: E402


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Project.create(tmp_path / "work"))


@pytest.fixture
def client(desk: Desk) -> TestClient:
    app = FastAPI(openapi_url=None)
    app.include_router(make_use_routes(desk))
    return TestClient(app)


def test_what_a_page_asks_of_a_folder(
    client: TestClient, desk: Desk, tmp_path: Path, tiny_run: Path
) -> None:
    assert client.get("/data/folder").json()["chips"] == []
    for address in ("/data/folder/answers.csv", "/data/folder/thumbnails/0"):
        assert client.get(address).status_code == 404
    write_photo(tmp_path / "a.png", draw_photo("round", 0))
    files = [("file", ("field/a.png", (tmp_path / "a.png").read_bytes()))]
    assert client.post("/data/folder/photos", files=files).json() == {"added": 1}
    refused = client.post("/data/folder/begin", json={})
    assert refused.status_code == 400 and "train one first" in refused.json()["error"]
    sent, job = desk.folder_table.job.folder / "photos", desk.folder_table.job
    classifier = Classifier.load(tiny_run)
    classify_folder(classifier, "first", sent, "field", Reporter()).save(
        job.folder / "answers.json"
    )
    assert [row["name"] for row in client.get("/data/folder").json()["rows"]] == ["field/a.png"]
    assert client.get("/data/folder/thumbnails/0").content[:4] == b"RIFF"
    wrong = client.post("/data/folder/correct", json={"row": "0", "name": "Round"})
    assert wrong.status_code == 400
    said = client.post("/data/folder/correct", json={"row": 0, "name": "Round"}).json()["said"]
    assert said.startswith("a.png is Round now")
    table = client.get("/data/folder/answers.csv")
    assert "attachment" in table.headers["content-disposition"] and ",Round," in table.text
    assert "1 photo copied" in client.post("/data/folder/sort").json()["said"]
    assert client.post("/data/folder/clear").json() == {"said": ""}
    assert client.post("/data/folder/nothing").status_code == 404
    assert client.get("/data/folder").json()["chips"] == []


def test_an_answer_is_corrected(client: TestClient, desk: Desk, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", draw_photo("round", 0))
    files = [("file", ("a.png", (tmp_path / "a.png").read_bytes()))]
    said = client.post("/data/correct", params={"name": "Square"}, files=files).json()
    assert said == {"said": "a.png is Square now, and one of your photos"}
    assert desk.project.labels.counts == {"Square": 1}
    wrong = client.post("/data/correct", params={"name": "a/b"}, files=files)
    assert wrong.status_code == 422 and "slashes" in wrong.json()["error"]
    text = [("file", ("b.txt", b"milk"))]
    refused = client.post("/data/correct", params={"name": "Square"}, files=text)
    assert refused.status_code == 422 and "b.txt" in refused.json()["error"]
    assert len(desk.project.photos) == 1


def test_what_was_not_made_is_not_there(client: TestClient) -> None:
    for format in ("web", "onnx", "..", "nothing"):
        assert client.get(f"/data/shared/{format}").status_code == 404
