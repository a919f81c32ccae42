"""What forked processes must open anew: threads, compiled networks, places in open files.

A forked child has its parent's objects and none of its threads: whoever waits for one waits for
ever, and ending such an object ends the process. So the child never uses or ends them.
"""

import ctypes
import os
from typing import Any, Protocol
from weakref import WeakSet


class _Forked(Protocol):
    def start_anew(self) -> None:
        """Forget, in a forked child, what is the parent's."""


_FORKED: WeakSet[Any] = WeakSet()


def start_anew_in_children(thing: _Forked) -> None:
    """Have an object's `start_anew` called in each process that is forked from this one.

    Args:
        thing: The object; it is not kept alive.
    """
    _FORKED.add(thing)


def never_end(thing: object) -> None:
    """Keep an object until the process ends, and beyond the end of the interpreter.

    Args:
        thing: What must not be destroyed here, for it waits for threads that are not there.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _start_anew() -> None:
    for thing in list(_FORKED):
        thing.start_anew()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_start_anew)
