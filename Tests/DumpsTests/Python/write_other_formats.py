"""Writes dump files of other formats than torch.save's zip, with the packages that define them.

usage: write_other_formats.py DIRECTORY [KIND ...]

Beside each file STEM.* that a kind describes stand STEM.json, STEM.N.raw and STEM.N.f64 as write_dumps.py says.
"""

import json
import os
import sys

import torch

from write_dumps import of_bytes, say, write

try:
    import safetensors.torch as st
except ImportError:
    sys.exit(f"the tests write files with safetensors, and {sys.executable} has none: pip install safetensors")


def in_order_of_bytes(path):
    """What safetensors itself says of the file: torch's tensors in the order of their bytes."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    header.pop("__metadata__", None)
    tensors = st.load_file(path)
    return [(name, tensors[name]) for name in sorted(header, key=lambda n: header[n]["data_offsets"])]


def safetensors(d):
    tensors = {
        str(dtype)[len("torch."):]: of_bytes(dtype, 24).reshape(2, 3, 4)
        for dtype in (
            torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
            torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn,
            torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
            torch.float4_e2m1fn_x2,
        )
    }
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["complex64"] = torch.randn(5, dtype=torch.complex64)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.empty(0, 3)
    tensors['quoted "name" \\ ü \U0001F600 \t'] = torch.ones(1)
    st.save_file(tensors, f"{d}/dtypes.safetensors", metadata={"format": "pt", "note": "two\nlines"})
    say(f"{d}/dtypes.pt", in_order_of_bytes(f"{d}/dtypes.safetensors"))
    st.save_file({"hidden": torch.randn(4, 3).bfloat16()}, f"{d}/small.safetensors")


def sharded(d):
    tensors = {f"model.layers.{i}.{name}.weight": torch.randn(3, 2) for i in range(4) for name in ("q", "k")}
    weight_map = {}
    for shard in range(2):
        name = f"model-{shard + 1:05d}-of-00002.safetensors"
        part = {key: value for i, (key, value) in enumerate(tensors.items()) if i % 2 == shard}
        st.save_file(part, f"{d}/{name}")
        weight_map.update({key: name for key in part})
    with open(f"{d}/model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {"total_size": 192, "x": [1.5e3, True, None]}, "weight_map": weight_map}, f, indent=2)
    ordered = [
        pair for shard in sorted(set(weight_map.values())) for pair in in_order_of_bytes(f"{d}/{shard}")
    ]
    say(f"{d}/model.pt", ordered)


if __name__ == "__main__":
    write((safetensors, sharded))
