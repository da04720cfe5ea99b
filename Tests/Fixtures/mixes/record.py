#!/usr/bin/env python3
"""Writes a mix of runs, as MakespanTests reads it, from real sweeps of the jobs under Jobs/.

    record.py ROLLCALL OUT.csv JOB…

Each JOB is a job file that is run as it stands, or PLAYBOOK:JOBFILE. Every run has this machine to itself, so that its
time is its own; the ranks are CPU processes. A line is one run in the order of the queue: the job, its cell, the GPUs
that it would take on a host of eight (its world size), the seconds that it took, and its time limit.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile


def main(rollcall, out, *jobs):
    with tempfile.TemporaryDirectory() as folder:
        fleet = os.path.join(folder, "fleet.yaml")
        with open(fleet, "w") as file:
            file.write(f"hosts: [{{name: here, local: true, cpu_slots: 1, workdir: {folder}/work}}]\n")
        environment = dict(os.environ, ROLLCALL_STORE=folder + "/store", ROLLCALL_FLEET=fleet)

        def call(*words, check=True):
            result = subprocess.run([rollcall, *words], env=environment, stdout=subprocess.PIPE, text=True)
            # A sweep that finds a planted bug, or nothing to compare, has run all the same.
            if check and result.returncode not in (0, 1, 2):
                sys.exit(f"rollcall {' '.join(words)} ended with {result.returncode}")
            return result.stdout

        lines = []
        seen = set()
        for job in jobs:
            playbook, _, path = job.rpartition(":")
            call(*(["playbook", playbook, path] if playbook else ["run", path]))
            limit = max(cell["timeout"] for cell in json.loads(call("plan", path, "--json"))["cells"])
            sweeps = json.loads(call("status", "--json"))["sweeps"]
            for sweep in sorted((s for s in sweeps if s["id"] not in seen), key=lambda s: s["created"]):
                seen.add(sweep["id"])
                report = json.loads(call("report", sweep["id"], "--format", "json"))
                for cell in report["cells"]:
                    for run in cell["runs"]:
                        if run["state"] != "succeeded":
                            continue
                        values = {value["axis"]: value["value"] for value in cell["values"]}
                        size = int(values.get("world_size", 1))
                        name = os.path.basename(path).removesuffix(".yaml")
                        lines.append([name, cell["id"], size, round(run["attempts"][-1]["duration_s"], 3), limit])
    with open(out, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["job", "cell", "gpus", "seconds", "limit_s"])
        writer.writerows(lines)
    print(f"{out}: {len(lines)} runs")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
