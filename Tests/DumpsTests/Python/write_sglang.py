"""Writes dumps as SGLang's dumper does, with torch alone.

usage: write_sglang.py DIRECTORY
"""

import os
import sys

import torch


class Foreign:
    pass


def dump(folder, value, *, meta=None, wrapped=True, **tags):
    """One file; its meta is the tags and whatever else is given."""
    path = os.path.join(folder, "___".join(f"{k}={v}" for k, v in tags.items()) + ".pt")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save({"value": value, "meta": {**tags, **(meta or {})}} if wrapped else value, path)
    return path


def static(rank, size, **more):
    info = {"tp_rank": rank, "tp_size": size, "pp_rank": 0, "pp_size": 1, "attn_dp_enabled": False}
    return {"world_rank": rank, "world_size": size, "sglang_parallel_info": info, **more}


def batch(d, rank, size, step):
    """The names that two ranks dump in a step."""
    index = 0

    def put(name, value, dims=None, **tags):
        nonlocal index
        index += 1
        meta = static(rank, size, **({"dims": dims} if dims else {}))
        return dump(
            d, value, step=step, rank=rank, dump_index=index, name=name, recompute_status="disabled", **tags, meta=meta)

    tokens = 5 if step == 0 else 1
    put("input_ids", torch.arange(tokens))
    put("rids", ["a", "b"])
    put("non_intrusive__model.embed_tokens.output", torch.full((tokens, 4), 1.0))
    for layer in range(2):
        x = torch.full((tokens, 4), 10.0 * layer + rank).bfloat16()
        put(f"non_intrusive__model.layers.{layer}.mlp.inputs.0", x, layer_id=layer)
        put(f"non_intrusive__model.layers.{layer}.mlp.inputs.residual", x, layer_id=layer)
        put(f"non_intrusive__model.layers.{layer}.mlp.output", x, layer_id=layer)
        put("mlp_output", x, dims="t h[tp:partial]", layer_id=layer)
        # Without the context: the layer's own hook has cleared it.
        put(f"non_intrusive__model.layers.{layer}.output.1", x)
    put("param__model.layers.1.mlp.gate_up_proj.weight", torch.nn.Parameter(torch.ones(3, 4)))
    for value in (7.0, 8.0, 9.0):
        put("repeated", torch.full((2,), value), head=0)


def edges(d):
    common = {"step": 0, "rank": 0}
    i = iter(range(1, 100))
    dump(d, torch.ones(1), **common, dump_index=next(i), name="cut___inside", recompute_status="disabled")
    dump(d, torch.ones(2), **common, dump_index=next(i), name="cut___like=tag", recompute_status="disabled")
    dump(d, torch.ones(3), **common, dump_index=next(i), name="moe/experts/up", recompute_status="disabled")
    for status in ("original", "recompute"):
        dump(d, torch.ones(4), **common, dump_index=next(i), name="again", recompute_status=status,
             meta={"recompute_pseudo_rank": int(status == "recompute"), "recompute_pseudo_size": 2})
    dump(d, torch.ones(5), **common, dump_index=next(i), name="grad__again")
    dump(d, {"a": torch.ones(6), "b": [torch.ones(7), 3]}, **common, dump_index=next(i), name="nested",
         recompute_status="disabled")
    dump(d, None, **common, dump_index=next(i), name="nothing", recompute_status="disabled")
    dump(d, [], **common, dump_index=next(i), name="hollow", recompute_status="disabled")
    dump(d, Foreign(), **common, dump_index=next(i), name="foreign", recompute_status="disabled")
    dump(d, torch.ones(8), **common, dump_index=next(i), name="bare", recompute_status="disabled", wrapped=False)
    dump(d, {"x": torch.ones(9)}, **common, dump_index=next(i), name="bare_dict", wrapped=False)
    dump(d, torch.ones(10), **common, dump_index=next(i), name="odd_meta",
         meta={"what": Foreign(), "ratio": 0.5, "sglang_parallel_info": {"tp_rank": 2, "tp_size": 2}})
    dump(d, torch.ones(11), **common, dump_index=next(i), name="two_engines",
         meta={"sglang_parallel_info": {"tp_rank": 0, "tp_size": 2},
               "megatron_parallel_info": {"tp_rank": 1, "tp_size": 2}})
    dump(d, torch.ones(12), **common, dump_index=next(i), name="no_engine",
         meta={"sglang_parallel_info": {"distributed_error": True, "tp_rank": 0, "tp_size": 2},
               "megatron_parallel_info": {"dp_rank": 1, "dp_size": 4, "vpp_rank": None, "vpp_size": None}})
    for window in ([0, 4], [4, 8]):
        dump(d, torch.ones(14), **common, dump_index=next(i), name="window", recompute_status="disabled", window=window)
    path = dump(d, torch.ones(13), **common, dump_index=next(i), name="moved", recompute_status="disabled")
    os.rename(path, path.replace("rank=0", "rank=1"))
    path = dump(d, torch.ones(64), **common, dump_index=next(i), name="broken", recompute_status="disabled")
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) // 2)
    for name in ("step=0___rank=0___name=no_index.pt", "step=x___rank=0___dump_index=1___name=n.pt", "notes.txt"):
        with open(os.path.join(d, name), "wb") as f:
            f.write(b"x")


def data_parallel(d):
    for rank in range(4):
        dp = rank // 2
        dump(d, torch.ones(3 if dp == 1 else 0, 4), step=0, rank=rank, dump_index=1, name="h",
             recompute_status="disabled",
             meta=static(rank, 4, sglang_parallel_info={"attn_dp_rank": dp, "attn_dp_size": 2}, dims="t h # dp:=attn_dp"))


def hooks(d):
    """As the older dumper, that of the forward hooks: one file a pass."""
    for tp in range(2):
        folder = f"{d}/TP{tp}_PP0_Rank{tp}_pid{700 + tp}"
        os.makedirs(folder)
        for number in range(2):
            tokens = 5 if number == 0 else 1
            tensors = {}
            for layer in range(2):
                x = torch.full((tokens, 4), 10.0 * layer + tp + 100 * number).bfloat16()
                tensors[f"model.layers.{layer}.self_attn"] = x
                tensors[f"model.layers.{layer}.mlp"] = x + 1
                tensors[f"model.layers.{layer}"] = [x + 2, x + 3]
            tensors["model.pp_proxy_tensors.hidden_states"] = x
            tensors["model.forward_batch_info.input_ids"] = torch.arange(tokens)
            tensors["model.forward_batch_info.positions"] = torch.arange(tokens)
            tensors["logits_processor"] = torch.ones(2, 8)
            torch.save(tensors, f"{folder}/Pass{number:05}.pt")
    open(f"{d}/TP0_PP0_Rank0_pid700/Pass2.pt", "wb").close()
    # A model whose modules were called past their hooks, and a run that was killed.
    torch.save({}, f"{d}/TP0_PP0_Rank0_pid700/Pass00002.pt")
    path = f"{d}/TP1_PP0_Rank1_pid701/Pass00002.pt"
    torch.save({"model.norm": torch.ones(64)}, path)
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) // 2)


def main(root):
    for rank in range(2):
        for step in range(2):
            batch(f"{root}/tp2/dump_x", rank, 2, step)
    edges(f"{root}/edges")
    hooks(f"{root}/hooks")
    data_parallel(f"{root}/dp")


main(sys.argv[1])
