"""The app in a real browser: what AppTest cannot see (uploads over the wire, scrolling, requests that leave)."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fibrokd.pipeline.app import command
from tests.serving.bundles import png, speckle, write_test_bundle

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = os.environ.get("FIBROKD_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browser")
    bundle = write_test_bundle(folder / "bundle")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "FIBROKD_BUNDLE"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command(bundle, port), stdout=log, stderr=log, env=environment)
        try:
            wait_until_healthy(server, port, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def wait_until_healthy(server: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(150):
        if server.poll() is not None:
            pytest.fail(f"the server ended: {log.read_text()}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
            return
        time.sleep(0.2)
    pytest.fail(f"the server did not answer: {log.read_text()}")


@pytest.fixture
def page(address):
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1024, "height": 700})
        page.goto(address)
        page.wait_for_selector("input[type=file]", state="attached", timeout=30_000)
        yield page
        browser.close()


def test_an_upload_is_staged_and_nothing_leaves_the_machine(page, address, tmp_path):
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    (tmp_path / "scan.png").write_bytes(png(speckle(228)))
    page.set_input_files("input[type=file]", tmp_path / "scan.png")
    page.wait_for_selector("text=Most probable stage: F4", timeout=20_000)
    page.wait_for_selector("text=Probabilities: F0", timeout=20_000)
    page.wait_for_selector("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg", timeout=20_000)
    assert page.locator("[data-testid=stImage] img").count() == 2
    page.locator("[data-testid=stImage] img").last.scroll_into_view_if_needed()
    assert in_viewport(page, "text=Research use only"), "the research notice scrolled out of sight"
    own = (address, address.replace("http", "ws"), "blob:", "data:")
    assert [url for url in requested if not url.startswith(own)] == []


def test_a_letter_is_refused_without_a_stage(page, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear colleague, F4 it is.")
    page.set_input_files("input[type=file]", tmp_path / "letter.txt")
    page.wait_for_selector("text=This file is not an image", timeout=20_000)
    assert "Most probable stage" not in page.inner_text("body")
    assert "Traceback" not in page.inner_text("body")


def in_viewport(page, selector: str) -> bool:
    box = page.locator(selector).first.bounding_box()
    return box is not None and 0 <= box["y"] <= page.viewport_size["height"]
