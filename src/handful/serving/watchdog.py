"""A second process that ends this one when a signal is not heeded in time.

Python heeds signals between its own steps. A decoder that keeps the interpreter's lock for long
stops them all: handlers, timers and threads. What still happens is that the kernel has the signal's
number written to a pipe; the process that reads it needs nothing of this one.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Reads numbers of signals from its input; the input ends when the process that is watched does.
_WATCH = """
import os, select, signal, sys, time
pid, seconds, signals = int(sys.argv[1]), float(sys.argv[2]), {int(n) for n in sys.argv[3:]}
while not signals.intersection(data := os.read(0, 512)):
    if not data:
        sys.exit()
end = time.monotonic() + seconds
while (left := end - time.monotonic()) > 0:
    if select.select([0], [], [], left)[0] and not os.read(0, 512):
        sys.exit()
if os.getppid() == pid:
    os.kill(pid, signal.SIGKILL)
"""


@contextmanager
def watchdog(seconds: float) -> Iterator[Callable[[], None]]:
    """Have this process killed so long after SIGTERM or SIGINT, unless it ends or the block does.

    Args:
        seconds: Time that it has.

    Yields:
        Turns signals to the watchdog; called by the main thread, once an event loop that wants to
        be told of them runs. Where there is no such means, it does nothing.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    names = [str(int(sig)) for sig in (signal.SIGTERM, signal.SIGINT)]
    command = [sys.executable, "-I", "-S", "-c", _WATCH, str(os.getpid()), str(seconds), *names]
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        # A session of its own: Ctrl-C is not for it.
        process = subprocess.Popen(command, stdin=reading, start_new_session=True)
    except OSError:
        os.close(writing)
        yield lambda: None
        return
    finally:
        os.close(reading)
    try:
        yield lambda: _wake(writing)
    finally:
        _wake(-1)
        os.close(writing)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)


def _wake(descriptor: int) -> None:
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
