"""The `handful` command: its verbs in the order of their help, its process and its log."""

import io
import logging
import os
import signal
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from handful import __version__
from handful.cli import jobs, terminal, tools
from handful.cli.flags import Command, Group
from handful.cli.frame import errors
from handful.cli.spelling import with_options
from handful.config import RUNS_FOLDER
from handful.environment import cache_folder, own_environment
from handful.errors import UsageError
from handful.features.keras_runtime import claim_process
from handful.files.drafts import remove_leftovers
from handful.wording import printable

app = typer.Typer(
    name="handful",
    cls=Group,
    help="Image classifiers you can trust, from a handful of labeled photos, in seconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    *(jobs.train, jobs.compare, jobs.evaluate, jobs.predict, jobs.explain, jobs.check, jobs.curve),
    jobs.embed,
    *(tools.runs, tools.cache, tools.demo, tools.figures, tools.preview, tools.summary),
    tools.backbones,
    *(tools.data, tools.labels, tools.studio, tools.serve, tools.export),
):
    app.command(cls=Command)(verb)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        terminal.show(f"handful {__version__}")
        raise typer.Exit()


def main() -> None:
    """Entry point of the `handful` command."""
    _log_printable()
    # Photos are decoded in threads; OpenCV's own would only compete. Pillow warns of harmless
    # oddities of files that it then reads. Both are for this process alone to decide, not for
    # the library.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    os.environ.update(own_environment())
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # A terminated run tidies up just as an interrupted one does, and so does one whose terminal
    # was closed, but for what `nohup` keeps from hearing of it.
    signal.signal(signal.SIGTERM, _interrupt)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, _interrupt)
    # A file name need not be valid text, and no result is lost over that.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    claim_process()
    with suppress(OSError):  # no folder for temporary files
        # What killed commands left where this one may make nothing itself.
        for folder in (Path(tempfile.gettempdir()), cache_folder() / "networks", RUNS_FOLDER):
            remove_leftovers(folder)
    try:
        with errors():
            if "" in sys.argv[1:]:  # it would be taken for the current folder
                raise UsageError(
                    "an argument is empty, perhaps a variable without a value; give a path or a "
                    "value there, or take it away."
                )
            app()
    except typer.Exit as ended:  # before a command had begun
        raise SystemExit(ended.exit_code) from None


class _Printable(logging.Formatter):
    """One line for each thing that is logged, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(printable, super().formatException(ei).splitlines()))


def _log_printable() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    make_record = logging.getLogRecordFactory()

    def name_options(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        record.msg = with_options(record.msg) if isinstance(record.msg, str) else record.msg
        return record

    logging.setLogRecordFactory(name_options)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
