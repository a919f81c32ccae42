"""OpenVINO, the one place that imports it: without its telemetry.

`import openvino` looks up an analytics host, leaves an id in the home folder and forks a sender,
whoever imports it. Without the package that does so it takes a stub of its own, so that package
is out of reach for as long as the import lasts. Where the host program has imported OpenVINO
before, nothing is changed.
"""

import importlib
import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def _import_openvino() -> Any:
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    modules: dict[str, Any] = sys.modules
    kept = {name: modules[name] for name in (_TELEMETRY,) if name in modules}
    modules[_TELEMETRY] = None  # Python refuses to import a name that is None
    try:
        return importlib.import_module("openvino")
    finally:
        del modules[_TELEMETRY]
        modules.update(kept)


openvino = _import_openvino()
ops = openvino.opset13
