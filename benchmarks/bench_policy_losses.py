"""policy_loss, forward and backward, against the lines that trainers write in plain torch.

Every provider returns the loss, its gradient and the same metrics. One that misses the tolerance
rule of the tests is printed as `wrong` and not timed. Rounds are interleaved; times are medians
with their 20th and 80th percentiles.

    python benchmarks/bench_policy_losses.py --shape 64x1024 --preset grpo --device cpu
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import fastrl
import torch
from fastrl.policy_losses import PRESETS, policy_loss
from fastrl.reference import policy_losses as reference

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from tolerance import assert_close

# Responses per step × tokens: a small step, a GRPO step of 64 × 1k, and 16 long ones.
SHAPES = ["8x256", "64x1024", "16x16384"]


def make_batch(num_sequences, length, device):
    generator = torch.Generator().manual_seed(0)
    shape = (num_sequences, length)

    def normal(deviation):
        return deviation * torch.randn(shape, generator=generator)

    log_probs = -3 * torch.rand(shape, generator=generator)
    batch = {
        "log_probs": log_probs,
        "advantages": torch.randn(num_sequences, generator=generator),
        "mask": torch.rand(shape, generator=generator) < 0.7,
        "old_log_probs": log_probs + normal(0.2),
        "ref_log_probs": log_probs + normal(0.2),
        "entropies": 2 * torch.rand(shape, generator=generator),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def fastrl_loss(batch, spec):
    ref = batch["ref_log_probs"] if spec.kl != "none" else None
    inputs = {name: tensor for name, tensor in batch.items() if name != "ref_log_probs"}
    return policy_loss(**inputs, ref_log_probs=ref, spec=spec)


def torch_loss(batch, spec):
    """PPO's clip with k3 and the two mean aggregations, and the metrics that trainers log."""
    log_probs, mask = batch["log_probs"], batch["mask"].float()
    advantages = batch["advantages"].unsqueeze(1)
    log_ratio = log_probs - batch["old_log_probs"]
    ratio = torch.exp(log_ratio)
    clipped = torch.clamp(ratio, 1 - spec.clip_low, 1 + spec.clip_high)
    surrogate = -torch.min(ratio * advantages, clipped * advantages)
    per_token = surrogate

    def mean(x):
        return (x * mask).sum() / mask.sum().clamp(min=1.0)

    def aggregate(x):
        if spec.aggregation == "token_mean":
            return mean(x)
        return ((x * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()

    metrics = {}
    if spec.kl == "k3":
        d = batch["ref_log_probs"] - log_probs
        kl = torch.exp(d) - d - 1
        per_token = per_token + spec.kl_coef * kl
        metrics["kl_to_ref"] = mean(kl.detach())
    loss = aggregate(per_token)
    with torch.no_grad():
        low = (ratio < 1 - spec.clip_low) & (advantages < 0)
        high = (ratio > 1 + spec.clip_high) & (advantages > 0)
        metrics |= {
            "policy_loss": aggregate(surrogate),
            "tokens": mask.sum(),
            "advantage_mean": mean(advantages.expand_as(mask)),
            "ratio_mean": mean(ratio),
            "clip_fraction_low": mean(low.float()),
            "clip_fraction_high": mean(high.float()),
            "kl_to_old": mean(ratio - 1 - log_ratio),
            "entropy": mean(batch["entropies"]),
        }
    return loss, metrics


def step(provider, batch, spec):
    leaf = batch["log_probs"].detach().requires_grad_()
    loss, metrics = provider(batch | {"log_probs": leaf}, spec)
    loss.backward()
    return loss.detach(), leaf.grad, metrics


def is_right(result, batch, spec):
    """Whether loss and gradient keep the tests' rule, with plain torch as the yardstick."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in batch.items()}
    ref = arrays.pop("ref_log_probs")
    want = reference.policy_loss(
        **arrays, ref_log_probs=ref if spec.kl != "none" else None, spec=spec
    )
    naive = step(torch_loss, batch, spec)
    try:
        assert_close(result[0], want.loss, naive[0])
        assert_close(result[1], want.log_prob_gradients, naive[1])
    except AssertionError as error:
        print(error, file=sys.stderr)
        return False
    return result[2].keys() == want.metrics.keys()


def timed(provider, batch, spec, device):
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step(provider, batch, spec)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3
    start = time.perf_counter()
    step(provider, batch, spec)
    return (time.perf_counter() - start) * 1e6


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", action="append", help="sequences x tokens, as in 64x1024")
    parser.add_argument("--preset", choices=["grpo", "bnpo", "dapo"], default="grpo")
    parser.add_argument("--kl-coef", type=float, default=0.04, help="0 for no reference policy")
    parser.add_argument("--provider", action="append", choices=["fastrl", "torch", "compile"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=fastrl.num_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="of interleaved rounds a shape")
    parser.add_argument("--json", type=Path, help="append the rows to this file, one a line")
    return parser.parse_args()


def main():
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    fastrl.set_num_threads(options.threads)
    spec = PRESETS[options.preset]
    if options.kl_coef:
        spec = replace(spec, kl="k3", kl_coef=options.kl_coef)
    available = {"fastrl": fastrl_loss, "torch": torch_loss}
    if options.provider and "compile" in options.provider:
        available["compile"] = torch.compile(torch_loss)
    providers = {name: available[name] for name in options.provider or available}
    print(f"policy_loss {options.preset} kl_coef={options.kl_coef} {options.device}, "
          f"{options.threads} threads, torch {torch.__version__}")  # fmt: skip
    print(f"{'shape':>10} {'provider':>9} {'median µs':>10} {'p20':>9} {'p80':>9} {'speedup':>8}")
    for shape in options.shape or SHAPES:
        batch = make_batch(*map(int, shape.split("x")), options.device)
        times = {}
        for name, provider in providers.items():
            if is_right(step(provider, batch, spec), batch, spec):
                times[name] = []
            else:
                print(f"{shape:>10} {name:>9}      wrong")
        end = time.perf_counter() + options.seconds
        while time.perf_counter() < end:
            for name, samples in times.items():
                samples.append(timed(providers[name], batch, spec, options.device))
        baseline = statistics.median(times["torch"]) if "torch" in times else None
        for name, samples in times.items():
            p20, *_, p80 = statistics.quantiles(samples, n=5)
            median = statistics.median(samples)
            speedup = baseline / median if baseline else float("nan")
            print(f"{shape:>10} {name:>9} {median:10.1f} {p20:9.1f} {p80:9.1f} {speedup:7.2f}x")
            if options.json:
                row = {"op": "policy_loss", "preset": options.preset, "shape": shape,
                       "kl_coef": options.kl_coef, "device": options.device,
                       "threads": options.threads, "provider": name, "median_us": median,
                       "p20_us": p20, "p80_us": p80}  # fmt: skip
                with options.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
