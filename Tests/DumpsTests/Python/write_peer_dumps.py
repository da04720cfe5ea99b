"""Dumps with the producers' own dumpers, and says what their own readers find.

usage: write_peer_dumps.py sglang|msprobe DIRECTORY

For sglang: DIRECTORY/found.json, what SGLang's loader and comparator make of each file. For msprobe: the tensors that
a hook of our own saw, by module and place.
"""

import importlib
import importlib.util
import json
import os
import sys
import types

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

RANKS = 2


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(4, 8, dtype=torch.bfloat16)

    def forward(self, x, residual=None):
        return torch.relu(self.up(x)) + (0 if residual is None else residual.repeat(1, 2)), x


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = MLP()

    def forward(self, x):
        y, x = self.mlp(x, residual=x)
        return y[:, :4] + x


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(16, 4, dtype=torch.bfloat16)
        self.layers = nn.ModuleList(Layer() for _ in range(2))

    def forward(self, input_ids):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return x


def model(rank):
    torch.manual_seed(rank)
    return Model()


def stub(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


def load_sglang(rank, size):
    """The dumper's own module; of the rest of SGLang only what it imports by name."""
    place = importlib.util.find_spec("sglang").submodule_search_locations[0]
    for name in ("sglang", "sglang.srt", "sglang.srt.debug_utils"):
        stub(name).__path__ = [os.path.join(place, *name.split(".")[1:])]
    parallel = types.SimpleNamespace(
        tp_rank=rank, tp_size=size, pp_rank=0, pp_size=1, moe_ep_rank=rank, moe_ep_size=size, moe_tp_rank=0,
        moe_tp_size=1, moe_dp_rank=0, attn_tp_rank=rank, attn_tp_size=size, attn_dp_rank=0, attn_dp_size=1,
        attn_cp_rank=0, attn_cp_size=1)
    stub("sglang.srt.managers")
    stub("sglang.srt.managers.io_struct", sock_recv=None, sock_send=None, wrap_as_pickle=None)
    stub("sglang.srt.runtime_context", get_parallel=lambda: parallel, get_server_args=lambda: None, get_serving=None)
    stub("sglang.srt.utils", get_device=lambda: "cpu")
    dumper = importlib.import_module("sglang.srt.debug_utils.dumper")
    plugin = dumper._SGLangPlugin
    plugin._available = True
    plugin._dp_attn = types.SimpleNamespace(get_moe_cp_size=lambda: 1, is_dp_attention_enabled=lambda: False)
    plugin.convert_value = lambda self, value, skip_forward_batch: None
    return dumper


def sglang_rank(rank, root):
    os.environ.update(
        DUMPER_ENABLE="1", DUMPER_DIR=root, DUMPER_NON_INTRUSIVE_MODE="all", DUMPER_ENABLE_OUTPUT_CONSOLE="0",
        DUMPER_EXP_NAME="dump_test", DUMPER_ENABLE_MODEL_VALUE="1", DUMPER_ENABLE_GRAD="1")
    dist.init_process_group("gloo", init_method=f"file://{root}/rendezvous", rank=rank, world_size=RANKS)
    dumper = load_sglang(rank, RANKS).dumper
    net = model(rank)
    dumper.register_non_intrusive_dumper(net)
    dumper.dump_model(net)
    for step in range(2):
        net(input_ids=torch.arange(5 if step == 0 else 1))
        for head in range(2):
            for value in range(2):
                dumper.dump("scores", torch.full((3,), float(head * 10 + value)), dims="t[tp:partial]", head=head)
        dumper.dump("moe/router", torch.ones(2) * rank, dims="t # tp:replicated", layer_id=1)
        dumper.dump("odd___name", torch.ones(6))
        dumper.dump("rids", ["a", "b"])
        x = torch.ones(3, requires_grad=True)
        dumper.dump("leaf", x, dims="h[tp]")
        (x * 2).sum().backward()
        dumper.step()
    dist.destroy_process_group()


def sglang(root):
    mp.spawn(sglang_rank, args=(root,), nprocs=RANKS)
    load_sglang(0, 1)
    loader = importlib.import_module("sglang.srt.debug_utils.dump_loader")
    info = importlib.import_module("sglang.srt.debug_utils.comparator.aligner.unsharder.parallel_info")
    found = []
    for row in loader.read_meta(f"{root}/dump_test").to_dicts():
        item = loader.ValueWithMeta.load(f"{root}/dump_test/{row['filename']}")
        if not isinstance(item.value, torch.Tensor):
            continue
        found.append({
            "file": "dump_test/" + row["filename"], "step": row["step"], "rank": row["rank"],
            "duplicate": row["duplicate_index"], "shape": list(item.value.shape),
            "sum": item.value.double().sum().item(), "dims": item.meta.get("dims"),
            "parallel": {
                axis.value: [a.axis_rank, a.axis_size] for axis, a in info.normalize_parallel_info(item.meta).items()},
        })
    with open(f"{root}/found.json", "w") as f:
        json.dump(found, f)


def msprobe(root):
    from msprobe.pytorch import PrecisionDebugger

    config = {"task": "tensor", "dump_path": f"{root}/dump", "rank": [], "step": [], "level": "L0", "tensor": {}}
    with open(f"{root}/config.json", "w") as f:
        json.dump(config, f)
    net = model(0)
    debugger = PrecisionDebugger(config_path=f"{root}/config.json")
    seen = []

    def tensors(value):
        return [x for x in (value if isinstance(value, tuple) else (value,)) if isinstance(x, torch.Tensor)]

    for step in range(2):
        debugger.start(model=net)
        for call in range(2):
            handles = [
                m.register_forward_hook(
                    lambda _, args, kwargs, out, name=name: seen.extend(
                        {"module": name, "step": step, "call": call, "tensor": f"{kind}.{i}",
                         "shape": list(x.shape), "sum": x.double().sum().item()}
                        for kind, value in (("input_fields", args), ("output", out))
                        for i, x in enumerate(tensors(value))), with_kwargs=True)
                for name, m in net.named_modules() if name.endswith(("mlp", "embed", "up"))]
            net(torch.arange(5 + call))
            for handle in handles:
                handle.remove()
        debugger.stop()
        debugger.step()
    with open(f"{root}/found.json", "w") as f:
        json.dump(seen, f)


if __name__ == "__main__":
    {"sglang": sglang, "msprobe": msprobe}[sys.argv[1]](sys.argv[2])
