"""Processes that this one starts, and that do not outlive it, however it ends."""

import os
import sys

# PR_SET_PDEATHSIG with SIGKILL, which holds for the program started in its place too; and a look
# whether the parent had ended before.
_TIE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def tied(command: list[str]) -> list[str]:
    """Have a command killed when this process ends, `kill -9` included, where the system can.

    Linux kills it with the thread that starts it, so that thread has to wait for it.

    Args:
        command: Program and arguments.

    Returns:
        The same for `subprocess`; elsewhere than on Linux unchanged.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
