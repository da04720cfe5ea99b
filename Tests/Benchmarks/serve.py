"""Called by `serve`."""
import http.client, json, os, re, statistics, subprocess, sys, tempfile, threading, time, urllib.request

READERS, ROUNDS = 50, 20
JOB = """
name: load
matrix: {world_size: [1, 2, 4, 8], backend: [a, b, c, d], seed: [1, 2, 3, 4]}
run: {command: "echo hello", retries: 0}
"""


def seconds_to_first_byte(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    start = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read(1)
    first = time.perf_counter() - start
    answer.read()
    connection.close()
    assert answer.status == 200, (path, answer.status)
    return first


def load(port, path):
    """Every reader asks ROUNDS times, all readers at once."""
    found, gate = [], threading.Barrier(READERS)

    def read():
        gate.wait()
        for _ in range(ROUNDS):
            found.append(seconds_to_first_byte(port, path))

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    start = time.perf_counter()
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(found) == READERS * ROUNDS, "readers failed"
    found.sort()
    rate = len(found) / (time.perf_counter() - start)
    return [1000 * found[int(len(found) * share)] for share in (0.5, 0.95, 0.99)], rate


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) / 1024


def stream(rollcall, folder, port, get, pid):
    """READERS follow a sweep that runs, while READERS others load its page; how late a change is told."""
    job = folder + "/live.yaml"
    with open(job, "w") as file:
        file.write('name: live\nrun: {command: "while [ ! -e \'%s/go\' ]; do sleep 0.1; done", retries: 0}\n' % folder)
    run = subprocess.Popen([rollcall, "run", job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sweep, state = None, None
    while state != "running":
        time.sleep(0.2)
        newest = json.loads(get("/api/sweeps"))["sweeps"][0]
        if newest["job"] == "live":
            sweep = newest["id"]
            state = json.loads(get(f"/api/sweeps/{sweep}"))["runs"][0]["state"]
    before = resident(pid)
    ended, ready = [], threading.Barrier(READERS + 1)

    def follow():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", f"/sweeps/{sweep}/events")
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        while not answer.readline().startswith(b"data: "):
            pass
        ready.wait()
        for line in answer:
            if line.startswith(b"event: end"):
                ended.append(time.time())
                break
        connection.close()

    readers = [threading.Thread(target=follow) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    ready.wait()
    (middle, late, last), rate = load(port, f"/sweeps/{sweep}")
    print(f"{'page, while followed':20} {'':8} {'':8} {middle:8.1f} {late:8.1f} {last:8.1f} {rate:8.0f}")
    after = resident(pid)
    open(folder + "/go", "w").close()
    run.wait()
    for reader in readers:
        reader.join()
    assert len(ended) == READERS, "a stream was lost"
    told = max(ended) - json.loads(get(f"/api/sweeps/{sweep}"))["sweep"]["ended"]
    print(f"{READERS} streams: the end of the sweep was told to the last of them after {told:.2f} s; "
          f"{(after - before) / READERS:.2f} MiB each, {after:.0f} MiB in all")


def main(rollcall):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROLLCALL_STORE"] = folder + "/store"
        os.environ.pop("ROLLCALL_FLEET", None)
        job = folder + "/load.yaml"
        with open(job, "w") as file:
            file.write(JOB)
        # Without dumps there is nothing to compare: INCONCLUSIVE.
        code = subprocess.run([rollcall, "run", job], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        assert code in (0, 2), code
        serve = subprocess.Popen([rollcall, "serve", "--listen", "127.0.0.1:0", "--json"], stdout=subprocess.PIPE,
                                 text=True)
        text = ""
        while not text.rstrip().endswith("}"):
            text += serve.stdout.readline()
        url = json.loads(text)["url"]
        port = int(url.rstrip("/").rsplit(":", 1)[1])
        try:
            get = lambda path: urllib.request.urlopen(f"http://127.0.0.1:{port}{path}").read()
            sweep = json.loads(get("/api/sweeps"))["sweeps"][0]["id"]
            run = json.loads(get(f"/api/sweeps/{sweep}"))["runs"][0]["name"].replace("=", "%3D")
            pages = {"sweeps": "/", "sweep of 64 cells": f"/sweeps/{sweep}", "report": f"/sweeps/{sweep}/report",
                     "log": f"/sweeps/{sweep}/runs/{run}/log", "hosts": "/hosts", "JSON": f"/api/sweeps/{sweep}"}
            print(f"{'page':20} {'bytes':>8} {'requests':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'pages/s':>8}")
            for name, path in pages.items():
                body = get(path).decode()
                # Each file once, then kept by the browser.
                extra = len(re.findall(r'(?:href|src)="(/assets/[^"]+)"', body))
                alone = 1000 * statistics.median(seconds_to_first_byte(port, path) for _ in range(20))
                (middle, late, last), rate = load(port, path)
                print(f"{name:20} {len(body.encode()):8} {1 + extra:8} {middle:8.1f} {late:8.1f} {last:8.1f} {rate:8.0f}"
                      f"   (one reader alone {alone:.1f} ms)")
            stream(rollcall, folder, port, get, serve.pid)
        finally:
            serve.terminate()
            serve.wait()


main(sys.argv[1])
