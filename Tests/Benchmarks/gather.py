"""Times Rollcall's gather against the usual tools over a loopback sshd, in turns on the same files.

Whole processes from start to exit; source and target in memory where /dev/shm has room, so that the link and not a disk
is timed. Rollcall takes a manifest, hashes with SHA-256 on both sides and stores by content; the peers copy alone. Rows
"peer +" add what makes a peer's copy as sure: sha256sum on the host and on the copy. Start it through
`Tests/Benchmarks/gather`.

  large    1 GiB in one file
  small    10,000 files of 64 KiB
  far      both, smaller, through a proxy with 50 ms of round trip
"""

import argparse
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

from loopback import DelayingProxy, Run, Server, in_turns, median

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cases", nargs="*", default=["large", "small", "far"], help="large, small, far (default: all)")
parser.add_argument("--binary", required=True, help="HostBenchmarks, release")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--scratch", help="where the files are written and deleted (default: /dev/shm)")
parser.add_argument("--bytes", type=int, default=1 << 30, help="of the large file")
parser.add_argument("--files", type=int, default=10_000)
parser.add_argument("--quick", action="store_true", help="only rollcall and the quickest peers: tar, ssh cat, rsync")
parser.add_argument("--far-bytes", type=int, default=256 << 20)
parser.add_argument("--far-files", type=int, default=500)
arguments = parser.parse_args()
if unknown := set(arguments.cases) - {"large", "small", "far"}:
    parser.error(f"no such case: {', '.join(sorted(unknown))}")
CIPHER = "aes128-gcm@openssh.com"


def write_random(path, count):
    with open(path, "wb") as file:
        while count > 0:
            file.write(os.urandom(min(count, 1 << 24)))
            count -= 1 << 24


def attempt(folder, sizes):
    dumps = folder / "dumps"
    dumps.mkdir(parents=True)
    for index, size in enumerate(sizes):
        write_random(dumps / f"layer{index:05d}_Block_rank0.pt", size)
    (folder / "exit.json").write_text("{}\n")
    for name in ("stdout.log", "stderr.log", "identity"):
        (folder / name).write_text("x\n")
    return dumps


def contenders(dumps, target, alias, config):
    ssh = ["ssh", "-F", config]
    remote = f"ssh -F {config}"
    single = next(dumps.iterdir()).name if len(os.listdir(dumps)) == 1 else None

    def shell(text):
        return lambda: Run(["bash", "-c", "set -euo pipefail; " + text])

    def sured(text):
        check = "sha256sum * | sort"
        return shell(f"{text}; cmp <({remote} {alias} 'cd {dumps} && {check}') <(cd {target} && {check})")

    def peers(extra, label):
        ours = {}
        scp = f"scp -q -r -F {config} {extra} {alias}:{dumps}/. {target}/"
        ours["scp" + label] = shell(scp)
        ours["sftp" + label] = shell(f"echo 'get -r {dumps}/. {target}/' | sftp -q -F {config} {extra} -b - {alias} >/dev/null")
        if shutil.which("rsync"):
            ours["rsync -W" + label] = shell(f"rsync -a -W -e '{remote} {extra}' {alias}:{dumps}/ {target}/")
        tar = f"{remote} {extra} {alias} 'tar -C {dumps} -cf - .' | tar -C {target} -xf -"
        cat = f"{remote} {extra} {alias} 'cat {dumps}/{single}' >{target}/{single}"
        ours["tar | ssh" + label] = shell(tar)
        if single:
            ours["ssh cat" + label] = shell(cat)
        return ours, cat if single else tar

    plain, best = peers("", "")
    quick, quick_best = peers(f"-c {CIPHER}", f" ({CIPHER.split('@')[0]})")
    name = "ssh cat" if single else "tar | ssh"
    if arguments.quick:
        plain, quick = ({k: v for k, v in peers.items() if not k.startswith(("scp", "sftp"))} for peers in (plain, quick))
    return {
        "rollcall": lambda: Run([arguments.binary, "gather", config, alias, dumps.parent, target]),
        **plain, **quick, f"{name} ({CIPHER.split('@')[0]}) + sha256sum": sured(quick_best),
    }


def table(title, byte_count, runs):
    ours = median(runs["rollcall"])
    print(f"\n### {title}\n\n| | seconds (median) | MiB/s | CPU-s here | CPU-s of sshd | rollcall's speed / its |"
          "\n|---|---|---|---|---|---|")
    for name, all in sorted(runs.items(), key=lambda item: median(item[1])):
        wall = median(all)
        print(f"| {name} | {wall:.2f} | {byte_count / wall / (1 << 20):.0f} | {statistics.median(r.cpu for r in all):.2f} "
              f"| {statistics.median(r.host_cpu for r in all):.2f} | {wall / ours:.2f} |")
    for label, keep in (
        ("the peers as they come", lambda n: "(" not in n), ("the peers with our cipher", lambda n: "(" in n and "+" not in n)):
        best = min((name for name in runs if name != "rollcall" and keep(name)), key=lambda n: median(runs[n]))
        print(f"\nAgainst the best of {label} ({best}): {median(runs[best]) / ours:.2f}")
    sys.stdout.flush()


def case(title, folder, sizes, alias, server):
    dumps = attempt(folder / "attempt", sizes)
    target = folder / "target"

    def clear():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    def with_host_cpu(contender):
        def run():
            before = server.cpu()
            run = contender()
            run.host_cpu = server.cpu() - before
            return run
        return run

    clear()
    ours = contenders(dumps, target, alias, server.config)
    runs = in_turns(arguments.rounds, {name: with_host_cpu(ours[name]) for name in ours}, before=clear)
    table(title, sum(sizes), runs)
    shutil.rmtree(folder)


needed = 3 * max(arguments.bytes, arguments.files << 16)
scratch = arguments.scratch
if scratch is None and os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > needed:
    scratch = "/dev/shm"
with tempfile.TemporaryDirectory(dir=scratch, prefix="rollcall-gather-") as name:
    folder = pathlib.Path(name)
    server = Server(folder)
    try:
        version = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.strip()
        print(f"{version}; {platform.platform()}; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; files in {name}")
        near = server.host("near")
        if "large" in arguments.cases:
            case(f"1 file, {arguments.bytes >> 20} MiB", folder / "large", [arguments.bytes], near, server)
        if "small" in arguments.cases:
            case(f"{arguments.files} files of 64 KiB", folder / "small", [64 << 10] * arguments.files, near, server)
        if "far" in arguments.cases:
            proxy = DelayingProxy(server.port, 0.025)
            far = server.host("far", port=proxy.port)
            case(f"50 ms round trip: 1 file, {arguments.far_bytes >> 20} MiB", folder / "far", [arguments.far_bytes], far, server)
            case(f"50 ms round trip: {arguments.far_files} files of 64 KiB", folder / "far-small",
                 [64 << 10] * arguments.far_files, far, server)
    finally:
        server.stop()
