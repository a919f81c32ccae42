from pathlib import Path

import pytest

from handful.errors import MissingExtraError
from handful.studio import share_view as share_view_module
from handful.studio.share_view import phones_told, share_view
from handful.studio.sharing import Shared


def test_the_offline_page_comes_first_and_says_what_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(format: str) -> None:
        if format == "keras":
            raise MissingExtraError("Format keras needs keras.")

    monkeypatch.setattr(share_view_module, "check_extra", check)
    page = Shared("web", Path("page.html"), 13_300_000, 0.00001, True)
    model = Shared("onnx", Path("a.zip"), 4_000_000, 0.012, False)
    lines = share_view({"web": page, "onnx": model})
    assert [line.format for line in lines] == ["web", "onnx", "openvino", "litert", "keras"]
    web, onnx, openvino, _, keras = lines
    assert web.made == "13.3 MB. Tried on photos, its probabilities are the same as here."
    assert web.address == "/data/shared/web"
    assert (
        onnx.made == "4.0 MB. Tried on photos, its probabilities are within 1 points of those here."
    )
    assert openvino.made == openvino.address == openvino.missing == ""
    assert keras.missing == "Format keras needs keras."
    large = Shared("web", Path("page.html"), 31_000_000, 0.0, False, "It is large.")
    (told, *_) = share_view({"web": large})
    assert told.made.endswith("It does not tell unusual photos. It is large.")


def test_phones_are_told_how_to_get_in() -> None:
    assert "all that you can" in phones_told(("http://192.168.1.5:8050/?token=a",))
    assert "host 0.0.0.0" in phones_told(())
