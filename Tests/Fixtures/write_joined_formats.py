"""One tiny Llama's forward passes and weights, dumped as several engines and tools do it.

usage: write_formats.py DIRECTORY

Makes DIRECTORY/{reference,target,bug}-{atom,sglang,msprobe,hf}: the reference runs on one rank, the target on two
(each sum over ranks rounded), the bug reduces the MLP of layer 2 twice. And DIRECTORY/weights-{checkpoint,atom,sglang},
the last two on two ranks with q, k, v and gate, up fused, and weights-{atom,sglang}-bug with one wrong slice.
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file

LAYERS, WIDTH, HEADS, KV, HEAD, INNER, VOCABULARY = 4, 32, 4, 2, 8, 64, 50
BF16 = torch.bfloat16
# A warm-up of zeros, the prefill, a decode step.
CALLS = [torch.zeros(16, dtype=torch.long), torch.arange(13) * 7 % VOCABULARY, torch.tensor([3])]


def parameters():
    torch.manual_seed(5)
    result = {"model.embed_tokens.weight": torch.randn(VOCABULARY, WIDTH), "model.norm.weight": torch.rand(WIDTH) + 0.5}
    shapes = {
        "self_attn.q_proj": (HEADS * HEAD, WIDTH), "self_attn.k_proj": (KV * HEAD, WIDTH),
        "self_attn.v_proj": (KV * HEAD, WIDTH), "self_attn.o_proj": (WIDTH, HEADS * HEAD),
        "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER)}
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            result[f"model.layers.{layer}.{name}.weight"] = torch.randn(shape) / shape[1] ** 0.5
        for name in ("input_layernorm", "post_attention_layernorm"):
            result[f"model.layers.{layer}.{name}.weight"] = torch.rand(WIDTH) + 0.5
    return {name: value.to(BF16) for name, value in result.items()}


WEIGHTS = parameters()


def norm(x, weight):
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)).to(BF16) * weight


def rows(weight, rank, ranks):
    return weight.chunk(ranks, 0)[rank]


def forward(ids, ranks, bug):
    """Every module's values: (path, class, input, output), in the order in which the modules end."""
    seen = []

    def note(path, kind, before, after):
        seen.append((path, kind, before, after))
        return after

    x = note("model.embed_tokens", "Embedding", ids, WEIGHTS["model.embed_tokens.weight"][ids])
    for layer in range(LAYERS):
        path = f"model.layers.{layer}"
        w = lambda name: WEIGHTS[f"{path}.{name}.weight"]
        start = x
        h = note(f"{path}.input_layernorm", "TinyNorm", x, norm(x, w("input_layernorm")))
        parts = []
        for rank in range(ranks):
            q, k, v = ((h @ rows(w(f"self_attn.{n}_proj"), rank, ranks).T).view(len(ids), -1, HEAD) for n in "qkv")
            k, v = (t.repeat_interleave(HEADS // KV, 1) for t in (k, v))
            scores = torch.einsum("thd,shd->hts", q, k).float() / HEAD ** 0.5
            scores += torch.full((len(ids), len(ids)), -1e9).triu(1)
            out = torch.einsum("hts,shd->thd", scores.softmax(-1).to(BF16), v).reshape(len(ids), -1)
            parts.append(out @ w("self_attn.o_proj").chunk(ranks, 1)[rank].T)
        attention = note(f"{path}.self_attn.o_proj", "RowLinear", h, sum(parts))
        note(f"{path}.self_attn", "TinyAttention", h, attention)
        x = x + attention
        h = note(f"{path}.post_attention_layernorm", "TinyNorm", x, norm(x, w("post_attention_layernorm")))
        parts = []
        for rank in range(ranks):
            gate, up = (h @ rows(w(f"mlp.{n}_proj"), rank, ranks).T for n in ("gate", "up"))
            parts.append((torch.nn.functional.silu(gate) * up) @ w("mlp.down_proj").chunk(ranks, 1)[rank].T)
        mlp = sum(parts) * (ranks if bug and layer == 2 else 1)
        note(f"{path}.mlp.down_proj", "RowLinear", h, mlp)
        note(f"{path}.mlp", "TinyMLP", h, mlp)
        x = note(path, "TinyDecoderLayer", start, x + mlp)
    note("model.norm", "TinyNorm", x, norm(x, WEIGHTS["model.norm.weight"]))
    return seen


def write_atom(root, ranks, calls):
    for call, seen in enumerate(calls):
        for path, kind, before, after in seen:
            if kind in ("TinyAttention", "TinyMLP", "TinyDecoderLayer"):
                layer = int(path.split(".")[2])
                for rank in range(ranks):
                    torch.save(
                        {"hidden": after, "shape": tuple(after.shape), "input": before, "input_fields": {},
                         "output_fields": {}}, f"{root}/layer{layer:02d}_{kind}_rank{rank}_call{call:03d}.pt")


def write_sglang(root, ranks, calls):
    for rank in range(ranks):
        index = 0
        for step, seen in enumerate(calls):
            for path, kind, before, after in seen:
                if kind == "RowLinear":
                    continue
                for name, value in ((f"{path}.inputs.0", before), (f"{path}.output", after)):
                    index += 1
                    name = f"non_intrusive__{name}"
                    tags = {"step": step, "rank": rank, "dump_index": index, "name": name, "recompute_status": "disabled"}
                    info = {"tp_rank": rank, "tp_size": ranks}
                    torch.save(
                        {"value": value, "meta": dict(tags, world_rank=rank, world_size=ranks, sglang_parallel_info=info)},
                        f"{root}/" + "___".join(f"{k}={v}" for k, v in tags.items()) + ".pt")


def write_msprobe(root, ranks, calls):
    for rank in range(ranks):
        folder = f"{root}/step0/rank{rank}"
        os.makedirs(f"{folder}/dump_tensor_data")
        data = {}

        def leaf(name, value):
            torch.save(value.contiguous(), f"{folder}/dump_tensor_data/{name}.pt")
            return {"type": "torch.Tensor", "dtype": str(value.dtype), "shape": list(value.shape), "data_name": f"{name}.pt"}

        for count, seen in enumerate(calls):
            for path, kind, before, after in seen:
                name = f"Module.{path}.{kind}.forward.{count}"
                data[name] = {
                    "input_args": [leaf(f"{name}.input.0", before)], "input_kwargs": {},
                    "output": [leaf(f"{name}.output.0", after)]}
        with open(f"{folder}/dump.json", "w") as f:
            json.dump({"task": "tensor", "level": "L0", "framework": "pytorch", "data": data}, f)


def write_hf(root, _, calls):
    """As transformers' debugger: outputs of modules without children, a batch dimension, the middle layers pruned."""
    name = "TinyForCausalLM"

    def leaf(file, value):
        save_file({"data": value.contiguous()}, f"{root}/{file}.safetensors")
        return {"shape": repr(value.shape), "dtype": repr(value.dtype), "value": f"./{file}.safetensors"}

    nodes = {}
    for path, kind, before, after in calls[1]:
        full = f"{name}.{path}"
        node = {"module_path": full, "inputs": {"args": [leaf(f"{full}_inputs_args_0", before[None])]}, "outputs": None}
        if kind not in ("TinyAttention", "TinyMLP", "TinyDecoderLayer"):
            node["outputs"] = leaf(f"{full}_outputs", after[None])
        nodes[path] = node
    tops = []
    for path, node in nodes.items():
        inner = [p for p in nodes if p.startswith(path + ".") and p.rsplit(".", 1)[0] == path]
        if inner:
            node.pop("outputs")
            node["children"] = [nodes[p] for p in inner]
        if path.rsplit(".", 1)[0] == "model" or path.rsplit(".", 1)[0] == "model.layers":
            tops.append(path)
    tops = [p for p in tops if not p.startswith("model.layers.") or p.split(".")[2] in ("0", str(LAYERS - 1))]
    model = {"module_path": f"{name}.model", "inputs": {"kwargs": {"input_ids": "see below"}}, "children": [nodes[p] for p in tops]}
    top = {"input_ids": leaf(f"{name}_inputs_kwargs_input_ids", CALLS[1][None])}
    with open(f"{root}/{name}_debug_tree_FULL_TENSORS.json", "w") as f:
        json.dump({"module_path": name, "inputs": {"kwargs": top}, "children": [model]}, f)
    with open(f"{root}/{name}_debug_tree_SUMMARY.json", "w") as f:
        json.dump({}, f)


def fused(layer, rank, ranks):
    get = lambda name: rows(WEIGHTS[f"model.layers.{layer}.{name}.weight"], rank, ranks)
    path = f"model.layers.{layer}"
    result = {
        f"{path}.self_attn.qkv_proj.weight": torch.cat([get(f"self_attn.{n}_proj") for n in "qkv"]),
        f"{path}.mlp.gate_up_proj.weight": torch.cat([get(f"mlp.{n}_proj") for n in ("gate", "up")])}
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        result[f"{path}.{name}.weight"] = WEIGHTS[f"{path}.{name}.weight"].chunk(ranks, 1)[rank].contiguous()
    for name in ("input_layernorm", "post_attention_layernorm"):
        result[f"{path}.{name}.weight"] = WEIGHTS[f"{path}.{name}.weight"]
    return result


def write_weights(root, ranks=2):
    os.makedirs(f"{root}/weights-checkpoint")
    save_file(WEIGHTS, f"{root}/weights-checkpoint/model.safetensors")
    for suffix in ("", "-bug"):
        atom, sglang = (f"{root}/weights-{name}{suffix}" for name in ("atom", "sglang"))
        os.makedirs(atom)
        os.makedirs(sglang)
        for rank in range(ranks):
            index = 0
            for layer in range(LAYERS):
                slices = fused(layer, rank, ranks)
                if suffix and rank == 1 and layer == 1:
                    # The rank loaded the keys of the other one.
                    place = slice(HEADS * HEAD // ranks, HEADS * HEAD // ranks + KV * HEAD // ranks)
                    name = f"model.layers.{layer}.self_attn.qkv_proj.weight"
                    slices[name] = slices[name].clone()
                    slices[name][place] = fused(layer, 0, ranks)[name][place]
                torch.save(
                    dict(slices, _tp_rank=rank, _tp_size=ranks, _layer=layer), f"{atom}/weight_rank{rank}_layer{layer}.pt")
                for name, value in slices.items():
                    index += 1
                    tags = {"step": 0, "rank": rank, "dump_index": index, "name": f"param__{name}",
                            "recompute_status": "disabled"}
                    torch.save(
                        {"value": value, "meta": dict(tags, world_rank=rank, world_size=ranks)},
                        f"{sglang}/" + "___".join(f"{k}={v}" for k, v in tags.items()) + ".pt")


if __name__ == "__main__":
    root = sys.argv[1]
    writers = {"atom": write_atom, "sglang": write_sglang, "msprobe": write_msprobe, "hf": write_hf}
    for side, ranks, bug in (("reference", 1, False), ("target", 2, False), ("bug", 2, True)):
        calls = [forward(ids, ranks, bug) for ids in CALLS]
        for name, write in writers.items():
            os.makedirs(f"{root}/{side}-{name}")
            write(f"{root}/{side}-{name}", ranks, calls)
    write_weights(root)
