"""Writes dump files with the torch that runs it, and what torch and numpy say of them.

usage: make_fixtures.py FOLDER torch|formats

torch    the files of torch.save, with every dtype and option that this version knows
formats  safetensors, .npy and .npz

FOLDER/expected.json tells for each file its tensors in order (dtype, shape, stride, offset, numel, and sum, abs_max,
count of non-finite elements and SHA-256 of the contiguous little-endian bytes), its plain values, a word of the reason
for each value that is passed over, or a word of the error where the whole file must be refused. Sums are exact
(math.fsum over float64); sum and abs_max are null where they are not finite. Complex elements count as two numbers,
float4_e2m1fn_x2 elements as two, low nibble first.
"""

import argparse
import collections
import hashlib
import io
import json
import math
import os
import platform
import sys
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")

E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
PLAIN = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
    "uint64", "bool", "complex64", "complex128",
)
EXPECTED = {}


def resolved(t):
    t = t.detach()
    if hasattr(t, "resolve_conj"):
        t = t.resolve_conj().resolve_neg()
    return t.contiguous()


def raw(t):
    if t.numel() == 0:
        return b""
    if t.dtype in (torch.complex64, torch.complex128):
        return torch.view_as_real(resolved(t)).numpy().tobytes()
    if t.dtype == torch.complex32:
        return torch.view_as_real(resolved(t)).view(torch.int16).numpy().tobytes()
    if t.dtype == torch.bool:
        return resolved(t).numpy().tobytes()
    return resolved(t).reshape(-1).view(torch.uint8).numpy().tobytes()


def numbers(t):
    """Every number of the tensor, as Python floats."""
    name = str(t.dtype)[len("torch."):]
    if name == "float4_e2m1fn_x2":
        return [E2M1[code] for byte in raw(t) for code in (byte & 15, byte >> 4)]
    if name in ("uint16", "uint32", "uint64", "int64"):
        return [float(x) for x in np.frombuffer(raw(t), dtype=name).astype(np.float64)]
    t = resolved(t)
    if t.dtype == torch.complex32:
        return np.frombuffer(raw(t), dtype=np.float16).astype(np.float64).tolist()
    if t.is_complex():
        return torch.view_as_real(t).double().reshape(-1).tolist()
    if t.is_floating_point() and t.element_size() < 4:
        t = t.float()
    return t.double().reshape(-1).tolist()


def facts(name, t):
    values = numbers(t)
    finite = [math.isfinite(x) for x in values]
    per = len(values) // t.numel() if t.numel() else 1
    total, largest = math.fsum(values) if all(finite) else None, max((abs(x) for x in values), default=0.0)
    return dict(
        name=name, dtype=str(t.dtype)[len("torch."):], shape=list(t.shape), stride=list(t.stride()),
        offset=t.storage_offset(), numel=t.numel(), sum=total, abs_max=largest if all(finite) else None,
        nonfinite=sum(not all(finite[i:i + per]) for i in range(0, len(finite), per)),
        sha256=hashlib.sha256(raw(t)).hexdigest(),
    )


def say(name, tensors, scalars=None, skipped=None):
    EXPECTED[name] = dict(tensors=[facts(k, t) for k, t in tensors], scalars=scalars or {}, skipped=skipped or {})


def refused(name, words):
    EXPECTED[name] = dict(refused=words)


def save(name, value, tensors=None, scalars=None, skipped=None, **options):
    torch.save(value, name, **options)
    say(name, list(value.items()) if tensors is None else tensors, scalars, skipped)


def bits(dtype, count, seed=1):
    """Elements of random bits: every kind of number may come."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.empty(0, dtype=dtype).element_size()
    data = torch.randint(0, 256, (count * size,), dtype=torch.uint8, generator=generator)
    return torch.from_numpy(np.frombuffer(data.numpy().tobytes(), dtype=np.bool_)) if dtype == torch.bool else (
        data.view(dtype))


def ramp(dtype, count=12):
    """Small finite numbers."""
    values = torch.arange(count, dtype=torch.float64) * 0.375 - 1.5
    if dtype in (torch.complex64, torch.complex128):
        return torch.complex(values, -2 * values).to(dtype)
    if dtype == torch.bool:
        return torch.arange(count) % 3 == 0
    name = str(dtype)[len("torch."):]
    if name.startswith("uint"):
        return torch.from_numpy((np.arange(count) * 7 % 251).astype(name))
    return values.to(dtype) if dtype.is_floating_point else torch.arange(-3, count - 3).to(dtype)


def has(name):
    """The dtype of this name; nothing where this version has none."""
    return getattr(torch, name, None)


def dtypes():
    every = {}
    for name in PLAIN + ("complex32",):
        # What a version knows by name it need not be able to fill or to save.
        try:
            t = ramp(torch.complex64).to(torch.complex32) if name == "complex32" else ramp(has(name)).reshape(3, 4)
            torch.save(t, io.BytesIO())
            every[name] = t
        except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
            print(f"{torch.__version__} has no {name}: {error}", file=sys.stderr)
    every["extremes_int64"] = torch.tensor([2**63 - 1, -(2**63), 2**53 + 1])
    every["extremes_float32"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45, 3.4028234663852886e38])
    every["all_float16"] = torch.from_numpy(np.arange(0, 65536, 64, dtype=np.uint16).view(np.float16))
    every["all_bfloat16"] = torch.from_numpy(np.arange(0, 65536, 64, dtype=np.uint16).view(np.int16)).view(
        torch.bfloat16)
    patterns = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    for name in FLOAT8:
        if has(name):
            every[f"all_{name}"] = patterns.view(has(name))
            every[name] = (torch.arange(100, 140).to(torch.uint8) if "e8m0" in name
                           else torch.tensor([0, 1, 7, 8, 9, 40, 60, 100, 129, 140, 200, 230], dtype=torch.uint8)
                           ).view(has(name))
    if has("float4_e2m1fn_x2"):
        every["float4_e2m1fn_x2"] = patterns.view(torch.float4_e2m1fn_x2)
    save("dtypes.pt", every)
    some = {name: every[name] for name in ("float32", "bfloat16", "int64", "bool", "complex64")}
    some |= {name: every[name] for name in ("float8_e4m3fn", "uint16") if name in every}
    for protocol in (2, 3, 4, 5):
        save(f"protocol{protocol}.pt", some, pickle_protocol=protocol)
    for protocol in (2, 5):
        save(f"legacy{protocol}.pt", some, pickle_protocol=protocol, _use_new_zipfile_serialization=False)


def views():
    base = torch.arange(48, dtype=torch.float32).reshape(6, 8) / 4
    cube = (torch.arange(120) % 17).to(torch.bfloat16).reshape(4, 5, 6)
    z = torch.complex(torch.arange(6.0), torch.arange(6.0) + 0.5).reshape(2, 3)
    w = torch.complex(torch.arange(6.0), torch.arange(6.0) - 2.5).reshape(2, 3)
    save("views.pt", dict(
        plain=base, transposed=base.t(), offset=base[2:5, 3:], step=base[::2, ::3], column=base[:, 5],
        expanded=base[3:4].expand(5, 8), expanded_inner=base[:, 2:3].expand(6, 4), diagonal=base.diagonal(),
        overlapping=base.as_strided((10, 6), (3, 2), 5), scalar=torch.tensor(3.25), scalar_view=base[3, 4],
        expanded_scalar=torch.tensor(-2.5).expand(2, 3), empty=torch.empty(0, 5), empty_view=base[4:4],
        permuted=cube.permute(2, 0, 1), permuted_part=cube.permute(1, 2, 0)[1:4, ::2],
        conj=z.conj(), conj_transposed=z.conj().t(), negative=w.conj().imag, real=w.real,
    ))
    # The truth is what is in the file: 1.13 does not save that a view is conjugated or negated.
    say("views.pt", list(torch.load("views.pt").items()))
    for name, options in (("views_legacy.pt", dict(_use_new_zipfile_serialization=False)),):
        save(name, dict(transposed=base.t(), overlapping=base.as_strided((10, 6), (3, 2), 5), row=base[4]), **options)
    shared = torch.arange(20, dtype=torch.float32).reshape(4, 5)
    save("shared.pt", {f"row{i % 4}.{i}": shared[i % 4] for i in range(12)})


class Subclass(torch.Tensor):
    pass


def structure():
    t = lambda n=0: torch.arange(6, dtype=torch.float32).reshape(2, 3) + n
    parameter = torch.nn.Parameter(t(1))
    loaded = torch.nn.Parameter(t(2))
    loaded.weight_loader = "by name"
    attributed = t(3)
    attributed.note = {"x": 1}
    values = dict(parameter=parameter, with_state=loaded, attributed=attributed, subclass=t(4).as_subclass(Subclass))
    if hasattr(torch.nn, "Buffer"):
        values["buffer"] = torch.nn.Buffer(t(5))
    save("parameters.pt", values)
    torch.manual_seed(5)
    model = torch.nn.Sequential(collections.OrderedDict(fc=torch.nn.Linear(3, 2), norm=torch.nn.BatchNorm1d(2)))
    assert hasattr(model.state_dict(), "_metadata")
    save("state_dict.pt", model.state_dict())
    a, b, c = t(), t(10), t(20)
    save(
        "containers.pt",
        {"a": {"b": a, "c": [b, (c, 3)]}, "ordered": collections.OrderedDict([("z", a), ("y", 1)]), 7: b, "n": 4,
         "f": 0.5, "s": "text", "yes": True, "none": None, "size": torch.Size([2, 3]),
         "device": torch.device("cuda:1"), "dtype": torch.bfloat16, "set": {7}, "bytes": b"\x00\xff"},
        [("a.b", a), ("a.c[0]", b), ("a.c[1][0]", c), ("ordered.z", a), ("7", b)],
        {"a.c[1][1]": 3, "ordered.y": 1, "n": 4, "f": 0.5, "s": "text", "yes": True, "none": None, "size[0]": 2,
         "size[1]": 3, "device": "cuda:1", "dtype": "torch.bfloat16", "set[0]": 7},
        {"bytes": "bytes (2"})
    save("bare.pt", a, [("value", a)])
    save("list.pt", [a, b], [("[0]", a), ("[1]", b)])
    buffer = io.BytesIO()
    torch.save({"hidden": a}, buffer)
    with open("archive.pt", "wb") as f:
        f.write(buffer.getvalue())
    say("archive.pt", [("hidden", a)])
    # The records' prefix is the file's first name from some version on.
    save("layer00_Block_rank0.pt", {"hidden": a.bfloat16(), "shape": (2, 3), "input": None},
         [("hidden", a.bfloat16())], {"shape[0]": 2, "shape[1]": 3, "input": None})
    if hasattr(torch.serialization, "set_crc32_options"):
        torch.serialization.set_crc32_options(False)
        save("crc_off.pt", {"hidden": a, "other": b})
        torch.serialization.set_crc32_options(True)
    try:
        from torch.utils.serialization import config
        config.save.storage_alignment = 4096
        save("aligned4096.pt", {"hidden": a, "other": b})
        config.save.storage_alignment = 64
    except (ImportError, AttributeError):
        pass


class Hostile:
    def __reduce__(self):
        return os.system, ("touch fixture-payload-ran",)


def foreign():
    t = torch.arange(4, dtype=torch.float32)
    values = {
        "first": t, "sparse": torch.eye(3).to_sparse(), "module": torch.nn.Linear(2, 2), "array": np.arange(3),
        "number": np.float32(1), "namespace": argparse.Namespace(t=t, n=3), "last": t + 1,
    }
    skipped = {"sparse": "_rebuild_sparse_tensor", "module": "torch.nn.modules.linear.Linear",
               "namespace": "argparse.Namespace"}
    if "qint8" in dir(torch):
        try:
            values["quantized"] = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)
            skipped["quantized"] = "_rebuild_qtensor"
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            print(f"{torch.__version__} quantizes no more: {error}", file=sys.stderr)
    save("foreign.pt", values, [("first", t), ("array", torch.arange(3)), ("last", t + 1)], {"number": 1.0}, skipped)
    for name, options in (("hostile.pt", {}), ("hostile_legacy.pt", dict(_use_new_zipfile_serialization=False))):
        save(name, {"first": t, "evil": Hostile(), "last": t + 1}, [("first", t), ("last", t + 1)], {},
             {"evil": "posix.system"}, **options)


def safetensors_files():
    from safetensors import torch as st

    tensors = {name: ramp(has(name)).reshape(3, 4) for name in PLAIN if name != "complex128"}
    for name in FLOAT8 + ("float4_e2m1fn_x2",):
        tensors[name] = torch.arange(256, dtype=torch.int16).to(torch.uint8).view(has(name))
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), 'a "name" \\ ü \U0001F600': torch.ones(1)}
    st.save_file(tensors, "dtypes.safetensors", metadata={"format": "pt"})

    def in_order(path):
        with open(path, "rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        header.pop("__metadata__", None)
        loaded = st.load_file(path)
        return [(name, loaded[name]) for name in sorted(header, key=lambda n: header[n]["data_offsets"])]

    say("dtypes.safetensors", in_order("dtypes.safetensors"), {"__metadata__.format": "pt"})
    whole = {f"model.layers.{i}.{n}.weight": torch.full((2, 3), i + 0.5) for i in range(4) for n in ("q", "k")}
    weight_map = {}
    for shard in range(2):
        name = f"model-{shard + 1:05d}-of-00002.safetensors"
        part = {key: value for i, (key, value) in enumerate(whole.items()) if i % 2 == shard}
        st.save_file(part, name)
        weight_map.update({key: name for key in part})
    with open("model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {"total_size": 192}, "weight_map": weight_map}, f)
    shards = sorted(set(weight_map.values()))
    for name in shards:
        say(name, in_order(name))
    say("model.safetensors.index.json", [pair for name in shards for pair in in_order(name)])


def numpy_files():
    def said(array):
        """torch's view of the array, in the array's own order; strides of nothing are numpy's affair."""
        return torch.from_numpy(array) if array.size else torch.empty(array.shape)

    fortran = np.asfortranarray(np.arange(24, dtype="<f4").reshape(2, 3, 4))
    for version in (1, 2, 3):
        for order, array in (("c", np.ascontiguousarray(fortran)), ("fortran", fortran)):
            name = f"version{version}_{order}.npy"
            with open(name, "wb") as f:
                np.lib.format.write_array(f, array, version=(version, 0))
            say(name, [("value", said(array))])
    arrays = {kind: (np.arange(6) % 5).astype(kind).reshape(2, 3)
              for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "c8", "c16", "?")}
    arrays |= {"scalar": np.array(2.5), "empty": np.empty((0, 3), "f4"), "fortran": fortran}
    arrays["bool"] = arrays.pop("?")
    np.savez("stored.npz", **arrays)
    say("stored.npz", [(name, said(np.array(arrays[name]))) for name in sorted(arrays)])
    packed = {"a": np.ones(3), "b": np.zeros(2)}
    np.savez_compressed("deflated.npz", **packed)
    say("deflated.npz", [(name, said(packed[name])) for name in packed])
    bf16 = ramp(torch.bfloat16).reshape(3, 4)
    np.save("bfloat16_as_V2.npy", bf16.view(torch.int16).numpy().view("V2"))
    say("bfloat16_as_V2.npy", [("value", bf16)])
    np.save("big_endian.npy", np.ones(3, dtype=">f4"))
    refused("big_endian.npy", "big-endian (>f4)")
    np.save("objects.npy", np.array([Hostile()], dtype=object))
    refused("objects.npy", "may run code")


def main():
    folder, part = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    writers = dict(torch=(dtypes, views, structure, foreign), formats=(safetensors_files, numpy_files))[part]
    for writer in writers:
        writer()
    versions = dict(torch=str(torch.__version__), numpy=np.__version__, python=platform.python_version())
    if part == "formats":
        import safetensors
        versions["safetensors"] = safetensors.__version__
    with open("expected.json", "w") as f:
        files = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in EXPECTED.items())
        f.write(f'{{"writer": {json.dumps(versions)},\n"files": {{\n{files}\n}}}}\n')


if __name__ == "__main__":
    main()
