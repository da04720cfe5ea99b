"""Times `rollcall compare --json` against its peers and the machine's limits, in turns on the same dumps.

Whole processes from files to JSON, page cache warm, medians over the rounds, ratios paired by round. Start it through
`Tests/Benchmarks/compare`, which brings the peers.

  peers     806 MB of bf16, sides that differ by noise and sides that are equal: ATOM's formulas in PyTorch, SGLang's
            comparator, NumPy, a plain read (1 and 2 threads), memcmp
  limits    the same without the peers: with --layers 120 on 4 GB, where starting the process does not count
  small     a 15 MB pair
  resident  resident memory over 4 GB
  bytes     growth from 10 MB to 10 GB
  captures  growth from 100 to 100,000 captures
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

here = pathlib.Path(__file__).parent
FIGURES = ("cos", "max_abs", "rel", "byte_equal")
TOLERANCE = 1e-12

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "cases", nargs="*", default=["peers"], help="peers (default), limits, small, resident, bytes, captures, all")
parser.add_argument("--rollcall", required=True, help="the release binary")
parser.add_argument("--plain-read", required=True, help="plain_read.c, compiled")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--layers", type=int, default=24, help="of the peers' dumps; 33.6 MB each and pair")
parser.add_argument("--largest", type=float, default=10.0, help="GB, the end of the growth in bytes")
parser.add_argument("--most", type=int, default=100_000, help="the end of the growth in captures")
parser.add_argument("--scratch", type=pathlib.Path, help="where the dumps are written and deleted")
arguments = parser.parse_args()
CASES = ["peers", "limits", "small", "resident", "bytes", "captures"]
if unknown := set(arguments.cases) - {*CASES, "all"}:
    parser.error(f"no such case: {', '.join(sorted(unknown))}")
cases = CASES if "all" in arguments.cases else arguments.cases
PYTHON = sys.executable


class Run:
    """One process: wall and CPU seconds, largest resident memory in MiB, standard output."""

    def __init__(self, command, accepted=(0,)):
        with tempfile.TemporaryFile() as errors:
            started = time.perf_counter()
            process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=errors)
            self.output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            self.wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode not in accepted:
                errors.seek(0)
                sys.exit(f"{command[:4]} ended with {process.returncode}: {errors.read()[-2000:].decode()}")
        self.cpu = usage.ru_utime + usage.ru_stime
        self.resident = usage.ru_maxrss / 1024


def rollcall(sides):
    # Dumps that are compared need not agree: 0 PASS, 1 FAIL, 2 INCONCLUSIVE.
    return Run([arguments.rollcall, "compare", "--json", *sides], accepted=(0, 1, 2))


def plain(mode, threads, sides):
    return Run([arguments.plain_read, mode, threads, *sides])


def size(sides):
    return sum(path.stat().st_size for side in sides for path in side.iterdir())


def our_rows(run):
    return {f"layer{row['layer']:02d}.{row['stage']}.{row['tensor']}": row for row in json.loads(run.output)["rows"]}


def worst_difference(ours, theirs, figures=FIGURES):
    """The largest relative difference of a figure between two sets of rows, which must be of the same places."""
    if ours.keys() != theirs.keys():
        sys.exit(f"the rows are not of the same places: {sorted(ours.keys() ^ theirs.keys())[:4]}")
    worst = 0.0
    for name, row in theirs.items():
        for figure in figures:
            mine, other = ours[name][figure], row[figure]
            if mine is None or other is None:
                if mine is not other:
                    sys.exit(f"{name}: {figure} is {mine} here and {other} there")
            else:
                worst = max(worst, abs(mine - other) / max(abs(other), 1e-300) if mine != other else 0.0)
    return worst


def sglang_rows(report):
    rows = {}
    for line in report.read_text().splitlines():
        record = json.loads(line)
        if record["type"] == "comparison_tensor":
            tags = record["raw_bundle_info"]["x"]["files"][0]["filename"].split("___")
            layer = next(tag for tag in tags if tag.startswith("layer_id="))
            name = f"layer{int(layer[9:].removesuffix('.pt')):02d}.{record['name']}"
            rows[name] = {"max_abs": record["diff"]["max_abs_diff"]}
    return rows


def machine():
    info = dict(
        line.split(":", 1) for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    info = {key.strip(): value.strip() for key, value in info.items()}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numpy", "sglang"))
    return (
        f"{info.get('model name', platform.machine())} (family {info.get('cpu family', '?')}, model "
        f"{info.get('model', '?')}), {os.cpu_count()} cores, {memory:.0f} GB, Linux {platform.release()}, Python "
        f"{platform.python_version()}, {versions}; load before {os.getloadavg()[0]:.1f}")


@contextlib.contextmanager
def scratch():
    if arguments.scratch:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-benchmark-", dir=arguments.scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def median(values):
    return statistics.median(values)


def make(folder, **options):
    flags = [part for key, value in options.items() for part in (f"--{key}", value)]
    Run([PYTHON, here / "make_dumps.py", folder, *flags])


# MARK: peers

PEERS = ("ATOM's formulas, PyTorch", "SGLang's comparator", "NumPy")


def contestants(folder, name, has_peers):
    """What runs in each round: name to a function that gives a Run."""
    atom, sglang, numpy = (
        [folder / form / side for side in ("reference", name)] for form in ("atom", "sglang", "numpy"))
    threads = os.cpu_count()
    report = folder / "sglang.jsonl"
    result = {
        "**rollcall compare --json**": lambda: rollcall(atom),
        "ATOM's formulas, PyTorch": lambda: Run([PYTHON, here / "atom_formulas.py", *atom]),
        "SGLang's comparator": lambda: Run(
            [PYTHON, here / "sglang_comparator.py", "--baseline-path", sglang[0], "--target-path", sglang[1],
             "--output-format", "json", "--report-path", report]),
        "NumPy": lambda: Run([PYTHON, here / "numpy_formulas.py", *numpy]),
        "plain read, 1 thread": lambda: plain("read", 1, atom),
        f"plain read, {threads} threads": lambda: plain("read", threads, atom),
    }
    if name == "equal":
        # It fails where torch.save did not write the same bytes twice.
        result[f"memcmp, {threads} threads"] = lambda: plain("memcmp", threads, atom)
    if not has_peers:
        result = {what: start for what, start in result.items() if what not in PEERS}
    return result, atom, report


def check(runs, report):
    ours = our_rows(runs["**rollcall compare --json**"])
    atom = worst_difference(ours, json.loads(runs["ATOM's formulas, PyTorch"].output)["rows"])
    numpy = worst_difference(ours, json.loads(runs["NumPy"].output)["rows"])
    # SGLang computes in float32; bf16 differences are exact in it.
    sglang = worst_difference(ours, sglang_rows(report), ("max_abs",))
    if not atom <= TOLERANCE:
        sys.exit(f"a figure differs from ATOM's formulas by {atom:.1e} relative, more than {TOLERANCE:.0e}")
    return (f"{len(ours)} tensors; largest relative difference of a figure: to PyTorch {atom:.1e}, to NumPy "
            f"{numpy:.1e}, to SGLang's max_abs {sglang:.1e}")


def peers(folder, has_peers=True):
    make(folder, layers=arguments.layers, **({} if has_peers else {"formats": "atom"}))
    for name in ("noisy", "equal"):
        running, sides, report = contestants(folder, name, has_peers)
        plain("read", 1, sides)
        if has_peers:
            Run([PYTHON, here / "sglang_comparator.py", "--help"])
        rounds = []
        for number in range(arguments.rounds):
            print(f"{name}: round {number + 1} of {arguments.rounds}", file=sys.stderr)
            runs = {what: start() for what, start in running.items()}
            if number == 0:
                agreement = check(runs, report) if has_peers else "no peers"
            rounds.append(runs)
        total = size(sides)
        differ = "differ by noise" if name == "noisy" else "are equal"
        print(f"\n{total / 1e6:.0f} MB, sides {differ}; {arguments.rounds} rounds; {agreement}\n")
        print("| | wall s | CPU s | GB/s | resident MiB | wall / rollcall's (paired) |\n|---|---|---|---|---|---|")
        base = "**rollcall compare --json**"
        for what in running:
            column = [runs[what] for runs in rounds]
            wall = median(run.wall for run in column)
            ratio = median(runs[what].wall / runs[base].wall for runs in rounds)
            # A process starts with the pages of its parent, this one: less than that is not seen.
            resident = "" if "thread" in what else f"{median(run.resident for run in column):.0f}"
            print(
                f"| {what} | {wall:.3f} | {median(run.cpu for run in column):.3f} | {total / wall / 1e9:.3g} | "
                f"{resident} | {ratio:.2f} |")


def limits(folder):
    peers(folder, has_peers=False)


# MARK: one side's cases

def timed(sides):
    """Medians of the rounds, after one run that warms the page cache."""
    rollcall(sides)
    runs = [rollcall(sides) for _ in range(arguments.rounds)]
    wall, cpu = (median(getattr(run, what) for run in runs) for what in ("wall", "cpu"))
    return wall, cpu, max(run.resident for run in runs), runs[-1]


def small(folder):
    make(folder, layers=1, tokens=229, formats="atom")
    print("\n| | wall ms | CPU ms | resident MiB |\n|---|---|---|---|")
    for name in ("noisy", "equal"):
        sides = [folder / "atom" / side for side in ("reference", name)]
        wall, cpu, resident, _ = timed(sides)
        print(f"| {size(sides) / 1e6:.1f} MB pair, {name} | {wall * 1e3:.1f} | {cpu * 1e3:.1f} | {resident:.0f} |")
    starts = [Run([arguments.rollcall, "--version"]).wall for _ in range(arguments.rounds)]
    print(f"| `rollcall --version` | {median(starts) * 1e3:.1f} | | |")
    imports = [Run([PYTHON, "-c", "import torch"]).wall for _ in range(arguments.rounds)]
    print(f"| `import torch` alone | {median(imports) * 1e3:.1f} | | |")


def copies(folder, count, base):
    """Two sides of `count` files each: copies of one real pair, under as many names, ten stages a layer."""
    sides = [folder / side for side in ("reference", "noisy")]
    for side, source in zip(sides, base):
        side.mkdir(parents=True)
        content = source.read_bytes()
        for number in range(count):
            (side / f"layer{number // 10:02d}_Stage{number % 10}_rank0_call001.pt").write_bytes(content)
    return sides


def real_pair(folder, tokens, hidden):
    make(folder, layers=1, tokens=tokens, hidden=hidden, formats="atom")
    return [folder / "atom" / side / "layer00_MLP_rank0_call001.pt" for side in ("reference", "noisy")]


def room(folder, needed):
    free = shutil.disk_usage(folder).free
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + int(next(
        line.split()[1] for line in open("/proc/meminfo") if line.startswith("Cached:"))) * 1024
    if needed > 0.8 * min(free, available):
        print(f"| {needed / 1e9:.1f} GB: left out, too much for this machine's disk or page cache | | | | |")
        return False
    return True


def grown(folder, base, count, unit):
    """One line of a growth table; `unit` gives what the time is divided by, from sides and rows, and its words."""
    name = folder / f"grown-{count}"
    sides = copies(name, count, base)
    wall, cpu, resident, last = timed(sides)
    rows = json.loads(last.output)["rows"]
    divisor, words = unit(sides, rows)
    print(
        f"| {words} | {wall:.3f} | {wall / divisor:.4g} | {cpu / divisor:.4g} | {resident:.0f} |", flush=True)
    shutil.rmtree(name)


def growth_in_bytes(folder):
    base = real_pair(folder, tokens=305, hidden=4096)
    pair = sum(path.stat().st_size for path in base)
    print("\n| both sides | wall s | ns a byte | CPU ns a byte | resident MiB |\n|---|---|---|---|---|")
    count = 1
    while count * pair <= arguments.largest * 1.01e9:
        if not room(folder, count * pair):
            break
        grown(folder, base, count, lambda sides, rows: (size(sides) / 1e9, f"{size(sides) / 1e6:.0f} MB"))
        count *= 10


def growth_in_captures(folder):
    base = real_pair(folder, tokens=8, hidden=16)
    print("\n| captures a side | wall s | µs a pair | CPU µs a pair | resident MiB |\n|---|---|---|---|---|")
    count = 50
    # Two captures a file: hidden and input.
    while 2 * count <= arguments.most:
        grown(folder, base, count, lambda sides, rows: (len(rows) / 1e6, f"{len(rows):,}"))
        count *= 10


def resident(folder):
    base = real_pair(folder, tokens=305, hidden=4096)
    count = round(4e9 / sum(path.stat().st_size for path in base))
    if not room(folder, 4e9):
        return
    sides = copies(folder / "four", count, base)
    run = rollcall(sides)
    print(f"\nLargest resident memory over {size(sides) / 1e9:.2f} GB: {run.resident:.0f} MiB\n")


TITLES = {
    "peers": (peers, "Against the peers and the machine's limits"),
    "limits": (limits, "Against the machine's limits"),
    "small": (small, "A small pair"),
    "resident": (resident, "Resident memory"),
    "bytes": (growth_in_bytes, "Growth in bytes"),
    "captures": (growth_in_captures, "Growth in captures"),
}
# Stopped from outside, too, the dumps are deleted.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print(machine())
for case in cases:
    run, title = TITLES[case]
    print(f"\n### {title}", flush=True)
    with scratch() as folder:
        run(folder)
