"""Pages' templates compiled once, and kept where Python keeps its modules' code."""

import marshal
import sys
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

from handful.errors import OutputError
from handful.files.atomic import new_file


class CompiledTemplates(BytecodeCache):
    """Code of templates in `__pycache__`, under the rules of Python's own: one may forbid it.

    Compiling those of a report takes 0.1 s. Jinja's own cache would leave them in a folder that
    others may write to, and reads it with pickle.
    """

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """The file of a template's code.

        Args:
            name: The template's name.
            filename: Its file.

        Returns:
            A path.
        """
        version = "".join(filter(str.isalnum, jinja2.__version__))
        return cache_from_source(filename or name, optimization=f"jinja{version}")

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take the code of a template that has not changed.

        Args:
            bucket: Which, and what it is taken to.
        """
        with suppress(OSError, EOFError, ValueError, TypeError):
            checksum, _, code = Path(bucket.key).read_bytes().partition(b"\n")
            if checksum == bucket.checksum.encode():
                bucket.code = marshal.loads(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template, where that is possible.

        Args:
            bucket: The template.
        """
        if sys.dont_write_bytecode:
            return
        with suppress(OutputError), new_file(Path(bucket.key), replace=True) as part:
            part.write_bytes(bucket.checksum.encode() + b"\n" + marshal.dumps(bucket.code))
