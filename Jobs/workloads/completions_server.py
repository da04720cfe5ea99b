#!/usr/bin/env python3
"""A served model that is none: /health and /v1/completions of an OpenAI-style server, answers from a table.

    python3 completions_server.py --port 8765 --fault prefill

Faults: prefill (garbage from the first token on), decode (the first token is right, then one word over and over),
wrong (coherent, and not the answer), unstable (another text each time), error (500 to every prompt). --slow N answers
503 to the first N questions for its health. --port 0 takes a free port; --port-file says which.
"""

import argparse
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = {
    "The capital of France is": " Paris, and its river is the Seine.",
    "1+1=": "2, as everybody knows.",
    "John went to the store. John": " bought some milk and went home.",
    "The": " first thing to do is to look at the numbers.",
    "The opposite of hot is": " cold.",
}
FAULTS = ["prefill", "decode", "wrong", "unstable", "error"]


def answer(prompt, fault, count):
    text = ANSWERS.get(prompt, " nothing that I know of.")
    if fault == "prefill":
        return " #}{ ~^| \u0436%% ]]=; \\\\ <>+ @!"
    if fault == "decode":
        return " " + text.split()[0].rstrip(",") + " the" * 24
    if fault == "wrong":
        return " Berlin, I should think."
    if fault == "unstable":
        return text + " Again." * (count % 2)
    return text


class Handler(BaseHTTPRequestHandler):
    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path != "/health":
            return self.reply(404, {"error": "no such path"})
        self.server.asked += 1
        healthy = self.server.asked > self.server.options.slow
        self.reply(200 if healthy else 503, {"healthy": healthy})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        fault = self.server.options.fault
        if self.path != "/v1/completions":
            return self.reply(404, {"error": "no such path"})
        if request.get("temperature") != 0:
            return self.reply(400, {"error": "this test wants temperature 0"})
        if fault == "error":
            return self.reply(500, {"error": "the engine died"})
        self.server.count += 1
        text = answer(request["prompt"], fault, self.server.count)
        self.reply(200, {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]})

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--port-file")
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--slow", type=int, default=0)
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.options, server.asked, server.count = options, 0, 0
    if options.port_file:
        with open(options.port_file + ".part", "w") as out:
            out.write(str(server.server_address[1]))
        os.replace(options.port_file + ".part", options.port_file)
    server.serve_forever()


main()
