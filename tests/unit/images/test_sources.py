"""Images that come with a request: data URLs and base64 are unpacked within their limit, everything else is refused by name."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import InvalidRequest
from service.images.sources import embedded, is_url
from service.schemas import Picture

FIELD = "documents[3].image"


def picture(source: str) -> Picture:
    return Picture(source, FIELD)


@given(
    st.binary(min_size=1, max_size=300), st.sampled_from(["", "data:;base64,", "data:image/png;base64,", "data:image/png;name=a;base64,"])
)
def test_what_was_packed_is_unpacked(data: bytes, head: str) -> None:
    """Base64 gives its bytes back, bare or in a data URL, in lines or in one."""
    text = base64.b64encode(data).decode()
    assert embedded(picture(head + text), 300) == data
    assert embedded(picture(head + base64.encodebytes(data).decode()), 300) == data
    assert not is_url(picture(head + text))


@pytest.mark.parametrize(
    "text", ["data:image/png,rawdata", "data:image/png;base64", "data:,", "not base64 at all!", "ab=c", "QUJD\u00e9", "file:///etc/passwd"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    """Text that is no image names its document and says what is expected."""
    with pytest.raises(InvalidRequest, match=r"^documents\[3\]\.image: the image is ") as refused:
        embedded(picture(text), 1000)
    assert refused.value.field == FIELD


@given(st.integers(1, 100), st.integers(0, 3))
def test_the_limit_is_exact(most: int, over: int) -> None:
    """A file of exactly the limit passes, one byte more does not, and the message names limit and setting."""
    text = base64.b64encode(bytes(most + over)).decode()
    if not over:
        assert len(embedded(picture(text), most)) == most
        return
    with pytest.raises(InvalidRequest, match=rf"more than {most} bytes \(RERANKER_IMAGE_BYTES\)"):
        embedded(picture(text), most)


@pytest.mark.parametrize(("text", "expected"), [("http://a/b", True), ("HTTPS://a/b", True), ("ftp://a/b", False), ("//a/b", False)])
def test_only_http_is_a_url(text: str, expected: bool) -> None:
    """Other schemes are not fetched; they are no base64 either."""
    assert is_url(picture(text)) == expected
    if not expected:
        with pytest.raises(InvalidRequest):
            embedded(picture(text), 1000)
