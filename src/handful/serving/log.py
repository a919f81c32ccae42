"""The server's log: JSON lines on standard error, written by a thread of their own."""

import json
import logging
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any, TextIO

_LOG_LINES = 10_000
_LAST_SECONDS = 1.0

logger = logging.getLogger("handful.serve")


class LogWriter(QueueHandler):
    """Hands records to a thread that writes them; a reader that stands still holds up nothing.

    Args:
        stream: Where lines go.
        most: Lines that may wait for the stream; more are counted and dropped.
    """

    def __init__(self, stream: TextIO, most: int = _LOG_LINES) -> None:
        # Without a lock that a signal's handler could find taken, and so without a limit.
        self._records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        super().__init__(self._records)
        self._most = most
        self._num_dropped = 0
        self._stopper: threading.Thread | None = None
        writer = _LineHandler(stream)
        writer.setFormatter(_JsonFormatter())
        self._listener = QueueListener(self._records, writer)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Keep a record whole: it stays in this process, and the thread formats it.

        Args:
            record: What is logged.

        Returns:
            The same.
        """
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Keep a record, or drop it; never wait.

        Args:
            record: What is logged.
        """
        if self._records.qsize() >= self._most:
            self._num_dropped += 1
            return
        record.dropped, self._num_dropped = self._num_dropped, 0
        self._records.put(record)

    def start(self) -> None:
        """Begin to write."""
        self._listener.start()

    def stop(self) -> None:
        """Write what is left, for a second at most: nobody may be reading."""
        self._stopper = threading.Thread(target=self._listener.stop, daemon=True)
        self._stopper.start()
        self._stopper.join(_LAST_SECONDS)

    @property
    def is_stuck(self) -> bool:
        """Whether it still waits for its stream, though it was stopped."""
        return self._stopper is not None and self._stopper.is_alive()


class _LineHandler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing: the reader has gone."""


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII, so that nothing in it can pass for another line.

    A record's message is the event; its `fields` are added.
    """

    def format(self, record: logging.LogRecord) -> str:
        try:
            return json.dumps(
                self._entry(record, record.getMessage(), getattr(record, "fields", {}))
            )
        except Exception as error:
            fields = {"place": f"{record.pathname}:{record.lineno}", "error": type(error).__name__}
            return json.dumps(self._entry(record, "unwritable record", fields))

    def _entry(
        self, record: logging.LogRecord, event: str, fields: dict[str, Any]
    ) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": event,
            **fields,
        }
        if record.name != logger.name:
            entry["from"] = record.name
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        if getattr(record, "dropped", 0):
            entry["dropped_lines"] = record.dropped  # type: ignore[attr-defined]
        return entry


@contextmanager
def json_log(is_quiet: bool = False) -> Iterator[LogWriter]:
    """Write the log as JSON lines on standard error, for as long as the block lasts.

    Args:
        is_quiet: Whether requests are left out.

    Yields:
        What writes it.
    """
    writer = LogWriter(sys.stderr)
    root = logging.getLogger()
    before = root.handlers[:], root.level, logger.level
    root.handlers[:] = [writer]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.WARNING if is_quiet else logging.INFO)
    logging.captureWarnings(True)
    # Each malformed form is a problem to its sender, and logged as a request already.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()
        logging.captureWarnings(False)
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logger.setLevel(before[2])
