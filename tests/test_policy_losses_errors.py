"""Specs of the policy loss, and bad calls."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from fastrl import PolicyLossSpec, policy_loss
from fastrl.policy_loss_specs import PRESETS, spec_of
from naive_policy_losses import make_batch, packed


def test_presets():
    """One token of two, ratio 1.5, so that every preset's numbers are read off by hand."""
    log_probs = torch.tensor([[-1.0, -3.0], [-2.0, -1.0]])
    old = log_probs - torch.tensor(1.5).log()
    mask = torch.tensor([[True, True], [True, False]])
    advantages = torch.tensor([1.0, -2.0])

    def loss(name, **changes):
        spec = replace(PRESETS[name], **changes) if changes else name
        ref = log_probs - 1.0 if PRESETS[name].kl != "none" else None
        return policy_loss(
            log_probs, advantages, mask, old_log_probs=old, ref_log_probs=ref, spec=spec
        ).loss.item()

    assert loss("grpo") == pytest.approx((-1.2 + 3.0) / 2)
    assert loss("bnpo") == pytest.approx((-2.4 + 3.0) / 3)
    assert loss("dapo") == pytest.approx((-2.56 + 3.0) / 3)
    assert loss("dr_grpo", max_length=8) == pytest.approx((-2.4 + 3.0) / 16)
    assert loss("reinforce") == pytest.approx((1.0 + 3.0 - 4.0) / 3)
    assert loss("reinforce", ratio="token") == pytest.approx(1.5 * (1.0 + 3.0 - 4.0) / 3)
    assert loss("r3l:paper") == pytest.approx(((1.0 + 3.0) / 2 - 4.0) / 2)
    assert loss("opmd", opmd_tau=3.0) == loss("r3l", opmd_tau=3.0) == 0.0
    assert loss("opmd", aggregation="seq_mean_token_mean") == pytest.approx(-0.5)
    assert loss("r3l:code") == pytest.approx(0.0005, abs=1e-7)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"surrogate": "magic"}, ValueError, "PolicyLossSpec: `surrogate` must be one of 'reinf"),
        ({"ratio": "sequence"}, ValueError, "`ratio` must be one of 'none', 'token', got 'sequ"),
        ({"kl": "k4"}, ValueError, "`kl` must be one of 'none', 'k1', 'k2', 'k3', got 'k4'"),
        ({"aggregation": "mean"}, ValueError, "`aggregation` must be one of 'token_mean', "),
        ({"clip_low": 1.5}, ValueError, r"`clip_low` must be in \[0, 1\], got 1.5"),
        ({"clip_low": float("nan")}, ValueError, r"`clip_low` must be in \[0, 1\], got nan"),
        ({"clip_high": -0.1}, ValueError, r"`clip_high` must be in \[0, 1e\+18\], got -0.1"),
        ({"opmd_tau": -1.0}, ValueError, r"`opmd_tau` must be in \[0, 1e\+18\], got -1.0"),
        ({"kl_coef": "big", "kl": "k3"}, TypeError, "`kl_coef` must be a number, got str"),
        ({"kl_coef": 0.1}, ValueError, "`kl_coef` must be 0 where `kl` is 'none', got 0.1; choose"),
        ({"entropy_coef": np.inf}, ValueError, r"`entropy_coef` must be in \[-1e\+18, .*, got inf"),
        (
            {"entropy_coef": -1e39},
            ValueError,
            r"`entropy_coef` must be in \[-1e\+18, 1e\+18\], got",
        ),
        ({"max_length": 0}, ValueError, "`max_length` must be from 1 to 2147483647, got 0"),
        ({"max_length": 2.5}, TypeError, "`max_length` must be an integer, got float"),
    ],
)
def test_spec_rejects(changes, kind, message):
    with pytest.raises(kind, match=message):
        PolicyLossSpec(**changes)


def test_a_spec_holds_python_values():
    spec = PolicyLossSpec(
        surrogate=np.str_("ppo"),
        clip_low=np.float32(0.25),
        clip_high=1,
        entropy_coef=np.float64(0.5),
        max_length=np.int64(8),
    )
    assert spec == PolicyLossSpec(clip_low=0.25, clip_high=1.0, entropy_coef=0.5, max_length=8)
    types = {name: type(getattr(spec, name)) for name in ("surrogate", "clip_low", "max_length")}
    assert types == {"surrogate": str, "clip_low": float, "max_length": int}
    assert type(spec.clip_high) is type(spec.entropy_coef) is float
    assert spec_of(spec.text) == spec


def _cut(ends):
    return lambda b: packed(b, [4, 2]) | {"cu_seqlens": torch.tensor(ends, dtype=torch.int32)}


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda b: {"log_probs": b["log_probs"].numpy()}, TypeError,
         "policy_loss: `log_probs` must be a torch tensor, got ndarray"),
        (lambda b: {"log_probs": b["log_probs"].double()}, TypeError,
         "`log_probs` must have dtype float32, got float64"),
        (lambda b: {"log_probs": b["log_probs"].bfloat16()}, TypeError,
         "`log_probs` must have dtype float32, got bfloat16"),
        (lambda b: {"log_probs": b["log_probs"][0]}, ValueError,
         r"`log_probs` must have shape \[B, L\], got \[4\]"),
        (lambda b: {"advantages": b["advantages"][:1]}, ValueError,
         r"`advantages` must have shape \[B\] = \[2\] or \[B, L\] = \[2, 4\], got \[1\]"),
        (lambda b: {"advantages": b["advantages"].long()}, TypeError,
         "`advantages` must have dtype float32, got int64"),
        (lambda b: {"mask": b["mask"].float()}, TypeError,
         "`mask` must have dtype bool or uint8, got float32"),
        (lambda b: {"mask": b["mask"].to("meta")}, ValueError,
         "`mask` must be on cpu, where `log_probs` is, got meta"),
        (lambda b: {"old_log_probs": b["old_log_probs"][:, :2]}, ValueError,
         r"`old_log_probs` must have shape \[B, L\] = \[2, 4\], got \[2, 2\]"),
        (lambda b: {"spec": "gropo"}, ValueError, "`spec` must be one of 'grpo', .*, got 'gropo'"),
        (lambda b: {"spec": 3}, TypeError,
         "`spec` must be a PolicyLossSpec or a preset's name, got int"),
        (lambda b: {"spec": "r3l:code"}, ValueError,
         "`ref_log_probs` must be given for kl='k2', got None"),
        (lambda b: {"ref_log_probs": b["old_log_probs"]}, ValueError,
         "`ref_log_probs` must be None where the spec's kl is 'none', got a tensor; kl='k3'"),
        (lambda b: {"spec": PolicyLossSpec(entropy_coef=0.1)}, ValueError,
         "`entropies` must be given where entropy_coef is not 0, got None"),
        (lambda b: {"spec": "dr_grpo"}, ValueError,
         "`spec` must set max_length for aggregation='seq_mean_token_sum_norm', got None; use"),
        (lambda b: {"normalizer": 0.0}, ValueError,
         r"`normalizer` must be in \[1e-18, 1e\+18\], got 0"),
        (lambda b: {"normalizer": 1e-320}, ValueError,
         r"policy_loss: `normalizer` must be in \[1e-18, 1e\+18\], got 1e-320"),
        (lambda b: {"normalizer": torch.ones(2)}, ValueError,
         r"`normalizer` must have shape \[\], got \[2\]"),
        (lambda b: {"cu_seqlens": torch.tensor([0, 4], dtype=torch.int32)}, ValueError,
         r"`log_probs` must have shape \[N\], got \[2, 4\]"),
        (lambda b: packed(b, [4, 2]) | {"cu_seqlens": torch.tensor([0, 4, 6])}, TypeError,
         "`cu_seqlens` must have dtype int32, got int64"),
        (lambda b: packed(b, [4, 2]) | {"advantages": torch.ones(3)}, ValueError,
         r"`advantages` must have shape \[B\] = \[2\] or \[N\] = \[6\], got \[3\]"),
        (_cut([]), ValueError, r"`cu_seqlens` must have shape \[B \+ 1\], got \[0\]"),
        (_cut([1, 4, 6]), ValueError,
         "`cu_seqlens` must start at 0, never decrease and end at N = 6, got 1 at its start"),
        (_cut([0, 7, 6]), ValueError, "end at N = 6, got 6 after 7 at index 2"),
        (_cut([0, 4, 5]), ValueError, "end at N = 6, got 5 at its end"),
    ],
)  # fmt: skip
def test_policy_loss_rejects(change, kind, message):
    batch = make_batch([4, 2])
    inputs = {k: batch[k] for k in ("log_probs", "advantages", "mask")}
    changes = change(inputs | {"old_log_probs": batch["old_log_probs"]})
    with pytest.raises(kind, match=message):
        policy_loss(**{"spec": "grpo"} | inputs | changes)
