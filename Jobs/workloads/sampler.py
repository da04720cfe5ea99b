#!/usr/bin/env python3
"""A small evaluation: multiple choice over a fixed matrix, answered through a kernel that may be wrong.

    python3 sampler.py --backend kernel --bug wrong-scale --output samples.jsonl

Each question has a vector; the four answers are four directions, and the nearest is chosen. `--backend plain`
multiplies in double; `--backend kernel` in blocks of 16 rounded to 8 bits, as a low-precision kernel does. The right
answer is the nearest one of the unrounded question, but for the share that the model does not know (--unknown).

Bugs of the kernel: wrong-scale (one block in three is scaled by 16), long-prompts (blocks behind the chunk are lost).
Bugs of what comes out: empty, gibberish, meta-text. Bugs of the harness, on every backend: no-examples (the prompt
lacks them and the model talks about the question).
"""

import argparse
import json
import random
import sys

LETTERS = "ABCD"
CATEGORIES = ["algebra", "biology", "history", "law"]
WORDS = (
    "the of and which is in that for with from under over between most least always never state theory number "
    "cell nation court field group series energy law acid river empire treaty proof limit"
).split()
DIMENSION = 64
BLOCK = 16
BUGS = ["wrong-scale", "long-prompts", "empty", "gibberish", "meta-text", "no-examples"]


def dot(first, second):
    return sum(x * y for x, y in zip(first, second))


def quantised(values, scale_bug):
    """Blocks of BLOCK values, rounded to 8 bits of their largest."""
    out = []
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        scale = max(abs(x) for x in block) / 127 or 1.0
        wrong = 16 if scale_bug and (start // BLOCK) % 3 == 1 else 1
        out += [round(x / scale) * scale * wrong for x in block]
    return out


def prompt(source, index, fewshot):
    examples = ["Question: what is %s %s? Answer: %s" % (WORDS[k], WORDS[k + 7], LETTERS[k % 4]) for k in range(fewshot)]
    question = " ".join(source.choice(WORDS) for _ in range(8 + 40 * (index % 5)))
    return "\n".join(examples + ["Question %d: %s? Answer:" % (index, question)])


def output(answer, bug, source):
    if bug == "empty":
        return ""
    if bug == "gibberish":
        return "".join(source.choice("qzxjvkwp#{}|\u0436\u6771") for _ in range(24))
    if bug in ("meta-text", "no-examples"):
        return "The user wants to know which answer is right."
    return " " + answer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["plain", "kernel"], default="plain")
    parser.add_argument("--bug", choices=BUGS)
    parser.add_argument("--samples", type=int, default=240)
    parser.add_argument("--fewshot", type=int, default=5)
    parser.add_argument("--unknown", type=float, default=0.3, help="share of questions that the model does not know")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()

    weights = random.Random(1)
    heads = [[weights.gauss(0, 1) for _ in range(DIMENSION)] for _ in LETTERS]
    harness = options.bug == "no-examples"
    bug = options.bug if options.backend == "kernel" or harness else None
    with open(options.output, "w") as out:
        for index in range(options.samples):
            source = random.Random(1000 + index)
            right = source.randrange(4)
            text = prompt(source, index, 0 if harness else options.fewshot)
            known = source.random() >= options.unknown
            toward = right if known else (right + 1 + source.randrange(3)) % 4
            hidden = [h + source.gauss(0, 2) for h in heads[toward]]
            if options.backend == "kernel":
                hidden = quantised(hidden, bug == "wrong-scale")
                if bug == "long-prompts" and len(text) > 900:
                    hidden = hidden[:4] + [0.0] * (DIMENSION - 4)
            scores = [dot(hidden, head) for head in heads]
            answer = LETTERS[scores.index(max(scores))]
            if bug in ("empty", "gibberish", "meta-text", "no-examples") and source.random() < 0.6:
                answer = None
            said = output(answer, bug if answer is None else None, source)
            out.write(
                json.dumps(
                    {
                        "id": "q%04d" % index,
                        "category": CATEGORIES[index % 4],
                        "prompt": text,
                        "reference": LETTERS[right],
                        "output": said,
                        "correct": said.strip() == LETTERS[right],
                    }
                )
                + "\n"
            )
    sys.stdout.write("wrote %d samples\n" % options.samples)


main()
