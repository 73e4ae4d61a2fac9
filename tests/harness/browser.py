"""A real browser for pages: Chromium, driven over WebDriver by nothing but the standard library."""

from __future__ import annotations

import base64
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError

import orjson

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from shadow.local.process import die_with_parent, free_port

AXE = (ROOT / "tests" / "page" / "axe" / "axe.min.js").read_text()
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


class Browser:
    """One window. Its log of the page (errors, refused or failed loads) is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port, self._session = folder, free_port(), ""
        self._driver: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if self._call("GET", "/status")["ready"]:
                    break
            except URLError:
                assert time.monotonic() < deadline, "chromedriver does not start"
                time.sleep(0.05)
        options = {"args": [*ARGUMENTS, f"--user-data-dir={self._folder}"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        self._session = self._call("POST", "/session", {"capabilities": wanted})["sessionId"]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._session:
            self._call("DELETE", f"/session/{self._session}")
        if self._driver is not None:
            self._driver.terminate()
            self._driver.wait(PATIENCE_SECONDS)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            data=None if body is None else orjson.dumps(body),
            headers={"content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return orjson.loads(answer.read())["value"]

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        return self._call("POST", f"/session/{self._session}/goog/cdp/execute", body)

    def open(self, url: str, width: int, height: int = 900, dark: bool = False, media: str = "") -> None:
        """Load a page in a window of a width, in a colour scheme, as on a screen or (media: print) on paper."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._call("POST", f"/session/{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self._call("POST", f"/session/{self._session}/execute/sync", {"script": script, "args": []})

    def picture(self, path: Path, part: tuple[float, float, float, float] | None = None) -> Path:
        """The whole page as a PNG, or a part of it: left, top, width and height in pixels."""
        clip = {} if part is None else {"clip": dict(zip(("x", "y", "width", "height"), part, strict=True), scale=1)}
        found = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, **clip)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def paper(self, path: Path) -> Path:
        """The page as a PDF, as printed."""
        path.write_bytes(base64.b64decode(self.devtools("Page.printToPDF", printBackground=True)["data"]))
        return path

    def serious_findings(self) -> list[list[str]]:
        """What axe finds wrong with the page for people who cannot see, or not well: weight, rule and element."""
        self.run(f"const module = undefined, define = undefined; {AXE}; axe.run().then(r => {{ window.found = r }})")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.run("return Boolean(window.found)"):
            assert time.monotonic() < deadline, "axe has not ended"
            time.sleep(0.05)
        found = self.run("return window.found.violations.map(v => [v.impact, v.id, v.nodes[0].html])")
        return [one for one in found if one[0] in ("serious", "critical")]

    def leave(self) -> None:
        """Leave the page, and forget what its log says: one that stays open asks on after its server has gone."""
        self._call("POST", f"/session/{self._session}/url", {"url": "about:blank"})
        self.messages()

    def messages(self) -> list[str]:
        """What the page's log says since it was last asked."""
        log = self._call("POST", f"/session/{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in log]
