from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required --mute-audio""".split()


class Browser:
    """A headless Chromium that tells what its pages asked for and complained of."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.run = driver.execute_script

    def open(self, page: Path | str, behind: str = "") -> None:
        """Open a page anew, from disk unless it is an address."""
        self.driver.get("about:blank")
        self.driver.get((page.as_uri() if isinstance(page, Path) else page) + behind)

    def forget(self) -> None:
        """Let the next call of `requests` and `complaints` begin from here."""
        self.requests()
        self.complaints()

    def requests(self) -> set[str]:
        """The addresses that pages asked for since the last call, but for those within the page and those that its
        policy blocked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        of = {
            name: [one["params"] for one in messages if one["method"] == f"Network.{name}"]
            for name in ("requestWillBeSent", "loadingFailed")
        }
        blocked = {one["requestId"] for one in of["loadingFailed"] if one.get("blockedReason") == "csp"}
        sent = [one for one in of["requestWillBeSent"] if one["requestId"] not in blocked]
        addresses = {one["request"]["url"] for one in sent}
        return {one for one in addresses if not one.startswith(("data:", "blob:", "about:"))}

    def complaints(self) -> list[str]:
        """What the console says since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium; files that it downloads are in the folder that `downloads` yields."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no Chromium with its chromedriver: sh infra/install-system-tools.sh chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.set_window_size(1200, 900)
    yield Browser(started)
    started.quit()


@pytest.fixture
def downloads(browser: Browser, tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    behavior = {"behavior": "allow", "downloadPath": str(folder)}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
    return folder
