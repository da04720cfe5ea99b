import Foundation
import TestSupport
import Testing

/// The real `rollcall serve` beside real runs.
@Suite struct ServePagesTests {
  @Test func `Serve follows a sweep, cancels one and retries a run, and ends at SIGTERM`() async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      // World size 2 fails until the file is there; both wait for a file, so that nothing hangs on time.
      try scratch.write(
        "follow.yaml",
        """
        name: follow
        matrix: {world_size: [1, 2]}
        run:
          command: |
            echo "hello from ${{ world_size }}"
            until [ -e \(scratch.path("go")) ]; do sleep 0.1; done
            echo "bye from ${{ world_size }}"
            [ ${{ world_size }} = 1 ] || [ -e \(scratch.path("mended")) ]
          retries: 0
        """)
      try scratch.write(
        "long.yaml",
        """
        name: long
        run: {command: "echo started; sleep 600", retries: 0}
        """)
      let result = try await runTool(
        testPython, ["-B", try scratch.write("serve.py", Self.program), try RollcallBinary.path, scratch.path],
        environment: rollcall.variables, directory: scratch.path, timeout: .seconds(240), mustSucceed: false)
      #expect(result.status == 0, "\(result.output) \(result.errorOutput)")
      #expect(result.output.hasSuffix("all seen\n"))
    }
  }

  private static let program = """
    import http.cookiejar, json, os, re, signal, subprocess, sys, time, urllib.parse, urllib.request
    rollcall, scratch = sys.argv[1], sys.argv[2]
    serve = subprocess.Popen([rollcall, "serve", "--listen", "127.0.0.1:0", "--json"], stdout=subprocess.PIPE, text=True)
    line = ""
    while not line.rstrip().endswith("}"): line += serve.stdout.readline()
    url = json.loads(line)["url"].rstrip("/")
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(path): return browser.open(url + path, timeout=60).read().decode()
    def state(sweep): return json.loads(get(f"/api/sweeps/{sweep}"))
    def wait(question, what):
      end = time.monotonic() + 60
      while not (answer := question()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
      return answer
    def named(job):
      return wait(lambda: next((s["id"] for s in json.loads(get("/api/sweeps"))["sweeps"] if s["job"] == job), None), job)
    def send(path):
      token = re.search('name="form" value="([0-9a-f]+)"', get(path)).group(1)
      return browser.open(url + path, data=urllib.parse.urlencode({"form": token}).encode(), timeout=60).geturl()

    try:
      run = subprocess.Popen([rollcall, "run", "follow.yaml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
      sweep = named("follow")
      log = f"/sweeps/{sweep}/runs/world_size%3D1/log"
      wait(lambda: "hello from 1" in get(log), "the log of a run that goes on")
      events = re.search('data-events="([^"]+)"', get(log)).group(1).replace("&amp;", "&")
      stream = browser.open(url + events, timeout=60)
      wait(lambda: any(one["state"] == "running" for one in state(sweep)["runs"]), "a run that is known to go on")
      matrix = browser.open(url + f"/sweeps/{sweep}/events", timeout=60)
      open(scratch + "/go", "w").close()
      text = stream.read().decode()
      assert "bye from 1" in text and "hello" not in text and text.endswith("event: end\\ndata: {}\\n\\n"), text
      assert run.wait(timeout=120) == 3
      text = matrix.read().decode()
      assert "running" in text and "failed" in text and text.endswith("event: end\\ndata: {}\\n\\n"), text[-300:]
      assert "hello from 1\\nbye from 1\\n" in get(f"/sweeps/{sweep}/runs/world_size%3D1/log")
      report = get(f"/sweeps/{sweep}/report")
      assert "1 run failed" in report, report[:200]
      assert "this machine" in get("/hosts")

      # What is opened again is serve's to drive.
      open(scratch + "/mended", "w").close()
      assert send(f"/sweeps/{sweep}/runs/world_size%3D2/retry") == url + f"/sweeps/{sweep}"
      done = wait(lambda: (s := state(sweep))["sweep"]["state"] == "done" and s, "the retry")
      assert [r["state"] for r in done["runs"]] == ["succeeded", "succeeded"], done
      assert [a["number"] for a in done["runs"][1]["attempts"]] == [1, 2], done
      assert "1 run failed" not in get(f"/sweeps/{sweep}/report")

      # A sweep that another command started and waits for.
      run = subprocess.Popen([rollcall, "run", "long.yaml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
      sweep = named("long")
      wait(lambda: state(sweep)["runs"][0]["state"] == "running", "a long run")
      send(f"/sweeps/{sweep}/cancel")
      run.wait(timeout=120)
      assert state(sweep)["sweep"]["state"] == "cancelled", state(sweep)
      # One that nobody waits for any more.
      run = subprocess.Popen([rollcall, "run", "long.yaml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
      sweep = wait(lambda: (i := named("long")) != sweep and i, "another sweep")
      wait(lambda: state(sweep)["runs"][0]["state"] == "running", "a long run")
      run.send_signal(signal.SIGINT)
      run.wait(timeout=60)
      assert state(sweep)["sweep"]["state"] == "active", state(sweep)
      send(f"/sweeps/{sweep}/cancel")
      wait(lambda: state(sweep)["sweep"]["state"] == "cancelled", "the end of a sweep that nobody waits for")

      serve.send_signal(signal.SIGTERM)
      assert serve.wait(timeout=60) == 0
    finally:
      serve.kill()
    print("all seen")
    """

  @Test func `Serve refuses what it cannot serve safely`() async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let open = try await rollcall("serve", "--listen", "0.0.0.0:0")
      #expect(open.status == 64)
      #expect(open.errorOutput.contains("--token-file"))
      let token = try scratch.write("token", "correct-horse-battery-staple", permissions: 0o644)
      let readable = try await rollcall("serve", "--token-file", token, "--json")
      #expect(readable.status == 64)
      let error = try readable.json()["error"] as? [String: String]
      #expect(error?["code"] == "token")
    }
  }
}
