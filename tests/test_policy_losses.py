import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import fastrl
import torch
from fastrl import PolicyLossSpec, _core, policy_loss
from fastrl.policy_loss_specs import PRESETS, spec_of
from fastrl.reference import policy_losses as reference
from tolerance import assert_close

# Plain torch, differentiated by autograd: the golden form of each choice. A new surrogate adds a
# row: its loss, where its clips act, and its hyper-parameters that are not the default.
NAIVE_SURROGATES = {
    "reinforce": (lambda lp, r, a, s: -r.detach() * a * lp, None, {}),
    "opmd": (lambda lp, r, a, s: -r.detach() * a * lp / (1 + s.opmd_tau), None, {"opmd_tau": 0.5}),
    "ppo": (
        lambda lp, r, a, s: (
            -torch.minimum(r * a, torch.clamp(r, 1 - s.clip_low, 1 + s.clip_high) * a)
        ),
        lambda r, a, s: ((r < 1 - s.clip_low) & (a < 0), (r > 1 + s.clip_high) & (a > 0)),
        {"clip_low": 0.15, "clip_high": 0.28},
    ),
    "cispo": (
        lambda lp, r, a, s: -torch.clamp(r, max=1 + s.clip_high).detach() * a * lp,
        lambda r, a, s: (torch.zeros_like(r), r > 1 + s.clip_high),
        {"clip_high": 0.1},
    ),
}
NAIVE_KL = {
    "none": lambda d: torch.zeros_like(d),
    "k1": lambda d: d,
    "k2": lambda d: d * d / 2,
    "k3": lambda d: torch.exp(-d) + d - 1,
}
NAIVE_AGGREGATIONS = {
    "token_mean": lambda x, m, s: (x * m).sum() / m.sum().clamp(min=1),
    "seq_mean_token_mean": lambda x, m, s: ((x * m).sum(1) / m.sum(1).clamp(min=1)).mean(),
    "seq_mean_token_sum": lambda x, m, s: (x * m).sum(1).mean(),
    "seq_mean_token_sum_norm": lambda x, m, s: (x * m).sum() / (len(x) * s.max_length),
    "token_sum": lambda x, m, s: (x * m).sum(),
}
TOKEN_INPUTS = ("old_log_probs", "behavior_log_probs", "ref_log_probs", "entropies")


def naive_policy_loss(batch, spec, dtype):
    """The loss, its gradients and the metrics of a padded batch, in plain torch operations."""
    x = {k: v.to(dtype) if v.is_floating_point() else v for k, v in batch.items()}
    mask = x["mask"].to(dtype)
    log_probs = x["log_probs"].clone().requires_grad_()
    entropies = x["entropies"].clone().requires_grad_()
    old = x["old_log_probs"] if spec.ratio == "token" else log_probs.detach()
    advantages = x["advantages"]
    if advantages.ndim == 1:
        advantages = advantages[:, None].expand_as(log_probs)
    surrogate, clips, _ = NAIVE_SURROGATES[spec.surrogate]
    losses = surrogate(log_probs, torch.exp(log_probs - old), advantages, spec)
    losses = losses + spec.kl_coef * NAIVE_KL[spec.kl](log_probs - x["ref_log_probs"])
    losses = losses - spec.entropy_coef * entropies
    loss = NAIVE_AGGREGATIONS[spec.aggregation](losses, mask, spec)
    gradients = torch.autograd.grad(loss, (log_probs, entropies), allow_unused=True)
    gradients = [torch.zeros_like(log_probs) if g is None else g for g in gradients]
    return loss.detach(), *gradients, naive_metrics(x, mask, advantages, surrogate, clips, spec)


def naive_metrics(x, mask, advantages, surrogate, clips, spec):
    log_probs = x["log_probs"]
    log_ratios = log_probs - x["old_log_probs"]
    behavior = log_probs - x["behavior_log_probs"]
    used = torch.exp(log_ratios) if spec.ratio == "token" else torch.ones_like(log_probs)
    losses = surrogate(log_probs, used, advantages, spec)
    nowhere = torch.zeros_like(log_probs)
    low, high = clips(used, advantages, spec) if clips else (nowhere, nowhere)
    token_means = {
        "advantage_mean": advantages,
        "ratio_mean": torch.exp(log_ratios),
        "clip_fraction_low": low,
        "clip_fraction_high": high,
        "kl_to_old": torch.exp(log_ratios) - 1 - log_ratios,
        "kl_to_behavior": torch.exp(behavior) - 1 - behavior,
        "kl_to_ref": NAIVE_KL[spec.kl](log_probs - x["ref_log_probs"]),
        "entropy": x["entropies"],
    }
    metrics = {k: (v * mask).sum() / mask.sum().clamp(min=1) for k, v in token_means.items()}
    metrics["policy_loss"] = NAIVE_AGGREGATIONS[spec.aggregation](losses, mask, spec)
    metrics["tokens"] = mask.sum()
    return metrics


def make_batch(lengths, width=None, *, per_token=False, seed=0):
    """A padded batch whose row i has lengths[i] tokens that may count, some of which do not.

    Most advantages are positive and most ratios above 1, so that no sum is a small difference of
    large numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths, default=0) if width is None else width)

    def normal(mean, deviation, *size):
        return mean + deviation * torch.randn(*(size or shape), generator=generator)

    log_probs = -2.5 * torch.rand(*shape, generator=generator) - 0.01
    inside = torch.arange(shape[1]) < torch.tensor(lengths, dtype=torch.int64)[:, None]
    advantages = normal(0.7, 1.0, *shape) if per_token else normal(0.7, 1.0, shape[0])
    return {
        "log_probs": log_probs,
        "advantages": advantages,
        "mask": inside & (torch.rand(*shape, generator=generator) < 0.7),
        "old_log_probs": log_probs + normal(-0.05, 0.3),
        "behavior_log_probs": log_probs + normal(-0.05, 0.3),
        "ref_log_probs": log_probs + normal(-0.1, 0.3),
        "entropies": 2 * torch.rand(*shape, generator=generator),
    }


def packed(batch, lengths):
    """The same batch without its padding."""
    inside = torch.arange(batch["mask"].shape[1]) < torch.tensor(lengths)[:, None]
    result = {k: v[inside] if v.ndim == 2 else v for k, v in batch.items()}
    ends = torch.tensor([0, *lengths]).cumsum(0)
    return result | {"cu_seqlens": ends.to(torch.int32)}


def needed(batch, spec):
    return {k: v for k, v in batch.items() if k != "ref_log_probs" or spec.kl != "none"}


def fused(batch, spec, **options):
    """The result and the gradients of fastrl's loss."""
    inputs = needed(batch, spec)
    log_probs = inputs.pop("log_probs").clone().requires_grad_()
    entropies = inputs.pop("entropies").clone().requires_grad_()
    result = policy_loss(log_probs, entropies=entropies, spec=spec, **inputs, **options)
    gradients = torch.autograd.grad(result.loss, (log_probs, entropies))
    return result, *gradients


def expected(batch, spec, **options):
    inputs = {k: v.numpy() for k, v in needed(batch, spec).items()}
    return reference.policy_loss(**inputs, spec=spec, **options)


def make_spec(ratio="token", surrogate="ppo", kl="k3", aggregation="token_mean"):
    return PolicyLossSpec(
        ratio=ratio,
        surrogate=surrogate,
        kl=kl,
        kl_coef=0.0 if kl == "none" else 0.3,
        entropy_coef=0.05,
        aggregation=aggregation,
        max_length=11,
        **NAIVE_SURROGATES[surrogate][2],
    )


def test_every_choice_has_a_reference_and_a_golden_form():
    assert set(_core.policy_loss_surrogates()) == set(NAIVE_SURROGATES) == set(reference.SURROGATES)
    assert set(_core.policy_loss_kl_estimators()) == set(NAIVE_KL) == set(reference.KL_ESTIMATORS)


def assert_statistics_close(result, want, naive, what):
    """Loss and metrics as one array: a single sum of plain torch may be exact by chance."""
    assert result.metrics.keys() == want.metrics.keys()
    assert all(m.ndim == 0 and not m.requires_grad for m in result.metrics.values())
    assert result.metrics["tokens"] == want.metrics["tokens"]
    names = [name for name in want.metrics if name != "tokens"]
    assert_close(
        torch.stack([result.loss.detach(), *(result.metrics[name] for name in names)]).cpu(),
        np.array([want.loss, *(want.metrics[name] for name in names)]),
        torch.stack([naive[0], *(naive[3][name] for name in names)]),
        what=what,
    )


LENGTHS = [9, 0, 3, 7, 1]


@pytest.mark.parametrize("kl", NAIVE_KL)
@pytest.mark.parametrize("surrogate", NAIVE_SURROGATES)
@pytest.mark.parametrize("ratio", ["none", "token"])
def test_policy_loss_matches_reference(cpu_backend, ratio, surrogate, kl):
    for i, aggregation in enumerate(NAIVE_AGGREGATIONS):
        spec = make_spec(ratio, surrogate, kl, aggregation)
        batch = make_batch(LENGTHS, per_token=i % 2 == 1, seed=i)
        want = expected(batch, spec)
        naive = naive_policy_loss(batch, spec, torch.float32)
        result, grad_log_probs, grad_entropies = fused(batch, spec)
        assert_close(grad_log_probs, want.log_prob_gradients, naive[1], what=f"{spec} gradient")
        assert_close(grad_entropies, want.entropy_gradients, naive[2], what=f"{spec} entropies")
        assert_statistics_close(result, want, naive, what=f"{spec} statistics")

        inside = torch.arange(batch["mask"].shape[1]) < torch.tensor(LENGTHS)[:, None]
        cut = packed(batch, LENGTHS)
        again, packed_gradient, _ = fused(cut | {"mask": cut["mask"].to(torch.uint8) * 255}, spec)
        assert_statistics_close(again, want, naive, what=f"{spec} packed statistics")
        assert torch.equal(packed_gradient, grad_log_probs[inside])


@pytest.mark.parametrize("aggregation", NAIVE_AGGREGATIONS)
@pytest.mark.parametrize("surrogate", NAIVE_SURROGATES)
def test_reference_gradients_are_those_of_autograd(surrogate, aggregation):
    for ratio in ("none", "token"):
        for kl in NAIVE_KL:
            spec = make_spec(ratio, surrogate, kl, aggregation)
            batch = make_batch(LENGTHS)
            want = expected(batch, spec)
            golden = naive_policy_loss(batch, spec, torch.float64)
            assert want.loss == pytest.approx(golden[0].item(), rel=1e-12)
            np.testing.assert_allclose(want.log_prob_gradients, golden[1], rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(want.entropy_gradients, golden[2], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kl", NAIVE_KL)
def test_reference_gradients_are_finite_differences(kl):
    spec = make_spec("token", "ppo", kl, "seq_mean_token_mean")
    batch = {k: v.double() if v.is_floating_point() else v for k, v in make_batch([4, 2]).items()}
    want = expected(batch, spec)
    step = 1e-6
    for name, gradient in (
        ("log_probs", want.log_prob_gradients),
        ("entropies", want.entropy_gradients),
    ):
        for index in np.ndindex(*gradient.shape):
            losses = []
            for sign in (1, -1):
                moved = batch[name].clone()
                moved[index] += sign * step
                losses.append(expected(batch | {name: moved}, spec).loss)
            assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(gradient[index], abs=1e-8)


@pytest.mark.parametrize(
    "lengths", [[1], [255], [256, 1], [16384], [3] * 700, [5000, 0, 0, 12000, 1]], ids=str
)
def test_policy_loss_at_the_edges_of_blocks_and_chunks(lengths):
    spec = make_spec(aggregation="seq_mean_token_mean")
    batch = make_batch(lengths)
    want, naive = expected(batch, spec), naive_policy_loss(batch, spec, torch.float32)
    for cut in (batch, packed(batch, lengths)):
        result, gradient, _ = fused(cut, spec)
        assert_close(result.loss, want.loss, naive[0])
        inside = torch.arange(batch["mask"].shape[1]) < torch.tensor(lengths)[:, None]
        if gradient.ndim == 1:
            assert_close(gradient, want.log_prob_gradients[inside.numpy()], naive[1][inside])
        else:
            assert_close(gradient, want.log_prob_gradients, naive[1])


@pytest.mark.parametrize("lengths", [[1024], [1023, 2], [600, 0, 1700]], ids=str)
def test_policy_loss_kernels_at_the_edges_of_blocks(triton_backend, lengths):
    test_policy_loss_at_the_edges_of_blocks_and_chunks(lengths)


def test_ratio_one_gives_minus_the_mean_advantage_and_the_policy_gradient(cpu_backend):
    batch = make_batch([6, 4], per_token=True)
    log_probs, advantages, mask = (batch[k] for k in ("log_probs", "advantages", "mask"))
    for old in (None, log_probs):
        current = log_probs.clone().requires_grad_()
        loss, metrics = policy_loss(current, advantages, mask, old_log_probs=old, spec="bnpo")
        loss.backward()
        assert_close(loss, -advantages[mask].double().mean(), -advantages[mask].mean())
        torch.testing.assert_close(current.grad, -advantages * mask / mask.sum())
    assert metrics["ratio_mean"] == 1
    assert metrics["kl_to_old"] == 0


def test_gradient_is_zero_where_clipped(cpu_backend):
    ratios = torch.tensor([[0.5, 0.79, 0.81, 1.19, 1.21, 3.0]])
    mask = torch.ones(1, 6, dtype=torch.bool)
    for sign, free in ((1.0, [1, 1, 1, 1, 0, 0]), (-1.0, [0, 0, 1, 1, 1, 1])):
        log_probs = ratios.log().requires_grad_()
        result = policy_loss(
            log_probs, torch.tensor([sign]), mask, old_log_probs=torch.zeros(1, 6), spec="bnpo"
        )
        result.loss.backward()
        assert torch.equal(log_probs.grad != 0, torch.tensor([free]) == 1)
        clipped = {1.0: "clip_fraction_high", -1.0: "clip_fraction_low"}[sign]
        other = {1.0: "clip_fraction_low", -1.0: "clip_fraction_high"}[sign]
        assert result.metrics[clipped].item() == pytest.approx(1 / 3)
        assert result.metrics[other] == 0


def test_masked_tokens_are_not_read_and_have_no_gradient(cpu_backend):
    spec = make_spec(aggregation="seq_mean_token_mean")
    batch = make_batch(LENGTHS, per_token=True)
    clean = fused(batch, spec)
    poisoned = {
        k: torch.where(batch["mask"], v, torch.nan) if v.is_floating_point() else v
        for k, v in batch.items()
    }
    dirty = fused(poisoned, spec)
    assert torch.equal(dirty[0].loss, clean[0].loss)
    for a, b in zip(dirty[1:], clean[1:], strict=True):
        assert torch.equal(a, b)
        assert (a[~batch["mask"]] == 0).all()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # interpreter
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("surrogate", NAIVE_SURROGATES)
def test_log_probs_that_are_not_finite_do_not_go_unnoticed(cpu_backend, surrogate, bad):
    batch = make_batch(LENGTHS)
    rows, columns = (~batch["mask"]).nonzero(as_tuple=True)
    batch["log_probs"][rows[0], columns[0]] = bad  # masked: not read
    row, column = batch["mask"].nonzero()[1].tolist()
    batch["log_probs"][row, column] = bad
    without_old = {k: v for k, v in batch.items() if k != "old_log_probs"}
    for ratio, inputs in (("token", without_old), ("none", without_old), ("none", batch)):
        spec = make_spec(ratio, surrogate, "none")
        want = expected(inputs, spec)
        result, gradient, _ = fused(inputs, spec)
        assert np.isnan(want.loss)
        assert torch.isnan(result.loss)
        assert torch.isnan(result.metrics["policy_loss"])
        assert torch.isnan(gradient).nonzero().tolist() == [[row, column]]
        assert np.argwhere(np.isnan(want.log_prob_gradients)).tolist() == [[row, column]]


BAD_NORMALIZERS = [np.nan, np.inf, -2.0, 0.0]


@pytest.mark.parametrize("aggregation", NAIVE_AGGREGATIONS)
@pytest.mark.parametrize("bad", BAD_NORMALIZERS)
def test_a_bad_normalizer_on_the_device_gives_nan(triton_backend, bad, aggregation):
    spec = make_spec(aggregation=aggregation)
    batch = make_batch(LENGTHS)
    result, gradient, grad_entropies = fused(batch, spec, normalizer=torch.tensor(bad))
    want = expected(batch, spec, normalizer=bad)
    assert np.isnan(want.loss)
    assert torch.isnan(result.loss)
    for values in (gradient, grad_entropies, want.log_prob_gradients, want.entropy_gradients):
        assert torch.isnan(torch.as_tensor(values)[batch["mask"]]).all()
    empty = make_batch([0, 0], 3)
    assert fused(empty, spec, normalizer=torch.tensor(bad))[0].loss == 0
    assert expected(empty, spec, normalizer=bad).loss == 0


@pytest.mark.parametrize("bad", [*BAD_NORMALIZERS, 1e-30])
def test_a_bad_normalizer_on_the_cpu_is_an_error(bad):
    batch = make_batch(LENGTHS)
    with pytest.raises(ValueError, match=r"policy_loss: `normalizer` must be in \[1e-18, 1e\+18"):
        fused(batch, make_spec(), normalizer=torch.tensor(bad))


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("aggregation", NAIVE_AGGREGATIONS)
def test_parts_with_a_global_normalizer_add_up_to_the_whole(cpu_backend, aggregation, as_tensor):
    spec = make_spec(aggregation=aggregation)
    batch = make_batch(LENGTHS)
    _, gradient, _ = fused(batch, spec)
    total = {"token_mean": batch["mask"].sum().item(), "token_sum": 1}.get(aggregation, 5)
    normalizer = torch.tensor(total) if as_tensor else total
    parts = [
        fused({k: v[rows] for k, v in batch.items()}, spec, normalizer=normalizer)
        for rows in (slice(0, 2), slice(2, 5))
    ]
    together = parts[0][0].loss + parts[1][0].loss
    naive = naive_policy_loss(batch, spec, torch.float32)
    assert_close(together, expected(batch, spec).loss, naive[0])
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), gradient)


def test_sequences_without_tokens_count_unless_the_normalizer_says_otherwise(cpu_backend):
    log_probs = torch.zeros(2, 3)
    mask = torch.tensor([[True] * 3, [False] * 3])
    advantages = torch.tensor([1.0, 1.0])
    assert policy_loss(log_probs, advantages, mask, spec="grpo").loss == -0.5
    assert policy_loss(log_probs, advantages, mask, spec="grpo", normalizer=1).loss == -1


@pytest.mark.parametrize("aggregation", NAIVE_AGGREGATIONS)
def test_no_tokens_give_a_loss_and_a_gradient_of_zero(cpu_backend, aggregation):
    spec = make_spec(aggregation=aggregation)
    for lengths, width in (([0, 0], 3), ([0, 0], 0), ([], 0), ([], 4)):
        batch = make_batch(lengths, width)
        for cut in (batch, packed(batch, lengths)):
            result, *gradients = fused(cut, spec)
            assert result.loss == 0
            assert all(metric == 0 for metric in result.metrics.values())
            assert all((gradient == 0).all() for gradient in gradients)
    # Not even where the whole of a distributed batch is empty, which only the device knows.
    empty = make_batch([0, 0], 3)
    assert fused(empty, spec, normalizer=torch.tensor(0))[0].loss == 0


def test_every_output_element_is_written(cpu_backend):
    """Deterministic torch fills new tensors with NaN."""
    batch = make_batch(LENGTHS)
    torch.use_deterministic_algorithms(True)
    try:
        result, *gradients = fused(batch, make_spec())
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(x).all() for x in (result.loss, *gradients))
    assert all(torch.isfinite(metric) for metric in result.metrics.values())


def test_non_contiguous_inputs_give_the_same(cpu_backend):
    spec = make_spec(aggregation="seq_mean_token_mean")
    batch = make_batch(LENGTHS, per_token=True)
    plain = fused(batch, spec)
    for restride in (
        lambda x: x.t().contiguous().t(),
        lambda x: torch.stack([x, x], -1)[..., 0],
        lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    ):
        strided = {k: restride(v) for k, v in batch.items()}
        result, *gradients = fused(strided, spec)
        assert torch.equal(result.loss, plain[0].loss)
        assert all(torch.equal(a, b) for a, b in zip(gradients, plain[1:], strict=True))


def test_results_do_not_depend_on_the_number_of_threads():
    spec = make_spec(aggregation="seq_mean_token_mean")
    batch = make_batch([30000, 5, 20000])
    before = fastrl.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            fastrl.set_num_threads(threads)
            result, *gradients = fused(batch, spec)
            results.append([result.loss, *result.metrics.values(), *gradients])
    finally:
        fastrl.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


_DIGEST = """
import hashlib
import numpy as np
from fastrl import _core
rng = np.random.default_rng(0)
x = {k: rng.uniform(-2, 1, 5000).astype(np.float32) for k in ("log_probs", "advantages",
     "old_log_probs", "behavior_log_probs", "ref_log_probs", "entropies")}
x["mask"] = (rng.random(5000) < 0.7).astype(np.uint8)
out = {k: np.zeros(n, np.float32) for k, n in (("loss", 1), ("scale", 1),
       ("statistics", _core.num_policy_loss_statistics),
       ("log_prob_gradients", 5000), ("entropy_gradients", 5000))}
digest = hashlib.sha256()
for surrogate in _core.policy_loss_surrogates():
    _core.policy_loss(**{k: v.ctypes.data for k, v in (x | out).items()}, cu_seqlens=0,
        num_tokens=5000, num_sequences=10, advantages_per_token=True, ratio="token",
        surrogate=surrogate, kl="k3", clip_low=0.2, clip_high=0.3, opmd_tau=1.0, kl_coef=0.1,
        entropy_coef=0.1, mean_over_sequence=True, count_tokens=False, denominator=10.0)
    for array in out.values():
        digest.update(array.tobytes())
print(_core.instruction_set(), digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits():
    digests = {}
    for name in ("portable", "x86-64-v3", "x86-64-v4"):
        process = subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=os.environ | {"FASTRL_INSTRUCTION_SET": name},
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode != 0:
            assert "at most what this processor has" in process.stderr
            continue
        used, digest = process.stdout.split()
        assert used == name
        digests[name] = digest
    assert "portable" in digests
    assert len(set(digests.values())) == 1


def test_gradients_can_be_taken_twice_and_scale_with_the_loss(cpu_backend):
    batch = make_batch([5, 3])
    log_probs = batch["log_probs"].clone().requires_grad_()
    loss = policy_loss(log_probs, batch["advantages"], batch["mask"]).loss
    (3 * loss).backward(retain_graph=True)
    once = log_probs.grad.clone()
    (3 * loss).backward()
    assert torch.equal(log_probs.grad, 2 * once)
    log_probs.grad = None
    policy_loss(log_probs, batch["advantages"], batch["mask"]).loss.backward()
    torch.testing.assert_close(3 * log_probs.grad, once)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch.func.jvp
def test_second_derivatives_and_forward_mode_are_refused():
    batch = make_batch([5, 3])

    def loss(log_probs):
        return policy_loss(log_probs, batch["advantages"], batch["mask"]).loss

    log_probs = batch["log_probs"]
    leaf = log_probs.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="policy_loss: second derivatives are not implemented"):
        torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="policy_loss: forward-mode derivatives are not impl"):
        torch.func.jvp(loss, (log_probs,), (log_probs,))


def test_without_gradients_none_are_kept():
    batch = make_batch([5, 3])
    log_probs = batch["log_probs"].clone().requires_grad_()
    with torch.no_grad():
        loss = policy_loss(log_probs, batch["advantages"], batch["mask"]).loss
    assert loss.grad_fn is None
    entropies = batch["entropies"].clone().requires_grad_()
    spec = PolicyLossSpec(entropy_coef=0.1)
    loss = policy_loss(
        batch["log_probs"], batch["advantages"], batch["mask"], entropies=entropies, spec=spec
    ).loss
    loss.backward()
    assert_close(entropies.grad, -0.1 * batch["mask"].double() / batch["mask"].sum())


def test_policy_loss_compiles_into_one_graph():
    spec = make_spec(aggregation="seq_mean_token_mean")

    def step(log_probs, batch):
        result = policy_loss(log_probs * 1.0, spec=spec, **batch)
        return result.loss * 2, result.metrics["kl_to_ref"]

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    for lengths in ([4, 2], [7, 5, 1]):
        padded = make_batch(lengths)
        for batch in (padded, packed(padded, lengths)):
            log_probs = batch.pop("log_probs")
            results = []
            for function in (step, compiled):
                leaf = log_probs.clone().requires_grad_()
                loss, metric = function(leaf, batch)
                loss.backward()
                results.append((loss.detach(), metric, leaf.grad))
            assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_spec_can_be_made_while_compiling():
    batch = make_batch([4, 2])

    def step(log_probs):
        spec = replace(PolicyLossSpec(clip_low=0.1), aggregation="seq_mean_token_mean")
        return policy_loss(log_probs, batch["advantages"], batch["mask"], spec=spec).loss

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(batch["log_probs"]), step(batch["log_probs"]))


def test_policy_loss_is_a_well_formed_operator():
    batch = make_batch([4, 2])
    spec = make_spec()
    arguments = [batch["log_probs"].requires_grad_(), batch["advantages"], batch["mask"]]
    arguments += [batch[name] for name in TOKEN_INPUTS[:3]]
    arguments += [batch["entropies"].requires_grad_(), None, None, None, spec.text, True]
    torch.library.opcheck(torch.ops.fastrl.policy_loss.default, tuple(arguments))


@pytest.mark.gpu
@pytest.mark.parametrize("aggregation", NAIVE_AGGREGATIONS)
def test_policy_loss_on_a_gpu_matches_repeats_and_never_waits(aggregation):
    lengths = [5000, 0, 3, 12000]
    for surrogate in NAIVE_SURROGATES:
        spec = make_spec(surrogate=surrogate, aggregation=aggregation)
        batch = make_batch(lengths)
        want, naive = expected(batch, spec), naive_policy_loss(batch, spec, torch.float32)
        for cut in (batch, packed(batch, lengths)):
            on_gpu = {name: tensor.cuda() for name, tensor in cut.items()}
            fused(on_gpu, spec)  # compiles
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            try:
                results = [fused(on_gpu, spec) for _ in range(2)]
            finally:
                torch.cuda.set_sync_debug_mode("default")
            (result, *gradients), (again, *gradients_again) = results
            assert_statistics_close(result, want, naive, what=f"{spec}")
            assert torch.equal(result.loss, again.loss)
            assert all(torch.equal(*pair) for pair in zip(gradients, gradients_again, strict=True))
        _, gradient, _ = fused({name: tensor.cuda() for name, tensor in batch.items()}, spec)
        assert_close(gradient, want.log_prob_gradients, naive[1])


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
