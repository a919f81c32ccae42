"""The `handful` command, also as `python -m handful`."""

import atexit
import os
import sys


class _Leaving:
    """Ends the process once everybody has tidied up, without taking its memory apart first.

    Registered before all others, it is called after them, when no thread is left but the decoders'
    and networks' own. What Python would still do, free each object and library, takes 0.1 to 0.2 s
    and is of no use to a process that ends.
    """

    code = 1

    def __call__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                return  # Python says so, with an exit code of its own
        os._exit(self.code)


def main() -> None:
    """Entry point of the command; Ctrl-C is heeded while its code is still being loaded, too."""
    leave = _Leaving()
    try:
        atexit.register(leave)
        from handful.cli.commands import main as run

        run()
    except KeyboardInterrupt:
        leave.code = 130
        raise SystemExit(130) from None
    except SystemExit as ended:
        leave.code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    leave.code = 0


if __name__ == "__main__":
    main()
