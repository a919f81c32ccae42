"""What is said of a bucket that cannot be reached; nothing is asked for."""

import pytest

from handful.data.remote import _why


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "When getting information for key 'folder' in bucket 'bucket': AWS Error "
            "NETWORK_CONNECTION during HeadObject operation: curlCode: 6, Could not resolve "
            "hostname; Details: Could not resolve host: bucket.s3.us-east-1.amazonaws.com. ",
            "NETWORK_CONNECTION: curlCode: 6, Could not resolve hostname; Details: Could not "
            "resolve host: bucket.s3.us-east-1.amazonaws.com",
        ),
        ("no such\n  file", "no such file"),
    ],
)
def test_what_arrow_says_to_programmers_is_left_out(text: str, words: str) -> None:
    assert _why(OSError(text)) == words
