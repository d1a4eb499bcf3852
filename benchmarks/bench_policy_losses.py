"""policy_loss, forward and backward, against the lines that trainers write in plain torch.

Every provider returns the loss, its gradient and the same metrics. The least traffic is one read of
each input and one write of the gradient; `copy` moves as many bytes and is the roofline.

    python benchmarks/bench_policy_losses.py --shape 64x1024 --preset grpo --device cpu
"""

import argparse
from dataclasses import replace
from functools import partial

import torch
from fastrl.policy_loss_specs import PRESETS
from fastrl.policy_losses import policy_loss
from fastrl.reference import policy_losses as reference
from harness import Provider, measure, parse, report
from tolerance import as_float64, assert_close

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


def step(function, batch, spec):
    leaf = batch["log_probs"].detach().requires_grad_()
    loss, metrics = function(batch | {"log_probs": leaf}, spec)
    loss.backward()
    return loss.detach(), leaf.grad, metrics


def check(function, batch, spec):
    """The largest error of the gradient; loss, gradient and metrics keep the rule of the tests."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in batch.items()}
    ref = arrays.pop("ref_log_probs")
    want = reference.policy_loss(
        **arrays, ref_log_probs=ref if spec.kl != "none" else None, spec=spec
    )
    loss, gradient, metrics = step(function, batch, spec)
    naive_loss, naive_gradient, naive_metrics = step(torch_loss, batch, spec)
    assert_close(loss, want.loss, naive_loss, what="loss")
    assert_close(gradient, want.log_prob_gradients, naive_gradient, what="gradient")
    assert metrics.keys() == want.metrics.keys(), f"metrics {sorted(metrics)}"
    for name, value in metrics.items():
        assert_close(value.float(), want.metrics[name], naive_metrics[name], what=name)
    return abs(as_float64(gradient) - want.log_prob_gradients).max()


def providers_of(functions, batch, spec):
    inputs = [tensor for name, tensor in batch.items() if spec.kl != "none" or "ref" not in name]
    traffic = sum(tensor.nbytes for tensor in inputs) + batch["log_probs"].nbytes
    source = torch.ones(traffic // 2, dtype=torch.uint8, device=batch["mask"].device)
    target = torch.empty_like(source)
    providers = [
        Provider(
            name,
            run=partial(step, function, batch, spec),
            bytes_moved=traffic,
            check=partial(check, function, batch, spec),
        )
        for name, function in functions.items()
    ]
    return [*providers, Provider("copy", partial(target.copy_, source), bytes_moved=traffic)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", action="append", help="sequences x tokens, as in 64x1024")
    parser.add_argument("--preset", choices=["grpo", "bnpo", "dapo"], default="grpo")
    parser.add_argument("--kl-coef", type=float, default=0.04, help="0 for no reference policy")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, warmed")
    arguments = parse(parser, seconds=3.0)
    spec = PRESETS[arguments.preset]
    if arguments.kl_coef:
        spec = replace(spec, kl="k3", kl_coef=arguments.kl_coef)
    functions = {"fastrl": fastrl_loss, "torch": torch_loss}
    if arguments.compile:
        functions["torch.compile"] = torch.compile(torch_loss)
    kl = f"k3 × {arguments.kl_coef}" if arguments.kl_coef else "none"
    for shape in arguments.shape or SHAPES:
        batch = make_batch(*map(int, shape.split("x")), arguments.device)
        providers = providers_of(functions, batch, spec)
        measure(providers, device=arguments.device, seconds=arguments.seconds, rest=arguments.rest)
        report(
            f"policy_loss, {arguments.preset}, KL {kl}, {shape}, {arguments.device}",
            providers,
            baseline="torch",
            copy="copy",
            device=arguments.device,
            json_path=arguments.json,
        )


if __name__ == "__main__":
    main()
