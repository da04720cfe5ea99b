"""Writes dump files with PyTorch, and beside each what PyTorch says is in it.

usage: write_dumps.py DIRECTORY [KIND ...]

Each kind gets a folder of its own; without one, all are written.

For FILE.pt: FILE.json lists name, dtype, shape, stride, offset, numel of each tensor; FILE.N.raw holds the
contiguous bytes of tensor N and FILE.N.f64 its numbers as little-endian float64.
"""

import collections
import dataclasses
import io
import json
import os
import sys

import numpy as np
import torch

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def raw(t):
    t = t.detach().resolve_conj().resolve_neg().contiguous()
    return t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""


def numbers(t):
    if t.dtype == torch.float4_e2m1fn_x2:
        codes = np.frombuffer(raw(t), dtype=np.uint8)
        return E2M1[np.stack([codes & 15, codes >> 4], axis=1)].reshape(-1)
    t = t.detach().resolve_conj().resolve_neg().contiguous()
    if t.is_complex():
        return torch.view_as_real(t.to(torch.complex128)).numpy().reshape(-1)
    if t.dtype in (torch.uint16, torch.uint32, torch.uint64, torch.int64):
        return t.numpy().astype(np.float64).reshape(-1)
    if t.is_floating_point() and t.element_size() < 4:
        t = t.float()
    return t.double().numpy().reshape(-1)


def say(path, named):
    """Writes what stands in path: named is a list of (name, tensor)."""
    stem = path[: -len(".pt")]
    listing = []
    for i, (name, t) in enumerate(named):
        listing.append(
            dict(
                name=name, dtype=str(t.dtype)[len("torch."):], shape=list(t.shape), stride=list(t.stride()),
                offset=t.storage_offset(), numel=t.numel(),
            )
        )
        with open(f"{stem}.{i}.raw", "wb") as f:
            f.write(raw(t))
        with open(f"{stem}.{i}.f64", "wb") as f:
            f.write(numbers(t).astype("<f8").tobytes())
    with open(stem + ".json", "w") as f:
        json.dump(listing, f)


def save(directory, name, value, named=None, **options):
    path = os.path.join(directory, name + ".pt")
    torch.save(value, path, **options)
    say(path, list(value.items()) if named is None else named)


def of_bytes(dtype, count):
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (count * size,), dtype=torch.uint8).view(dtype)


def dtypes(d):
    every = dict(
        float64=torch.randn(7, dtype=torch.float64), float32=of_bytes(torch.float32, 1000),
        complex64=torch.randn(5, 2, dtype=torch.complex64), complex128=torch.randn(5, dtype=torch.complex128),
        complex32=torch.randn(9).to(torch.complex64).to(torch.complex32),
        int64=torch.tensor([0, -1, 2**53 + 1, -(2**63), 2**63 - 1]), int32=of_bytes(torch.int32, 33),
        int16=of_bytes(torch.int16, 33), int8=of_bytes(torch.int8, 33), uint8=of_bytes(torch.uint8, 33),
        uint16=of_bytes(torch.uint16, 33), uint32=of_bytes(torch.uint32, 33), uint64=of_bytes(torch.uint64, 33),
        bool=torch.tensor([True, False, True]),
    )
    for protocol in (2, 3, 4, 5):
        save(d, f"protocol{protocol}", every, pickle_protocol=protocol)
    # Every pattern of the types that have few.
    small = {}
    for name in ("bfloat16", "float16"):
        small[name] = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(getattr(torch, name))
    for name in (
        "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
    ):
        small[name] = torch.arange(256, dtype=torch.int16).to(torch.uint8).view(getattr(torch, name))
    save(d, "patterns", small)


def views(d):
    base = torch.randn(300, 400)
    large = torch.arange(1200 * 900, dtype=torch.int32).reshape(1200, 900)
    cube = torch.randn(40, 50, 60).bfloat16()
    tall = torch.randn(40_000, 8, dtype=torch.float64)
    z = torch.randn(6, 7, dtype=torch.complex64)
    # Real views of complex numbers need a storage of their own: save() refuses two types on one.
    w = torch.randn(6, 7, dtype=torch.complex64)
    save(
        d, "views",
        dict(
            plain=base, transposed=base.t(), narrow=base[17:40, 3:300], step=base[::3, ::7], tail=base.reshape(-1)[119_990:],
            expanded=base[5:6].expand(9, 400), expanded_inner=base[:, 3:4].expand(300, 70),
            expanded_scalar=torch.tensor(2.5).expand(3, 4), overlapping=base.as_strided((50, 20), (3, 2), 11),
            scalar=torch.tensor(3.25), scalar_view=base[3, 4], empty=torch.empty(0, 5), empty_view=base[5:5],
            large_transposed=large.t(), large_step=large[::100, ::450], column=tall[:, 3], columns=tall[:, 2:5],
            far=tall[::10_000, 1], cube=cube.permute(2, 0, 1), cube_part=cube.permute(1, 2, 0)[3:17, ::2],
            ones=base.reshape(300, 1, 400, 1).transpose(0, 2), diagonal=base.diagonal(),
            conj=z.conj(), conj_transposed=z.conj().t(), negative=w.conj().imag, real=w.real,
        ),
    )
    shared = torch.randn(10, 10)
    save(d, "shared", {f"t{i}": shared[i % 10] for i in range(300)})


class WithAttribute(torch.Tensor):
    pass


def structure(d):
    t = lambda: torch.randn(2, 3)
    a, b, c, e = t(), t(), t(), t()
    nested = {"a": {"b": a, "c": [b, (c, 3)]}, "e": e, "n": 4, "f": 0.5, "s": "text", "y": True, "none": None,
              7: t(), "size": torch.Size([2, 3]), "device": torch.device("cuda:1"), "dtype": torch.bfloat16}
    save(d, "nested", nested, [("a.b", a), ("a.c[0]", b), ("a.c[1][0]", c), ("e", e), ("7", nested[7])])
    parameter = torch.nn.Parameter(t())
    loaded = torch.nn.Parameter(t())
    loaded.weight_loader = "text"
    attributed = t()
    attributed.note = {"x": 1}
    buffer = torch.nn.Buffer(t())
    subclass = t().as_subclass(WithAttribute)
    save(d, "parameters", dict(p=parameter, l=loaded, a=attributed, b=buffer, s=subclass))
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    save(d, "state_dict", model.state_dict())
    save(d, "ordered", collections.OrderedDict([("z", t()), ("a", t())]))
    many = {f"k{i}": torch.tensor([float(i)]) for i in range(300)}
    save(d, "many", many)
    save(d, "bare", a, [("value", a)])
    save(d, "list", [a, b], [("[0]", a), ("[1]", b)])
    buffer = io.BytesIO()
    torch.save({"hidden": a}, buffer)
    path = os.path.join(d, "archive.pt")
    with open(path, "wb") as f:
        f.write(buffer.getvalue())
    say(path, [("hidden", a)])
    torch.serialization.set_crc32_options(False)
    save(d, "no_crc", {"hidden": a})
    torch.serialization.set_crc32_options(True)


@dataclasses.dataclass
class Note:
    text: str
    tensor: torch.Tensor


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def opaque(d):
    t = torch.randn(4)
    save(
        d, "opaque",
        {
            "first": t, "note": Note("n", torch.ones(2)), "sparse": torch.eye(3).to_sparse(),
            "meta": torch.empty(3, device="meta"), "array": np.arange(3), "number": np.float32(1),
            "module": torch.nn.Linear(2, 2), "bytes": b"\x00\xff", "set": {1, 2}, "huge": 1 << 200, "enum": np.int64,
            "default": collections.defaultdict(list, {"k": t}),
            "quantized": torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
            "evil": Evil(os.path.join(d, "owned")), "last": t + 1,
        },
        [("first", t), ("array", torch.arange(3)), ("default.k", t), ("last", t + 1)],
    )


def small(d):
    t = torch.randn(5, 3).bfloat16()
    save(d, "small", {"hidden": t, "shape": (5, 3), "input": None, "input_fields": {}, "output_fields": {"x_prev": t[1:]}},
         [("hidden", t), ("output_fields.x_prev", t[1:])])


def other(d):
    import pickle
    with open(f"{d}/bare.pkl", "wb") as f:
        pickle.dump({"a": 1}, f)
    open(f"{d}/empty.pt", "wb").close()
    with open(f"{d}/text.pt", "w") as f:
        f.write("hello, this is no dump\n")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), f"{d}/script.pt")
    torch.serialization.set_default_load_endianness(None)
    import zipfile
    torch.save({"a": torch.ones(2)}, f"{d}/stored.pt")
    with zipfile.ZipFile(f"{d}/stored.pt") as source:
        for name, method in (("deflated", zipfile.ZIP_DEFLATED), ("big", zipfile.ZIP_STORED)):
            with zipfile.ZipFile(f"{d}/{name}.pt", "w", method) as target:
                for record in source.namelist():
                    data = source.read(record)
                    target.writestr(record, b"big" if name == "big" and record.endswith("byteorder") else data)


def atom(d):
    def block(name, **more):
        h = torch.randn(8, 4).bfloat16()
        os.makedirs(os.path.dirname(f"{d}/{name}"), exist_ok=True)
        torch.save({"hidden": h, "shape": tuple(h.shape), **more}, f"{d}/{name}")

    for rank in (0, 1):
        for layer in (0, 1):
            for call in (0, 2):
                x = torch.randn(8, 4)
                block(f"rank{rank}/layer{layer:02d}_Block_rank{rank}_call{call:03d}.pt", input=x,
                      input_fields={"residual": x}, output_fields={"x_prev": x[:3]})
    block("one/layer100_MoE_rank0.pt", input=None, input_fields={}, output_fields={})
    block("one/layer00_A_rank1_rank0.pt")
    block("one/layer00_rank3.pt")
    block("ref/ref_layer00_Attn__hidden_out_rank0.pt")
    block("ref/ref_layer00_Attn__hidden_in_rank0.pt")
    block("ref/ref_layer00_Attn__q_norm_rank0.pt")
    block("same/layer007_Same_rank0.pt")
    block("same/layer07_Same_rank0.pt")
    torch.save({"other": torch.ones(2)}, f"{d}/one/layer05_NoHidden_rank0.pt")
    with open(f"{d}/one/layer06_Cut_rank0.pt", "wb") as f:
        f.write(open(f"{d}/one/layer100_MoE_rank0.pt", "rb").read()[:-200])
    # A damaged storage: the bytes of `hidden` no longer fit their recorded CRC.
    x = torch.full((64,), 1.5)
    torch.save({"hidden": x, "input": torch.zeros(64)}, f"{d}/one/layer08_Damaged_rank0.pt")
    data = bytearray(open(f"{d}/one/layer08_Damaged_rank0.pt", "rb").read())
    data[data.index(x.numpy().tobytes()) + 9] ^= 1
    open(f"{d}/one/layer08_Damaged_rank0.pt", "wb").write(data)
    open(f"{d}/one/notes.txt", "w").close()
    os.symlink("layer100_MoE_rank0.pt", f"{d}/one/layer101_MoE_rank0.pt")
    os.symlink("nowhere", f"{d}/one/layer102_MoE_rank0.pt")
    os.symlink(".", f"{d}/one/loop")
    os.mkfifo(f"{d}/one/layer103_MoE_rank0.pt")


def weights(d):
    w = {"_tp_rank": 0, "_tp_size": 1, "_layer": 0, "model.layers.0.q.weight": torch.randn(4, 4),
         "model.layers.0.k.weight": torch.randn(4, 4), "buffer:model.layers.0.inv": torch.ones(2),
         "layers.0.fp8": torch.randn(300).to(torch.float8_e4m3fn), "layers.0.scalar": torch.tensor(1.0)}
    other = {k.replace("model.", ""): v.clone() if isinstance(v, torch.Tensor) else v for k, v in w.items()}
    other["_layer"] = torch.ones(1)
    for side in ("a", "same", "different"):
        os.makedirs(f"{d}/{side}")
    torch.save(w, f"{d}/a/weight_rank0_layer0.pt")
    torch.save(other, f"{d}/same/ref_rank0_layer0.pt")
    other["layers.0.q.weight"] = torch.randn(4, 4)
    other["layers.0.k.weight"] = other["layers.0.k.weight"][:2]
    other["layers.0.fp8"] = torch.randn(300).to(torch.float8_e4m3fnuz)
    other["layers.0.new"] = torch.ones(1)
    other["_orig_mod.new"] = torch.ones(1)
    del other["buffer:layers.0.inv"]
    torch.save(other, f"{d}/different/atom_rank0_layer0.pt")


def write(kinds):
    kinds = {f.__name__: f for f in kinds}
    for kind in sys.argv[2:] or kinds:
        torch.manual_seed(1)
        folder = os.path.join(sys.argv[1], kind)
        os.makedirs(folder)
        kinds[kind](folder)


if __name__ == "__main__":
    write((dtypes, views, structure, opaque, small, other, atom, weights))
