"""Connects to many loopback hosts and runs a command on each, then again on the connections that stand.

Beside it, in turns, the same with libssh in a C loop (`plain_fanout.c`), with the same key exchange and cipher: nearly all
the time is the hosts' own, here sshd on the same processors. Asked again, the hosts answer us from shells that stand; the
C loop opens a session for each.

With --recover N: N runs on each host, 12 s old at least, all connections lost, and how long until it is known again how
they stand.

One sshd with its default MaxStartups and MaxSessions stands behind all of them. Start it through
`Tests/Benchmarks/fanout`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from loopback import Run, Server, in_turns

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("hosts", nargs="*", type=int, default=[300, 500])
parser.add_argument("--binary", required=True, help="HostBenchmarks, release")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--recover", type=int, default=0, help="runs on each host; about four processes each")
arguments = parser.parse_args()

with tempfile.TemporaryDirectory(prefix="rollcall-fanout-") as folder:
    server = Server(folder)
    try:
        aliases = [
            server.host(f"h{index}", address=f"127.0.{1 + index // 250}.{1 + index % 250}")
            for index in range(max(arguments.hosts))]
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; sshd's default MaxStartups and MaxSessions\n")
        plain = f"{folder}/plain_fanout"
        source = pathlib.Path(__file__).with_name("plain_fanout.c")
        subprocess.run(["cc", "-O2", "-o", plain, source, "-lssh", "-lpthread"], check=True)
        print("| | hosts | connect and execute, s | warm, s (median of 5) | warm, best | failures | resident MiB | CPU-s here |")
        print("|---|---|---|---|---|---|---|---|")
        for count in arguments.hosts:
            runs = in_turns(arguments.rounds, {
                name: lambda words=words: Run([*words, server.config, *aliases[:count]])
                for name, words in [("rollcall", [arguments.binary, "fanout"]), ("libssh in C", [plain])]})
            for name, done in runs.items():
                results = [json.loads(run.output) for run in done]
                def middle(key):
                    return statistics.median(result[key] for result in results)
                print(f"| {name} | {count} | {middle('connect'):.2f} | {middle('warm'):.2f} "
                      f"| {min(r['warm_best'] for r in results):.2f} | {sum(r['failures'] for r in results)} "
                      f"| {middle('resident_KiB') / 1024:.0f} | {middle('cpu'):.2f} |")
            sys.stdout.flush()
        if arguments.recover:
            print("\n| hosts | runs | all states known after, s |\n|---|---|---|")
            for count in arguments.hosts:
                done = Run(
                    [arguments.binary, "recover", server.config, f"{folder}/work{count}", str(arguments.recover),
                     *aliases[:count]])
                result = json.loads(done.output)
                print(f"| {count} | {result['running']} | {result['recovered']:.2f} |")
                sys.stdout.flush()
    finally:
        server.stop()
