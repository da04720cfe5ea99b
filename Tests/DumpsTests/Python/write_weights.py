"""Writes weight dumps that differ in known ways.

usage: write_weights.py DIRECTORY

pairs/NAME-a.pt and NAME-b.pt: one weight before and after something was done to it.
whole, tp4, wrong, lost, twisted: weight files of one rank, of four ranks, with wrong slices, without rank 3, and with
ranks that hold what others should. cast-whole, cast, cast-wrong: in types that an engine takes, whole and in slices. hf: the whole weights as two safetensors shards with an index.
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file


def float8(*shape):
    return torch.randint(0, 0x7F, shape, dtype=torch.uint8).view(torch.float8_e4m3fn)


def preshuffled(x, rows=16):
    """Tiles of `rows` by 32 elements; runs of 16 bytes of one row follow those of the next row."""
    run = 16 // x.element_size()
    bits = x.view(torch.uint8) if x.element_size() == 1 else x
    tiles = bits.reshape(-1, x.shape[-2] // rows, rows, x.shape[-1] // 32, 32 // run, run)
    return tiles.permute(0, 1, 3, 4, 2, 5).contiguous().reshape(x.shape).view(x.dtype)


def scales_shuffled(x):
    m, n = x.shape
    tiles = x.view(torch.uint8).view(m // 32, 2, 16, n // 8, 2, 4)
    return tiles.permute(0, 3, 5, 2, 4, 1).contiguous().view(m, n).view(x.dtype)


def pairs(d):
    os.makedirs(d)

    def pair(name, a, b, more_a=None, more_b=None):
        torch.save({"layers.3.w.weight": a, **(more_a or {})}, f"{d}/{name}-a.pt")
        torch.save({"layers.3.w.weight": b, **(more_b or more_a or {})}, f"{d}/{name}-b.pt")

    w, norm, square = float8(64, 128), torch.randn(64).bfloat16(), torch.randn(24, 24)
    scales = torch.randint(100, 140, (256, 16), dtype=torch.uint8).view(torch.float8_e8m0fnu)
    pair("preshuffle16", w, preshuffled(w))
    pair("preshuffle16-back", preshuffled(w), w)
    experts = float8(3, 32, 64)
    pair("preshuffle32-experts", experts, preshuffled(experts, 32))
    dense = torch.randn(32, 64).bfloat16()
    pair("preshuffle16-bfloat16", dense, preshuffled(dense))
    pair("preshuffled-twice", w, preshuffled(preshuffled(w)))
    pair("scales", scales, scales_shuffled(scales))
    pair("scales-twice", scales, scales_shuffled(scales_shuffled(scales)))
    pair("scales-cast", scales, scales.float())
    pair("norm-cast", norm, norm.float())
    wide = torch.randn(64)
    pair("norm-rounded", wide, wide.bfloat16())
    pair("rows", square, square[torch.randperm(24)])
    pair("columns", square, square[:, torch.randperm(24)].contiguous())
    pair("transposed", square, square.t().contiguous())
    tall = torch.randn(24, 12)
    pair("transposed-shape", tall, tall.t().contiguous())
    pair("halves", square, torch.cat([square[12:], square[:12]]))
    pair("interleaved", square, torch.stack([square[:12], square[12:]], 1).reshape(24, 24))
    heads = torch.randn(32, 8)
    pair("rope", heads, heads.view(4, 2, 4, 8).transpose(1, 2).reshape(32, 8))
    pair("blocks", heads, heads.view(4, 8, 8)[[0, 2, 1, 3]].reshape(32, 8))
    pair("elements", square, square.flatten()[torch.randperm(576)].reshape(24, 24))
    pair("offset", wide, wide + 1)
    pair("zero", square, torch.zeros(24, 24))
    pair("other", square, torch.randn(24, 24))
    scale = {"layers.3.w.weight_scale": torch.rand(64)}
    pair("fnuz", w, w.view(torch.float8_e4m3fnuz), scale)
    pair("fnuz-doubled", w, w.view(torch.float8_e4m3fnuz), scale, {k: 2 * v for k, v in scale.items()})
    pair("as-bytes", w, w.view(torch.uint8))


def weights():
    name = "model.layers.0.{}.weight".format
    return {
        name("q"): torch.randn(32, 16), name("o"): torch.randn(16, 32), name("norm"): torch.randn(16),
        name("gate_up"): torch.randn(64, 16), name("qkv"): torch.randn(48, 8), name("k"): torch.randn(8, 16),
        "model.embed.weight": torch.randn(30, 8), "model.layers.0.q.bias": torch.randn(32),
        name("fp8"): float8(64, 64),
    }


def slices(w, rank, ranks=4):
    def part(t, axis):
        return t.chunk(ranks, axis)[rank].clone()

    result = {key: value.clone() for key, value in w.items()}
    for key, t in w.items():
        kind = key.split(".")[-2]
        if kind in ("q", "fp8"):
            result[key] = part(t, 0)
        elif kind == "o":
            result[key] = part(t, 1)
        elif kind == "gate_up":
            result[key] = torch.cat([part(x, 0) for x in t.chunk(2)])
        elif kind == "qkv":
            result[key] = torch.cat([part(x, 0) for x in t.split([32, 8, 8])])
        elif kind == "k":
            result[key] = t.chunk(2)[rank // 2].clone()
        elif kind == "embed":
            result[key] = part(torch.cat([t, torch.zeros(2, 8)]), 0)
    return result


def wrong(w, rank, ranks=4):
    """Every kind of wrong slice."""
    result = slices(w, rank)
    result["model.layers.0.q.weight"] = w["model.layers.0.q.weight"].chunk(ranks)[ranks - 1 - rank].clone()
    result["model.layers.0.o.weight"] = w["model.layers.0.o.weight"].chunk(ranks, 1)[0].clone()
    result["model.layers.0.gate_up.weight"] = w["model.layers.0.gate_up.weight"].chunk(ranks)[rank].clone()
    result["model.layers.0.k.weight"] = w["model.layers.0.k.weight"].chunk(2)[rank % 2].clone()
    result["model.layers.0.fp8.weight"] = preshuffled(result["model.layers.0.fp8.weight"])
    if rank == 2:
        result["model.layers.0.norm.weight"] *= 3
    return result


def shuffled_duplicates(w, rank):
    """Every rank holds the first slice, shuffled for its kernel."""
    result = slices(w, rank)
    result["model.layers.0.fp8.weight"] = preshuffled(w["model.layers.0.fp8.weight"].view(torch.uint8).chunk(4)[0].clone())
    result["model.layers.0.fp8.weight"] = result["model.layers.0.fp8.weight"].view(torch.float8_e4m3fn)
    return result


def checkpoint():
    """A norm in bfloat16, e8m0 scales as such and as plain bytes."""
    e8m0 = torch.randint(100, 140, (3, 32, 8), dtype=torch.uint8)
    return {
        "model.layers.0.norm.weight": torch.randn(16).bfloat16(),
        "model.layers.0.q.weight_scale": e8m0[0].view(torch.float8_e8m0fnu),
        "model.layers.0.o.weight_scale": e8m0[1].clone(),
        "model.layers.0.gate_up.weight_scale": e8m0[2].view(torch.float8_e8m0fnu),
    }


def cast(w, rank, fault=False, ranks=4):
    """What a rank of an engine holds that keeps norms and scales in float32."""
    number = {k: (v.view(torch.float8_e8m0fnu) if v.dtype == torch.uint8 else v).float() for k, v in w.items()}
    q, o, gate_up = (number["model.layers.0.%s.weight_scale" % name] for name in ("q", "o", "gate_up"))
    wrong = fault and rank == 2
    return {
        "model.layers.0.norm.weight": number["model.layers.0.norm.weight"] * (1.5 if wrong else 1),
        "model.layers.0.q.weight_scale": q.chunk(ranks)[1 if wrong else rank].clone(),
        "model.layers.0.o.weight_scale": o.chunk(ranks, 1)[rank].clone(),
        "model.layers.0.gate_up.weight_scale": torch.cat([x.chunk(ranks)[rank] for x in gate_up.chunk(2)]),
    }


def write(folder, ranks):
    os.makedirs(folder)
    for rank, part in enumerate(ranks):
        if part is not None:
            torch.save(dict(_tp_rank=rank, _tp_size=len(ranks), _layer=0, **part), f"{folder}/weight_rank{rank}_layer0.pt")


def main():
    d = sys.argv[1]
    torch.manual_seed(3)
    pairs(f"{d}/pairs")
    w = weights()
    parts = [slices(w, rank) for rank in range(4)]
    write(f"{d}/whole", [w])
    write(f"{d}/tp4", parts)
    write(f"{d}/wrong", [wrong(w, rank) for rank in range(4)])
    write(f"{d}/lost", parts[:3] + [None])
    write(f"{d}/shuffled-duplicates", [shuffled_duplicates(w, rank) for rank in range(4)])
    typed = checkpoint()
    write(f"{d}/cast-whole", [typed])
    write(f"{d}/cast", [cast(typed, rank) for rank in range(4)])
    write(f"{d}/cast-wrong", [cast(typed, rank, fault=True) for rank in range(4)])
    os.makedirs(f"{d}/hf")
    names = list(w)
    shards = {"model-00001-of-00002.safetensors": names[:4], "model-00002-of-00002.safetensors": names[4:]}
    for shard, keys in shards.items():
        save_file({key: w[key] for key in keys}, f"{d}/hf/{shard}")
    with open(f"{d}/hf/model.safetensors.index.json", "w") as f:
        json.dump({"weight_map": {key: shard for shard, keys in shards.items() for key in keys}}, f)
    with open(f"{d}/hf/config.json", "w") as f:
        f.write("{}")


if __name__ == "__main__":
    main()
