"""The page in a real browser: headless Chromium, driven over chromedriver's own protocol."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minilmx.eval.reports.render import render
from minilmx.eval.results import Result

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (390, 1440)
# What sticks out to the right of the page, without what scrolls inside a box of its own.
OVERFLOW = """
const wide = document.documentElement.clientWidth;
const out = [...document.querySelectorAll('body *')].filter(each => !each.closest('.scroll *')
  && each.getBoundingClientRect().right > wide + 1 && !each.closest('svg'));
return [document.documentElement.scrollWidth, window.innerWidth, out.map(e => e.outerHTML.slice(0, 80))];
"""


class Browser:
    """One session of a browser."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/session/{made['sessionId']}"

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Show a file at a width, as a light or dark page."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.tell("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.tell("Emulation.setEmulatedMedia", {"features": [feature]})
        self._send("POST", "/url", {"url": path.as_uri()})

    def run(self, script: str) -> Any:
        return self._send("POST", "/execute/sync", {"script": script, "args": []})

    def tell(self, command: str, settings: dict[str, Any]) -> Any:
        return self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": settings})

    def log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._send("POST", "/se/log", {"type": kind})
        return entries

    def requests(self) -> list[str]:
        """The addresses that pages requested since the last call, without those of the browser itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        found = [
            each["params"]["request"]["url"]
            for each in events
            if each["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in found if not url.startswith(("data:", "chrome:"))]

    def close(self) -> None:
        self._send("DELETE", "", None)

    def _send(self, method: str, path: str, content: dict[str, Any] | None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install chromium chromium-driver")
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout
        lines = (re.search(r"started successfully on port (\d+)", line) for line in driver.stdout)
        port = next(int(found[1]) for found in lines if found)
        opened = Browser(port, tmp_path_factory.mktemp("profile"))
        yield opened
        opened.close()
    finally:
        driver.terminate()
        driver.wait()


@pytest.fixture(scope="module")
def pages(
    result: Result, hostile_result: Result, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {"plain": [result], "hostile": [hostile_result], "history": [result, result]}
    for name, results in made.items():
        (folder / f"{name}.html").write_text(render("html", results), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("name", ["plain", "hostile", "history"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_has_no_errors_no_requests_and_no_overflow(
    name: str, scheme: str, width: int, browser: Browser, pages: dict[str, Path]
) -> None:
    browser.requests()
    browser.log("browser")
    browser.open(pages[name], width, scheme)
    assert browser.requests() == [pages[name].as_uri()]
    assert browser.log("browser") == []
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    scrolled, shown, sticking_out = browser.run(OVERFLOW)
    assert shown == width
    assert scrolled <= shown, sticking_out
    assert sticking_out == []


def test_an_error_a_request_and_an_overflow_would_be_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><body><img src='http://127.0.0.1:9/x.png'><p style='width:2000px'>wide")
    browser.requests()
    browser.open(page, 390, "light")
    assert "http://127.0.0.1:9/x.png" in browser.requests()
    assert browser.log("browser") != []
    scrolled, _, sticking_out = browser.run(OVERFLOW)
    assert scrolled > 390
    assert sticking_out


def test_the_page_follows_the_scheme_and_stays_readable(browser: Browser, pages: dict[str, Path]) -> None:
    """The contrast of text with its page is at least 4.5 to 1 in both (WCAG 2.2, AA)."""
    script = (
        "return [...document.querySelectorAll('h1, .lead, .caution p, figcaption, svg text, td')]"
        ".map(each => getComputedStyle(each)[each.tagName == 'text' ? 'fill' : 'color'])"
        ".concat(getComputedStyle(document.body).backgroundColor)"
    )
    backgrounds = []
    for scheme in ("light", "dark"):
        browser.open(pages["plain"], 1440, scheme)
        *colors, background = browser.run(script)
        backgrounds.append(luminance(background))
        for color in set(colors):
            light, dark = sorted((luminance(color), luminance(background)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, color, background)
    assert backgrounds[0] > 0.8
    assert backgrounds[1] < 0.05


def test_hostile_sentences_are_text_and_nothing_else(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["hostile"], 390, "light")
    assert browser.run("return window.hit === undefined && document.scripts.length === 0")
    assert browser.run("return document.querySelectorAll('h1').length") == 1
    assert browser.run("return document.querySelectorAll('.sentence *').length") == 0
    texts = browser.run("return [...document.querySelectorAll('.texts .sentence')].map(e => e.textContent)")
    assert "<script>window.hit = 1; alert(1)</script>" in texts
    assert "</style></details></main><h1>gone</h1>" in texts
    direction = (
        "return [...document.querySelectorAll('.texts .sentence')]"
        ".filter(e => getComputedStyle(e).direction == 'rtl').map(e => e.textContent)"
    )
    assert browser.run(direction) == ["שלום עולם, 12 < 34"]


def test_a_table_that_is_too_wide_scrolls_inside_its_box(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["history"], 390, "light")
    script = "return [...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
    assert browser.run(script)


def luminance(color: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, 0 to 1 (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
