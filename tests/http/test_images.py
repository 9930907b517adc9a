"""Image documents over HTTP: read in every dialect that has them, refused by name and limit, and counted while they are held."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from litestar.testing import TestClient

from batching.families.base import Pictures
from batching.families.encode import Encoded
from batching.tiles import Pixels, Tiles
from service.app import create_app
from tests.http.conftest import Client, Start
from tests.http.fakes import FAMILY, FakeEncoder, FakeModel, settings
from tests.unit.images.files import bomb, encoded, noise, quarters

SIDE = 32
PICTURES = Pictures(marks=("<a>", "<b>", "</a>"), layout=(), side=SIDE, tokens=4)
ONE, FIVE = encoded(noise(SIDE, SIDE)), encoded(quarters(SIDE))
"""Files of one tile, and of four and the whole."""


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class SeeingEncoder(FakeEncoder):
    """A fake encoder that remembers how many tiles each document had, and passes them on."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles: list[list[int]] = []

    def encode(self, query: str, documents: Sequence[str], *, images: Sequence[Pixels | None] | None = None, **more: Any) -> Encoded:
        found = super().encode(query, documents, **more)
        counts = [0 if image is None else len(image) for image in images or [None] * len(documents)]
        self.tiles.append(counts)
        if images is None:
            return found
        pixels = np.concatenate([image for image in images if image is not None])
        return replace(found, sequences=replace(found.sequences, tiles=Tiles(np.array(counts, np.int32), pixels)))


class SeeingModel(FakeModel):
    """A model that reads images."""

    def __init__(self) -> None:
        super().__init__("org/seeing", family=msgspec.structs.replace(FAMILY, pictures=PICTURES))
        self.encoder: SeeingEncoder = SeeingEncoder()


@pytest.fixture
def model() -> SeeingModel:
    return SeeingModel()


def ask(client: Client, documents: list[Any], path: str = "/v1/rerank", **more: Any) -> Any:
    return client.post(path, json={"model": "m", "query": "what is seen", "documents": documents, **more})


def refusal(response: Any, status: int = 400) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["error"]["message"] if isinstance(response.json().get("error"), dict) else response.json()["message"])


def test_every_form_of_an_image_is_read(client: Client, model: SeeingModel) -> None:
    """Base64, data URLs, OpenAI's and vLLM's shapes, with text and without, beside plain text, each keep their own place."""
    data = "data:image/png;base64," + base64_of(FIVE)
    answer = ask(client, [
        "plain text",
        {"image": base64_of(ONE)},
        {"text": "and text", "image": data},
        {"image_url": {"url": data}},
        {"type": "image_url", "image_url": data, "text": "x"},
        {"content": [{"type": "text", "text": "two"}, {"type": "image_url", "image_url": {"url": data}}, {"type": "text", "text": "lines"}]},
        {"text": "no image", "image": None},
    ])  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert model.encoder.tiles == [[0, 1, 5, 5, 5, 5, 0]]
    assert model.encoder.calls[0]["documents"] == ["plain text", "", "and text", "", "x", "two\nlines", "no image"]
    assert sorted(one["index"] for one in answer.json()["results"]) == list(range(7))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": "q", "documents": ["a", {"image": base64_of(FIVE)}]}),
        ("/v1/ranking", {"query": {"text": "q"}, "passages": [{"text": "a"}, {"image": base64_of(FIVE)}]}),
        ("/api/v1/services/rerank/text-rerank/text-rerank", {"model": "m", "input": {"query": "q", "documents": ["a", {"image": base64_of(FIVE)}]}}),
        ("/api/v1/rerank", {"query": "q", "documents": [{"id": 7, "text": "  "}, {"id": 8, "text": "a"}, {"id": 9, "image": base64_of(FIVE)}]}),
    ],
)  # fmt: skip
def test_dialects_with_images(client: Client, model: SeeingModel, path: str, body: dict[str, Any]) -> None:
    """Each dialect whose documents may be images takes them; a blank text is dropped, an image without text is not."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert model.encoder.tiles == [[0, 5]]


@pytest.mark.parametrize("queries", ["q", ["q", "other", "q"]])
def test_vllm_score_takes_images_on_the_second_side(client: Client, model: SeeingModel, queries: Any) -> None:
    """Pairs with an image keep it when they are grouped by their query, and scores come back in the order of the pairs."""
    data = {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64_of(FIVE)}}]}
    answer = client.post("/score", json={"model": "m", "data_1": queries, "data_2": ["a", {"image": base64_of(ONE)}, data]})
    assert answer.status_code == 200, answer.text
    assert model.encoder.tiles == ([[0, 1, 5]] if queries == "q" else [[0, 5], [1]])
    assert [one["index"] for one in answer.json()["data"]] == [0, 1, 2]
    single = client.post("/score", json={"model": "m", "text_1": "q", "text_2": data})
    assert single.status_code == 200, single.text
    assert model.encoder.tiles[-1] == [5]
    seen = client.post("/score", json={"model": "m", "text_1": {"image": base64_of(ONE)}, "text_2": "a"})
    assert "text_1" in refusal(seen)


def test_equal_texts_with_different_images_are_not_one_document(client: Client, model: SeeingModel) -> None:
    """Repeats are told apart by their images."""
    answer = ask(client, [{"image": base64_of(ONE)}, {"image": base64_of(FIVE)}, "", {"image": base64_of(ONE)}])
    assert answer.status_code == 200, answer.text
    assert model.encoder.tiles == [[1, 5, 0, 1]]
    sent = model.client.scored[0].tiles
    assert sent is not None
    np.testing.assert_array_equal(sent.pixels[0], sent.pixels[6])


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("x" * 40 + "!", "neither a URL nor base64"),
        ("data:image/png," + "x" * 40, "data URL without ;base64,"),
        (base64_of(b"this is no image at all, is it"), "can't be read; the formats are PNG, JPEG, WEBP, GIF, BMP"),
        (base64_of(FIVE[: len(FIVE) // 2]), "can't be decoded"),
        (base64_of(bomb(9000, 9000)), "9,000 x 9,000 pixels, more than 50,000,000 in all (RERANKER_IMAGE_PIXELS)"),
        (base64_of(bytes(5000)), "more than 4,096 bytes (RERANKER_IMAGE_BYTES)"),
        ("https://example.org/a.png", "not fetched here (RERANKER_IMAGE_HOSTS)"),
        ("short", "expected a URL, a data URL or base64"),
        (7, "expected a URL, a data URL or base64"),
        ({"url": None}, "expected a URL, a data URL or base64"),
    ],
)
def test_a_bad_image_names_its_document_and_the_limit(start: Start, model: SeeingModel, image: Any, says: str) -> None:
    """One bad image is 400 with its place, what is wrong and the setting; nothing is scored, and nothing stays held."""
    client = start(image_bytes="4096")
    answer = ask(client, ["text", {"image": base64_of(ONE)}, {"image": image}])
    message = refusal(answer)
    assert says in message
    assert "documents[2].image" in message
    assert model.client.scored == []
    assert gallery(client).bytes == 0
    assert model.client.reserved == 0


def gallery(client: Client) -> Any:
    return client.app.state.rerankd.reranker._gallery.held


@pytest.mark.parametrize("document", [{"image": base64_of(ONE)}, {"text": "has text", "image": base64_of(ONE)}])
def test_a_text_model_refuses_images(document: dict[str, str]) -> None:
    """A model that reads text only answers 400, naming the document and itself; `rank_fields` still ranks an object by its text."""
    blind = FakeModel()
    with TestClient(create_app(settings(), [blind.served], 0)) as client:
        message = refusal(ask(client, ["a", document]))
        assert "documents[1].image" in message
        assert "org/fake-model reads text only" in message
        assert blind.client.scored == []
        if "text" in document:
            assert ask(client, ["a", document], rank_fields=["text"]).status_code == 200
        assert client.get("/info").json()["images"] is False
        assert client.get("/v1/models").json()["data"][0]["input_modalities"] == ["text"]


def test_images_can_be_switched_off() -> None:
    """With RERANKER_IMAGES off the refusal names the setting."""
    blind = FakeModel()
    with TestClient(create_app(settings(images="false"), [blind.served], 0)) as client:
        assert "images are switched off (RERANKER_IMAGES)" in refusal(ask(client, [{"image": base64_of(ONE)}]))


def test_info_tells_that_a_model_reads_images(client: Client) -> None:
    """Callers can find out before they send any."""
    assert client.get("/info").json()["images"] is True
    assert client.get("/v1/models").json()["data"][0]["input_modalities"] == ["text", "image"]


def test_images_are_counted_while_they_are_held(start: Start, model: SeeingModel) -> None:
    """A call that alone is over the memory for images is 413, one that meets others' is 429 with Retry-After, and all is given back."""
    client = start(image_queue_bytes="1M")
    most = (1 << 20) // (SIDE * SIDE * 3)
    count = most // 5 + 1
    assert "RERANKER_IMAGE_QUEUE_BYTES" in refusal(ask(client, [{"image": base64_of(FIVE)}] * count), 413)
    assert gallery(client).bytes == 0
    with gallery(client).hold() as held:
        held.take((most - 4) * SIDE * SIDE * 3)
        busy = ask(client, [{"image": base64_of(FIVE)}])
        assert "RERANKER_IMAGE_QUEUE_BYTES" in refusal(busy, 429)
        assert float(busy.headers["retry-after"]) > 0
        assert ask(client, [{"image": base64_of(ONE)}]).status_code == 200
    assert ask(client, [{"image": base64_of(FIVE)}]).status_code == 200
    assert gallery(client).bytes == 0


def test_a_thread_that_comes_too_late_holds_nothing(client: Client) -> None:
    """An image that is still being decoded when its call has ended is not counted for ever."""
    with gallery(client).hold() as held:
        held.take(1000)
    with pytest.raises(Exception, match="the call has ended"):
        held.take(1000)
    assert gallery(client).bytes == 0


def test_chunks_are_for_text(client: Client, model: SeeingModel) -> None:
    """Asking for windows of a document with an image is refused; the server's own default leaves images alone."""
    message = refusal(ask(client, [{"image": base64_of(ONE)}], long_documents="chunk"))
    assert "long_documents" in message


def test_chunking_by_default_leaves_images_whole(start: Start, model: SeeingModel) -> None:
    """With LONG_DOCUMENTS=chunk a request with images is truncated as ever."""
    assert ask(start(long_documents="chunk"), [{"image": base64_of(ONE)}]).status_code == 200
    assert model.encoder.tiles == [[1]]


class Site(http.server.BaseHTTPRequestHandler):
    """Gives /five.png and nothing else; counts."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path == "/five.png" else 404)
        self.send_header("Content-Length", str(len(FIVE)))
        self.end_headers()
        self.wfile.write(FIVE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the standard library
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    """The root of a server on loopback, and what it was asked."""
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Counted", (Site,), {"asked": asked}))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_allowed_url_is_fetched(start: Start, model: SeeingModel, site: tuple[str, list[str]]) -> None:
    """With its host and its network allowed, an image comes by URL; what is not there is 400 with the host's status and nothing more."""
    root, asked = site
    client = start(image_hosts=root.removeprefix("http://"), image_networks="127.0.0.0/8")
    assert ask(client, [{"image": f"{root}/five.png"}]).status_code == 200
    assert model.encoder.tiles == [[5]]
    message = refusal(ask(client, ["a", {"image": f"{root}/secret?token=1"}]))
    assert message.endswith("documents[1].image: the image can't be fetched: status 404") or "status 404" in message
    assert "token" not in message
    assert asked == ["/five.png", "/secret?token=1"]


@pytest.mark.parametrize("allowed", [{}, {"image_hosts": "*"}, {"image_hosts": "example.org", "image_networks": "127.0.0.0/8"}])
def test_a_forged_url_never_leaves(start: Start, site: tuple[str, list[str]], allowed: dict[str, str]) -> None:
    """Without hosts, without the port, or with another host, nothing on this machine is asked."""
    root, asked = site
    assert "documents[0].image" in refusal(ask(start(**allowed), [{"image": f"{root}/five.png"}]))
    assert asked == []


def test_a_public_name_for_a_private_address_is_refused(start: Start, site: tuple[str, list[str]]) -> None:
    """A host that is allowed but resolves to this machine is not asked."""
    root, asked = site
    port = root.rpartition(":")[2]
    message = refusal(ask(start(image_hosts=f"*:{port}"), [{"image": f"http://localhost:{port}/five.png"}]))
    assert "no public address (RERANKER_IMAGE_NETWORKS)" in message
    assert asked == []


def test_a_slow_host_is_400_within_its_time(start: Start) -> None:
    """A host that never answers costs IMAGE_TIMEOUT, and the message names it."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        client = start(image_hosts=address, image_networks="127.0.0.0/8", image_timeout="0.3")
        assert "not fetched within 0.3 s (RERANKER_IMAGE_TIMEOUT)" in refusal(ask(client, [{"image": f"http://{address}/a.png"}]))
        late = client.post(
            "/v1/rerank",
            json={"model": "m", "query": "q", "documents": [{"image": f"http://{address}/a.png"}]},
            headers={"X-Request-Timeout": "0.1"},
        )
        assert late.status_code == 504
