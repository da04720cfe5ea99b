"""Writes dump files of other formats than torch.save's zip, with the packages that define them.

usage: write_other_formats.py DIRECTORY [KIND ...]

Beside each file STEM.* that a kind describes stand STEM.json, STEM.N.raw and STEM.N.f64 as write_dumps.py says.
"""

import json
import os
import sys

import numpy as np
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


def numpy(d):
    arrays = {
        name: np.frombuffer(os.urandom(24 * np.dtype(name).itemsize), dtype=name).reshape(2, 3, 4)
        for name in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "c8", "c16")
    }
    arrays["bool"] = np.array([True, False])
    arrays["scalar"] = np.array(2.5)
    arrays["empty"] = np.empty((0, 3), dtype="f4")
    arrays["fortran"] = np.asfortranarray(np.arange(60, dtype="f4").reshape(3, 4, 5))
    for version in ((1, 0), (2, 0), (3, 0)):
        with open(f"{d}/version{version[0]}.npy", "wb") as f:
            np.lib.format.write_array(f, arrays["fortran"], version=version)
        say(f"{d}/version{version[0]}.pt", [("value", torch.from_numpy(arrays["fortran"]))])
    for name, array in arrays.items():
        np.save(f"{d}/{name}.npy", array)
        say(f"{d}/{name}.pt", [("value", torch.from_numpy(np.array(array)))])
    np.savez(f"{d}/arrays.npz", **arrays)
    say(f"{d}/arrays.pt", [(name, torch.from_numpy(np.array(arrays[name]))) for name in sorted(arrays)])
    bf16 = torch.randn(5, 3).bfloat16()
    np.save(f"{d}/bf16.npy", bf16.view(torch.int16).numpy().view("V2"))
    say(f"{d}/bf16.pt", [("value", bf16)])

    np.save(f"{d}/small.npy", np.arange(6, dtype="f4").reshape(2, 3))
    np.save(f"{d}/object.npy", np.array([{"a": 1}], dtype=object))
    np.save(f"{d}/v1.npy", np.zeros(3, dtype="V1"))
    np.save(f"{d}/big.npy", np.ones(3, dtype=">f4"))
    np.save(f"{d}/text.npy", np.array(["a"]))
    np.save(f"{d}/time.npy", np.zeros(3, dtype="M8[ns]"))
    np.save(f"{d}/long.npy", np.ones(3, dtype="g"))
    np.save(f"{d}/fields.npy", np.zeros(3, dtype=[("x", "f4"), ("y", "O")]))
    with open(f"{d}/two.npy", "wb") as f:
        np.save(f, np.ones(3))
        np.save(f, np.ones(3))
    np.savez(f"{d}/mixed.npz", a=np.ones(3), o=np.array([{}], dtype=object), z=np.ones(2))
    np.savez_compressed(f"{d}/compressed.npz", first=np.ones(3), second=np.zeros(2))


if __name__ == "__main__":
    write((safetensors, sharded, numpy))
