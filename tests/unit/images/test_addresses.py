"""Which URLs and addresses may be asked: what is not public stays out of reach, however it is written."""

from __future__ import annotations

import pytest

from service.images.addresses import NotAllowed, Rules

OPEN = Rules.of(["*"], [])

PRIVATE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "198.18.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Loopback, link-local, private, shared, multicast and reserved ones, also inside IPv6's mappings."""
    with pytest.raises(NotAllowed, match="RERANKER_IMAGE_NETWORKS"):
        OPEN.check(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """The open internet may be asked."""
    OPEN.check(address)


def test_networks_open_exactly_what_they_name() -> None:
    """A private network that was allowed is, also by its mapped address, and its neighbour is not."""
    rules = Rules.of(["*"], ["10.1.0.0/16", "fd00::/8"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::5", "1.1.1.1"):
        rules.check(address)
    for address in ("10.2.0.1", "fc00::1", "127.0.0.1"):
        with pytest.raises(NotAllowed):
            rules.check(address)


def test_without_hosts_no_url_is_fetched() -> None:
    """Image URLs are off until hosts are named."""
    with pytest.raises(NotAllowed, match=r"not fetched here \(RERANKER_IMAGE_HOSTS\)"):
        Rules.of([], []).target("https://example.org/a.png")


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("example.org", "https://example.org/a.png", True),
        ("example.org", "https://EXAMPLE.org./a.png", True),
        ("Example.org", "http://example.org/a.png", True),
        ("example.org", "https://www.example.org/a.png", False),
        ("example.org", "https://notexample.org/a.png", False),
        ("example.org", "https://example.org.evil.net/a.png", False),
        ("example.org", "https://evil.net/example.org", False),
        ("example.org", "https://example.org:8443/a.png", False),
        ("example.org", "https://example.org:80/a.png", False),
        ("example.org:8443", "https://example.org:8443/a.png", True),
        ("example.org:8443", "https://example.org/a.png", False),
        ("*.example.org", "https://a.b.example.org/a.png", True),
        ("*.example.org", "https://example.org/a.png", False),
        ("*.example.org", "https://evilexample.org/a.png", False),
        ("*", "https://anything.net/a.png", True),
        ("*", "https://anything.net:22/", False),
        ("*:9000", "http://anything.net:9000/", True),
        ("[::1]:9000", "http://[::1]:9000/a", True),
        ("[::1]", "http://[::1]/a", True),
        ("[::1]", "http://[::2]/a", False),
    ],
)
def test_hosts(entry: str, url: str, allowed: bool) -> None:
    """An entry allows its own host, or everything below its domain, on the scheme's port or the one it names."""
    rules = Rules.of([entry], [])
    if allowed:
        assert rules.target(url).scheme in url.lower()
        return
    with pytest.raises(NotAllowed, match="RERANKER_IMAGE_HOSTS"):
        rules.target(url)


@pytest.mark.parametrize(
    "url",
    ["https://user@example.org/", "https://user:pw@example.org/", "https://example.org@127.0.0.1/", "http:///a", "http://[::1/a", "http://a:99999/",
     "https://example.org\\@evil.net/", "https://example.org/a b", "https://example.org/\r\nHost: evil", "https://exämple.org/", "ftp://a/b",
     "file:///etc/passwd", "gopher://a/"],
)  # fmt: skip
def test_urls_that_two_readers_could_read_differently_are_refused(url: str) -> None:
    """No names and passwords, no blanks, no control characters, no other scheme."""
    with pytest.raises(NotAllowed):
        OPEN.target(url)


def test_a_target_is_what_was_checked() -> None:
    """Host, port and path are taken from the URL once; the fragment stays here."""
    found = OPEN.target("https://Example.org/a/b.png?x=1#top")
    assert (found.scheme, found.host, found.port, found.path) == ("https", "example.org", 443, "/a/b.png?x=1")
    assert OPEN.target("http://example.org").path == "/"
