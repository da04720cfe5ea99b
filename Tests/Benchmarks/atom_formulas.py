"""What ATOM's compare computes of two dump directories, file by file in PyTorch: the peer of the benchmark.

Cosine, max|a-b| and max|a-b| / max(max|b|, 1e-12) in double precision, and the share of equal bytes. Prints JSON:
the figures, and the seconds without the import of torch.

usage: atom_formulas.py REFERENCE TARGET
"""

import json
import pathlib
import sys
import time

import torch


def figures(a, b):
    x, y = a.double().flatten(), b.double().flatten()
    norms = x.norm() * y.norm()
    worst = (x - y).abs().max()
    return {
        "cos": float(x.dot(y) / norms) if norms > 0 else None,
        "max_abs": float(worst),
        "rel": float(worst / max(float(y.abs().max()), 1e-12)),
        "byte_equal": float((a.view(torch.uint8) == b.view(torch.uint8)).double().mean()),
    }


started = time.perf_counter()
reference, target = map(pathlib.Path, sys.argv[1:3])
rows = {}
for path in sorted(reference.glob("layer*.pt")):
    b = torch.load(path, weights_only=False)
    a = torch.load(target / path.name, weights_only=False)
    layer, stage = path.name.split("_")[:2]
    for key in ("hidden", "input"):
        rows[f"{layer}.{stage}.{key}"] = figures(a[key], b[key])
print(json.dumps({"seconds": time.perf_counter() - started, "rows": rows}))
