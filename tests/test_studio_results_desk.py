from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import draw_photo, install_network, write_photo
from handful.errors import DataError, HandfulError, ModelFileError
from handful.features.conversion import FrozenNetwork
from handful.models.classifier import Classifier
from handful.projects.project import Project
from handful.run_store.store import RunStore
from handful.studio.results_desk import ResultsDesk
from handful.workflows.second_look import SecondLook
from handful.workflows.train import train


@pytest.fixture(scope="module")
def project(
    tiny_network: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """Two runs of forty photos, one of whose labels was changed between them."""
    root = tmp_path_factory.mktemp("results")
    for kind in ("Round", "Square"):
        for number in range(20):
            image = draw_photo(kind.lower(), number + 100 * (kind == "Square"))
            write_photo(root / "heap" / f"{kind}{number}.jpg", image)
    found = Project.create(root / "work")
    found.add_source(root / "heap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        install_network(tiny_network, root / "site-packages", patch)
        for photo in found.photos:
            found.labels.assign([photo.id], photo.name.rstrip("0123456789.jpg"))
        store = RunStore(found.runs)
        train(found.folder, quality="fast", store=store)
        tested = store.read(store.list()[0].path).predictions.paths[0]
        fixed = next(photo for photo in found.photos if photo.path == tested)
        found.labels.assign([fixed.id], "Round" if fixed.name[0] == "S" else "Square")
        train(found.folder, quality="fast", store=store)
        yield found


@pytest.fixture
def desk(project: Project) -> ResultsDesk:
    return ResultsDesk(project, RunStore(project.runs), Classifier.load)


def test_the_latest_run_is_compared_with_those_before(desk: ResultsDesk) -> None:
    run = desk.latest()
    assert run is not None and run.path.name == "work-2" and desk.latest() is run
    assert desk.made(run).startswith("work-2, 20") and desk.made(run).endswith("quality fast")
    (earlier,) = desk.earlier()
    assert earlier.name == "work" and earlier.text.startswith("the last run (work, 20")
    assert "photos tested in both: no real difference" in desk.compare("work")
    with pytest.raises(DataError, match="There is no run"):
        desk.compare("../work")


def test_a_second_look_is_taken_once_beside_the_page(desk: ResultsDesk) -> None:
    run = desk.latest()
    assert run is not None and desk.second_look(run) is None
    desk.wait()
    found = desk.second_look(run)
    assert isinstance(found, SecondLook) and found.steps and found.unusual is not None


def test_a_classifier_that_is_damaged_says_so(project: Project) -> None:
    def refuse(_: Path) -> Classifier:
        raise ModelFileError("It is damaged.")

    desk = ResultsDesk(project, RunStore(project.runs), refuse)
    run = desk.latest()
    assert run is not None
    desk.second_look(run)
    desk.wait()
    assert desk.second_look(run) == "It is damaged."


def test_only_test_photos_of_runs_have_maps(desk: ResultsDesk, project: Project) -> None:
    run = desk.latest()
    assert run is not None
    tested = [photo for photo in project.photos if photo.path in run.predictions.paths]
    others = [photo for photo in project.photos if photo.path not in run.predictions.paths]
    with pytest.raises(ModelFileError, match="no place can be named"):
        desk.map("work-2", tested[0].id)  # the stand-in ends in no average
    for name, id in (("work-2", others[0].id), ("work-2", "0" * 32), ("other", tested[0].id)):
        with pytest.raises(HandfulError, match=r"was not tested on|There is no run"):
            desk.map(name, id)
    # One that was made is never made again.
    (row,) = [row for row in RunStore(project.runs).list() if row.name == "work-2"]
    kept = project.folder / "maps" / f"work-2-{row.date:%Y%m%d%H%M%S}" / f"{tested[1].id}.jpg"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a map")
    gone = project.folder / "maps" / "work-3-20200102030405"
    gone.mkdir()
    desk = ResultsDesk(project, RunStore(project.runs), Classifier.load)
    assert desk.map("work-2", tested[1].id) == b"a map" and not gone.exists()


def test_a_report_is_the_runs_own(desk: ResultsDesk) -> None:
    assert desk.report("work").startswith(b"<!doctype html>")
    for name in ("work/classifier", "..", "gone"):
        with pytest.raises(DataError, match="There is no run"):
            desk.report(name)


def test_without_a_run_there_is_nothing(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "work")
    desk = ResultsDesk(project, RunStore(project.runs), Classifier.load)
    assert desk.latest() is None and desk.earlier() == ()
