"""An S3 server of this process, at the loopback, and what it takes to reach it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

NAME = "camera-trap"


@contextmanager
def open_bucket() -> Iterator[str]:
    """A bucket's address; the standard variables lead to it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        try:
            yield f"s3://{NAME}"
        finally:
            # What is there is the process's, not the server's.
            urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
            server.stop()


def upload(folder: Path, address: str) -> None:
    """Copy a folder's files."""
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    name, _, prefix = address.removeprefix("s3://").partition("/")
    client.create_bucket(Bucket=name)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            key = f"{prefix}/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket=name, Key=key, Body=file.read_bytes())
