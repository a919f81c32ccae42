"""Arguments of Python's door that are of the wrong kind: the error is handful's, and names them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handful
from handful.data.index import sources_of
from handful.display import job_reporter
from handful.engines.choice import open_engine
from handful.errors import UsageError
from handful.options import check_fraction


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("error_rate", value) for value in ("x", 0, 1, -1, float("nan"), [0.1])],
        *[("coverage", value) for value in ("x", 0, 1.5, (0.9,))],
        *[("sort_into", value) for value in (3, "", b"x")],
        *[("output", value) for value in (3, "", b"x")],
        *[("engine", value) for value in (3, "spark", None)],
        *[("device", value) for value in (3, "tpu")],
    ],
)
def test_predict_refuses_what_is_of_another_kind(
    tiny_run: Path, photo_folder: Path, name: str, value: Any
) -> None:
    with pytest.raises(UsageError, match=f"^`{name}` is "):
        handful.predict(tiny_run, photo_folder, **{name: value})


@pytest.mark.parametrize("value", ["98", 0.0, 1.0, 95, -0.1, float("nan"), [0.9]])
def test_curve_refuses_a_target_that_is_no_accuracy(photo_folder: Path, value: Any) -> None:
    with pytest.raises(UsageError, match=r"^`target` is .*; expected a number between 0 and 1"):
        handful.curve(photo_folder, target=value, output=False)


@pytest.mark.parametrize("value", ["200", 200, None, ["x"], [None]])
def test_curve_refuses_sizes_that_are_no_numbers(photo_folder: Path, value: Any) -> None:
    with pytest.raises(UsageError, match=r"^`at` is .*; expected photos per class, such as"):
        handful.curve(photo_folder, at=value, output=False)


@pytest.mark.parametrize("name", ["output", "photos"])
@pytest.mark.parametrize("value", [3, "", b"x", ["a"]])
def test_export_refuses_what_is_no_path(tiny_run: Path, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^`{name}` is "):
        handful.export(tiny_run, "openvino", **{name: value})


@pytest.mark.parametrize("value", [None, 3, b"x", {}, [3], [None], ["a", b"x"]])
def test_sources_are_paths(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^`photos` is of type |^`photos` is 3; expected files"):
        sources_of(value)


@pytest.mark.parametrize("value", ["", [], [""], ()])
def test_sources_are_not_nothing(value: Any) -> None:
    with pytest.raises(UsageError, match="photos"):
        sources_of(value)


def test_sources_are_listed() -> None:
    assert sources_of("a") == sources_of(["a"]) == sources_of(Path("a")) == [Path("a")]


@pytest.mark.parametrize("value", [3, "loud", print])
def test_a_reporter_is_one(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^`reporter` is .*; expected a `handful\.Reporter`"):
        job_reporter(value)


@pytest.mark.parametrize("value", [3, None, object()])
def test_an_engine_is_one(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^`engine` is .*; expected one of local, ray"):
        open_engine(value).__enter__()


def test_fractions_of_any_number_type_are_taken() -> None:
    check_fraction(np.float32(0.5), "share", 0.1)
    with pytest.raises(UsageError, match="`share` is True; expected a number between 0 and 1"):
        check_fraction(True, "share", 0.1)
