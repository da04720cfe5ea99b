#!/usr/bin/env python3
"""A playbook of one's own: is what fails in bfloat16 rounding, or logic? It reads the evidence as JSON and prints the
next move as JSON; `rollcall playbook Jobs/playbooks/rounding.py Jobs/isolate.yaml` runs it. The same evidence must give
the same answer, so that it can be resumed."""

import json
import sys

steps = json.load(sys.stdin)["steps"]


def run(step, hypothesis, design, **change):
    return {"run": {"step": step, "hypothesis": hypothesis, "design": design, **change}}


def conclude(verdict, kind, summary, next_step):
    evidence = ["%s: %s" % (step["step"], step["sentence"]) for step in steps]
    return {"conclude": {"verdict": verdict, "kind": kind, "summary": summary, "evidence": evidence, "next": next_step}}


if not steps:
    move = run("as-configured", "The target is wrong.", "The job as it is.")
elif steps[0]["verdict"] == "inconclusive" or steps[-1]["failed_runs"]:
    move = conclude("inconclusive", "no-answer", "A step gave no answer.", "See the report of its sweep.")
elif steps[0]["verdict"] == "pass":
    move = conclude("pass", "no-bug", "The target is right.", "Nothing.")
elif len(steps) == 1:
    # `env` is for all cells: the reference computes in float32, too.
    move = run("float32", "In float32 nothing is left.", "Everything in float32.", env={"DTYPE": "f32"})
elif steps[1]["verdict"] == "pass":
    move = conclude("fail", "rounding", "Wrong in bfloat16 alone: rounding, or a path of that type.", "Look at its kernels.")
else:
    move = conclude("fail", "logic", "Wrong in float32 as well: logic, not rounding.", "rollcall playbook bisect.")
json.dump(move, sys.stdout)
