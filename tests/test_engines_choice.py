"""Engines by name."""

import pytest

from handful.engines.choice import open_engine
from handful.engines.engine import LocalEngine
from handful.errors import UsageError


def test_engines_are_opened_by_name() -> None:
    own = LocalEngine()
    with open_engine(own) as opened:
        assert opened is own
    with open_engine("local") as opened:
        assert isinstance(opened, LocalEngine)
    with pytest.raises(UsageError, match="`engine` is 'spark'; expected one of local, ray"):
        open_engine("spark").__enter__()
