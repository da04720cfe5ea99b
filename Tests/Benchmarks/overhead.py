"""Times no-op runs: how many a second this machine starts, runs and records, beside other launchers, in turns.

Whole processes from start to exit. What each keeps when it is killed stands in the table: only what is on disk outlives
its process. A peer that is not installed is left out and said. Start it through `Tests/Benchmarks/overhead`.

Each run of ours makes thirteen small files in six directories, so the file system counts: an ext4 without a journal, where
many files have just been deleted, takes ten times as long to make a new one. `--scratch` names a better place; the table
says which it was. `rollcall run` leads local runs by one process of its own; `rollcall's launcher` is what other hosts have,
a shell's crew. With `--slurm`, a cluster of four pretended nodes is started for its turns; the CPU time of its daemons is in no
row.

  local   on this machine
  ssh     over a warm connection to a loopback sshd
"""

import argparse
import contextlib
import ctypes
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import loopback
from loopback import Server, in_turns, median

# Whoever outlives its parent becomes ours, so that its CPU time is counted.
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Run(loopback.Run):
    """The CPU seconds are also those of processes that outlived theirs, as supervisors do."""

    def __init__(self, command, **options):
        before = os.times()
        super().__init__(command, **options)
        idle_since = time.monotonic()
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() - idle_since < 1.5:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    idle_since = time.monotonic()
                else:
                    time.sleep(0.02)
        after = os.times()
        self.cpu = after.children_user + after.children_system - before.children_user - before.children_system


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cases", nargs="*", default=["local", "ssh"], help="local, ssh (default: both)")
parser.add_argument("--binary", required=True, help="HostBenchmarks, release")
parser.add_argument("--rollcall", default=os.environ.get("ROLLCALL"), help="the release binary (default: $ROLLCALL)")
parser.add_argument("--count", type=int, default=500, help="runs of the peers")
parser.add_argument("--own-count", type=int, default=500, help="runs of ours")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--at-once", type=int, default=2, help="runs at once of the peers, and of ours for comparison")
parser.add_argument("--own-at-once", type=int, default=256, help="runs at once of ours (`cpu_slots`): they go together")
parser.add_argument("--scratch", help="where all of them write (default: the directory for temporary files)")
parser.add_argument("--peers", type=pathlib.Path, help="a Python with parsl and hyperqueue")
parser.add_argument("--slurm", action="store_true", help="beside a Slurm on this machine, as root (Deploy/slurm/cluster)")
arguments = parser.parse_args()
if unknown := set(arguments.cases) - {"local", "ssh"}:
    parser.error(f"no such case: {', '.join(sorted(unknown))}")

PARSL = """
import sys, parsl
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor
folder, count, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
@parsl.bash_app
def no_op():
    return "true"
with parsl.load(Config(executors=[ThreadPoolExecutor(max_threads=at_once)], run_dir=folder, usage_tracking=0)):
    for task in [no_op() for _ in range(count)]:
        task.result()
"""
HYPERQUEUE = """
import sys
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
folder, count, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with LocalCluster(folder) as cluster:
    cluster.start_worker(WorkerConfig(cores=at_once))
    client = cluster.client()
    job = Job(folder)
    for _ in range(count):
        job.program(["true"], stdout=None, stderr=None)
    client.wait_for_jobs([client.submit(job)])
"""


class Fresh:
    """A new folder for each run."""

    def __init__(self, root):
        self.root, self.number = pathlib.Path(root), 0

    def __call__(self):
        self.number += 1
        folder = self.root / f"fresh{self.number}"
        folder.mkdir()
        return folder


def coordinator(folder, host, count, at_once):
    """`rollcall run` over one host: the whole way, with its database, its gather and its report."""
    return sweep(
        folder, f"{host}\n    gpus: 0\n    cpu_slots: {at_once}\n    workdir: {folder}/work\n    lease_dir: {folder}/leases\n",
        count)


def sweep(folder, fleet, count, **options):
    runs = ", ".join(map(str, range(count)))
    (folder / "job.yaml").write_text(f'name: no-op\nmatrix:\n  n: [{runs}]\nrun:\n  command: "true"\n  gpus: 0\n  timeout: 10m\n')
    (folder / "fleet.yaml").write_text(fleet)
    # 2: nothing is compared.
    return Run(
        [arguments.rollcall, "run", folder / "job.yaml", "--fleet", folder / "fleet.yaml", "--store", folder / "store"],
        accepted=(0, 2), **options)


class Slurm:
    """A cluster under one folder, without accounting; its state is on disk as Slurm keeps it by default."""

    SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "Deploy/slurm/cluster"
    CPUS = 32
    # As many as there are, and no more: each starts some processes.
    TOGETHER = 16

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "slurm"
        # Jobs that have ended are not to fill its table.
        started = subprocess.run(
            [self.SCRIPT, "start", self.folder], env=os.environ | {"CLUSTER_MIN_JOB_AGE": "2"}, stdout=subprocess.PIPE)
        if started.returncode:
            sys.exit("the cluster did not start")
        self.env = os.environ | {"SLURM_CONF": started.stdout.decode().strip()}

    def stop(self):
        subprocess.run([self.SCRIPT, "stop", self.folder], check=True)

    def completed(self):
        said = subprocess.run(["sdiag"], env=self.env, stdout=subprocess.PIPE, check=True).stdout.decode()
        return int(said.split("Jobs completed:")[1].split()[0])

    def measure(self, count, run):
        before = self.completed()
        timed = run()
        if (ended := self.completed() - before) != count:
            sys.exit(f"{ended} of {count} jobs completed")
        return timed

    def plain(self, count, submit):
        """Submits and waits until none is left."""
        wait = 'while [ -n "$(squeue -h -t pending,running,completing -o %i)" ]; do sleep 0.05; done'
        return self.measure(count, lambda: Run(["sh", "-ec", f"{submit}; {wait}"], env=self.env, cwd=self.folder))

    def contenders(self, fresh):
        own, peers = arguments.own_count, arguments.count
        sbatch = "sbatch --parsable --output=/dev/null --wrap=true"
        found = {
            ("Slurm, sbatch a job", peers, self.CPUS, "job state"): lambda: self.plain(
                peers, f"for i in $(seq {peers}); do {sbatch} >/dev/null; done"),
            ("Slurm, an array", peers, self.CPUS, "job state"): lambda: self.plain(
                peers, f"{sbatch} --array=0-{peers - 1}"),
        }
        if arguments.rollcall:
            for arrays in (True, False):
                name = "rollcall run, launcher: slurm" + ("" if arrays else ", arrays: false")
                found[name, own, self.TOGETHER if arrays else self.CPUS, "SQLite, synchronous=FULL, and job state"] = (
                    lambda arrays=arrays: self.measure(own, lambda: self.rollcall(fresh(), own, arrays)))
        return found

    def rollcall(self, folder, count, arrays):
        words = f"array_throttle: {self.TOGETHER}" if arrays else "arrays: false"
        fleet = f"launcher: slurm\nworkdir: {folder}/work\npoll: 0.2\nmax_jobs: {count}\n{words}\n"
        return sweep(folder, fleet, count, env=self.env)


def present(module):
    return arguments.peers and subprocess.run(
        [arguments.peers, "-c", f"import {module}"], capture_output=True).returncode == 0


def local(fresh, slurm):
    own, peers, at_once, together = arguments.own_count, arguments.count, arguments.at_once, arguments.own_at_once
    listing = "\n".join(["true"] * peers).encode()
    contenders = {
        ("rollcall's launcher", own, together, "each run's directory on the host"):
            lambda: Run([arguments.binary, "launch-local", fresh(), str(own), str(together)]),
        ("rollcall's bare command", peers, at_once, "nothing"):
            lambda: Run([arguments.binary, "execute-local", str(peers), str(at_once)]),
        ("xargs", peers, at_once, "nothing"):
            lambda: Run(["xargs", "-P", str(at_once), "-I{}", "sh", "-c", "{}"], input=listing),
    }
    left_out = []
    if arguments.rollcall:
        for count, slots in [(own, together), (own, at_once)]:
            contenders["rollcall run", count, slots, "SQLite, synchronous=FULL"] = lambda count=count, slots=slots: (
                coordinator(fresh(), "hosts:\n  - name: here\n    local: true", count, slots))
    else:
        left_out.append("rollcall run (no --rollcall)")
    if shutil.which("parallel"):
        contenders["GNU parallel", peers, at_once, "job log"] = lambda: Run(
            ["parallel", "--will-cite", f"-j{at_once}", "--joblog", fresh() / "log"], input=listing)
    else:
        left_out.append("GNU parallel")
    for module, name, keeps, program in [
        ("parsl", "Parsl, bash_app, threads", "log", PARSL), ("hyperqueue", "HyperQueue", "nothing (no journal)", HYPERQUEUE)]:
        if present(module):
            contenders[name, peers, at_once, keeps] = lambda program=program: Run(
                [arguments.peers, "-c", program, fresh(), str(peers), str(at_once)])
        else:
            left_out.append(name)
    if slurm:
        contenders |= slurm.contenders(fresh)
    else:
        left_out.append("Slurm (no --slurm)")
    return contenders, left_out


def over_ssh(fresh, server, alias):
    own, peers, at_once, together = arguments.own_count, arguments.count, 8, arguments.own_at_once
    contenders = {
        ("rollcall's launcher", own, together, "each run's directory on the host"):
            lambda: Run([arguments.binary, "launch", server.config, alias, fresh(), str(own), str(together)]),
        ("rollcall's bare command", peers, at_once, "nothing"):
            lambda: Run([arguments.binary, "execute", server.config, alias, str(peers), str(at_once)]),
        ("ssh, ControlMaster", peers, at_once, "nothing"): lambda: Run([
            "bash", "-c", f"s=$1/s; ssh -F {server.config} -o ControlPath=$s -MNf {alias}; "
            f"seq {peers} | xargs -P {at_once} -I{{}} ssh -n -F {server.config} -o ControlPath=$s {alias} true; "
            f"ssh -F {server.config} -o ControlPath=$s -O exit {alias} 2>/dev/null", "sh", fresh()]),
    }
    if arguments.rollcall:
        def run():
            folder = fresh()
            host = f"ssh_config: {server.config}\nhosts:\n  - name: {alias}\n    ssh: {alias}"
            return coordinator(folder, host, own, together)
        contenders["rollcall run", own, together, "SQLite, synchronous=FULL"] = run
    return contenders, []


def table(title, contenders, left_out):
    runs = in_turns(arguments.rounds, {key: run for key, run in contenders.items()})
    print(f"\n### {title}\n\n| | runs | at once | seconds (median) | runs/s | CPU-ms a run | kept on disk |\n|---|---|---|---|---|---|---|")
    for key in sorted(runs, key=lambda key: median(runs[key]) / key[1]):
        name, count, slots, keeps = key
        wall = median(runs[key])
        cpu = statistics.median(run.cpu for run in runs[key]) / count
        print(f"| {name} | {count} | {slots} | {wall:.2f} | {count / wall:.0f} | {cpu * 1000:.1f} | {keeps} |")
    if left_out:
        print(f"\nLeft out: {', '.join(left_out)}.")
    sys.stdout.flush()


def file_system(folder):
    found = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
    return found.stdout.strip() or "unknown file system"


with tempfile.TemporaryDirectory(prefix="rollcall-overhead-", dir=arguments.scratch) as name:
    # Where the peers write, too.
    os.environ["TMPDIR"] = name
    print(f"{platform.platform()}; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; files in {name} ({file_system(name)})")
    fresh = Fresh(name)
    if "local" in arguments.cases:
        slurm = Slurm(name) if arguments.slurm else None
        try:
            table("Local", *local(fresh, slurm))
        finally:
            if slurm:
                slurm.stop()
    if "ssh" in arguments.cases:
        server = Server(name)
        try:
            table("Over warm SSH", *over_ssh(fresh, server, server.host("near")))
        finally:
            server.stop()
