"""How many processor cores there are to work with."""

import os


def available_cores() -> int:
    """Processor cores this process may use.

    Returns:
        1 or more; fewer than the machine has under `taskset`, or where the environment variable
        `HANDFUL_CORES` says so: a container's share of a processor is not told otherwise.
    """
    given = os.environ.get("HANDFUL_CORES", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def num_workers() -> int:
    """Threads that decode and wait for a network: two a core keep every core busy."""
    return 2 * available_cores()
