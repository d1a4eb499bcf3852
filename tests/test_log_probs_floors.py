"""Token log-probs: the same on all threads and instruction sets, compiled, and on a GPU."""

import math

import pytest
from fresh_process import finished_python
from tolerance import as_float64, assert_close

torch = pytest.importorskip("torch")

from fastrl import _core, token_log_probs  # noqa: E402
from token_stats import (  # noqa: E402
    ALL,
    CPU_SHAPES,
    DTYPES,
    check_all_numbers,
    check_token_log_probs,
    make_logits,
)
from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402
from torch._subclasses import FakeTensorMode  # noqa: E402

# --- the same bits


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_number_of_threads(dtype, set_threads):
    logits, ids, gradients = make_logits((64, 20011), dtype)
    results = []
    for n in (1, 2, 3, 8):
        set_threads(n)
        x = logits.clone().requires_grad_()
        stats = token_log_probs(x, ids, **ALL)
        torch.autograd.backward(stats, list(gradients))
        results.append([*stats, x.grad])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("instruction_set", ["portable", "x86-64-v3", "x86-64-v4"])
def test_every_instruction_set_matches_reference(instruction_set):
    if instruction_set == _core.instruction_set():
        check_all_numbers()
        return
    code = "from token_stats import check_all_numbers; check_all_numbers()"
    result = finished_python(code, FASTRL_INSTRUCTION_SET=instruction_set)
    if "at most what this processor has" in result.stderr:
        pytest.skip(f"this processor lacks {instruction_set}")
    assert result.returncode == 0, result.stderr


# --- torch.compile


@pytest.mark.parametrize("inplace", [False, True])
def test_token_log_probs_compiles_as_one_graph(inplace):
    logits, ids, _ = make_logits((6, 50))
    mask = torch.arange(6) % 2 == 0

    def loss(x, ids, mask):
        stats = token_log_probs(
            x * 2.0, ids, mask=mask, temperature=0.8, inplace_backward=inplace, **ALL
        )
        return stats.log_probs.sum() + stats.entropies.mean() - stats.self_certainties.sum()

    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        x = logits.clone().requires_grad_()
        function(x, ids, mask).backward()
        gradients.append(x.grad)
    assert_close(gradients[1], as_float64(gradients[0]))


@pytest.mark.parametrize(("dynamic", "lengths_to_learn"), [(None, 2), (True, 1)])
def test_a_new_length_does_not_compile_again(dynamic, lengths_to_learn):
    def loss(x, ids, mask):
        stats = token_log_probs(x, ids, mask=mask, entropy=True)
        return stats.log_probs.sum() + stats.entropies.sum()

    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, fullgraph=True, backend=counter, dynamic=dynamic)
    counts = []
    for length in (5, 9, 17, 33):
        logits, ids, _ = make_logits((2, length, 11))
        mask = ids % 3 != 0
        gradients = []
        for function in (loss, compiled):
            x = logits.clone().requires_grad_()
            function(x, ids, mask).backward()
            gradients.append(x.grad)
        assert torch.equal(*gradients)
        counts.append(counter.frame_count)
    assert len(set(counts[lengths_to_learn - 1 :])) == 1, counts


def test_token_log_probs_of_fake_tensors_has_shapes_only():
    with FakeTensorMode():
        stats = token_log_probs(torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64))
    assert stats.log_probs.shape == (2, 3)


@pytest.mark.parametrize("inplace", [False, True])
def test_forward_operator_passes_opcheck(inplace):
    logits, ids, _ = make_logits((4, 30))
    mask = torch.tensor([1, 0, 1, 1]).bool()
    x = logits.requires_grad_() * 1.0
    for arguments in [
        (x.detach().requires_grad_(not inplace), ids, mask, 0.9, None, True, True, inplace),
        (x.detach(), ids, None, 1.0, 5.0, False, False, inplace),
    ]:
        torch.library.opcheck(torch.ops.fastrl.token_log_probs.default, arguments)


def test_backward_operators_pass_opcheck():
    logits, ids, gradients = make_logits((4, 30))
    _, entropies, _, origins, sums = torch.ops.fastrl.token_log_probs(
        logits, ids, None, 1.0, None, True, False, False
    )
    arguments = (gradients[0], gradients[1], None, logits, ids, None, entropies, origins, sums)
    torch.library.opcheck(
        torch.ops.fastrl.token_log_probs_backward.default, (*arguments, 1.0, None)
    )
    torch.library.opcheck(
        torch.ops.fastrl.token_log_probs_backward_.default, (*arguments, 1.0, None)
    )


# --- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*CPU_SHAPES, (3, 151936)])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "softcap": 20.0}])
def test_token_log_probs_matches_reference_on_cuda(shape, dtype, options):
    check_token_log_probs(*(tensor.cuda() for tensor in make_logits(shape, dtype)), **options)


@pytest.mark.gpu
def test_token_log_probs_on_cuda_takes_strides_masks_and_other_streams():
    logits, ids, gradients = (tensor.cuda() for tensor in make_logits((4, 9, 1000), torch.bfloat16))
    mask = torch.rand(4, 8, device="cuda") < 0.5
    with torch.cuda.stream(torch.cuda.Stream()):
        check_token_log_probs(logits[:, :-1], ids[:, 1:], gradients[..., 1:], mask=mask)


@pytest.mark.gpu
def test_token_log_probs_on_cuda_never_waits_for_the_device():
    logits, ids, _ = (tensor.cuda() for tensor in make_logits((8, 5000)))
    x = logits.requires_grad_()
    token_log_probs(x, ids, **ALL).log_probs.sum().backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        stats = token_log_probs(x, ids, inplace_backward=True, **ALL)
        (stats.log_probs.sum() + stats.entropies.sum()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.slow
def test_token_log_probs_on_cuda_past_two_to_the_31_elements():
    logits = torch.zeros(17000, 131072, device="cuda", dtype=torch.bfloat16).requires_grad_()
    with torch.no_grad():
        logits[-1, -1] = 5.0
    ids = torch.full((17000,), 131071, device="cuda")
    log_probs = token_log_probs(logits, ids, inplace_backward=True).log_probs
    want = 5.0 - math.log(math.exp(5.0) + 131071)
    assert abs(log_probs[-1].item() - want) < 1e-4
    log_probs[-1].backward()
    assert abs(logits.grad[-1, -1].item() - (1.0 - math.exp(want))) < 1e-2
    assert (logits.grad[:-1] == 0).all()
