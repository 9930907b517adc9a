"""The page at `/` in headless Chromium, as a person uses it: type, rank, see the order change, see an error said plainly.

Run by `just test-browser`; needs Debian's `chromium` and the `browser` extra.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the browser extra: pip install -e '.[browser]'")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium package")]

# Without these a closed network sees refused connections to the browser's own services, and root can't sandbox.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("--model", "starter", "--max-documents", "50", "--replicas", "1") as root:
        yield root


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: sync_api.Browser, url: str) -> Iterator[sync_api.Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    outside: list[str] = []
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else outside.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert not outside, "the page must work offline"


def results(page: sync_api.Page) -> list[str]:
    """The texts ranked, best first, once there are any."""
    page.locator("#results li").first.wait_for()
    return page.locator("#results li .text").all_inner_texts()


def test_ranking_follows_the_query(page: sync_api.Page) -> None:
    """The best document comes first, and another query changes the order."""
    page.fill("#documents", "The cat sleeps on the sofa.\nStock prices fell sharply today.\nIt will rain tomorrow in the north.")
    page.fill("#query", "weather forecast")
    page.click("#rank")
    assert results(page)[0].startswith("It will rain")
    page.fill("#query", "financial markets")
    page.keyboard.press("Control+Enter")
    sync_api.expect(page.locator("#results li .text").first).to_contain_text("Stock prices")
    shown = page.locator("#results li").first.inner_text()
    assert "raw" in shown
    assert "forward" in page.inner_text("#timing")


def test_an_error_is_said_plainly(page: sync_api.Page) -> None:
    """Too many documents: the page says the limit and its setting, and shows no stale ranking."""
    page.fill("#documents", "\n".join(f"line {i}" for i in range(60)))
    page.click("#rank")
    page.locator("#error").wait_for()
    said = page.inner_text("#error")
    assert "60" in said
    assert "RERANKER_MAX_DOCUMENTS" in said
    assert page.locator("#results li").count() == 0


def test_a_dropped_file_fills_the_documents(page: sync_api.Page) -> None:
    """JSON and CSV files become one line per document."""
    drop = """([name, text]) => {
        const data = new DataTransfer();
        data.items.add(new File([text], name));
        document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop, ["docs.json", json.dumps({"query": "asked", "documents": ["one", {"text": "two"}]})])
    sync_api.expect(page.locator("#documents")).to_have_value("one\ntwo")
    assert page.input_value("#query") == "asked"
    page.evaluate(drop, ["docs.csv", 'id,text\n1,"a, quoted"\n2,b\n'])
    sync_api.expect(page.locator("#documents")).to_have_value("a, quoted\nb")


def test_the_curl_command_is_what_is_on_screen(page: sync_api.Page) -> None:
    """The command holds the query and the documents as they stand, and a key only as a placeholder."""
    page.fill("#query", "it's")
    page.fill("#key", "secret")
    command = page.text_content("#command") or ""
    assert "it'\\''s" in command
    assert "secret" not in command


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1200])
def test_fits_its_screen(browser: sync_api.Browser, url: str, scheme: str, width: int) -> None:
    """No sideways scrolling on a phone or a desktop, in either scheme. RERANKD_SCREENSHOTS=DIR keeps the pictures."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.click("#rank")
    results(page)
    if os.environ.get("RERANKD_SCREENSHOTS"):
        page.screenshot(path=str(Path(os.environ["RERANKD_SCREENSHOTS"]) / f"page-{scheme}-{width}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    context.close()


def test_docs_work_offline(browser: sync_api.Browser, url: str) -> None:
    """The OpenAPI page shows the paths without asking anybody else."""
    page = browser.new_page()
    outside: list[str] = []
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else outside.append(request.url))
    page.goto(f"{url}/docs")
    page.get_by_text("/v1/rerank").first.wait_for()
    assert not outside
    page.close()
