"""OpenVINO, the one place that imports it: without its telemetry, and without its converter.

`import openvino` looks up an analytics host, leaves an id in the home folder and forks a sender,
whoever imports it. Without the package that does so it takes a stub of its own, so that package
is out of reach for as long as the import lasts. So is the converter of other formats, which takes
a third of the time and which handful does without; whoever calls `openvino.convert_model` loads it
then. Where the host program has imported OpenVINO before, nothing is changed.

OpenVINO's tables of NumPy's types are made at first use, by code that lets go of Python's lock
while it holds one of its own: of two threads that come to it first, each waits for the other for
good. So they are made here, where Python imports a module once.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TELEMETRY = "openvino_telemetry"
_CONVERTER = "openvino.tools.ovc"


@contextmanager
def _out_of_reach(*names: str) -> Iterator[None]:
    """Keep modules from being imported within the block."""
    modules: dict[str, Any] = sys.modules
    kept = {name: modules[name] for name in names if name in modules}
    modules.update(dict.fromkeys(names))  # Python refuses to import a name that is None
    try:
        yield
    finally:
        for name in names:
            del modules[name]
        modules.update(kept)


def _import_openvino() -> Any:
    if "openvino" in sys.modules:
        module: Any = sys.modules["openvino"]
    else:
        with _out_of_reach(_TELEMETRY, _CONVERTER):
            module = importlib.import_module("openvino")
        if not hasattr(module, "convert_model"):
            module.__dict__["convert_model"] = _convert_model
    module.Type(module.Type.f32.to_dtype())
    return module


def _convert_model(*args: Any, **kwargs: Any) -> Any:
    """OpenVINO's own function of this name, for programs that share the process."""
    with _out_of_reach(_TELEMETRY):
        converter = importlib.import_module(_CONVERTER).convert_model
    openvino.__dict__["convert_model"] = converter
    return converter(*args, **kwargs)


openvino = _import_openvino()
ops = openvino.opset13
