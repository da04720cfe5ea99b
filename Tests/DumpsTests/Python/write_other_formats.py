"""Writes dump files of other formats than torch.save's zip, with the packages that define them.

usage: write_other_formats.py DIRECTORY [KIND ...]

Beside each file STEM.* that a kind describes stand STEM.json, STEM.N.raw and STEM.N.f64 as write_dumps.py says.
"""

import json
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import torch

from write_dumps import Evil, of_bytes, save, say, write

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
    np.savez_compressed(f"{d}/packed.npz", **arrays)
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
    # What unpacks to more than anybody wants to hold, between two small ones.
    with zipfile.ZipFile(f"{d}/bomb.npz", "w", zipfile.ZIP_DEFLATED) as z:
        for name, count in (("a", 3), ("b", 300 << 20), ("c", 3)):
            with z.open(f"{name}.npy", "w") as f:
                np.lib.format.write_array_header_1_0(
                    f, {"descr": "|u1", "fortran_order": False, "shape": (count,)})
                for start in range(0, count, 1 << 20):
                    f.write(bytes(min(1 << 20, count - start)))
    with zipfile.ZipFile(f"{d}/bzip.npz", "w", zipfile.ZIP_BZIP2) as z:
        z.write(f"{d}/small.npy", "a.npy")


def pickled(d):
    """NumPy's arrays and numbers in files of torch.save."""
    arrays = {
        name: np.frombuffer(os.urandom(24 * np.dtype(name).itemsize), dtype=name).reshape(2, 3, 4)
        for name in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "c8", "c16")
    }
    arrays |= {
        "bool": np.array([True, False]), "bytes": np.arange(256, dtype="u1"), "single": np.array([255], "u1"),
        "scalar": np.array(2.5), "empty": np.empty((0, 3), "f4"), "large": np.arange(1 << 15, dtype="i4"),
        "fortran": np.asfortranarray(np.arange(60, dtype="f4").reshape(3, 4, 5)), "view": np.arange(12.0)[::3],
    }
    shared = np.arange(4.0)
    value = {
        **arrays, "tensor": torch.ones(2), "shared": shared, "again": shared,
        "n32": np.float32(1.5), "n64": np.int64(-3), "nu": np.uint8(200), "nb": np.bool_(True), "nc": np.complex64(1j),
        "objects": np.array([{"a": 1}], dtype=object), "big": np.ones(3, dtype=">f4"), "text": np.array(["a"]),
        "fields": np.zeros(3, dtype=[("x", "f4"), ("y", "i2")]), "last": torch.zeros(1),
    }
    pairs = [(k, torch.from_numpy(np.array(v))) for k, v in arrays.items()]
    pairs += [("tensor", torch.ones(2)), ("shared", torch.from_numpy(shared)), ("again", torch.from_numpy(shared)),
              ("last", torch.zeros(1))]
    for name, options in (
        ("protocol2", {"pickle_protocol": 2}), ("protocol3", {"pickle_protocol": 3}),
        ("protocol4", {"pickle_protocol": 4}), ("protocol5", {"pickle_protocol": 5}),
        ("legacy", {"_use_new_zipfile_serialization": False}),
    ):
        torch.save(value, f"{d}/{name}.pt", **options)
        say(f"{d}/{name}.pt", pairs)


def old_save(path, value, keys, storages):
    """A legacy file of plain torch 0.3: its persistent ids name parts of storages."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            return x.id if isinstance(x, Part) else None

    with open(path, "wb") as f:
        for x in (0x1950A86A20F9469CFC6C, 1001, dict(protocol_version=1001, little_endian=True, type_sizes={})):
            pickle.dump(x, f, protocol=2)
        Pickler(f, protocol=2).dump(value)
        pickle.dump(keys, f, protocol=2)
        for values in storages:
            f.write(struct.pack("<q", len(values)) + struct.pack(f"<{len(values)}f", *values))


class Part:
    def __init__(self, key, count, view):
        self.id = ("storage", torch.FloatStorage, key, "cpu", count, view)


class Rebuilt:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


def legacy(d):
    options = dict(_use_new_zipfile_serialization=False)
    base = torch.randn(30, 40)
    z = torch.randn(6, 7, dtype=torch.complex64)
    tensors = dict(
        plain=base, transposed=base.t(), part=base[3:20:2, 5:], expanded=torch.ones(1).expand(5), empty=torch.empty(0),
        scalar=torch.tensor(2.5), conj=z.conj(), bf16=torch.randn(5).bfloat16(),
        f8=of_bytes(torch.float8_e4m3fn, 20), u16=of_bytes(torch.uint16, 5), parameter=torch.nn.Parameter(torch.ones(2)),
        bool=torch.tensor([True, False]), long=torch.arange(3),
    )
    for protocol in (2, 4, 5):
        save(d, f"protocol{protocol}", tensors, pickle_protocol=protocol, **options)
    # A pickle larger than the first window.
    shared = torch.randn(10, 10)
    save(d, "many", {f"{'long' * 10}{i}": shared[i % 10] for i in range(3000)}, **options)
    save(d, "bare", base, [("value", base)], **options)
    t = torch.randn(4)
    mixed = {
        "first": t, "quantized": torch.quantize_per_tensor(torch.ones(3), 0.5, 0, torch.qint32),
        "storage": torch.ones(3).untyped_storage(), "module": torch.nn.Linear(2, 2),
        "evil": Evil(os.path.join(d, "owned")), "last": t + 1,
    }
    save(d, "mixed", mixed, [("first", t), ("last", mixed["last"])], **options)
    path = f"{d}/old.pt"
    part = Part("0", 10, ("0v", 3, 4))
    old_save(path, {"all": Rebuilt(Part("0", 10, None), 0, (2, 5), (5, 1), False, {}),
                    "part": Rebuilt(part, 1, (3,), (1,), False, {})}, ["0"], [range(10)])
    say(path, list(torch.load(path, weights_only=False).items()))
    bad = lambda name, view: old_save(
        f"{d}/{name}.pt", {"t": Rebuilt(Part("0", 10, view), 0, (2,), (1,), False, {})}, ["0"], [range(10)])
    bad("view_beyond", ("0v", 9, 2))
    bad("view_overflow", ("0v", 2**62, 1))
    bad("view_negative", ("0v", -1, 2))
    one = {"t": Rebuilt(Part("0", 10, None), 0, (2,), (1,), False, {})}
    old_save(f"{d}/key_unknown.pt", one, ["1"], [range(10)])
    old_save(f"{d}/key_missing.pt", one, [], [])
    old_save(f"{d}/key_twice.pt", one, ["0", "0"], [range(10), range(10)])
    old_save(f"{d}/count_differs.pt", one, ["0"], [range(9)])
    torch.save({"hidden": torch.randn(3, 2), "n": 3}, f"{d}/small.pt", **options)


def layouts(d):
    t = torch.randn(4, 3)
    for side in ("a", "b"):
        for rank in (0, 1):
            folder = f"{d}/safetensors/{side}/step1/rank={rank}"
            os.makedirs(folder)
            st.save_file({"model.layers.3.mlp.out": t, "model.norm.weight": t + 1, "logits": t + 2, "layer4.attn_out": t + 3},
                         f"{folder}/dump.safetensors")
    os.makedirs(f"{d}/npy/rank1")
    np.save(f"{d}/npy/layer03_attn_rank2.npy", t.numpy())
    np.save(f"{d}/npy/rank1/model.layers.7.mlp.npy", t.numpy())
    np.save(f"{d}/npy/layer01_MoE_rank0_call002.npy", t.numpy())
    np.savez(f"{d}/npy/frank1.npz", **{"layers.2.q.out": t.numpy(), "x": t.numpy()})
    open(f"{d}/npy/notes.txt", "w").close()
    os.makedirs(f"{d}/bundle")
    names = ["embed.input_ids", "layer0.attn_out", "layer12.moe.out"]
    torch.save({name: t.clone() for name in names}, f"{d}/bundle/atom_rank1_fwd.pt")
    torch.save({name: t.clone() for name in names}, f"{d}/bundle/other_rank1_fwd.pt")
    os.makedirs(f"{d}/custom/run")
    torch.save({"hidden": t}, f"{d}/custom/run/L5-attn-r3-n7.pt")
    np.save(f"{d}/custom/run/L6-mlp-r3-n8.npy", t.numpy())
    np.save(f"{d}/custom/run/L99999999999999999999-mlp-r3-n8.npy", t.numpy())


if __name__ == "__main__":
    write((safetensors, sharded, numpy, pickled, legacy, layouts))
