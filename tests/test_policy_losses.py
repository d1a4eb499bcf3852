"""The policy loss against its specification."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from fastrl import _core, policy_loss
from fastrl.reference import policy_losses as reference
from naive_policy_losses import (
    LENGTHS,
    NAIVE_AGGREGATIONS,
    NAIVE_KL,
    NAIVE_SURROGATES,
    assert_statistics_close,
    expected,
    fused,
    make_batch,
    make_spec,
    naive_policy_loss,
    packed,
)
from tolerance import assert_close


def test_every_choice_has_a_reference_and_a_golden_form():
    assert set(_core.policy_loss_surrogates()) == set(NAIVE_SURROGATES) == set(reference.SURROGATES)
    assert set(_core.policy_loss_kl_estimators()) == set(NAIVE_KL) == set(reference.KL_ESTIMATORS)


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
