"""Drives a headless Chromium over its debugging pipe; needs nothing but Chromium and Python's own library."""
import base64, json, os, shutil, subprocess, sys, tempfile, time


class Browser:
    def __enter__(self):
        program = next((p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), None)
        if program is None:
            sys.exit("no Chromium here: install the package chromium (Deploy/packages chromium)")
        self.home = tempfile.mkdtemp(prefix="rollcall-browser-")
        to_child, self.to = os.pipe()
        self.source, from_child = os.pipe()

        def descriptors():
            os.dup2(to_child, 63)
            os.dup2(from_child, 64)
            os.dup2(63, 3)
            os.dup2(64, 4)

        options = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                   "--disable-background-networking", "--disable-dev-shm-usage", f"--user-data-dir={self.home}"]
        if os.getuid() == 0:
            options.append("--no-sandbox")
        self.process = subprocess.Popen([program, *options, "about:blank"], preexec_fn=descriptors, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_child)
        os.close(from_child)
        self.buffer, self.number, self.events = b"", 0, []
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def _next(self):
        while b"\0" not in self.buffer:
            piece = os.read(self.source, 1 << 16)
            if not piece:
                sys.exit("Chromium ended")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def page(self, **settings):
        return Page(self, **settings)


class Page:
    """One tab. `scripts=False`: without JavaScript, as the browser's setting does it."""

    def __init__(self, browser, width=1280, height=900, dark=False, scripts=True):
        self.browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media="screen",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        if not scripts:
            self.call("Emulation.setScriptExecutionDisabled", value=True)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def open(self, url):
        self.browser.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, text):
        answer = self.call("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, text, seconds=180):
        end = time.monotonic() + seconds
        text = f"(() => {{ try {{ return {text} }} catch {{ return false }} }})()"

        def is_so():
            try:
                return self.evaluate(text)
            except AssertionError as error:
                # Between two pages there may be nothing to ask, or the page that was asked goes.
                if "'code': -32000" not in str(error):
                    raise
                return False

        while not is_so():
            assert time.monotonic() < end, f"waited {seconds} s for: {text}\n{self.evaluate('document.body.innerText')}"
            time.sleep(0.1)

    def click(self, selector):
        """By a real mouse event, where the element stands once the page is drawn: before that, the browser drops it."""
        self.wait("document.readyState === 'complete' && performance.getEntriesByType('paint').length > 0")
        place = self.evaluate(f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
          e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();
          return [r.x + r.width / 2, r.y + r.height / 2] }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def screenshot(self, name):
        folder = os.environ.get("ROLLCALL_TEST_OUTPUT")
        if not folder:
            return
        os.makedirs(folder, exist_ok=True)
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(os.path.join(folder, name + ".png"), "wb") as file:
            file.write(base64.b64decode(data))

    def requests(self):
        """Addresses that were asked for since `open`."""
        self.evaluate("1")
        return [e["params"]["request"]["url"] for e in self.browser.events
                if e.get("method") == "Network.requestWillBeSent" and e.get("sessionId") == self.session]

    def complaints(self):
        """What the console would show: broken policy, failed requests, exceptions."""
        self.evaluate("1")
        return [e["params"] for e in self.browser.events if e.get("sessionId") == self.session and
                (e.get("method") == "Runtime.exceptionThrown"
                 or e.get("method") == "Log.entryAdded" and e["params"]["entry"]["level"] in ("error", "warning"))]

    def audit(self):
        """Checks what a reader of the screen, of the keyboard and of pale colours needs."""
        tree = self.call("Accessibility.getFullAXTree")["nodes"]
        roles = [(n.get("role", {}).get("value"), n.get("name", {}).get("value", "")) for n in tree if not n["ignored"]]
        for role, name in roles:
            if role in ("link", "button", "textbox", "image", "region", "table", "navigation"):
                assert name or role == "table", f"{role} without a name"
        assert sum(r == "main" for r, _ in roles) == 1, "one main landmark"
        assert sum(r == "heading" for r, _ in roles) >= 1
        problems = self.evaluate(AUDIT)
        assert not problems, problems
        return [r for r, _ in roles]


AUDIT = r"""(() => {
  const problems = [];
  const parse = (text) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255];
  };
  const light = (c) => { const f = (v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
    return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]) };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] > .99) return c } return parse(getComputedStyle(document.documentElement).colorScheme === "dark" ? "#000" : "#fff") };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walk.nextNode();) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility() || e.closest("svg, noscript, script, style")) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) problems.push(`contrast ${contrast.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
  }
  if (!document.documentElement.lang) problems.push("no language");
  for (const th of document.querySelectorAll("th")) if (!th.scope) problems.push("header without scope: " + th.textContent);
  for (const e of document.querySelectorAll("input:not([type=hidden])")) if (!e.labels.length) problems.push("field without label");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) problems.push("ids twice");
  if (document.documentElement.scrollWidth > innerWidth) problems.push(`wider than the screen: ${document.documentElement.scrollWidth}`);
  for (const e of document.querySelectorAll("a, button")) { if (!e.checkVisibility()) continue; e.focus();
    const s = getComputedStyle(e); if (document.activeElement === e && !e.matches(":focus-visible")) continue;
    if (s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2) problems.push("no focus ring: " + e.textContent) }
  document.activeElement.blur();
  return problems;
})()"""
