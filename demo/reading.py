"""`make reading`: the demo's transcripts and answers as pages to read, hear and correct, in build/reading.

With --pictures also what docs/reading.md shows of them, taken with a headless Chromium.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from demo.run import HERE, KEPT
from demo.s3 import embedded_s3, upload
from jobs import export

PAGES = Path("build/reading")
PICTURES = HERE.parent / "docs"
# Of docs/reading.md: what is shown, in which colours, how high in pixels.
SHOWN = {
    "index": ("index.html#query=six", "light", 640),
    "recording": ("recordings/lectures/cours%20magistral.html#t=4.2", "light", 720),
    "answers": ("recordings/calls/0003%20stereo.html#t=2.6", "dark", 560),
}
WIDTH = 1180


def main() -> int:
    """Write the pages; returns the job's exit status."""
    if not (KEPT / "runs").exists():
        print(f"there are no transcripts in {KEPT}: run `make demo` first")
        return 1
    with embedded_s3("demo"):  # the recordings are where the demo transcribed them
        upload(HERE / "recordings", "s3://demo/recordings")
        places = ["--input", str(KEPT), "--answers", str(KEPT / "asked"), "--output", str(PAGES)]
        status = export.main([*places, "--formats", "html", "--copy-audio", "opus"])
    if status == 0 and "--pictures" in sys.argv[1:]:
        take_pictures()
    print(f"open {PAGES}/index.html")
    return status


def take_pictures() -> None:
    """Three pages as PNG files in docs/."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        for name, (address, colours, height) in SHOWN.items():
            size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            scheme = {"name": "prefers-color-scheme", "value": colours}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            browser.get(f"{PAGES.absolute().as_uri()}/{address}")
            time.sleep(2)  # until it has scrolled there
            browser.save_screenshot(str(PICTURES / f"reading-{name}.png"))
    finally:
        browser.quit()


if __name__ == "__main__":
    sys.exit(main())
