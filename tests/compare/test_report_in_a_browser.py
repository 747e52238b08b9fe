"""report.html as a reader meets it: opened in headless Chromium, through the W3C protocol of its driver."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request

import pytest

from recbole_lpo.compare.report.write import write_report
from recbole_lpo.compare.results import gather
from tests.compare.made_study import make_runs, study_of_methods

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and its driver (Debian: chromium chromium-driver)"
)
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)  # fmt: skip
METHODS = ["SASRec", "LPO", "LPO, lambda 0.5", "<script>alert(1)</script>"]
# Figure -> marks of its own that it must show.
MARKS = {"trade-off": 4, "differences": 12, "tail-probability": 4, "cost": 8, "sensitivity-1": 2}


class Browser:
    """A session of chromedriver."""

    def __init__(self, port: int, profile) -> None:
        self.base = f"http://127.0.0.1:{port}/session"
        options = {"binary": CHROMIUM, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        logged = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logged}
        self.base += "/" + self._ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _ask(self, path: str, content: dict | None = None, method: str = "POST"):
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.base + path, body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, address: str) -> None:
        self._ask("/url", {"url": address})

    def run(self, script: str):
        return self._ask("/execute/sync", {"script": f"return {script}", "args": []})

    def press(self, key: str) -> None:
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def click(self, css: str) -> None:
        found = self._ask("/element", {"using": "css selector", "value": css})
        self._ask(f"/element/{next(iter(found.values()))}/click", {})

    def log(self, kind: str) -> list[dict]:
        return self._ask("/se/log", {"type": kind})

    def close(self) -> None:
        self._ask("", method="DELETE")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        port = next(int(found[1]) for line in driver.stdout if (found := re.search(r"on port (\d+)\.", line)))
        # What it says later must not fill the pipe.
        threading.Thread(target=driver.stdout.read, daemon=True).start()
        session = Browser(port, tmp_path_factory.mktemp("profile"))
        yield session
        session.close()
    finally:
        driver.terminate()
        driver.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    study = study_of_methods(METHODS)
    make_runs(study, output)
    write_report(gather(study, output), study, output)
    return (output / "report.html").as_uri()


@pytest.fixture
def opened(browser, address):
    browser.open("about:blank")
    browser.log("browser"), browser.log("performance")
    browser.open(address)
    # Under load the driver comes back while the page is still being read.
    until = time.monotonic() + 60
    while browser.run("[location.href, document.readyState]") != [address, "complete"] and time.monotonic() < until:
        time.sleep(0.1)
    return browser


def test_the_page_opens_without_an_error_or_a_request(opened, address):
    assert opened.run("document.readyState") == "complete"
    assert [entry for entry in opened.log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    events = [json.loads(entry["message"])["message"] for entry in opened.log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert asked - {"data:,"} == {address}


def test_every_figure_is_drawn(opened):
    boxes = opened.run(
        "[...document.querySelectorAll('figure svg')].map(s => s.getBBox()).map(b => [b.width, b.height])"
    )
    assert len(boxes) == 7
    assert all(width > 300 and height > 60 for width, height in boxes)
    for name, n in MARKS.items():
        drawn = f"[...document.querySelectorAll('#d0-{name} [id*=mark]')].map(e => e.getBoundingClientRect().width)"
        widths = opened.run(drawn)
        assert len(widths) == n, name
        assert all(width > 2 for width in widths), name
    assert opened.run("document.querySelectorAll('#d0-learning path[clip-path]').length") >= 3 * len(METHODS)


def test_no_label_covers_another_in_the_scatter(opened):
    boxes = opened.run(
        "[...document.querySelectorAll('#d0-trade-off text')].map(t => [t.textContent, ...['left', 'right', 'top', "
        "'bottom'].map(s => t.getBoundingClientRect()[s])]).filter(b => !/^[0-9.−]+$/.test(b[0]))"
    )
    assert {"SASRec", "LPO"} <= {box[0] for box in boxes}
    for number, (one, *a) in enumerate(boxes):
        for other, *b in boxes[:number]:
            apart = a[1] <= b[0] + 1 or b[1] <= a[0] + 1 or a[3] <= b[2] + 2 or b[3] <= a[2] + 2
            assert apart, (one, other)


def column(browser, number):
    return browser.run(f"[...document.querySelectorAll('tbody tr')].map(r => r.cells[{number}].textContent)")


def test_a_click_on_a_heading_sorts_the_table_and_a_second_one_turns_it_round(opened):
    before = [float(text.split()[0]) for text in column(opened, 2)]
    opened.click("thead th:nth-child(3) button")
    falling = [float(text.split()[0]) for text in column(opened, 2)]
    assert falling == sorted(before, reverse=True)
    opened.click("thead th:nth-child(3) button")
    assert [float(text.split()[0]) for text in column(opened, 2)] == sorted(before)
    assert opened.run("document.querySelector('th:nth-child(3)').ariaSort") == "ascending"


def test_the_table_can_be_sorted_from_the_keyboard(opened):
    opened.run("document.querySelector('thead th:nth-child(1) button').focus()")
    opened.press("\ue007")
    names = [name.removesuffix(" (baseline)") for name in column(opened, 0)]
    assert sorted(names, key=str.lower) == names
    assert names[0] == "<script>alert(1)</script>"
