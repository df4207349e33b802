"""A real browser, headless, that tests drive over the DevTools protocol through two pipes."""

from __future__ import annotations

import base64
import fcntl
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-extensions", "--remote-debugging-pipe",
)  # fmt: skip
TIMEOUT = 300.0  # seconds that any answer may take


def chromium_program():
    """The path of a browser that starts, or None where none is installed."""
    found = filter(None, map(shutil.which, PROGRAMS))
    return next(
        (path for path in found if subprocess.run([path, "--version"], capture_output=True).returncode == 0), None
    )


class Chromium:
    """A running browser. Its pages share it."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.events = []  # (session, method, parameters)

    def call(self, method, session=None, **parameters):
        """The result of a method of the protocol; events that come before it are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer:
                self.events.append((answer.get("sessionId"), answer["method"], answer["params"]))

    def _receive(self):
        deadline = time.monotonic() + TIMEOUT
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise RuntimeError("the browser has ended")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


class BrowserPage:
    """A tab of the browser that shows one file; `bare`, without the buttons, so that the window is the picture."""

    def __init__(self, browser, path, width, height, *, bare=True, mobile=False, scale=1, dark=False):
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._target = target
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        if mobile:
            self.call("Emulation.setTouchEmulationEnabled", enabled=True)
        self.url = Path(path).resolve().as_uri()
        self.call("Page.navigate", url=f"{self.url}#bare" if bare else self.url)

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def value(self, script):
        """What an expression of JavaScript is; an exception of it is a RuntimeError."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", "exception"))
        return answer["result"].get("value")

    def wait(self, script, seconds=TIMEOUT):
        """Wait until an expression of JavaScript is true."""
        deadline = time.monotonic() + seconds
        while not self.value(script):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{script}; console: {self.complaints()}")
            time.sleep(0.05)

    def drawn(self):
        """The page itself, once the viewer has drawn what it shows, sorted for where the camera stands."""
        self.wait("['ready', 'failed'].includes(document.body?.dataset.state)")
        assert self.value("document.body.dataset.state") == "ready", self.value("document.body.innerText")
        return self

    def picture(self):
        """What the window shows: RGB, float in [0, 1]."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB")).astype(np.float32) / 255

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start, end, steps=4):
        self.mouse("mousePressed", *start, button="left", buttons=1, clickCount=1)
        for i in range(1, steps + 1):
            place = [a + (b - a) * i / steps for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", *place, button="left", buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)

    def touch(self, kind, *points):
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y, "id": i} for i, x, y in points])

    def complaints(self):
        """Messages of the console that are warnings or errors, and exceptions."""
        found = []
        for method, parameters in self._own_events():
            if method == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str(parameters["args"]))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
        return found

    def requests(self):
        """The addresses of everything that the page asked for, but itself and what it holds itself."""
        found = [p["request"]["url"] for method, p in self._own_events() if method == "Network.requestWillBeSent"]
        return [url for url in found if url != self.url and not url.startswith(("data:", "blob:"))]

    def _own_events(self):
        self.value("0")  # what was sent until now has come
        return [(method, parameters) for owner, method, parameters in self._browser.events if owner == self._session]

    def close(self):
        self._browser.call("Target.closeTarget", targetId=self._target)


def _above_ten(descriptor):
    """The same pipe under a number that the browser's own, 3 and 4, do not overwrite."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def running_chromium(program):
    """A headless browser with a profile of its own; it ends with the block."""
    down_read, down_write, up_read, up_write = (_above_ten(end) for end in (*os.pipe(), *os.pipe()))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        script = f'exec "$@" 3<&{down_read} 4>&{up_write} {down_read}<&- {up_write}>&-'
        words = ["bash", "-c", script, "bash", program, *OPTIONS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(words, pass_fds=(down_read, up_write), stderr=subprocess.DEVNULL)
        os.close(down_read)
        os.close(up_write)
        browser = Chromium(down_write, up_read)
        try:
            yield browser
        finally:
            try:
                browser.call("Browser.close")
                process.wait(20)
            except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
            os.close(down_write)
            os.close(up_read)
