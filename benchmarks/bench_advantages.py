"""Advantages and credit masks against the loops that trainers run and vectorized torch.

The loops are what CleanRL and Stable-Baselines3 (gae), verl and Trinity-RFT (the others) run on the
CPU between sampling and training.

    python benchmarks/bench_advantages.py --op group_advantages --shape 8192x8 --device cpu
"""

import argparse
from collections import defaultdict
from functools import partial

import fastrl
import numpy as np
import torch
from harness import Provider, measure, parse, report
from tolerance import assert_close

EPS = 1e-4

GAMMA, LAMBDA = 0.99, 0.95

# Steps × environments: Atari PPO, a middle one, many native environments, one token sequence.
# Trajectories × group size: a small step, a large step. Sequences × tokens: agentic trajectories.
SHAPES = {
    "gae": ["128x8", "2048x256", "128x8192", "32768x1"],
    "group_advantages": ["512x8", "8192x8"],
    "pivot_mask": ["64x2048", "768x16384"],
    "divergence_points": ["64x2048", "768x16384"],
}


def gae_inputs(num_steps, num_envs, device):
    """Rewards, values and next values as one follows the other, and the two flags."""
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(num_steps, num_envs, generator=generator)
    values = torch.randn(num_steps + 1, num_envs, generator=generator)
    terminated = torch.rand(num_steps, num_envs, generator=generator) < 0.01
    truncated = torch.rand(num_steps, num_envs, generator=generator) < 0.01
    inputs = rewards, values[:-1].contiguous(), values[1:].contiguous(), terminated, truncated
    return [x.to(device) for x in inputs]


def gae_cleanrl(rewards, values, next_values, terminated, truncated):
    """CleanRL's loop over torch rows, with a bootstrap at truncation."""
    bootstrap = torch.where(terminated, 0.0, next_values)
    continues = (~(terminated | truncated)).to(rewards.dtype)
    advantages, tail = torch.zeros_like(rewards), 0.0
    for t in reversed(range(len(rewards))):
        td_error = rewards[t] + GAMMA * bootstrap[t] - values[t]
        advantages[t] = tail = td_error + GAMMA * LAMBDA * continues[t] * tail
    return advantages


def gae_sb3(*inputs):
    """Stable-Baselines3's loop over NumPy rows, likewise."""
    rewards, values, next_values, terminated, truncated = (x.numpy() for x in inputs)
    bootstrap = np.where(terminated, rewards.dtype.type(0), next_values)
    continues = (~(terminated | truncated)).astype(rewards.dtype)
    advantages, tail = np.zeros_like(rewards), 0.0
    for t in reversed(range(len(rewards))):
        td_error = rewards[t] + GAMMA * bootstrap[t] - values[t]
        tail = td_error + GAMMA * LAMBDA * continues[t] * tail
        advantages[t] = tail
    return torch.from_numpy(advantages)


def gae_fastrl(*inputs):
    return fastrl.gae(*inputs, gamma=GAMMA, lambda_=LAMBDA)


def group_inputs(size, group_size, device):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(size, generator=generator)
    ids = torch.arange(size) // group_size
    return rewards.to(device), ids[torch.randperm(size, generator=generator)].to(device)


def group_loop(rewards, ids):
    """A dictionary of lists, one trajectory at a time, as verl and Trinity-RFT do."""
    members, mean, deviation = defaultdict(list), {}, {}
    for i in range(len(rewards)):
        members[ids[i].item()].append(rewards[i])
    for group, values in members.items():
        stacked = torch.stack(values)
        mean[group], deviation[group] = stacked.mean(), stacked.std()
    out = torch.empty_like(rewards)
    for i in range(len(rewards)):
        group = ids[i].item()
        out[i] = (rewards[i] - mean[group]) / (deviation[group] + EPS)
    return out


def group_torch(rewards, ids):
    _, dense, counts = ids.unique(return_inverse=True, return_counts=True)
    zeros = rewards.new_zeros(len(counts))
    centered = rewards - (zeros.index_add(0, dense, rewards) / counts)[dense]
    variance = zeros.index_add(0, dense, centered.square()) / (counts - 1)
    return centered / (variance.sqrt()[dense] + EPS)


def group_fastrl(rewards, ids):
    return fastrl.group_advantages(rewards, ids, eps=EPS)


def pivot_inputs(size, length, device):
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(size, length, generator=generator) < 0.5
    starts = torch.arange(0, length, length // 16, dtype=torch.int32).expand(size, -1).contiguous()
    pivots = torch.randint(0, 16, (size,), generator=generator, dtype=torch.int32)
    return mask.to(device), starts.to(device), pivots.to(device)


def pivot_loop(mask, starts, pivots):
    """One row at a time."""
    out = mask.clone()
    for row in range(len(mask)):
        out[row, : int(starts[row, int(pivots[row])])] = False
    return out


def pivot_torch(mask, starts, pivots):
    first = starts.gather(1, pivots.long()[:, None])
    return mask & (torch.arange(mask.shape[1], device=mask.device) >= first)


def divergence_inputs(size, length, device):
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(0, 150_000, (size, length), generator=generator)
    retry = base.clone()
    points = torch.randint(0, length, (size,), generator=generator)
    retry[torch.arange(size), points] += 1
    return base.to(device), retry.to(device)


def divergence_loop(base, retry):
    """One pair at a time."""
    points = [int((a != b).nonzero()[0, 0]) for a, b in zip(base, retry, strict=True)]
    return torch.tensor(points, dtype=torch.int32, device=base.device)


def divergence_torch(base, retry):
    return (base != retry).byte().argmax(1).int()


OPS = {
    "gae": (
        gae_inputs,
        {"fastrl": gae_fastrl, "numpy loop": gae_sb3, "loop": gae_cleanrl},
    ),
    "group_advantages": (
        group_inputs,
        {"fastrl": group_fastrl, "torch": group_torch, "loop": group_loop},
    ),
    "pivot_mask": (
        pivot_inputs,
        {"fastrl": fastrl.pivot_mask, "torch": pivot_torch, "loop": pivot_loop},
    ),
    "divergence_points": (
        divergence_inputs,
        {"fastrl": fastrl.divergence_points, "torch": divergence_torch, "loop": divergence_loop},
    ),
}


def providers_of(op, shape, device):
    """Each way to do it, with a check against plain torch in float64."""
    make_inputs, functions = OPS[op]
    inputs = make_inputs(*shape, device)
    doubled = [x.double() if x.is_floating_point() else x for x in inputs]
    plain = functions["torch" if "torch" in functions else "loop"]
    want = plain(*doubled).cpu()
    naive = plain(*inputs).cpu()

    def check(function):
        result = function(*inputs).cpu()
        assert_close(result.float(), want, naive, dtype="float32")
        return float((result.double() - want.double()).abs().max())

    return [
        Provider(name, run=partial(function, *inputs), check=partial(check, function))
        for name, function in functions.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--op", choices=list(OPS), help="default: all")
    parser.add_argument("--shape", help="as in 8192x8")
    arguments = parse(parser, seconds=3.0)
    for op in [arguments.op] if arguments.op else OPS:
        if op == "gae" and arguments.device == "cuda":
            continue  # has no GPU kernel
        for shape in [arguments.shape] if arguments.shape else SHAPES[op]:
            size = tuple(int(number) for number in shape.split("x"))
            providers = providers_of(op, size, arguments.device)
            measure(
                providers, device=arguments.device, seconds=arguments.seconds, rest=arguments.rest
            )
            report(
                f"{op}, {shape}, {arguments.device}",
                providers,
                baseline="loop",
                device=arguments.device,
                json_path=arguments.json,
            )


if __name__ == "__main__":
    main()
