"""Headless Chromium, spoken to over a pipe in the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = "chromium"
HOW_TO_GET_IT = "Chromium is missing: bash tests/browser/install.sh (Debian, as root) installs it"
_PATIENCE = 60.0  # seconds
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # which root may not have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def has_chromium() -> bool:
    return shutil.which(PROGRAM) is not None


class Page:
    """A page that is open; what it asked of the network and what went wrong is kept from before it was loaded."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.requests: list[str] = []
        self.problems: list[str] = []

    def call(self, method: str, **parameters: Any) -> Any:
        return self._browser.call(method, self, **parameters)

    def load(self, url: str) -> None:
        """Open a page; return when it is drawn."""
        self.requests.clear()
        self.problems.clear()
        self._browser.loaded = False
        self.call("Page.navigate", url=url)
        self._browser.wait_until_loaded()
        self.run("document.fonts.ready.then(() => true)")

    def set_up(self, *, width: int, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Choose a viewport, a colour scheme, and what it is shown on: "" a screen, or "print"."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def run(self, code: str) -> Any:
        """Return what a JavaScript expression amounts to; not even a page that forbids scripts can forbid this."""
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Return the whole page as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def receive(self, method: str, parameters: Any) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Log.entryAdded":
            self.problems.append(parameters["entry"]["text"])
        elif method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Page.javascriptDialogOpening"}:
            self.problems.append(f"{method}: {json.dumps(parameters)}")


class Browser:
    """A running browser: commands go out, and answers and events come in, one at a time."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._selector = selectors.DefaultSelector()
        self._selector.register(answers, selectors.EVENT_READ)
        self._buffer = b""
        self._number = 0
        self._pages: dict[str, Page] = {}
        self.loaded = False

    def new_page(self) -> Page:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Network", "Log", "Runtime"):
            page.call(f"{domain}.enable")
        return page

    def call(self, method: str, page: Page | None = None, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if page is not None:
            message["sessionId"] = page._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def wait_until_loaded(self) -> None:
        while not self.loaded:
            self._receive()

    def _receive(self) -> Any:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            assert self._selector.select(max(deadline - time.monotonic(), 0)), "Chromium does not answer"
            received = os.read(self._answers, 1 << 20)
            assert received, "Chromium ended"
            self._buffer += received
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.receive(message["method"], message["params"])
            self.loaded |= message["method"] == "Page.loadEventFired"
        return message


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser that nobody sees, with a profile of its own."""
    theirs, commands = os.pipe()
    answers, ours = os.pipe()
    with (
        tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile,
        Path(profile, "log").open("wb") as log,
    ):
        command = [PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(  # the protocol's descriptors are 3 and 4
            ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{ours}', "bash", *command],
            stdout=log,
            stderr=log,
            pass_fds=(theirs, ours),
            env=os.environ | {"HOME": profile},
        )
        os.close(theirs)
        os.close(ours)
        try:
            browser = Browser(commands, answers)
            yield browser
            browser.call("Browser.close")
        finally:
            os.close(commands)
            os.close(answers)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
