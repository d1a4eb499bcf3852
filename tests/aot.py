"""Compiles Triton kernels ahead of time, without a GPU, and reads what they cost.

A program of its own, because TRITON_INTERPRET is read when a kernel is decorated: it takes the
kernels as JSON on stdin and answers with one JSON object a kernel on stdout.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def compile_all(kernels, compute_capability=90):
    """Runs this file in a fresh process; see `_cost` for the answer."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    process = subprocess.run(
        [sys.executable, __file__, str(compute_capability)],
        input=json.dumps(kernels),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def _cost(kernel, compute_capability):
    """Registers, spilled bytes and vector loads of one kernel, or the compiler's error."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(importlib.import_module(kernel["module"]), kernel["name"])
    aligned = {
        (function.arg_names.index(name),): [["tt.divisibility", 16]] for name in kernel["aligned"]
    }
    signature = kernel["signature"] | dict.fromkeys(kernel["constexprs"], "constexpr")
    source = ASTSource(
        fn=function,
        signature={name: signature[name] for name in function.arg_names},
        constexprs=kernel["constexprs"],
        attrs=aligned,
    )
    target = GPUTarget("cuda", compute_capability, 32)
    try:
        compiled = triton.compile(source, target=target, options={"num_warps": kernel["num_warps"]})
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    ptx = compiled.asm["ptx"]
    log = _ptxas(ptx, compute_capability)

    def number(pattern):
        return int(re.search(pattern, log)[1])

    return {
        "registers": number(r"Used (\d+) registers"),
        "spilled_bytes": number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        "vector_loads": len(re.findall(r"ld\.global[.\w:]*\.v[24]", ptx)),
    }


def _ptxas(ptx, compute_capability):
    """What triton's own assembler says about the registers of this code."""
    from triton.backends.nvidia.compiler import get_ptxas

    architecture = re.search(r"\.target (sm_\w+)", ptx)[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        process = subprocess.run(
            [
                get_ptxas(compute_capability).path,
                "-v",
                f"--gpu-name={architecture}",
                str(path),
                "-o",
                str(path.with_suffix(".cubin")),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    return process.stderr


if __name__ == "__main__":
    answers = [_cost(kernel, int(sys.argv[1])) for kernel in json.loads(sys.stdin.read())]
    print(json.dumps(answers))
