"""Writes dumps as msprobe does, with torch and numpy alone.

usage: write_msprobe.py DIRECTORY
"""

import json
import os
import sys

import numpy as np
import torch


class Rank:
    """One folder: an index and the tensors."""

    def __init__(self, folder, task="tensor"):
        self.folder, self.task, self.data = folder, task, {}
        os.makedirs(folder + "/dump_tensor_data", exist_ok=True)

    def leaf(self, name, tensor, suffix=".pt", dtype=None):
        """A tensor's description; its file too, where tensors are dumped."""
        info = {"type": "torch.Tensor", "dtype": dtype or str(tensor.dtype), "shape": list(tensor.shape)}
        if tensor.is_floating_point():
            x = tensor.float()
            info |= {"Max": x.max().item(), "Min": x.min().item(), "Mean": x.mean().item(), "Norm": x.norm().item()}
        info["requires_grad"] = False
        if self.task == "tensor":
            info["data_name"] = name + suffix
            path = f"{self.folder}/dump_tensor_data/{name}{suffix}"
            if suffix == ".npy":
                np.save(path, tensor.numpy() if tensor.dtype != torch.bfloat16
                        else tensor.view(torch.int16).numpy().view("V2"))
            else:
                torch.save(tensor.contiguous(), path)
        else:
            info["md5"] = "5e7b3c3a"
        return info

    def forward(self, op, inputs=(), outputs=(), kwargs=None, parameters=None, suffix=".pt"):
        # Python keeps the order of these members, and so does msprobe.
        self.data[op] = {
            "input_args": [
                self.leaf(f"{op}.input.{i}", x, suffix) if isinstance(x, torch.Tensor)
                else {"type": type(x).__name__, "value": x} for i, x in enumerate(inputs)
            ],
            "input_kwargs": {k: self.leaf(f"{op}.input.{k}", x, suffix) for k, x in (kwargs or {}).items()},
            "output": [self.leaf(f"{op}.output.{i}", x, suffix) for i, x in enumerate(outputs)],
        }
        if parameters is not None:
            self.data[op]["parameters"] = {
                k: self.leaf(f"{op}.parameters.{k}", x, suffix) for k, x in parameters.items()}

    def write(self, name="dump.json", cut=None, stack=True):
        text = json.dumps({"task": self.task, "level": "mix", "framework": "pytorch",
                           "dump_data_dir": self.folder + "/dump_tensor_data", "data": self.data}, indent=1)
        with open(f"{self.folder}/{name}", "w") as f:
            f.write(text if cut is None else text[:text.index(cut)])
        if stack:
            for other in ("stack.json", "construct.json"):
                with open(f"{self.folder}/{other}", "w") as f:
                    f.write("{}")


def model(rank, r, calls=1, suffix=".pt"):
    for call in range(calls):
        for layer in range(2):
            x = torch.full((3, 4), 100.0 * call + 10 * layer + r).bfloat16()
            rank.forward(f"Module.model.layers.{layer}.mlp.Mlp.forward.{call}", [x, 2.5], [x * 2, x * 3],
                         kwargs={"residual": x}, parameters={}, suffix=suffix)
        rank.forward(f"Module.model.norm.RMSNorm.forward.{call}", [x], [x], parameters={"weight": torch.ones(4)},
                     suffix=suffix)


def main(root):
    for r in range(2):
        for step in range(2):
            rank = Rank(f"{root}/ranks/step{step}/rank{r}")
            model(rank, r)
            rank.forward("Functional.linear.37.forward", [torch.ones(2, 2)], [torch.ones(2, 2)])
            # msprobe saves no tensor without elements.
            rank.data["Functional.cat.0.forward"] = {
                "input_args": [{"type": "torch.Tensor", "dtype": "torch.bfloat16", "shape": [0, 4]}], "output": []}
            rank.data["Module.model.layers.0.mlp.Mlp.backward.0"] = {
                "input": [rank.leaf("Module.model.layers.0.mlp.Mlp.backward.0.input.0", torch.ones(3, 4))], "output": []}
            rank.data["Module.model.layers.0.mlp.Mlp.parameters_grad.0"] = {
                "weight": [rank.leaf("Module.model.layers.0.mlp.Mlp.parameters_grad.0.weight", torch.ones(5))]}
            rank.write()
    rank = Rank(f"{root}/calls/step7/proc4711")
    model(rank, 0, calls=3, suffix=".npy")
    rank.write()
    rank = Rank(f"{root}/statistics/step0/rank0", task="statistics")
    model(rank, 0)
    rank.data["Module.model.norm.RMSNorm.forward.0"]["output"][0] |= {"Max": float("nan"), "Min": float("-inf")}
    rank.write()

    rank = Rank(f"{root}/cut/step0/rank0")
    model(rank, 0)
    rank.write(cut='"Module.model.norm')
    rank = Rank(f"{root}/behind/step0/rank0")
    model(rank, 0)
    del rank.data["Module.model.norm.RMSNorm.forward.0"]
    rank.write()
    rank = Rank(f"{root}/absent/step0/rank0")
    model(rank, 0)

    rank = Rank(f"{root}/wrong/step0/rank0")
    model(rank, 0)
    ops = list(rank.data)
    rank.data[ops[0]]["output"][0]["shape"] = [4, 3]
    rank.data[ops[0]]["output"][1]["dtype"] = "torch.float32"
    rank.data[ops[1]]["output"][0]["data_name"] = "../dump.json"
    rank.data[ops[1]]["output"][1]["data_name"] = "lost.pt"
    rank.data["what is this"] = {}
    rank.write()
    path = f"{rank.folder}/dump_tensor_data/{ops[2]}.output.0.pt"
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) // 2)
    with open(f"{rank.folder}/dump_error_info.log", "w") as f:
        f.write("error\n")
    with open(f"{rank.folder}/dump_tensor_data/notes.txt", "w") as f:
        f.write("x")

    for pid in (11, 12):
        rank = Rank(f"{root}/processes/step0/proc{pid}")
        model(rank, pid)
        rank.write()

    rank = Rank(f"{root}/debug/step0/rank3")
    for count in range(2):
        name = f"layer3.h.{count}.debug"
        rank.data[name] = rank.leaf(name, torch.full((2,), float(count)))
    rank.data["dict.0.debug"] = {"a": rank.leaf("dict.0.debug.a", torch.ones(4)), "b": [{"type": "float", "value": 1.5}]}
    rank.data["dict_grad.0.debug"] = {"a": None}
    rank.write("debug.json", stack=False)


main(sys.argv[1])
