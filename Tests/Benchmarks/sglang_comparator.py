"""Runs SGLang's own dump comparator from its wheel, without the server that it is part of.

Its modules for sockets, servers and devices need CUDA packages; the comparator uses none of what they do, so that
empty modules stand in for them. Arguments are those of `python -m sglang.srt.debug_utils.comparator`.
"""

import pathlib
import runpy
import sys
import types

root = next(pathlib.Path(path) for path in sys.path if (pathlib.Path(path) / "sglang/srt/debug_utils").is_dir())


def stand_in(name, path=None, **contents):
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    if path is not None:
        module.__path__ = [str(root / path)] if path else []
    sys.modules[name] = module


stand_in("sglang", "sglang")
stand_in("sglang.srt", "sglang/srt")
stand_in("sglang.srt.managers", "")
stand_in("sglang.srt.managers.io_struct", sock_recv=None, sock_send=None, wrap_as_pickle=None)
stand_in("sglang.srt.runtime_context", get_parallel=None, get_server_args=None, get_serving=None)
stand_in("sglang.srt.utils", get_device=lambda: "cpu")
runpy.run_module("sglang.srt.debug_utils.comparator", run_name="__main__", alter_sys=True)
