#!/usr/bin/env python3
"""A playbook of one's own: is what fails in bfloat16 rounding, or logic? It reads the evidence as JSON and prints the
next move as JSON; `rollcall playbook Jobs/playbooks/rounding.py Jobs/isolate.yaml` runs it. The same evidence must give
the same answer, so that it can be resumed.

Standard input, "schema": "rollcall.evidence/1":
  job     name; target and reference, the values of all axes; cells; components, the names that `on` and `off` take
  steps   of each: step, design, verdict (pass, fail, inconclusive), sentence, failed_runs, and pairs with kind
          (reference, repeat, slots), target, verdict, findings (cause, layer, stage, summary) and rows (layer, stage,
          tensor, verdict, cos, rel_l2, alpha)
Standard output, one of:
  run       step (letters, digits, dashes), hypothesis, design; cells (axis values, default reference and target),
            repeat, on and off (components, for all cells but the reference), env (for all cells), arguments (for all
            but the reference), layers and stages (what must be dumped)
  conclude  verdict, kind (a word), summary, next; layer, stage, cause, subject, evidence (sentences)
"""

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
