"""token_log_probs with entropy, forward and backward, against what one would write in torch.

Shapes: 2048 x 32768 is a batch of short answers of a Llama-2-sized vocabulary, 512 x 151936 one of
Qwen's. The least traffic is one read forward, one read and one write backward; `copy` reads and
writes the logits once and is the roofline. `eager` works in the logits' dtype, as trainers do
(TRL's functions for one), and is the baseline; `eager float32` converts the logits first, which is
what its 16-bit results would need to be as exact as fastrl's.
"""

import argparse
from importlib.util import find_spec

import torch
from fastrl import token_log_probs
from fastrl.reference import log_probs as reference
from harness import Provider, in_fresh_process, measure, parse, peak_extra_bytes, report
from tolerance import as_float64, assert_close

SHAPES = {"float32": (2048, 32768), "bfloat16": (512, 151936), "float16": (512, 151936)}
SAMPLE = 4  # rows that the gate compares with the float64 reference


def eager(logits, ids):
    log_p = torch.log_softmax(logits, -1)
    return log_p.gather(-1, ids[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def eager_float32(logits, ids):
    return eager(logits.float(), ids)


def fastrl_fresh(logits, ids):
    return token_log_probs(logits, ids, entropy=True)[:2]


def fastrl_inplace(logits, ids):
    return token_log_probs(logits, ids, entropy=True, inplace_backward=True)[:2]


def trl(logits, ids):
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    return selective_log_softmax(logits, ids), entropy_from_logits(logits)


def functions(dtype, compiled):
    found = {"fastrl in place": fastrl_inplace, "fastrl": fastrl_fresh, "eager": eager}
    if dtype != "float32":
        found["eager float32"] = eager_float32
    if compiled:
        found["torch.compile"] = torch.compile(eager)
    if find_spec("trl"):
        found["TRL"] = trl
    return found


class Work:
    """The inputs, and one forward and backward pass of a function over them."""

    def __init__(self, shape, dtype, device):
        torch.manual_seed(0)
        self.original = (2.0 * torch.randn(shape)).to(getattr(torch, dtype)).to(device)
        self.ids = torch.randint(0, shape[1], shape[:1]).to(device)
        self.upstream = torch.randn(2, shape[0]).to(device)
        self.logits = self.original.clone().requires_grad_()
        self.outputs = ()

    def restore(self):
        """Undoes a backward pass in place."""
        self.outputs = ()
        self.logits.grad = None
        self.logits.data.copy_(self.original)

    def run(self, function):
        """One step as a trainer takes it."""
        self.outputs = function(self.logits, self.ids)
        gradients = [g.to(o.dtype) for g, o in zip(self.upstream, self.outputs, strict=True)]
        torch.autograd.backward(self.outputs, gradients)

    def check(self, function, *, gate):
        """The largest error of the gradient; the gate is the tests' own rule."""
        self.run(function)
        x = self.original[:SAMPLE].float().requires_grad_()
        plain = eager(x, self.ids[:SAMPLE])
        torch.autograd.backward(plain, list(self.upstream[:, :SAMPLE]))
        data, ids = as_float64(x), self.ids[:SAMPLE].cpu()
        wanted = reference.token_log_probs(data, ids)[:2]
        up = self.upstream[:, :SAMPLE].cpu()
        gradient = reference.token_log_probs_gradient(data, ids, *up, torch.zeros(SAMPLE))
        actual = self.logits.grad[:SAMPLE]
        if gate:
            for output, want, near in zip(self.outputs, wanted, plain, strict=True):
                assert_close(output[:SAMPLE], want, near)
            assert_close(actual, gradient, x.grad.to(actual.dtype))
        return abs(as_float64(actual) - gradient).max()


def backward_and_forward(arguments, shape, dtype, device):
    work = Work(shape, dtype, device)
    size = work.original.nbytes
    providers = []
    memory = {}
    for name, function in functions(dtype, arguments.compile).items():
        if arguments.provider and name not in arguments.provider:
            continue
        providers.append(
            Provider(
                name,
                run=lambda function=function: work.run(function),
                prepare=work.restore,
                bytes_moved=3 * size,
                check=lambda f=function, n=name: work.check(f, gate=n.startswith("fastrl")),
            )
        )
        if name != "torch.compile":
            memory[name] = in_fresh_process(
                *("--device", device, "--dtype", dtype, "--memory", name),
                *("--shape", "x".join(map(str, shape)), "--threads", str(arguments.threads)),
            )
    target = torch.empty_like(work.original)
    providers.append(
        Provider("copy", run=lambda: target.copy_(work.original), bytes_moved=2 * size)
    )
    measure(providers, device=device, seconds=arguments.seconds, rest=arguments.rest)
    report(
        f"forward and backward with entropy, {shape[0]} × {shape[1]} {dtype}, {device}",
        providers,
        baseline="eager",
        copy="copy",
        memory=memory,
        device=device,
        json_path=arguments.json,
    )


def masked_forward(arguments, shape, dtype, device):
    work = Work(shape, dtype, device)
    size = work.original.nbytes
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(0))
    mask = (order < shape[0] // 4).to(device)
    target = torch.empty_like(work.original)
    providers = [
        Provider(
            "fastrl",
            run=lambda: token_log_probs(work.original, work.ids, entropy=True),
            bytes_moved=size,
        ),
        Provider(
            "fastrl, 75 % masked",
            run=lambda: token_log_probs(work.original, work.ids, mask=mask, entropy=True),
            bytes_moved=int(size * mask.float().mean()),
        ),
        Provider("copy", run=lambda: target.copy_(work.original), bytes_moved=2 * size),
    ]
    measure(providers, device=device, seconds=arguments.seconds / 4, rest=arguments.rest)
    report(
        f"forward with entropy, {shape[0]} × {shape[1]} {dtype}, {device}",
        providers,
        baseline="fastrl",
        copy="copy",
        device=device,
        json_path=arguments.json,
    )


def memory_of(name, shape, dtype, device):
    """Extra bytes at the peak of one pass, as a share of the logits."""
    function = functions(dtype, False)[name]
    small = Work((2, 64), dtype, device)
    small.run(function)  # loads the code
    work = Work(shape, dtype, device)
    del work.original
    work.logits.data += 0.0
    return peak_extra_bytes(lambda: work.run(function), device) / work.logits.nbytes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=list(SHAPES), help="default: float32 and bfloat16")
    parser.add_argument("--shape", help="ROWSxCOLUMNS, as in 2048x32768")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, warmed")
    parser.add_argument("--provider", action="append", help="only these; default: all")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parse(parser, seconds=8.0)
    for dtype in [arguments.dtype] if arguments.dtype else ["float32", "bfloat16"]:
        shape = SHAPES[dtype]
        if arguments.shape:
            shape = tuple(int(size) for size in arguments.shape.split("x"))
        if arguments.memory:
            print(memory_of(arguments.memory, shape, dtype, arguments.device))
            continue
        backward_and_forward(arguments, shape, dtype, arguments.device)
        masked_forward(arguments, shape, dtype, arguments.device)


if __name__ == "__main__":
    main()
