"""The argument checks that every public function shares."""

import numpy as np
import pytest
from fastrl._dispatch import Arguments

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="needs torch")
CHECK = Arguments("f")


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_a_flag_is_a_bool(value):
    flag = CHECK.flag("x", value)
    assert type(flag) is bool
    assert flag == value


@pytest.mark.parametrize("value", [0, 1, None, "yes", np.ones(2)])
def test_anything_else_is_no_flag(value):
    with pytest.raises(TypeError, match="f: `x` must be True or False, got "):
        CHECK.flag("x", value)


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_an_integer_past_every_float_is_refused(value):
    message = "f: `x` must be finite and at least 0, got an integer too large for a float"
    with pytest.raises(ValueError, match=message):
        CHECK.number("x", value, low=0.0)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_is_finite(value):
    with pytest.raises(ValueError, match=f"f: `x` must be finite, got {value}"):
        CHECK.number("x", value)


@pytest.mark.parametrize("value", [np.array(["a", "b"]), ["a"], None, 3])
def test_a_choice_is_a_name(value):
    with pytest.raises(ValueError, match="f: `x` must be one of 'a', 'b', got "):
        CHECK.choice("x", value, ("a", "b"))


def operators():
    """A call of each operator on a tensor of the given shape and dtype."""
    from fastrl import (
        divergence_points,
        group_advantages,
        pivot_mask,
        policy_loss,
        positive_amplification,
        token_log_probs,
    )

    return [
        ("logits", (2, 3), "float32", lambda x: token_log_probs(x, torch.zeros(2).long())),
        ("log_probs", (2, 3), "float32", lambda x: policy_loss(x, x, x)),
        ("rewards", (2,), "float32", lambda x: group_advantages(x, x)),
        ("advantages", (2,), "float32", lambda x: positive_amplification(x, x)),
        ("action_mask", (2, 3), "bool", lambda x: pivot_mask(x, x, x)),
        ("base", (2, 3), "int64", lambda x: divergence_points(x, x)),
    ]


@needs_torch
def test_other_devices_are_refused_by_name():
    for argument, shape, dtype, call in operators():
        meta = torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        with pytest.raises(ValueError, match=f": `{argument}` must be on cpu or cuda, got meta"):
            call(meta)


@needs_torch
@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
def test_sparse_and_nested_tensors_are_refused_by_name():
    for argument, shape, dtype, call in operators():
        dense = torch.ones(shape, dtype=getattr(torch, dtype))
        rule = f": `{argument}` must be a dense tensor, of layout torch.strided, got "
        with pytest.raises(ValueError, match=rule + "layout torch.sparse"):
            call(dense.to_sparse())
        with pytest.raises(ValueError, match=rule + "a nested tensor"):
            call(torch.nested.nested_tensor([dense, dense]))


@needs_torch
@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_checks_take_any_length(dynamic):
    from fastrl import policy_loss

    def loss(log_probs, advantages, mask):
        return policy_loss(log_probs, advantages, mask, old_log_probs=log_probs.detach()).loss

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for length in (5, 9, 17):
        batch = torch.randn(2, length), torch.randn(2), torch.rand(2, length) < 0.5
        assert torch.equal(compiled(*batch), loss(*batch))
