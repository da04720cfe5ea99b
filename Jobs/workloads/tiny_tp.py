#!/usr/bin/env python3
"""A small decoder-only transformer with real tensor parallelism, made to be debugged.

One command starts every rank:

    python3 tiny_tp.py --nproc 8 --backend eager

Under torchrun or srun (RANK and WORLD_SIZE are set) it joins the ranks it is given instead. CPU ranks
talk through gloo, CUDA and ROCm ranks through nccl. The model: 4 layers of RMSNorm, grouped-query
attention (RoPE, a norm over the whole width of q and of k, a bias on the output projection), RMSNorm,
then a SwiGLU MLP (layer 0) or a mixture of experts with a shared expert (the other layers). The full
weights come from one seed a parameter, so every world size computes the same model.

--dense makes every layer's feed-forward an MLP, --no-qk-norm leaves out QNorm and KNorm; with both, fewer
key/value heads than ranks are replicated, as grouped-query models do. --layers 36 makes it deep.

Calls: 0 is the warm-up (64 dummy tokens), 1 the prefill (4 x 13 tokens), then one call a decode step.
--prefill-chunks, --decode-tokens, --warm-up-tokens, --per-sequence, --one-by-one, --dummy and --again
make the other orders of calls that engines have.

Dumps are written under ATOM's variables, in ATOM's file layout:
    ATOM_FWD_DUMP_DIR, _LAYERS, _BLOCK_CLASS, _LAYER_ATTR, _ONE_SHOT
    ATOM_WEIGHT_DUMP_DIR, _LAYERS, _EXIT

Classes that can be dumped, in the order in which they run, with what their `hidden` holds on a rank:
    Embedding            replicated; `input` holds the token ids; stands in layer 0
    AttnNorm             replicated
    QProj KProj VProj    a slice of the last axis (concatenate the ranks)
    QNorm KNorm          likewise
    QRope KRope          likewise
    AttnContext          likewise
    OProj                a partial sum
    Attention            replicated
    FfnNorm              replicated
    Router               replicated, [tokens, experts] in float32, scaling factor applied
    GateUp               MLP and shared expert: [gate slice | up slice] of each rank (fused blocks), float32
    Activation           MLP and shared expert: a slice of the last axis
    DownProj             MLP and shared expert: a partial sum
    RoutedExperts SharedExpert    partial sums
    MLP MoE              replicated
    Block                replicated
    FinalNorm LMHead     stand in the last layer; LMHead is a slice of the padded vocabulary

--bug plants a named fault in one stage of one layer; --list-bugs shows them.
"""

import argparse
import hashlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

USAGE = 2
LOST_PARENT = 75


class UserError(Exception):
    """Something the caller can put right: one line, exit code 2."""


try:
    import torch
    import torch.distributed as dist
    from torch import nn
except ImportError as error:
    sys.stderr.write("tiny_tp: %s cannot import torch (%s)\n" % (sys.executable, error))
    sys.exit(USAGE)


# --------------------------------------------------------------------------------------------- bugs

ATTENTION, MLP_STAGE, MOE_STAGE, HEAD, RUN = "Attention", "MLP", "MoE", "LMHead", "run"
FFN = (MOE_STAGE, MLP_STAGE)
REDUCED = (MOE_STAGE, MLP_STAGE, ATTENTION)

# name: (stages that can bear it, the default first; what it does)
BUGS = {
    "missing-reduce": (REDUCED, "the all-reduce is left out"),
    "double-reduce": (REDUCED, "the sum is all-reduced a second time"),
    "average-reduce": (REDUCED, "the ranks are averaged instead of summed"),
    "branch-repeated": ((MOE_STAGE,), "the whole shared expert is added on every rank before the reduce"),
    "branch-missing-reduce": ((MOE_STAGE,), "the shared expert's partial is added after the reduce"),
    "residual-repeated": (REDUCED, "every rank but the first adds the residual before the reduce"),
    "bias-repeated": ((ATTENTION,), "every rank adds the output bias before the reduce"),
    "rank-absent": (REDUCED, "one rank (--bug-rank) contributes zeros to the reduce"),
    "duplicate-shard": (REDUCED, "every rank loads shard 0 of the row-parallel weight"),
    "fused-shard-layout": (REDUCED, "the fused gate_up (or q, k, v) is cut in contiguous pieces"),
    "halves-swapped": (FFN, "gate and up change places"),
    "head-map": ((ATTENTION,), "rank r loads the key/value heads of rank r // 2 (of r modulo the heads where ranks share them)"),
    "rank-order": (REDUCED + (HEAD,), "the column-parallel shards stand in reversed rank order"),
    "shard-local-statistics": ((ATTENTION,), "the q and k norms see only their rank's slice (not with --no-qk-norm)"),
    "missing-scale": ((MOE_STAGE,), "the routed scaling factor is left out"),
    "repeated-scale": ((MOE_STAGE,), "the routed scaling factor is applied twice"),
    "float8-variant": (REDUCED, "the row-parallel weight is read with a doubled scale"),
    "weight-shuffle": (REDUCED, "the tiles of the row-parallel weight are shuffled"),
    "rope-style": ((ATTENTION,), "RoPE pairs neighbours instead of halves"),
    "position-offset": ((ATTENTION,), "the query positions are off by one"),
    "norm-weight-offset": (REDUCED, "the norm before the stage multiplies by 1 + w instead of w"),
    "missing-clamp": (FFN, "the SwiGLU clamp is left out"),
    "quantisation-rounding": (REDUCED, "the stage's input is quantised to float8 with a rounded power-of-two scale"),
    "token-corruption": (REDUCED, "the row of one token (--bug-token) is garbage"),
    "row-shift": (REDUCED, "every row holds the row before it"),
    "chunk-order": (REDUCED, "the rows stand in the zigzag order of context-parallel ranks"),
    "uninitialised-padding": (REDUCED, "the rows that --pad-rows adds to the dump hold whatever was in memory"),
    "expert-choice": ((MOE_STAGE,), "the router picks each token's experts by the scores of the token before it"),
    "chunk-state": ((ATTENTION,), "a call that continues a sequence ignores the cached keys and values"),
    "batch-variance": (REDUCED, "the row-parallel product is split differently for every slot"),
    "strategy-dependent": (REDUCED, "with --allreduce one-shot the last rank is left out"),
    "nondeterminism": (REDUCED, "the row-parallel product is summed in a random order, new in every process"),
    "non-finite": (REDUCED, "the last rank contributes one NaN, at --bug-token"),
    "vocabulary-padding": ((HEAD,), "the padding of the vocabulary holds large weights and can win"),
    "divisibility": (FFN, "a shard is rounded down to a multiple of 16 columns; the rest is lost"),
    "replica-divergence": (REDUCED, "the last rank's copy of the output drifts by a little noise"),
    "missing-weight": (REDUCED, "the row-parallel weight is never loaded and stays random"),
    "stage-mismatch": (REDUCED, "no fault in the model: the dump is taken before the reduce"),
    "incomplete-ranks": ((RUN,), "the last rank writes no forward dump from --layer on"),
    "stale-dump": ((RUN,), "the last rank's dumps of --layer bear a time of long ago"),
    "input-mismatch": ((RUN,), "the first token of the first prompt is another one"),
}


class Bug(object):
    """The fault to plant, resolved against the model; `at` answers whether it stands in a given place."""

    def __init__(self, options, world):
        self.name = options.bug
        self.layer = options.layer
        self.every = options.bug_every
        self.stage = options.stage
        self.token = options.bug_token
        self.rank = options.bug_rank if options.bug_rank is not None else world - 1
        if self.name is None:
            return
        if self.name not in BUGS:
            raise UserError("unknown bug '%s'; known: %s" % (self.name, ", ".join(sorted(BUGS))))
        stages = BUGS[self.name][0]
        if self.layer >= options.layers or self.layer < 0:
            raise UserError("--layer %d: the model has layers 0-%d" % (self.layer, options.layers - 1))
        if self.stage is None:
            self.stage = stages[0]
            if self.stage in FFN and options.feed_forward(self.layer) in stages:
                self.stage = options.feed_forward(self.layer)
        if self.stage not in stages:
            raise UserError("bug '%s' cannot stand in stage '%s'; it can in: %s" % (
                self.name, self.stage, ", ".join(stages)))
        if self.stage in FFN and self.stage != options.feed_forward(self.layer):
            raise UserError("layer %d has no stage '%s' but %s" % (
                self.layer, self.stage, options.feed_forward(self.layer)))
        if self.stage == HEAD:
            self.layer = options.layers - 1
        if not 0 <= self.rank < world:
            if world >= options.bug_from_world_size:
                raise UserError("--bug-rank %d: there are ranks 0-%d" % (self.rank, world - 1))
        if world < options.bug_from_world_size:
            self.name = None

    def at(self, layer, stage):
        # A class of layers: the first that bears it, and each n-th behind.
        is_there = layer == self.layer or self.every and layer > self.layer and (layer - self.layer) % self.every == 0
        return self.name if is_there and stage == self.stage else None

    def is_run(self, name):
        return self.name == name


# --------------------------------------------------------------------------------- ranks and reduces


class Ranks(object):
    """The tensor-parallel group: which rank this is, and the collectives the model uses."""

    def __init__(self, rank, world, device, strategy):
        self.rank, self.world, self.device, self.strategy = rank, world, device, strategy
        self.sums_bfloat16 = world == 1 or self.can_sum(torch.bfloat16)

    def can_sum(self, dtype):
        """Old versions of gloo refuse bfloat16, on every rank alike."""
        try:
            dist.all_reduce(torch.zeros(1, dtype=dtype, device=self.device))
        except RuntimeError:
            return False
        return True

    def gather(self, x):
        """Every rank's tensor, in rank order. As bytes: gloo knows few element types."""
        if self.world == 1:
            return [x]
        x = x.contiguous()
        mine = x.reshape(-1).view(torch.uint8)
        parts = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(parts, mine)
        return [part.view(x.dtype).reshape(x.shape) for part in parts]

    def all_reduce(self, x, without=None):
        if self.world == 1:
            return x.clone()
        refused = x.dtype == torch.bfloat16 and not self.sums_bfloat16
        if self.strategy == "one-shot" or refused:
            parts = [part for rank, part in enumerate(self.gather(x)) if rank != without]
            total = parts[0].float()
            for part in parts[1:]:
                total = total + part.float()
            return total.to(x.dtype)
        total = x.clone()
        dist.all_reduce(total)
        return total

    def sum_float32(self, x):
        if self.world > 1 and self.strategy == "one-shot":
            return self.all_reduce(x)
        if self.world > 1:
            x = x.contiguous()
            dist.all_reduce(x)
        return x

    def broadcast(self, x):
        if self.world > 1:
            dist.broadcast(x, 0)
        return x


# -------------------------------------------------------------------------------------------- kernels


def matmul(x, weight):
    return x @ weight.transpose(-1, -2)


def split_matmul(x, weight, bounds):
    """The product in float32 with its inner axis cut at `bounds`: one sum a piece, added in the order given."""
    total = None
    for start, stop in bounds:
        piece = matmul(x[..., start:stop].float(), weight[..., start:stop].float())
        total = piece if total is None else total + piece
    return total


def rounded_split_matmul(x, weight, bounds):
    """The same with every piece rounded to the type of `x`, so that the cuts and their order show."""
    pieces = [matmul(x[..., start:stop], weight[..., start:stop]) for start, stop in bounds]
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    return total


def even_bounds(size, parts):
    step = -(-size // parts)
    return [(start, min(size, start + step)) for start in range(0, size, step)]


def rms_scale(x, weight, mean_square):
    return (x.float() * torch.rsqrt(mean_square + 1e-6) * weight.float()).to(x.dtype)


def clamped_swiglu(gate, up, limit):
    gate, up = gate.float(), up.float()
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(min=-limit, max=limit)
    return gate * torch.sigmoid(gate) * up


class Eager(object):
    """One matrix product a projection, softmax over the whole row, gate and up in one product."""

    def linear(self, x, weight):
        return matmul(x, weight)

    def gate_up(self, x, weight):
        return self.wide_linear(x, weight)

    def wide_linear(self, x, weight):
        """The product before it is rounded, for the activation that is fused behind it."""
        return matmul(x.float(), weight.float())

    def norm(self, x, weight, mean_square):
        return rms_scale(x, weight, mean_square)

    def swiglu(self, gate, up, limit):
        return clamped_swiglu(gate, up, limit)

    def attention(self, q, k, v, past):
        """q [heads, new, d], k and v [heads, all, d]; causal, `past` positions before the first query."""
        scores = q.float() @ k.float().transpose(1, 2) / math.sqrt(q.shape[-1])
        rows = torch.arange(q.shape[1], device=q.device)[:, None] + past
        columns = torch.arange(k.shape[1], device=q.device)[None, :]
        scores = scores.masked_fill(columns > rows, float("-inf"))
        return torch.softmax(scores, dim=-1).to(q.dtype) @ v


class Split(Eager):
    """Split-K products in blocks of 64, attention in blocks of 8 keys with a running softmax, gate and up apart."""

    def linear(self, x, weight):
        return self.wide_linear(x, weight).to(x.dtype)

    def gate_up(self, x, weight):
        gate, up = weight.chunk(2, dim=-2)
        return torch.cat([self.wide_linear(x, gate), self.wide_linear(x, up)], dim=-1)

    def wide_linear(self, x, weight):
        return split_matmul(x, weight, even_bounds(x.shape[-1], -(-x.shape[-1] // 64)))

    def attention(self, q, k, v, past):
        q32 = q.float() / math.sqrt(q.shape[-1])
        rows = torch.arange(q.shape[1], device=q.device)[:, None] + past
        top = torch.full(q.shape[:2] + (1,), float("-inf"), device=q.device)
        norm = torch.zeros_like(top)
        total = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
        for start in range(0, k.shape[1], 8):
            keys, values = k[:, start:start + 8], v[:, start:start + 8]
            columns = torch.arange(start, start + keys.shape[1], device=q.device)[None, :]
            scores = (q32 @ keys.float().transpose(1, 2)).masked_fill(columns > rows, float("-inf"))
            higher = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            rescale = torch.exp(top - higher)
            weights = torch.exp(scores - higher)
            norm = norm * rescale + weights.sum(dim=-1, keepdim=True)
            total = total * rescale + weights @ values.float()
            top = higher
        return (total / norm).to(q.dtype)


class Compile(Eager):
    """Eager's products with the norms and the activation fused by torch.compile."""

    def __init__(self):
        if not hasattr(torch, "compile"):
            raise UserError("backend compile: torch %s has no torch.compile" % torch.__version__)
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        self.compiled_norm = torch.compile(rms_scale, dynamic=True)
        self.compiled_swiglu = torch.compile(clamped_swiglu, dynamic=True)

    def check(self, device):
        try:
            x = torch.ones(4, 8, device=device)
            self.compiled_norm(x, x[0], x[:, :1])
            self.compiled_swiglu(x, x, 2.0)
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError("backend compile does not work here: %s" % lines[0])

    def norm(self, x, weight, mean_square):
        return self.compiled_norm(x, weight, mean_square)

    def swiglu(self, gate, up, limit):
        return self.compiled_swiglu(gate, up, limit)


BACKENDS = {"eager": Eager, "split": Split, "compile": Compile}


def fake_float8(x):
    """Round to 3 mantissa bits under a power-of-two scale for each 64 channels that is rounded, not rounded up."""
    blocks = x.float().reshape(x.shape[0], -1, 64)
    top = blocks.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12)
    scale = torch.exp2(torch.round(torch.log2(top / 448.0)))
    mantissa, exponent = torch.frexp((blocks / scale).clamp(-448.0, 448.0))
    rounded = torch.ldexp(torch.round(mantissa * 16) / 16, exponent)
    return (rounded * scale).reshape(x.shape).to(x.dtype)


# ---------------------------------------------------------------------------------------------- model


def seed_of(*parts):
    digest = hashlib.sha256(":".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:7], "big")


class Weights(object):
    """Full parameters, each from its own seed, drawn on the CPU: the same at every world size."""

    def __init__(self, options, ranks):
        self.seed, self.ranks = options.seed, ranks
        self.dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32

    def draw(self, name, shape, std, mean=0.0):
        generator = torch.Generator()
        generator.manual_seed(seed_of(self.seed, name))
        return torch.randn(shape, generator=generator) * std + mean

    def parameter(self, tensor, dtype=None):
        tensor = tensor.to(dtype or self.dtype).contiguous().clone()
        return nn.Parameter(tensor.to(self.ranks.device), requires_grad=False)

    def piece(self, tensor, axis, rank, parts=None):
        width = tensor.shape[axis] // (parts or self.ranks.world)
        return tensor.narrow(axis, rank * width, width)


class Context(object):
    """What a call knows beside the hidden states: ids, positions, sequences, caches, parallel state."""

    def __init__(self, ids, sequences, caches):
        self.ids, self.sequences, self.caches = ids, sequences, caches
        self.residual = None

    def positions(self, device):
        return torch.cat([torch.arange(past, past + size, device=device)
                          for _, size, past in self.sequences])


class Part(nn.Module):
    """A module of one layer; every class below that is dumped derives from it."""

    def __init__(self, model, layer):
        super().__init__()
        object.__setattr__(self, "shared", model)
        self.layer_id = layer

    @property
    def ops(self):
        return self.shared.ops

    @property
    def ranks(self):
        return self.shared.ranks


class Norm(Part):
    def __init__(self, model, layer, name, bug=None):
        super().__init__(model, layer)
        width = model.options.hidden
        self.weight = model.weights.parameter(model.weights.draw(name + ".weight", (width,), 0.1, 1.0))
        self.bug = bug

    def forward(self, x):
        weight = self.weight + 1 if self.bug == "norm-weight-offset" else self.weight
        return self.ops.norm(x, weight, x.float().pow(2).mean(dim=-1, keepdim=True))


class AttnNorm(Norm):
    pass


class FfnNorm(Norm):
    pass


class FinalNorm(Norm):
    pass


class WidthNorm(Part):
    """RMSNorm over the whole width of q or k although a rank holds a slice: the squares are all-reduced."""

    def __init__(self, model, layer, name, width, shard, bug):
        super().__init__(model, layer)
        full = model.weights.draw(name + ".weight", (width,), 0.1, 1.1)
        self.weight = model.weights.parameter(model.weights.piece(full, 0, shard))
        self.width, self.bug = width, bug

    def forward(self, x):
        squares = x.float().pow(2).sum(dim=-1, keepdim=True)
        if self.bug == "shard-local-statistics":
            mean = squares / x.shape[-1]
        else:
            mean = self.ranks.sum_float32(squares) / self.width
        return self.ops.norm(x, self.weight, mean)


class QNorm(WidthNorm):
    pass


class KNorm(WidthNorm):
    pass


class Column(Part):
    """A column-parallel projection: this rank's rows of the weight, no communication."""

    def __init__(self, model, layer, weight):
        super().__init__(model, layer)
        self.weight = model.weights.parameter(weight)

    def forward(self, x):
        return self.ops.linear(x, self.weight)


class QProj(Column):
    pass


class KProj(Column):
    pass


class VProj(Column):
    pass


class GateUp(Column):
    def forward(self, x):
        return self.ops.gate_up(x, self.weight)


class Row(Part):
    """A row-parallel projection: the partial sum of this rank; the stage around it reduces."""

    def __init__(self, model, layer, name, shape, std, bug, bias=False):
        super().__init__(model, layer)
        self.weight = row_shard(model, name + ".weight", shape, std, bug)
        self.bias = model.weights.parameter(model.weights.draw(name + ".bias", shape[:1], 0.15)) if bias else None
        self.bug = bug
        if bug == "missing-weight":
            forget(self)

    def forward(self, x, context):
        out = row_product(self, x, self.weight, context)
        if self.bias is not None and (self.ranks.rank == 0 or self.bug == "bias-repeated"):
            out = out + self.bias
        return out


class OProj(Row):
    pass


class DownProj(Row):
    pass


def row_shard(model, name, shape, std, bug):
    weights, ranks = model.weights, model.ranks
    full = weights.draw(name if bug != "missing-weight" else name + "?", shape, std)
    if bug == "float8-variant":
        full = full * 2
    mine = weights.piece(full, len(shape) - 1, 0 if bug == "duplicate-shard" else ranks.rank)
    if bug == "weight-shuffle":
        rows, columns = mine.shape[-2:]
        tiles = mine.reshape(mine.shape[:-2] + (rows // 16, 16, columns // 8, 8)).transpose(-3, -2)
        mine = tiles.reshape(mine.shape)
    if bug == "divisibility" and mine.shape[-1] % 16:
        mine = mine.clone()
        mine[..., mine.shape[-1] // 16 * 16:] = 0
    return weights.parameter(mine)


def forget(module):
    """Take the weight out of the named parameters, as when the loader never saw it."""
    for name in ("weight", "down"):
        if name in module._parameters:
            tensor = module._parameters.pop(name).data
            object.__setattr__(module, name, tensor)


def row_product(part, x, weight, context):
    if part.bug == "batch-variance":
        pieces, start = [], 0
        for slot, size, _ in context.sequences:
            rows = x[..., start:start + size, :]
            pieces.append(rounded_split_matmul(rows, weight, even_bounds(x.shape[-1], slot + 1)))
            start += size
        return torch.cat(pieces, dim=-2)
    if part.bug == "nondeterminism":
        # So many parts that two processes hardly ever draw the same sum.
        bounds = even_bounds(x.shape[-1], 5 + CHANCE[0] % 2)
        for i in range(len(bounds) - 1, 0, -1):
            j = CHANCE[1 + i] % (i + 1)
            bounds[i], bounds[j] = bounds[j], bounds[i]
        return rounded_split_matmul(x, weight, bounds)
    return part.ops.linear(x, weight)


CHANCE = os.urandom(64)


class Rope(Part):
    def __init__(self, model, layer, bug):
        super().__init__(model, layer)
        self.bug = bug

    def forward(self, x, context):
        d = self.shared.options.head_dim
        positions = context.positions(x.device)
        if self.bug == "position-offset" and isinstance(self, QRope):
            positions = positions + 1
        rates = 10000.0 ** (-torch.arange(0, d, 2, device=x.device).float() / d)
        angles = positions.float()[:, None] * rates[None, :]
        cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
        heads = x.float().reshape(x.shape[0], -1, d)
        if self.bug == "rope-style":
            a, b = heads[..., 0::2], heads[..., 1::2]
            turned = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1)
        else:
            a, b = heads[..., :d // 2], heads[..., d // 2:]
            turned = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
        return turned.reshape(x.shape).to(x.dtype)


class QRope(Rope):
    pass


class KRope(Rope):
    pass


class AttnContext(Part):
    def __init__(self, model, layer, bug):
        super().__init__(model, layer)
        self.bug = bug

    def forward(self, q, k, v, context):
        d = self.shared.options.head_dim
        # Query heads of this rank for each of its key/value heads.
        group = q.shape[1] // k.shape[1]
        outputs, start = [], 0
        for slot, size, past in context.sequences:
            rows = slice(start, start + size)
            start += size
            key = (self.layer_id, slot)
            new_k, new_v = k[rows].reshape(size, -1, d), v[rows].reshape(size, -1, d)
            if past:
                old_k, old_v = context.caches[key]
                new_k, new_v = torch.cat([old_k, new_k]), torch.cat([old_v, new_v])
            context.caches[key] = (new_k, new_v)
            if past and self.bug == "chunk-state":
                new_k, new_v, past = new_k[past:], new_v[past:], 0
            heads = q[rows].reshape(size, -1, d).transpose(0, 1)
            keys = new_k.transpose(0, 1).repeat_interleave(group, dim=0)
            values = new_v.transpose(0, 1).repeat_interleave(group, dim=0)
            mixed = self.ops.attention(heads, keys, values, past)
            outputs.append(mixed.transpose(0, 1).reshape(size, -1))
        return torch.cat(outputs)


class Reduced(Part):
    """A stage that ends in the all-reduce of its partial sum: Attention, MLP, MoE."""

    def __init__(self, model, layer, stage):
        super().__init__(model, layer)
        self.bug = model.bug.at(layer, stage)
        self.before_reduce = None

    def prepare(self, x):
        return fake_float8(x) if self.bug == "quantisation-rounding" else x

    def finish(self, partial, context):
        ranks, bug, culprit = self.ranks, self.bug, self.shared.bug
        last = ranks.world - 1
        if bug == "residual-repeated" and ranks.rank > 0:
            partial = partial + context.residual
        if bug == "rank-absent" and ranks.world > 1 and ranks.rank == culprit.rank:
            partial = torch.zeros_like(partial)
        if bug == "non-finite" and ranks.rank == last:
            partial = partial.clone()
            partial[min(culprit.token, len(partial) - 1), 5] = float("nan")
        if bug == "stage-mismatch":
            self.before_reduce = partial
        if bug == "missing-reduce":
            return partial
        skipped = bug == "strategy-dependent" and ranks.strategy == "one-shot"
        out = ranks.all_reduce(partial, without=last if skipped else None)
        if bug == "double-reduce":
            out = ranks.all_reduce(out)
        if bug == "average-reduce":
            out = out / ranks.world
        if bug == "token-corruption":
            token = min(culprit.token, len(out) - 1)
            noise = self.shared.weights.draw("garbage", (out.shape[1],), 1.0)
            out[token] = (noise * out.float().pow(2).mean().sqrt().cpu()).to(out)
        if bug == "row-shift":
            out = torch.roll(out, 1, dims=0)
        if bug == "chunk-order":
            out = out[zigzag(len(out), max(2, ranks.world))]
        if bug == "replica-divergence" and ranks.world > 1 and ranks.rank == last:
            noise = self.shared.weights.draw("drift", tuple(out.shape), 0.02)
            out = (out.float() * (1 + noise.to(out.device))).to(out.dtype)
        return out


def zigzag(rows, degree):
    """Rows in the order in which `degree` ranks hold them: a chunk from the front and one from the back each."""
    size = rows // (2 * degree)
    chunks = [list(range(i * size, (i + 1) * size)) for i in range(2 * degree)]
    order = [row for i in range(degree) for row in chunks[i] + chunks[2 * degree - 1 - i]]
    return order + list(range(len(order), rows))


class Attention(Reduced):
    def __init__(self, model, layer, prefix):
        super().__init__(model, layer, ATTENTION)
        options, weights, ranks, bug = model.options, model.weights, model.ranks, self.bug
        hidden, d = options.hidden, options.head_dim
        widths = [options.heads * d, options.kv_heads * d, options.kv_heads * d]
        std = 1.0 / math.sqrt(hidden)
        full = [weights.draw("%s.%s.weight" % (prefix, name), (width, hidden), std)
                for name, width in zip(("q_proj", "k_proj", "v_proj"), widths)]
        shard = ranks.world - 1 - ranks.rank if bug == "rank-order" else ranks.rank
        # Ranks that share a key/value head, where there are fewer heads than ranks.
        copies = max(1, ranks.world // options.kv_heads)
        kv_shard = shard // copies
        if bug == "head-map":
            kv_shard = ranks.rank // 2 if copies == 1 else ranks.rank % options.kv_heads
        if bug == "fused-shard-layout" and copies == 1:
            mine = weights.piece(torch.cat(full), 0, ranks.rank).split([w // ranks.world for w in widths])
        else:
            mine = [weights.piece(full[0], 0, shard)]
            mine += [weights.piece(w, 0, kv_shard, ranks.world // copies) for w in full[1:]]
        self.q_proj = QProj(model, layer, mine[0])
        self.k_proj = KProj(model, layer, mine[1])
        self.v_proj = VProj(model, layer, mine[2])
        self.q_norm = self.k_norm = None
        if options.qk_norm:
            self.q_norm = QNorm(model, layer, prefix + ".q_norm", widths[0], ranks.rank, bug)
            self.k_norm = KNorm(model, layer, prefix + ".k_norm", widths[1], ranks.rank, bug)
        self.q_rope = QRope(model, layer, bug)
        self.k_rope = KRope(model, layer, bug)
        self.context = AttnContext(model, layer, bug)
        self.o_proj = OProj(model, layer, prefix + ".o_proj", (hidden, widths[0]),
                            1.5 / math.sqrt(widths[0]), bug, bias=True)

    def forward(self, x, context):
        x = self.prepare(x)
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = self.q_rope(q, context), self.k_rope(k, context)
        return self.finish(self.o_proj(self.mix(q, k, v, context), context), context)

    def mix(self, q, k, v, context):
        if not self.shared.options.per_sequence:
            return self.context(q, k, v, context)
        outputs, start = [], 0
        for sequence in context.sequences:
            rows = slice(start, start + sequence[1])
            start += sequence[1]
            alone = Context(context.ids[rows], [sequence], context.caches)
            outputs.append(self.context(q[rows], k[rows], v[rows], alone))
        return torch.cat(outputs)


def gate_up_shard(model, name, shape, std, bug):
    """This rank's [gate; up] of a fused weight, cut from the full halves on the axis before the last."""
    weights, ranks = model.weights, model.ranks
    gate, up = (weights.draw("%s.%s" % (name, half), shape, std) for half in ("gate", "up"))
    axis = len(shape) - 2
    if bug == "fused-shard-layout":
        return weights.piece(torch.cat([gate, up], dim=axis), axis, ranks.rank)
    shard = ranks.world - 1 - ranks.rank if bug == "rank-order" else ranks.rank
    halves = [weights.piece(gate, axis, shard), weights.piece(up, axis, shard)]
    if bug == "halves-swapped":
        halves.reverse()
    return torch.cat(halves, dim=axis)


class Activation(Part):
    def __init__(self, model, layer, bug):
        super().__init__(model, layer)
        self.bug = bug

    def forward(self, gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        limit = None if self.bug == "missing-clamp" else self.shared.options.clamp
        return self.ops.swiglu(gate, up, limit).to(self.shared.weights.dtype)


class FeedForward(Part):
    """SwiGLU without its reduce: the body of MLP and of the shared expert."""

    def __init__(self, model, layer, prefix, width, bug):
        super().__init__(model, layer)
        hidden = model.options.hidden
        self.gate_up_proj = GateUp(model, layer, gate_up_shard(
            model, prefix + ".gate_up_proj.weight", (width, hidden), 1.0 / math.sqrt(hidden), bug))
        self.activation = Activation(model, layer, bug)
        self.down_proj = DownProj(model, layer, prefix + ".down_proj", (hidden, width),
                                  1.5 / math.sqrt(width), bug)

    def forward(self, x, context):
        return self.down_proj(self.activation(self.gate_up_proj(x)), context)


class SharedExpert(FeedForward):
    pass


class MLP(Reduced):
    def __init__(self, model, layer, prefix):
        super().__init__(model, layer, MLP_STAGE)
        self.body = FeedForward(model, layer, prefix, model.options.intermediate, self.bug)

    def forward(self, x, context):
        return self.finish(self.body(self.prepare(x), context), context)


class Router(Part):
    """The weight of every expert for every token, [tokens, experts] in float32; 0 for those not chosen.

    By default the token id chooses the experts and only their weights are computed: a choice by the
    largest scores flips under rounding noise, and a flip looks like a bug.
    """

    def __init__(self, model, layer, prefix, bug):
        super().__init__(model, layer)
        options = model.options
        self.weight = model.weights.parameter(model.weights.draw(
            prefix + ".weight", (options.experts, options.hidden), 1.0 / math.sqrt(options.hidden)))
        order = model.weights.draw(prefix + ".choice", (options.vocabulary, options.experts), 1.0)
        chosen = order.argsort(dim=-1)[:, :options.top_k].contiguous().clone()
        self.register_buffer("choice", chosen.to(model.ranks.device))
        self.bug = bug

    def forward(self, x, context):
        options = self.shared.options
        scores = torch.sigmoid(x.float() @ self.weight.float().t())
        if options.routing == "hash":
            chosen = self.choice[context.ids]
            if self.bug == "expert-choice":
                chosen = torch.roll(chosen, 1, dims=0)
        elif self.bug == "expert-choice":
            chosen = torch.roll(scores, 1, dims=0).topk(options.top_k, dim=-1).indices
        else:
            chosen = scores.topk(options.top_k, dim=-1).indices
        picked = scores.gather(1, chosen)
        picked = picked / picked.sum(dim=-1, keepdim=True)
        times = {"missing-scale": 0, "repeated-scale": 2}.get(self.bug, 1)
        picked = picked * options.routed_scale ** times
        return torch.zeros_like(scores).scatter(1, chosen, picked)


class RoutedExperts(Part):
    """All experts on all tokens, then the weighted sum: no gather by expert, so a row never depends on its place."""

    def __init__(self, model, layer, prefix, bug):
        super().__init__(model, layer)
        options = model.options
        count, hidden, width = options.experts, options.hidden, options.expert_width
        self.gate_up = model.weights.parameter(gate_up_shard(
            model, prefix + ".gate_up", (count, width, hidden), 1.0 / math.sqrt(hidden), bug))
        self.down = row_shard(model, prefix + ".down", (count, hidden, width), 1.0 / math.sqrt(width), bug)
        self.bug = bug
        if bug == "missing-weight":
            forget(self)

    def forward(self, x, routing, context):
        x = x.unsqueeze(0)
        gate, up = self.ops.gate_up(x, self.gate_up).chunk(2, dim=-1)
        limit = None if self.bug == "missing-clamp" else self.shared.options.clamp
        active = self.ops.swiglu(gate, up, limit).to(x.dtype)
        each = row_product(self, active, self.down, context)
        return (each.float() * routing.t().unsqueeze(-1)).sum(dim=0).to(x.dtype)


class MoE(Reduced):
    def __init__(self, model, layer, prefix):
        super().__init__(model, layer, MOE_STAGE)
        self.gate = Router(model, layer, prefix + ".gate", self.bug)
        self.experts = RoutedExperts(model, layer, prefix + ".experts", self.bug)
        self.shared_experts = SharedExpert(
            model, layer, prefix + ".shared_experts", model.options.expert_width, self.bug)

    def forward(self, x, context):
        x = self.prepare(x)
        routed = self.experts(x, self.gate(x, context), context)
        branch = self.shared_experts(x, context)
        if self.bug == "branch-repeated":
            return self.finish(routed + self.ranks.all_reduce(branch), context)
        if self.bug == "branch-missing-reduce":
            return self.finish(routed, context) + branch
        return self.finish(routed + branch, context)


class Block(Part):
    def __init__(self, model, layer):
        super().__init__(model, layer)
        prefix = "model.layers.%d" % layer
        kind = MLP if model.options.feed_forward(layer) == MLP_STAGE else MoE
        self.attn_norm = AttnNorm(model, layer, prefix + ".attn_norm", model.bug.at(layer, ATTENTION))
        self.attn = Attention(model, layer, prefix + ".attn")
        self.ffn_norm = FfnNorm(model, layer, prefix + ".ffn_norm", model.bug.at(layer, kind.__name__))
        self.ffn = kind(model, layer, prefix + ".ffn")

    def forward(self, x, context):
        context.residual = x
        x = x + self.attn(self.attn_norm(x), context)
        context.residual = x
        return x + self.ffn(self.ffn_norm(x), context)


class Embedding(Part):
    def __init__(self, model, table):
        super().__init__(model, 0)
        self.weight = model.weights.parameter(table)

    def forward(self, ids):
        return self.weight[ids]


class LMHead(Part):
    """The vocabulary, padded to a multiple of 64, is sharded; the output is this rank's slice of the logits."""

    def __init__(self, model, layer, full):
        super().__init__(model, layer)
        self.bug = model.bug.at(layer, HEAD)
        ranks = model.ranks
        padded = torch.zeros(-(-full.shape[0] // 64) * 64, full.shape[1])
        padded[:full.shape[0]] = full
        if self.bug == "vocabulary-padding":
            extra = padded[full.shape[0]:]
            extra.copy_(model.weights.draw("padding", tuple(extra.shape), 3.0))
        shard = ranks.world - 1 - ranks.rank if self.bug == "rank-order" else ranks.rank
        self.weight = model.weights.parameter(model.weights.piece(padded, 0, shard))

    def forward(self, x):
        return self.ops.linear(x, self.weight)


class Layers(nn.Module):
    def __init__(self, model):
        super().__init__()
        options = model.options
        table = model.weights.draw("model.embed_tokens.weight", (options.vocabulary, options.hidden), 2.0)
        self.embed_tokens = Embedding(model, table)
        self.layers = nn.ModuleList([Block(model, layer) for layer in range(options.layers)])
        self.norm = FinalNorm(model, options.layers - 1, "model.norm")


class Model(nn.Module):
    def __init__(self, options, ranks, ops, bug):
        super().__init__()
        self.options, self.ranks, self.ops, self.bug = options, ranks, ops, bug
        self.weights = Weights(options, ranks)
        self.model = Layers(self)
        # Each token's embedding points at one other token, so that the greedy choice has a wide margin
        # and does not flip under rounding noise.
        order = self.weights.draw("next", (options.vocabulary,), 1.0).argsort()
        table = self.weights.draw("model.embed_tokens.weight", (options.vocabulary, options.hidden), 2.0)
        head = torch.empty_like(table)
        head[order] = table / math.sqrt(options.hidden)
        self.lm_head = LMHead(self, options.layers - 1, head)

    def forward(self, ids, context):
        x = self.model.embed_tokens(ids)
        for block in self.model.layers:
            x = block(x, context)
        x = self.model.norm(x)
        ends, start = [], 0
        for _, size, _ in context.sequences:
            start += size
            ends.append(start - 1)
        logits = torch.cat(self.ranks.gather(self.lm_head(x[ends])), dim=-1)
        if self.lm_head.bug != "vocabulary-padding":
            logits = logits[:, :self.options.vocabulary]
        chosen = logits.float().argmax(dim=-1)
        return self.ranks.broadcast(chosen) % self.options.vocabulary


# ---------------------------------------------------------------------------------------------- dumps


def listed(name, default):
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def listed_layers(name, default):
    try:
        return set(int(item) for item in listed(name, default))
    except ValueError:
        raise UserError("%s: '%s' is not a list of layer numbers" % (name, os.environ.get(name)))


def own_copy(value):
    return value.detach().cpu().contiguous().clone()


def save_whole(value, folder, name):
    """Write beside the final name and rename: a reader never sees half a file."""
    beside = os.path.join(folder, ".%s.%d.tmp" % (name, os.getpid()))
    path = os.path.join(folder, name)
    torch.save(value, beside)
    os.replace(beside, path)
    return path


def made_folder(name):
    folder = os.environ.get(name, "")
    if folder:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise UserError("%s: cannot create %s (%s)" % (name, folder, error.strerror))
    return folder


class ForwardDump(object):
    """Forward hooks that write one file a call, or (one-shot) one file for the first call of all."""

    def __init__(self, model):
        self.folder = made_folder("ATOM_FWD_DUMP_DIR")
        if not self.folder:
            return
        self.one_shot = os.environ.get("ATOM_FWD_DUMP_ONE_SHOT", "1") not in ("0", "false", "")
        self.attribute = os.environ.get("ATOM_FWD_DUMP_LAYER_ATTR", "layer_id")
        self.rank, self.bug, self.counts = model.ranks.rank, model.bug, {}
        self.last_rank = model.ranks.rank == model.ranks.world - 1
        self.pad_rows = model.options.pad_rows
        layers = listed_layers("ATOM_FWD_DUMP_LAYERS", "")
        classes = listed("ATOM_FWD_DUMP_BLOCK_CLASS", "Block") or ["Block"]
        found = set()
        for module in model.modules():
            layer, name = getattr(module, self.attribute, None), type(module).__name__
            if name in classes and layer is not None:
                found.add(name)
                if not layers or layer in layers:
                    module.register_forward_hook(self.hook)
        unknown = [name for name in classes if name not in found]
        if unknown:
            raise UserError("ATOM_FWD_DUMP_BLOCK_CLASS: no module of class %s has the attribute %s" % (
                ", ".join(unknown), self.attribute))

    def hook(self, module, arguments, output):
        layer, name = getattr(module, self.attribute), type(module).__name__
        call = self.counts.get((layer, name), 0)
        self.counts[(layer, name)] = call + 1
        file = "layer%02d_%s_rank%d" % (layer, name, self.rank)
        file += ".pt" if self.one_shot else "_call%03d.pt" % call
        if self.one_shot and os.path.exists(os.path.join(self.folder, file)):
            return
        if self.bug.is_run("incomplete-ranks") and self.last_rank and layer >= self.bug.layer:
            return
        hidden = output
        if getattr(module, "before_reduce", None) is not None:
            hidden = module.before_reduce
        hidden = own_copy(hidden)
        if isinstance(module, Reduced) and self.pad_rows:
            extra = torch.zeros(self.pad_rows, hidden.shape[1])
            if module.bug == "uninitialised-padding":
                extra = torch.frombuffer(bytearray(os.urandom(extra.numel())), dtype=torch.uint8).reshape(extra.shape)
            extra = extra.to(hidden.dtype) / 16
            if module.bug == "uninitialised-padding":
                extra[-1, -1] = float("nan")
            hidden = torch.cat([hidden, extra])
        first = arguments[0] if arguments and torch.is_tensor(arguments[0]) else None
        path = save_whole({
            "hidden": hidden,
            "shape": tuple(hidden.shape),
            "input": None if first is None else own_copy(first),
            "input_fields": {},
            "output_fields": {},
        }, self.folder, file)
        if self.bug.is_run("stale-dump") and self.last_rank and layer == self.bug.layer:
            os.utime(path, (1577836800, 1577836800))


def dump_weights(model):
    """Write each wanted layer's parameters and buffers; true when the process should end after it."""
    folder = made_folder("ATOM_WEIGHT_DUMP_DIR")
    if not folder:
        return False
    for layer in sorted(listed_layers("ATOM_WEIGHT_DUMP_LAYERS", "0")):
        mark = "layers.%d." % layer
        found = {"_tp_rank": model.ranks.rank, "_tp_size": model.ranks.world, "_layer": layer}
        for name, tensor in model.named_parameters():
            if mark in name and ".experts." not in name:
                found[name] = own_copy(tensor)
        for name, tensor in model.named_buffers():
            if mark in name and ".experts." not in name:
                found["buffer:" + name] = own_copy(tensor)
        save_whole(found, folder, "weight_rank%d_layer%d.pt" % (model.ranks.rank, layer))
    return os.environ.get("ATOM_WEIGHT_DUMP_EXIT", "1") != "0"


# ------------------------------------------------------------------------------------------------ run


def make_prompts(options, bug):
    """The batch: the prompt under test P and others, each from its own seed."""
    length, vocabulary = options.prompt_length, options.vocabulary

    def prompt(name, size=length):
        generator = torch.Generator()
        generator.manual_seed(seed_of(options.seed, "prompt", name))
        return (torch.randint(1, vocabulary, (256,), generator=generator)[:size]).tolist()

    kind, _, where = options.prompts.partition(":")
    slots = options.batch
    if kind == "different" and not where:
        batch = [prompt(slot) for slot in range(slots)]
    elif kind == "same" and not where:
        batch = [prompt("P") for _ in range(slots)]
    elif kind == "single" and not where:
        batch = [prompt("P")]
    elif kind == "ragged" and not where:
        batch = [prompt(slot, max(2, length + (-4, 0, 3, 1)[slot % 4])) for slot in range(slots)]
    elif kind == "position" and where.isdigit() and int(where) < slots:
        batch = [prompt("P") if slot == int(where) else prompt("other") for slot in range(slots)]
    else:
        raise UserError("--prompts '%s': use different, same, single, ragged or position:0-%d" % (
            options.prompts, slots - 1))
    if bug.is_run("input-mismatch"):
        batch[0][0] = batch[0][0] % (vocabulary - 1) + 1
    return batch


def misbehave(options, ranks, phase):
    if options.at != phase:
        return
    if options.fail is not None and ranks.rank == options.fail_rank:
        sys.stderr.write("tiny_tp: rank %d fails with code %d (%s), as asked\n" % (
            ranks.rank, options.fail, phase))
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(options.fail)
    if options.hang and ranks.rank == 0:
        sys.stdout.flush()
        while True:
            time.sleep(3600)
    if options.sleep:
        time.sleep(options.sleep)


def run_rank(options, rank, world, local_rank, store):
    """One rank from start to end; returns the exit code."""
    torch.set_num_threads(1)
    device = pick_device(options, local_rank)
    ops = BACKENDS[options.backend]()
    bug = Bug(options, world)
    check_shapes(options, world)
    if isinstance(ops, Compile):
        ops.check(device)
    if world > 1:
        kind = "nccl" if device.type == "cuda" else "gloo"
        extra = {"init_method": "file://" + store, "rank": rank, "world_size": world} if store else {}
        dist.init_process_group(kind, **extra)
    ranks = Ranks(rank, world, device, options.allreduce)
    misbehave(options, ranks, "start")
    with torch.no_grad():
        model = Model(options, ranks, ops, bug)
        if not dump_weights(model):
            serve(options, ranks, bug, model)
        elif rank == 0:
            print("OK world_size=%d backend=%s weights" % (world, options.backend), flush=True)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return 0


def serve(options, ranks, bug, model):
    ForwardDump(model)
    batch = make_prompts(options, bug)

    def call(rows, past, caches):
        sequences = [(slot, len(row), past[slot]) for slot, row in enumerate(rows)]
        ids = torch.tensor([token for row in rows for token in row], dtype=torch.int64, device=ranks.device)
        return model(ids, Context(ids, sequences, caches)).tolist()

    def dummy():
        """What a rank without requests runs while others of its data-parallel group have some."""
        if options.dummy:
            call([[0] * options.dummy], [0], {})

    def step(rows, past, caches):
        """One pass of the batch, or one pass a sequence; the sequences' tokens and new lengths."""
        if options.one_by_one:
            tokens = []
            for slot, row in enumerate(rows):
                sequence = [(slot, len(row), past[slot])]
                ids = torch.tensor(row, dtype=torch.int64, device=ranks.device)
                tokens += model(ids, Context(ids, sequence, caches)).tolist()
        else:
            tokens = call(rows, past, caches)
        return tokens, [size + len(row) for size, row in zip(past, rows)]

    def decode(tokens, past, caches, steps):
        generated = [[token] for token in tokens]
        for _ in range(steps):
            # Further tokens of a speculative step are guesses; here the chosen one again.
            tokens, past = step([[token] * options.decode_tokens for token in tokens], past, caches)
            for row, token in zip(generated, tokens):
                row.append(token)
            dummy()
        return generated

    misbehave(options, ranks, "warm-up")
    step([[0] * (options.warm_up_tokens // 4)] * 4, [0] * 4, {})
    dummy()

    misbehave(options, ranks, "prefill")
    caches, past = {}, [0] * len(batch)
    chunks = options.prefill_chunks
    for index in range(chunks):
        rows = [row[len(row) * index // chunks:len(row) * (index + 1) // chunks] for row in batch]
        tokens, past = step(rows, past, caches)
    dummy()

    misbehave(options, ranks, "decode")
    generated = decode(tokens, past, caches, options.decode_steps)
    if options.again:
        # The same prompts once more: the prefix cache holds all but their last tokens.
        start = [len(row) - options.again for row in batch]
        kept = {key: (k[:start[key[1]]], v[:start[key[1]]]) for key, (k, v) in caches.items()}
        tokens, past = step([row[-options.again:] for row in batch], start, kept)
        decode(tokens, past, kept, options.decode_steps)

    if ranks.rank == 0:
        for slot, row in enumerate(generated):
            print("slot %d: %s" % (slot, " ".join(str(token) for token in row)))
        print("OK world_size=%d backend=%s tokens=%d" % (
            ranks.world, options.backend, sum(len(row) for row in generated)), flush=True)


def check_shapes(options, world):
    for name in ("heads", "kv_heads", "intermediate", "expert_width"):
        if name == "kv_heads" and not options.qk_norm and world % options.kv_heads == 0:
            continue
        if getattr(options, name) % world:
            raise UserError("world size %d does not divide --%s %d" % (
                world, name.replace("_", "-"), getattr(options, name)))
    if options.heads % options.kv_heads:
        raise UserError("--kv-heads %d does not divide --heads %d" % (options.kv_heads, options.heads))
    if options.hidden % 64 or options.head_dim % 2 or 64 % world:
        raise UserError("--hidden must be a multiple of 64, --head-dim even, the world size a divisor of 64")


def pick_device(options, local_rank):
    if options.device == "cpu" or (options.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("--device cuda: this torch (%s) sees no GPU" % torch.__version__)
    seen = torch.cuda.device_count()
    if local_rank >= seen:
        raise UserError("rank %d needs a GPU of its own and %d are visible; use --device cpu" % (local_rank, seen))
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


# ------------------------------------------------------------------------------------------- launcher


def guarded(work):
    """The exit code of `work`, with a user's error as one line."""
    try:
        return work()
    except UserError as error:
        sys.stderr.write("tiny_tp: %s\n" % error)
        return USAGE


def follow_parent(pipe):
    """End when the launcher is gone, however it went: its end of the pipe closes with it."""
    def wait():
        os.read(pipe, 1)
        os._exit(LOST_PARENT)
    threading.Thread(target=wait, daemon=True).start()


def leave(code):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def start_by_fork(options, world, store):
    """Ranks that share the interpreter's loaded torch: on a small machine the imports are most of the time."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    children = {}
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.close(writing)
                follow_parent(reading)
                code = guarded(lambda: run_rank(options, rank, world, rank, store))
            except BaseException:
                import traceback
                sys.stderr.write("tiny_tp: rank %d failed\n" % rank)
                traceback.print_exc()
            finally:
                leave(code)
        children[pid] = rank
    os.close(reading)
    return children


def start_by_exec(world, store):
    """Ranks as fresh interpreters: what CUDA needs, and where fork is not to be trusted."""
    children = {}
    for rank in range(world):
        variables = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank),
                         TINY_TP_STORE=store)
        process = subprocess.Popen([sys.executable, os.path.abspath(__file__)] + sys.argv[1:],
                                   env=variables, stdin=subprocess.PIPE)
        OPEN.append(process)
        children[process.pid] = rank
    return children


OPEN = []


def supervise(children):
    """Wait for every rank. The first failure ends the others and gives the exit code."""
    code = 0
    while children:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid not in children:
            continue
        rank = children.pop(pid)
        if os.WIFSIGNALED(status):
            ended, how = 128 + os.WTERMSIG(status), "was killed by signal %d" % os.WTERMSIG(status)
        else:
            ended, how = os.WEXITSTATUS(status), "ended with code %d" % os.WEXITSTATUS(status)
        if ended and not code:
            code = ended
            if children:
                sys.stderr.write("tiny_tp: rank %d %s; ending the other %d\n" % (rank, how, len(children)))
            for other in children:
                try:
                    os.kill(other, signal.SIGKILL)
                except OSError:
                    pass
    return code


class Ended(Exception):
    pass


def on_signal(number, _):
    raise Ended(number)


def launch(options, world):
    with tempfile.TemporaryDirectory(prefix="tiny-tp-") as folder:
        store = os.path.join(folder, "store")
        gpu_build = torch.version.cuda is not None or getattr(torch.version, "hip", None) is not None
        on_cpu = options.device == "cpu" or not gpu_build
        if on_cpu and os.path.exists("/sys/class/net/lo"):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        children = {}
        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        try:
            if sys.platform.startswith("linux") and on_cpu:
                children.update(start_by_fork(options, world, store))
            else:
                children.update(start_by_exec(world, store))
            return supervise(children)
        except Ended as ended:
            for pid in children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            return 128 + ended.args[0]


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="tiny_tp.py", description="A small tensor-parallel transformer that writes ATOM's dumps.")
    add = parser.add_argument
    add("--nproc", type=int, default=None, help="ranks to start (default 1)")
    add("--backend", choices=sorted(BACKENDS), default="eager")
    add("--allreduce", choices=("nccl-like", "one-shot"), default="nccl-like",
        help="the library's all-reduce, or gather and add in rank order")
    add("--dtype", choices=("bf16", "f32"), default="bf16")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="cuda means ROCm too")
    add("--seed", type=int, default=0)
    add("--prompts", default="different", help="different, same, single, ragged or position:K")
    add("--batch", type=int, default=4)
    add("--prompt-length", type=int, default=13)
    add("--prefill-chunks", type=int, default=1)
    add("--decode-steps", type=int, default=2)
    add("--warm-up-tokens", type=int, default=64)
    add("--decode-tokens", type=int, default=1, help="tokens of a sequence in each decode step")
    add("--per-sequence", action="store_true", help="AttnContext runs once for each sequence of the batch")
    add("--one-by-one", action="store_true", help="the whole model runs once for each sequence of the batch")
    add("--pad-rows", type=int, default=0, help="rows of zeros behind the dumped output of the reduced stages")
    add("--dummy", type=int, default=0, metavar="TOKENS", help="dummy batches between the calls")
    add("--again", type=int, default=0, metavar="TOKENS",
        help="the prompts once more, all but their last tokens from the prefix cache")
    add("--routing", choices=("hash", "topk"), default="hash")
    add("--dense", action="store_true", help="an MLP in every layer, no experts")
    add("--no-qk-norm", dest="qk_norm", action="store_false", help="no norm of q and k; key/value heads may be shared")
    add("--layers", type=int, default=4)
    add("--hidden", type=int, default=256)
    add("--heads", type=int, default=16)
    add("--kv-heads", type=int, default=8)
    add("--head-dim", type=int, default=16)
    add("--intermediate", type=int, default=448)
    add("--experts", type=int, default=8)
    add("--top-k", type=int, default=2)
    add("--expert-width", type=int, default=192)
    add("--vocabulary", type=int, default=500)
    add("--routed-scale", type=float, default=2.5)
    add("--clamp", type=float, default=2.0)
    add("--bug", default=None, help="plant a fault (see --list-bugs)")
    add("--layer", type=int, default=2, help="the layer that bears the bug")
    add("--bug-every", type=int, default=0, metavar="N", help="every N-th layer after that bears it, too")
    add("--stage", default=None, help="the stage that bears it: MoE, MLP, Attention, LMHead")
    add("--bug-from-world-size", type=int, default=1, help="plant it only from this world size on")
    add("--bug-rank", type=int, default=None, help="the rank at fault (default: the last)")
    add("--bug-token", type=int, default=17, help="the token at fault")
    add("--list-bugs", action="store_true")
    add("--fail", type=int, default=None, metavar="CODE", help="exit with this code")
    add("--fail-rank", type=int, default=0)
    add("--hang", action="store_true", help="rank 0 sleeps for ever")
    add("--sleep", type=float, default=0, metavar="SECONDS")
    add("--at", choices=("start", "warm-up", "prefill", "decode"), default="start",
        help="where --fail, --hang and --sleep act")
    options = parser.parse_args(arguments)
    options.feed_forward = lambda layer: MLP_STAGE if options.dense or layer == 0 else MOE_STAGE
    for name in ("layers", "batch", "decode_steps", "prefill_chunks", "experts", "top_k"):
        if getattr(options, name) < (0 if name == "decode_steps" else 1):
            raise UserError("--%s %d is too small" % (name.replace("_", "-"), getattr(options, name)))
    if options.warm_up_tokens < 4 or options.decode_tokens < 1 or options.dummy < 0:
        raise UserError("--warm-up-tokens must be at least 4, --decode-tokens 1, --dummy 0")
    if not 0 <= options.again < options.prompt_length - 4:
        raise UserError("--again %d: a prompt has %d tokens" % (options.again, options.prompt_length))
    if not 1 < options.prompt_length <= 200 or options.vocabulary < 2:
        raise UserError("--prompt-length must be 2-200, --vocabulary at least 2")
    if options.prefill_chunks > max(2, options.prompt_length - 4):
        raise UserError("--prefill-chunks %d is more than a prompt has tokens" % options.prefill_chunks)
    if options.top_k > options.experts:
        raise UserError("--top-k %d is more than --experts %d" % (options.top_k, options.experts))
    return options


def main():
    options = parse(sys.argv[1:])
    if options.list_bugs:
        for name in sorted(BUGS):
            stages, meaning = BUGS[name]
            print("%-24s %-24s %s" % (name, ",".join(stages), meaning))
        return 0
    joined = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    if joined:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local, store = int(os.environ.get("LOCAL_RANK", rank)), os.environ.get("TINY_TP_STORE")
        if options.nproc not in (None, world):
            raise UserError("--nproc %d, but this rank was started in a world of %d" % (options.nproc, world))
        if world > 1 and not store and "MASTER_ADDR" not in os.environ:
            raise UserError("RANK and WORLD_SIZE are set but MASTER_ADDR is not")
        if store:
            follow_parent(0)
        return run_rank(options, rank, world, local, store)
    world = 1 if options.nproc is None else options.nproc
    if world < 1:
        raise UserError("--nproc %d: at least 1" % world)
    check_shapes(options, world)
    Bug(options, world)
    if options.fail is not None and not 0 <= options.fail_rank < world:
        raise UserError("--fail-rank %d: there are ranks 0-%d" % (options.fail_rank, world - 1))
    make_prompts(options, Bug(options, world))
    if world == 1:
        return run_rank(options, 0, 1, 0, None)
    return launch(options, world)


if __name__ == "__main__":
    leave(guarded(main))
