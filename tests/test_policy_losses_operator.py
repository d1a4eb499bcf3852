"""The policy loss as an operator: the same bits, derivatives, compiled, and on a GPU."""

from dataclasses import replace

import pytest
from fresh_process import finished_python

pytest.importorskip("torch")

import torch
from fastrl import PolicyLossSpec, policy_loss
from naive_policy_losses import (
    NAIVE_AGGREGATIONS,
    NAIVE_SURROGATES,
    TOKEN_INPUTS,
    assert_statistics_close,
    expected,
    fused,
    make_batch,
    make_spec,
    naive_policy_loss,
    packed,
)
from tolerance import assert_close


def test_results_do_not_depend_on_the_number_of_threads(set_threads):
    spec = make_spec(aggregation="seq_mean_token_mean")
    batch = make_batch([30000, 5, 20000])
    results = []
    for threads in (1, 2, 3):
        set_threads(threads)
        result, *gradients = fused(batch, spec)
        results.append([result.loss, *result.metrics.values(), *gradients])
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
        process = finished_python(_DIGEST, FASTRL_INSTRUCTION_SET=name)
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
