"""Connects to many loopback hosts and runs a command on each, then again on the connections that stand.

Beside it, in turns, the same with libssh in a C loop (`plain_fanout.c`), with the same key exchange and cipher: nearly all
the time is the hosts' own, here sshd on the same processors. Asked again, the hosts answer us from shells that stand; the
C loop opens a session for each.

With --recover N: N runs on each host, 12 s old at least, all connections lost, and how long until it is known again how
they stand. With --sweep N: `rollcall run` of N no-op runs a host over them all, from its start to its report.

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
import time

from loopback import Run, Server, in_turns

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("hosts", nargs="*", type=int, default=[300, 500])
parser.add_argument("--binary", required=True, help="HostBenchmarks, release")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--recover", type=int, default=0, help="runs on each host; about four processes each")
parser.add_argument("--sweep", type=int, default=0, help="no-op runs for each host of a whole sweep")
parser.add_argument("--rollcall", default=os.environ.get("ROLLCALL"), help="the release binary, for --sweep (default: $ROLLCALL)")
arguments = parser.parse_args()
if arguments.sweep and not arguments.rollcall:
    parser.error("--sweep needs --rollcall")


def sweep(folder, config, hosts, runs):
    """A whole sweep: its report, wall seconds, and what the coordinator used."""
    folder = pathlib.Path(folder)
    folder.mkdir()
    (folder / "job.yaml").write_text(
        f"name: fanout\nmatrix: {{number: {list(range(runs))}}}\nrun: {{command: 'true', gpus: 0, timeout: 10m}}\n")
    lines = [f"  - {{name: {host}, ssh: {host}, workdir: {folder}/{host}, lease_dir: {folder}/leases/{host}, "
             f"gpus: 0, cpu_slots: {-(-runs // len(hosts))}}}" for host in hosts]
    (folder / "fleet.yaml").write_text(f"ssh_config: {config}\nhosts:\n" + "\n".join(lines) + "\n")
    words = [arguments.rollcall, "run", folder / "job.yaml", "--fleet", folder / "fleet.yaml",
             "--store", folder / "store", "--json"]
    started = time.perf_counter()
    with (folder / "report.json").open("w") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    return json.loads((folder / "report.json").read_text()), wall, usage

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
        if arguments.sweep:
            print("\n| hosts | runs | succeeded | in a first attempt | hosts that ran any | s | CPU-s here | MiB |")
            print("|---|---|---|---|---|---|---|---|")
            for count in arguments.hosts:
                report, wall, usage = sweep(
                    f"{folder}/sweep{count}", server.config, aliases[:count], count * arguments.sweep)
                runs = [run for cell in report["cells"] for run in cell["runs"]]
                attempts = [attempt for run in runs for attempt in run["attempts"]]
                print(f"| {count} | {len(runs)} | {sum(run['state'] == 'succeeded' for run in runs)} "
                      f"| {sum(len(run['attempts']) == 1 for run in runs)} | {len({a['host'] for a in attempts})} "
                      f"| {wall:.1f} | {usage.ru_utime + usage.ru_stime:.1f} | {usage.ru_maxrss / 1024:.0f} |")
                sys.stdout.flush()
    finally:
        server.stop()
