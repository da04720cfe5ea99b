"""Times `rollcall compare --json` against ATOM's formulas in PyTorch, in turns on the same dumps, and prints ratios.

Whole processes, page cache warm, medians. `plain read` is one thread that reads every byte of both sides.

usage: compare.py DUMPS ROLLCALL [ROLLCALL ...] [--rounds 5] [--pairs noisy,equal]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("dumps", type=pathlib.Path, help="where make_dumps.py wrote")
parser.add_argument("rollcall", nargs="+", help="binaries to time, the release build")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--pairs", default="noisy,equal")
arguments = parser.parse_args()
peer = str(pathlib.Path(__file__).with_name("atom_formulas.py"))


def run(command):
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, output


def plain_read(directories):
    started, count = time.perf_counter(), 0
    buffer = bytearray(256 << 10)
    for directory in directories:
        for path in sorted(directory.iterdir()):
            with open(path, "rb", buffering=0) as file:
                while got := file.readinto(buffer):
                    count += got
    return time.perf_counter() - started, count


def check(ours, theirs):
    """The worst relative difference of a figure between both."""
    worst = 0.0
    for row in ours["rows"]:
        name = f"layer{row['layer']:02d}_{row['stage']}_rank0_call001.pt:{row['tensor']}"
        for key in ("cos", "max_abs", "rel", "byte_equal"):
            mine, other = row[key], theirs["rows"][name][key]
            if mine != other:
                worst = max(worst, abs(mine - other) / max(abs(other), 1e-300))
    return worst


for name in arguments.pairs.split(","):
    sides = [arguments.dumps / "reference", arguments.dumps / name]
    _, size = plain_read(sides)
    times = {}
    for _ in range(arguments.rounds):
        for number, binary in enumerate(arguments.rollcall):
            wall, cpu, resident, output = run([binary, "compare", "--json", *map(str, sides)])
            times.setdefault(f"rollcall {number}", []).append((wall, cpu, resident))
            ours = json.loads(output)
        wall, cpu, resident, output = run([sys.executable, peer, *map(str, sides)])
        theirs = json.loads(output)
        times.setdefault("torch, whole", []).append((wall, cpu, resident))
        times.setdefault("torch, without import", []).append((theirs["seconds"], cpu, resident))
        times.setdefault("plain read", []).append((plain_read(sides)[0], 0, 0))
    print(f"{name}: {size / 1e6:.0f} MB, {arguments.rounds} rounds, {os.cpu_count()} cores, "
          f"worst relative difference to torch {check(ours, theirs):.1e}")
    base = statistics.median(wall for wall, _, _ in times["torch, whole"])
    for what, values in times.items():
        wall, cpu, resident = (statistics.median(column) for column in zip(*values))
        paired = statistics.median(
            b[0] / a[0] for a, b in zip(values, times["torch, whole"]))
        print(f"  {what:22} wall {wall:7.3f} s  cpu {cpu:7.3f} s  {size / wall / 1e9:6.2f} GB/s  {resident:5.0f} MiB  "
              f"{paired:6.2f} x torch (paired)")
