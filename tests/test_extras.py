import sys

import pytest

from handful.errors import MissingExtraError
from handful.extras import is_installed, require


def test_what_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    require("serve", "Serving", "numpy")
    assert not is_installed("python_multipart")
    with pytest.raises(MissingExtraError) as caught:
        require("serve", "Serving", "numpy", "python_multipart")
    assert str(caught.value) == (
        "Serving needs python-multipart, which is not installed. "
        "Install it with: pip install 'handful[serve]'"
    )
    with pytest.raises(MissingExtraError, match="needs no-such-a and no-such-b, which are not"):
        require("serve", "Serving", "no_such_a", "no_such_b")


def test_looking_imports_nothing() -> None:
    sys.modules.pop("this", None)
    assert is_installed("this") and "this" not in sys.modules
