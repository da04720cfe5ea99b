"""Writes what the fuzzers of the other formats and layouts start from.

usage: write_layout_seeds.py DIRECTORY
"""

import json
import os
import sys

import numpy as np
import safetensors.torch as st
import torch


def safetensors(d):
    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.bfloat16),
               "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), 'q"\\ü\t': torch.ones(1, dtype=torch.int8)}
    st.save_file(tensors, f"{d}/many.safetensors", metadata={"format": "pt", "note": "two\nlines"})
    st.save_file({"hidden": torch.ones(4, 3).bool()}, f"{d}/one.safetensors")


def index(d):
    weights = {f"model.layers.{i}.{n}.weight": torch.ones(3, 2) for i in range(3) for n in ("q", "k")}
    weight_map = {}
    for shard in range(2):
        name = f"model-{shard + 1:05d}-of-00002.safetensors"
        part = {k: v for i, (k, v) in enumerate(weights.items()) if i % 2 == shard}
        st.save_file(part, f"{d}/{name}")
        weight_map |= {k: name for k in part}
    with open(f"{d}/model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {"total_size": 144, "x": [1.5e3, True, None]}, "weight_map": weight_map}, f, indent=2)


def numpy(d):
    for name, array in {
        "f4": np.arange(24, dtype="f4").reshape(2, 3, 4), "fortran": np.asfortranarray(np.ones((3, 4, 5))),
        "scalar": np.array(2.5), "empty": np.empty((0, 3), "i8"), "bf16": np.ones(4, "i2").view("V2"),
        "record": np.zeros(2, [("a", "f4"), ("b", "i2")]), "text": np.array(["a", "bc"]),
    }.items():
        for version in ((1, 0), (2, 0), (3, 0)):
            with open(f"{d}/{name}{version[0]}.npy", "wb") as f:
                np.lib.format.write_array(f, array, version=version)
    np.savez(f"{d}/stored.npz", a=np.arange(6).reshape(2, 3), b=np.ones(3, "f2"))
    np.savez_compressed(
        f"{d}/deflated.npz", a=np.zeros(50), b=np.arange(99, dtype="i2").reshape(9, 11) * 7 % 31, c=np.array(1j))


def sglang(d):
    def dump(value, meta=None, **tags):
        name = "___".join(f"{k}={v}" for k, v in tags.items()) + ".pt"
        torch.save({"value": value, "meta": {**tags, **(meta or {})}}, os.path.join(d, name))

    common = {"step": 1, "rank": 1}
    dump(torch.ones(3, 4), {"dims": "t h[tp]", "world_size": 2, "sglang_parallel_info": {"tp_rank": 1, "tp_size": 2}},
         **common, dump_index=1, name="non_intrusive__model.layers.3.mlp.output", recompute_status="disabled", layer_id=3)
    dump(["a", "b"], **common, dump_index=2, name="rids", recompute_status="recompute")
    dump({"a": torch.ones(2), "b": [torch.ones(1), 3]}, **common, dump_index=3, name="nested___x", head=1)
    dump(torch.ones(2), {"megatron_parallel_info": {"dp_rank": 0, "dp_size": 2, "vpp_rank": None}}, **common,
         dump_index=4, name="grad__param__w")
    torch.save(torch.ones(5), f"{d}/step=1___rank=1___dump_index=9___name=bare.pt")


def msprobe(d):
    def leaf(name, tensor, **more):
        torch.save(tensor, f"{d}/{name}.pt")
        return {"type": "torch.Tensor", "dtype": str(tensor.dtype), "shape": list(tensor.shape), "Max": float("nan"),
                "Min": 0.0, "Mean": 1e-7, "Norm": float("inf"), "requires_grad": False, "data_name": f"{name}.pt", **more}

    op, api, debug = "Module.model.layers.3.mlp.Mlp.forward.0", "Functional.linear.37.forward", "x.layer3.0.debug"
    # Long shapes: damage hits them often enough that some index contradicts its file.
    t = torch.ones(2, 3, 1, 1, 1, 1, 1, 1)
    data = {
        op: {"input_args": [leaf(op + ".input.0", t), [{"type": "int", "value": 8}], {"type": "slice", "value": [0, 1]}],
             "input_kwargs": {"scale": leaf(op + ".input.scale", t)}, "output": [leaf(op + ".output.0", t)],
             "parameters": {"weight": leaf(op + ".parameters.weight", t)}},
        api: {"input_args": [{"type": "torch.Tensor", "dtype": "torch.bfloat16", "shape": [], "Max": None, "Min": True,
                              "md5": "5e7b3c3a"}], "input_kwargs": {}, "output": [leaf(api + ".output.0", t)]},
        "Module.model.layers.3.mlp.Mlp.parameters_grad.0": {
            "weight": [leaf("Module.model.layers.3.mlp.Mlp.parameters_grad.0.weight", t)]},
        debug: {"a": [leaf(debug + ".a.0", t), None]},
    }
    text = json.dumps({"task": "tensor", "level": "mix", "dump_data_dir": "/run/step0/rank0", "data": data}, indent=1)
    with open(f"{d}/dump.json", "w") as f:
        f.write(text)
    with open(f"{d}/cut.json", "w") as f:
        f.write(text[:len(text) * 2 // 3])


def huggingface(d):
    def leaf(name, tensor, **more):
        st.save_file({"data": tensor.contiguous()}, f"{d}/{name}.safetensors")
        return {"shape": repr(tensor.shape), "dtype": str(tensor.dtype), "value": f"./{name}.safetensors", **more}

    root, t = "LlamaForCausalLM", torch.ones(1, 2, 3, dtype=torch.bfloat16)
    norm, mlp = f"{root}.model.layers.3.input_layernorm", f"{root}.model.layers.3.mlp"
    figures = {"mean": "tensor(1., dtype=torch.bfloat16)", "std": "tensor(0.)", "min": "tensor(1.)", "max": "tensor(1.)"}
    printed = {"shape": "torch.Size([2])", "dtype": "torch.float32", "value": ["tensor([0.5, 1.])", ""], **figures}
    node = {
        "module_path": root,
        "inputs": {"args": [], "kwargs": {"input_ids": leaf(f"{root}_inputs_kwargs_input_ids", torch.arange(2)[None]),
                                          "use_cache": False, "labels": "None"}},
        "outputs": {"logits": leaf(f"{root}_outputs_logits", t), "past_key_values": "DynamicCache(layers=[])"},
        "children": [
            {"module_path": norm, "inputs": {"args": [leaf(f"{norm}_inputs_args_0", t, **figures)], "kwargs": {}},
             "outputs": leaf(f"{norm}_outputs", t.float()), "children": []},
            {"module_path": mlp, "inputs": {"args": [leaf(f"{mlp}_inputs_args_0", t), 0.5, None, [1, {"a": True}]],
                                            "kwargs": {}},
             "outputs": [leaf(f"{mlp}_outputs_0", t), printed], "children": [
                 {"module_path": f"{mlp}.act_fn", "inputs": None, "outputs": printed}]},
        ],
    }
    # Of a middle layer, which the tree leaves out.
    leaf(f"{root}.model.layers.2.mlp_outputs_0", t)
    for name, indent in (("full", 2), ("dense", None)):
        with open(f"{d}/{name}.json", "w") as f:
            json.dump(node, f, indent=indent)


def main(root):
    for make in (safetensors, index, numpy, sglang, msprobe, huggingface):
        folder = os.path.join(root, make.__name__)
        os.makedirs(folder)
        make(folder)


main(sys.argv[1])
