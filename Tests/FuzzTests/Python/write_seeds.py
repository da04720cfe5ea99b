"""Writes what the fuzzers start from: files of torch.save, and beside each its records in a folder.

usage: write_seeds.py DIRECTORY
"""

import collections
import os
import sys
import zipfile

import numpy as np
import torch


class Foreign:
    def __init__(self):
        self.tensor = torch.arange(3)


def seeds():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    yield "atom", {
        "hidden": base.to(torch.bfloat16), "shape": (4, 6), "input": base[:, 1:4], "input_fields": {"a": base.t()},
        "output_fields": {},
    }, 2
    yield "dtypes", {
        str(d): torch.zeros(4, dtype=torch.uint8).view(d)
        for d in (torch.float8_e4m3fn, torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2,
                  torch.int8, torch.uint16, torch.bool)
    } | {"c": torch.ones(2, dtype=torch.complex64).conj(), "n": torch.tensor([1j]).conj().imag}, 2
    yield "views", [base.expand(3, 4, 6), base[::2, ::3], base.as_strided((2, 2), (0, 5), 3), torch.empty(0, 3)], 4
    yield "sglang", {
        "value": torch.nn.Parameter(base[1]),
        "meta": {"step": 0, "rank": 1, "name": "mlp_output", "dims": "t h[tp]", "rids": ["a", "b"], "x": None,
                 "ratio": 0.5, "big": 1 << 70, "sglang_parallel_info": {"tp_rank": 1, "tp_size": 2}},
    }, 2
    yield "foreign", collections.OrderedDict(a=Foreign(), b=torch.device("cpu"), c={1, 2}, d=b"bytes", e=base.dtype), 5
    arrays = {"f4": np.arange(12, dtype="f4").reshape(3, 4), "u1": np.arange(128, 200, dtype="u1"),
              "fortran": np.asfortranarray(np.ones((2, 3), "i2")), "number": np.float32(1.5), "flag": np.bool_(True),
              "objects": np.array([None, 1]), "fields": np.zeros(2, [("a", "f4")]), "last": base[0]}
    for protocol in (2, 4, 5):
        yield f"arrays{protocol}", arrays, protocol
    nested = []
    for _ in range(20):
        nested = [nested, {"k": nested}] if len(str(nested)) < 200 else [nested]
    yield "nested", {"nested": nested, "t": base}, 2


def main(folder):
    for name, value, protocol in seeds():
        path = os.path.join(folder, name + ".pt")
        torch.save(value, path, pickle_protocol=protocol)
        zipfile.ZipFile(path).extractall(os.path.join(folder, name + ".records"))


main(sys.argv[1])
