"""The figures of atom_formulas.py in NumPy, from .npy files of float32, or of bfloat16 kept as uint16. Prints JSON.

usage: numpy_formulas.py REFERENCE TARGET
"""

import json
import pathlib
import sys

import numpy as np


def doubles(array):
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64).ravel()


def figures(a, b):
    x, y = doubles(a), doubles(b)
    norms = np.sqrt(x @ x) * np.sqrt(y @ y)
    worst = np.abs(x - y).max()
    return {
        "cos": float(x @ y / norms) if norms > 0 else None,
        "max_abs": float(worst),
        "rel": float(worst / max(float(np.abs(y).max()), 1e-12)),
        "byte_equal": float((a.view(np.uint8) == b.view(np.uint8)).mean()),
    }


reference, target = map(pathlib.Path, sys.argv[1:3])
rows = {}
for path in sorted(reference.glob("*.npy")):
    rows[path.stem] = figures(np.load(target / path.name), np.load(path))
print(json.dumps({"rows": rows}))
