"""Writes pairs of dump directories for the benchmarks: reference, noisy and equal.

atom/ is laid out as by ATOM's forward hooks; sglang/ and numpy/ hold the same tensors as SGLang's dumper and as .npy.

usage: make_dumps.py DIRECTORY [--layers 24] [--tokens 512] [--hidden 4096] [--dtype bfloat16]
                     [--formats atom,sglang,numpy]
"""

import argparse
import pathlib
import shutil

import numpy
import torch

parser = argparse.ArgumentParser()
parser.add_argument("directory", type=pathlib.Path)
parser.add_argument("--layers", type=int, default=24)
parser.add_argument("--tokens", type=int, default=512)
parser.add_argument("--hidden", type=int, default=4096)
parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
parser.add_argument("--formats", default="atom,sglang,numpy")
arguments = parser.parse_args()
dtype = getattr(torch, arguments.dtype)
formats = arguments.formats.split(",")
torch.manual_seed(1)


def noisy(tensor):
    return (tensor.float() * (1 + 2**-9 * torch.randn(tensor.shape))).to(dtype)


def save_sglang(folder, number, layer, name, tensor):
    tags = {
        "step": 0, "rank": 0, "dump_index": number, "name": name, "recompute_status": "disabled", "layer_id": layer,
    }
    meta = tags | {"world_rank": 0, "world_size": 1, "sglang_parallel_info": {"tp_rank": 0, "tp_size": 1},
                   "megatron_parallel_info": {}}
    file = "___".join(f"{key}={value}" for key, value in tags.items()) + ".pt"
    torch.save({"value": tensor.clone(), "meta": meta}, folder / file)


def save(name, layer, stage, number, tensors):
    folders = {form: arguments.directory / form / name for form in formats}
    if "atom" in folders:
        torch.save(
            {
                "hidden": tensors["hidden"], "shape": tuple(tensors["hidden"].shape), "input": tensors["input"],
                "input_fields": {}, "output_fields": {},
            },
            folders["atom"] / f"layer{layer:02d}_{stage}_rank0_call001.pt")
    for key, tensor in tensors.items():
        number += 1
        if "sglang" in folders:
            save_sglang(folders["sglang"], number, layer, f"{stage}.{key}", tensor)
        if "numpy" in folders:
            bits = tensor.view(torch.uint16) if dtype == torch.bfloat16 else tensor
            numpy.save(folders["numpy"] / f"layer{layer:02d}.{stage}.{key}.npy", bits.numpy())


for form in formats:
    for name in ("reference", "noisy", "equal"):
        shutil.rmtree(arguments.directory / form / name, ignore_errors=True)
        (arguments.directory / form / name).mkdir(parents=True)
for layer in range(arguments.layers):
    for index, stage in enumerate(("Attention", "MLP")):
        tensors = {key: torch.randn(arguments.tokens, arguments.hidden).to(dtype) for key in ("hidden", "input")}
        for name, change in (("reference", lambda t: t), ("noisy", noisy), ("equal", lambda t: t.clone())):
            save(name, layer, stage, 4 * layer + 2 * index, {key: change(value) for key, value in tensors.items()})
