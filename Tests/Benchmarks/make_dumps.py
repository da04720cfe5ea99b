"""Writes pairs of dump directories as ATOM's forward hooks lay them out: reference, noisy and equal.

usage: make_dumps.py DIRECTORY [--layers 24] [--tokens 512] [--hidden 4096] [--dtype bfloat16]
"""

import argparse
import pathlib
import shutil

import torch

parser = argparse.ArgumentParser()
parser.add_argument("directory", type=pathlib.Path)
parser.add_argument("--layers", type=int, default=24)
parser.add_argument("--tokens", type=int, default=512)
parser.add_argument("--hidden", type=int, default=4096)
parser.add_argument("--dtype", default="bfloat16")
arguments = parser.parse_args()
dtype = getattr(torch, arguments.dtype)
torch.manual_seed(1)


def noisy(tensor):
    return (tensor.float() * (1 + 2**-9 * torch.randn(tensor.shape))).to(dtype)


for name in ("reference", "noisy", "equal"):
    shutil.rmtree(arguments.directory / name, ignore_errors=True)
    (arguments.directory / name).mkdir(parents=True)
for layer in range(arguments.layers):
    for stage in ("Attention", "MLP"):
        hidden = torch.randn(arguments.tokens, arguments.hidden).to(dtype)
        entry = torch.randn(arguments.tokens, arguments.hidden).to(dtype)
        for name, change in (("reference", lambda t: t), ("noisy", noisy), ("equal", lambda t: t.clone())):
            torch.save(
                {
                    "hidden": change(hidden), "shape": tuple(hidden.shape), "input": change(entry),
                    "input_fields": {}, "output_fields": {},
                },
                arguments.directory / name / f"layer{layer:02d}_{stage}_rank0_call001.pt")
