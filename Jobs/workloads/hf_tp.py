#!/usr/bin/env python3
"""A Hugging Face Llama with random weights under its own tensor parallelism, dumped with forward hooks.

    python3 hf_tp.py --nproc 4 --dtype bf16

The model is transformers' LlamaForCausalLM, sharded by its own tp_plan="auto" on the CPU through gloo; this
script only draws the weights, hooks the modules and plants faults. It needs torch and transformers 4.57.

Calls: 0 is the warm-up (zeros), 1 the prefill (4 prompts). Dumps are written under ATOM's variables, in
ATOM's file layout: ATOM_FWD_DUMP_DIR, and ATOM_FWD_DUMP_BLOCK_CLASS with any of the names below.

What `hidden` holds on a rank, in the order in which the modules run (rows are the tokens of the batch):
    embed_tokens                          replicated; `input` holds the token ids; stands in layer 0
    input_layernorm                       replicated
    q_proj k_proj v_proj q_rope k_rope    a slice of the last axis
    o_proj self_attn                      replicated: the all-reduce is a hook of o_proj
    post_attention_layernorm              replicated
    gate_proj up_proj act_fn              a slice of the last axis
    down_proj mlp decoder_layer           replicated
    final_norm lm_head                    stand in the last layer; replicated

--bug plants a named fault; --list-bugs shows them. With --batch, each line of the standard input is one run
(directory, names, arguments; tabs between), and runs of one world size share their processes.
"""

import argparse
import hashlib
import math
import os
import sys
import tempfile

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

REDUCED = ("down_proj", "o_proj")

# name: (modules that can bear it, the default first; what it does)
BUGS = {
    "missing-reduce": (REDUCED, "the all-reduce is left out"),
    "double-reduce": (REDUCED, "the sum is all-reduced a second time"),
    "average-reduce": (REDUCED, "the ranks are averaged instead of summed"),
    "rank-absent": (REDUCED, "the last rank contributes zeros"),
    "residual-repeated": (REDUCED, "every rank but the first adds the residual before the reduce"),
    "bias-repeated": (("o_proj",), "every rank adds the bias before the reduce"),
    "non-finite": (REDUCED, "the last rank contributes one NaN"),
    "token-corruption": (REDUCED, "the row of one token is garbage"),
    "row-shift": (REDUCED, "every row holds the row before it"),
    "chunk-order": (REDUCED, "the rows stand in the zigzag order of context-parallel ranks"),
    "replica-divergence": (REDUCED, "the last rank's copy drifts by a little noise"),
    "stage-mismatch": (REDUCED, "no fault in the model: the dump is taken before the reduce"),
    "duplicate-shard": (REDUCED, "every rank holds shard 0 of the row-parallel weight"),
    "float8-variant": (REDUCED, "the row-parallel weight has a doubled scale"),
    "weight-shuffle": (REDUCED, "the tiles of the row-parallel weight are shuffled"),
    "missing-weight": (REDUCED, "the row-parallel weight is random"),
    "fused-shard-layout": (("gate_proj", "q_proj"), "gate and up (or q, k and v) are cut as one"),
    "halves-swapped": (("gate_proj",), "gate and up change places"),
    "rank-order": (("q_proj", "gate_proj"), "the column-parallel shards stand in reversed order"),
    "head-map": (("k_proj",), "rank r holds the key and value heads of rank r // 2"),
    "rope-style": (("q_rope",), "RoPE pairs neighbours instead of halves"),
    "position-offset": (("q_rope",), "the query positions are off by one"),
    "norm-weight-offset": (("post_attention_layernorm", "input_layernorm"), "the norm multiplies by 1 + w"),
    "quantisation-rounding": (("gate_proj",), "the input of gate and up is rounded to float8"),
    "input-mismatch": (("embed_tokens",), "the first token of the first prompt is another one"),
    "incomplete-ranks": (("embed_tokens",), "the last rank writes nothing from --layer on"),
}


def seed_of(*parts):
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:7], "big")


def draw(options, name, shape, std, mean=0.0):
    generator = torch.Generator()
    generator.manual_seed(seed_of(options.seed, name))
    return torch.randn(shape, generator=generator) * std + mean


def checkpoint(options, folder):
    """A directory with the model's random weights, written once for a shape, a seed and a type."""
    name = "%d-%d-%d-%s" % (options.seed, options.layers, options.hidden, options.dtype)
    path = os.path.join(folder, name)
    if os.path.exists(path):
        return path
    config = LlamaConfig(
        hidden_size=options.hidden, intermediate_size=options.intermediate, num_hidden_layers=options.layers,
        num_attention_heads=options.heads, num_key_value_heads=options.kv_heads, head_dim=options.head_dim,
        vocab_size=options.vocabulary, max_position_embeddings=256, attention_bias=True, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            if "norm" in key:
                value = draw(options, key, shape, 0.1, 1.0)
            elif key.endswith("bias"):
                value = draw(options, key, shape, 0.1)
            else:
                value = draw(options, key, shape, 1.0 if "embed" in key else 1.3 / math.sqrt(shape[-1]))
            parameter.copy_(value)
    model.to(torch.bfloat16 if options.dtype == "bf16" else torch.float32).save_pretrained(path)
    return path


def zigzag(rows, degree):
    size = rows // (2 * degree)
    chunks = [list(range(i * size, (i + 1) * size)) for i in range(2 * degree)]
    order = [row for i in range(degree) for row in chunks[i] + chunks[2 * degree - 1 - i]]
    return order + list(range(len(order), rows))


class Run(object):
    """One model on one rank, hooked and with its fault planted."""

    def __init__(self, options, folder, names, path):
        self.options, self.folder, self.names, self.calls = options, folder, names, {}
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.bug = options.bug if self.world > 1 else None
        dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
        plan = {"tp_plan": "auto"} if self.world > 1 else {}
        self.model = LlamaForCausalLM.from_pretrained(
            path, dtype=dtype, attn_implementation=options.attention, **plan).eval()
        self.residual = self.early = None
        if self.bug:
            self.full = LlamaForCausalLM.from_pretrained(path, dtype=dtype).state_dict()
            self.plant(self.model.model.layers[options.layer])
        self.hook()

    # ------------------------------------------------------------------------------------- faults

    def plant(self, layer):
        bug, options = self.bug, self.options
        site = options.site or BUGS[bug][0][0]
        inside = layer.self_attn if site in ("o_proj", "q_proj", "k_proj", "q_rope") else layer.mlp
        module = getattr(inside, site, None) or getattr(layer, site, None)
        if site in REDUCED:
            before = layer.input_layernorm if site == "o_proj" else layer.post_attention_layernorm
            before.register_forward_pre_hook(lambda _, inputs: setattr(self, "residual", inputs[0]))
            self.plant_weight(module, "%s.weight" % self.prefix(inside, site), axis=1)
            module._forward_hooks.clear()
            module.register_forward_hook(lambda m, inputs, output: self.reduce(m, output))
        elif bug in ("fused-shard-layout", "rank-order", "head-map", "halves-swapped"):
            group = ("gate_proj", "up_proj") if site == "gate_proj" else ("q_proj", "k_proj", "v_proj")
            self.plant_columns(inside, group)
        elif bug == "norm-weight-offset":
            with torch.no_grad():
                module.weight.add_(1)
        elif bug == "quantisation-rounding":
            layer.mlp.register_forward_pre_hook(lambda _, inputs: (self.float8(inputs[0]),))

    def prefix(self, inside, site):
        return "model.layers.%d.%s.%s" % (
            self.options.layer, "self_attn" if hasattr(inside, "o_proj") else "mlp", site)

    def local(self, parameter):
        return parameter.to_local() if isinstance(parameter, DTensor) else parameter

    def piece(self, tensor, axis, rank):
        width = tensor.shape[axis] // self.world
        return tensor.narrow(axis, rank * width, width)

    def plant_weight(self, module, key, axis):
        mine, full = self.local(module.weight.data), self.full[key]
        if self.bug == "duplicate-shard":
            mine.copy_(self.piece(full, axis, 0))
        elif self.bug == "float8-variant":
            mine.mul_(2)
        elif self.bug == "missing-weight":
            lost = draw(self.options, key + "?", tuple(full.shape), 1.3 / math.sqrt(full.shape[1]))
            mine.copy_(self.piece(lost.to(full.dtype), axis, self.rank))
        elif self.bug == "weight-shuffle":
            rows, columns = mine.shape
            tiles = mine.clone().reshape(rows // 16, 16, columns // 4, 4).transpose(1, 2)
            mine.copy_(tiles.reshape(mine.shape))

    def plant_columns(self, inside, group):
        """Weights and, where there are any, biases: a loader cuts both alike."""
        for kind in ("weight", "bias"):
            full = [self.full.get("%s.%s" % (self.prefix(inside, name), kind)) for name in group]
            if None not in full:
                self.plant_parts([self.local(getattr(getattr(inside, name), kind).data) for name in group], full)

    def plant_parts(self, parts, full):
        if self.bug == "rank-order":
            for part, whole in zip(parts, full):
                part.copy_(self.piece(whole, 0, self.world - 1 - self.rank))
        elif self.bug == "head-map":
            for part, whole in list(zip(parts, full))[1:]:
                part.copy_(self.piece(whole, 0, self.rank // 2))
        elif self.bug == "halves-swapped":
            for part, whole in zip(parts, reversed(full)):
                part.copy_(self.piece(whole, 0, self.rank))
        else:
            mine = self.piece(torch.cat(full), 0, self.rank)
            for part, piece in zip(parts, mine.split([len(part) for part in parts])):
                part.copy_(piece)

    def float8(self, x):
        rows = x.float().reshape(-1, x.shape[-1])
        scale = torch.exp2(torch.round(torch.log2(rows.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 448.0)))
        mantissa, exponent = torch.frexp((rows / scale).clamp(-448.0, 448.0))
        return (torch.ldexp(torch.round(mantissa * 16) / 16, exponent) * scale).to(x.dtype).reshape(x.shape)

    def reduce(self, module, output):
        """What the plan's own hook does with a row-parallel product, with the fault in it."""
        bug, last = self.bug, self.world - 1
        bias = getattr(module, "_bias", None)
        part = output.to_local().clone()
        if bug == "residual-repeated" and self.rank:
            part = part + self.residual
        if bug == "bias-repeated":
            part, bias = part + bias, None
        if bug == "rank-absent" and self.rank == last:
            part = torch.zeros_like(part)
        if bug == "non-finite" and self.rank == last:
            rows = part.view(-1, part.shape[-1])
            rows[min(self.options.token, len(rows) - 1), 3] = float("nan")
        if bug == "stage-mismatch":
            self.early = (module, part)
        out = part.clone()
        if bug != "missing-reduce":
            dist.all_reduce(out)
        if bug == "double-reduce":
            dist.all_reduce(out)
        if bug == "average-reduce":
            out = out / self.world
        out = out if bias is None else out + bias
        rows = out.view(-1, out.shape[-1])
        if bug == "token-corruption":
            garbage = draw(self.options, "garbage", (rows.shape[1],), 1.0) * rows.float().pow(2).mean().sqrt()
            rows[min(self.options.token, len(rows) - 1)] = garbage.to(rows.dtype)
        if bug == "row-shift":
            rows.copy_(torch.roll(rows, 1, dims=0))
        if bug == "chunk-order":
            rows.copy_(rows[zigzag(len(rows), max(2, self.world))])
        if bug == "replica-divergence" and self.rank == last:
            rows.mul_((1 + draw(self.options, "drift", tuple(rows.shape), 0.02)).to(rows.dtype))
        return out

    def rotate(self, q, k, cos, sin):
        """apply_rotary_pos_emb of the layer at fault: q, k [batch, heads, tokens, width]."""
        if self.bug == "position-offset":
            rate = 10000.0 ** (-torch.arange(0, q.shape[-1], 2).float() / q.shape[-1])
            angle = torch.cat([rate, rate])
            later = (cos.float() * angle.cos() - sin.float() * angle.sin(),
                     sin.float() * angle.cos() + cos.float() * angle.sin())
            shifted, _ = ROTATE(q, k, later[0].to(q.dtype), later[1].to(q.dtype))
            return shifted, ROTATE(q, k, cos, sin)[1]
        half = q.shape[-1] // 2
        cos, sin = cos[..., :half].unsqueeze(1), sin[..., :half].unsqueeze(1)

        def turn(x):
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).reshape(x.shape)
        return turn(q), turn(k)

    # -------------------------------------------------------------------------------------- dumps

    def hook(self):
        layers, last = self.model.model.layers, self.options.layers - 1
        stages = [(0, "embed_tokens", self.model.model.embed_tokens)]
        for index, layer in enumerate(layers):
            attention, mlp = layer.self_attn, layer.mlp
            for owner, names in ((layer, ("input_layernorm", "post_attention_layernorm", "self_attn", "mlp")),
                                 (attention, ("q_proj", "k_proj", "v_proj", "o_proj")),
                                 (mlp, ("gate_proj", "up_proj", "act_fn", "down_proj"))):
                stages += [(index, name, getattr(owner, name)) for name in names]
            stages.append((index, "decoder_layer", layer))
            attention.register_forward_pre_hook(lambda _, inputs, index=index: setattr(self, "current", index))
        stages += [(last, "final_norm", self.model.model.norm), (last, "lm_head", self.model.lm_head)]
        for index, name, module in stages:
            if name in self.names:
                module.register_forward_hook(
                    lambda m, inputs, output, index=index, name=name: self.dump(index, name, m, inputs, output))
        modeling_llama.apply_rotary_pos_emb = self.rotary

    def rotary(self, q, k, cos, sin, *rest, **named):
        faulty = self.bug in ("rope-style", "position-offset") and self.current == self.options.layer
        q, k = self.rotate(q, k, cos, sin) if faulty else ROTATE(q, k, cos, sin)
        for name, x in (("q_rope", q), ("k_rope", k)):
            if name in self.names:
                self.dump(self.current, name, None, (), x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1))
        return q, k

    def dump(self, layer, name, module, inputs, output):
        call = self.calls[layer, name] = self.calls.get((layer, name), -1) + 1
        if self.bug == "incomplete-ranks" and self.rank == self.world - 1 and layer >= self.options.layer:
            return
        if self.early and self.early[0] is module:
            output, self.early = self.early[1], None

        def rows(x):
            if not torch.is_tensor(x):
                return None
            x = self.local(x).detach().contiguous().clone()
            return x.reshape(-1) if not x.is_floating_point() else x.reshape(-1, x.shape[-1])
        hidden = rows(output[0] if isinstance(output, tuple) else output)
        file = "layer%02d_%s_rank%d_call%03d.pt" % (layer, name, self.rank, call)
        beside = os.path.join(self.folder, ".%s.tmp" % file)
        torch.save({
            "hidden": hidden, "shape": tuple(hidden.shape), "input": rows(inputs[0]) if inputs else None,
            "input_fields": {}, "output_fields": {},
        }, beside)
        os.replace(beside, os.path.join(self.folder, file))

    def serve(self):
        options = self.options
        os.makedirs(self.folder, exist_ok=True)
        prompts = []
        for slot in range(options.slots):
            generator = torch.Generator()
            generator.manual_seed(seed_of(options.seed, "prompt", slot))
            prompts.append(torch.randint(1, options.vocabulary, (options.prompt_length,), generator=generator))
        ids = torch.stack(prompts)
        if self.bug == "input-mismatch":
            ids[0, 0] = ids[0, 0] % (options.vocabulary - 1) + 1
        with torch.no_grad():
            self.model(torch.zeros((options.slots, 2), dtype=torch.int64), use_cache=False)
            self.model(ids, use_cache=False)


ROTATE = modeling_llama.apply_rotary_pos_emb


def parse(words):
    parser = argparse.ArgumentParser(prog="hf_tp.py", description="A Hugging Face Llama that writes ATOM's dumps.")
    add = parser.add_argument
    add("--nproc", type=int, default=1, help="ranks to start")
    add("--dtype", choices=("bf16", "f32"), default="bf16")
    add("--attention", choices=("eager", "sdpa"), default="eager", help="transformers' attention implementation")
    add("--seed", type=int, default=0)
    add("--slots", type=int, default=4)
    add("--prompt-length", type=int, default=9)
    add("--layers", type=int, default=4)
    add("--hidden", type=int, default=128)
    add("--heads", type=int, default=16)
    add("--kv-heads", type=int, default=8)
    add("--head-dim", type=int, default=16)
    add("--intermediate", type=int, default=256)
    add("--vocabulary", type=int, default=150)
    add("--bug", choices=sorted(BUGS), default=None, help="plant a fault where the world is larger than 1")
    add("--layer", type=int, default=2, help="the layer that bears the fault")
    add("--site", default=None, help="the module that bears it")
    add("--token", type=int, default=17, help="the token at fault")
    add("--list-bugs", action="store_true")
    add("--batch", action="store_true", help="read runs from the standard input")
    options = parser.parse_args(words)
    if options.bug and options.site and options.site not in BUGS[options.bug][0]:
        parser.error("bug '%s' cannot stand in '%s'; it can in: %s" % (
            options.bug, options.site, ", ".join(BUGS[options.bug][0])))
    if not 0 <= options.layer < options.layers:
        parser.error("--layer %d: the model has layers 0-%d" % (options.layer, options.layers - 1))
    for name in ("heads", "kv_heads", "intermediate"):
        if getattr(options, name) % options.nproc:
            parser.error("world size %d does not divide --%s" % (options.nproc, name.replace("_", "-")))
    return options


def ranks_of(world, runs, weights):
    """Runs of one world size, one after the other in the same processes."""
    with tempfile.TemporaryDirectory(prefix="hf-tp-") as folder:
        children = []
        for rank in range(world):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    torch.set_num_threads(1)
                    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
                    if world > 1:
                        dist.init_process_group(
                            "gloo", init_method="file://" + os.path.join(folder, "store"), rank=rank, world_size=world)
                    for options, directory, names, path in runs:
                        Run(options, directory, names, path).serve()
                        if world > 1:
                            dist.barrier()
                    code = 0
                except BaseException:
                    import traceback
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            children.append(pid)
        codes = []
        while len(codes) < len(children):
            pid, status = os.wait()
            if pid not in children:
                continue
            codes.append(status)
            if status and not any(codes[:-1]):
                # The others wait for this rank for ever.
                for other in children:
                    try:
                        os.kill(other, 9)
                    except OSError:
                        pass
        return 1 if any(codes) else 0


def main():
    options = parse(sys.argv[1:])
    if options.list_bugs:
        for name in sorted(BUGS):
            print("%-24s %-40s %s" % (name, ",".join(BUGS[name][0]), BUGS[name][1]))
        return 0
    if os.path.exists("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if options.batch:
        wanted = [line.rstrip("\n").split("\t") for line in sys.stdin]
    else:
        names = os.environ.get("ATOM_FWD_DUMP_BLOCK_CLASS", "decoder_layer")
        wanted = [(os.environ["ATOM_FWD_DUMP_DIR"], names, " ".join(sys.argv[1:]))]
    with tempfile.TemporaryDirectory(prefix="hf-tp-weights-") as weights:
        runs = {}
        for directory, names, words in wanted:
            options = parse(words.split())
            run = (options, directory, set(names.split(",")), checkpoint(options, weights))
            runs.setdefault(options.nproc, []).append(run)
        return max(ranks_of(world, runs[world], weights) for world in sorted(runs))


if __name__ == "__main__":
    sys.exit(main())
