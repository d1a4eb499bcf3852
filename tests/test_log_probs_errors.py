"""Token log-probs: bad calls are refused by a message that names what is wrong."""

import math
import re

import pytest

torch = pytest.importorskip("torch")

from fastrl import token_log_probs  # noqa: E402
from token_stats import ALL, make_logits  # noqa: E402

X, IDS = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: token_log_probs(X.numpy(), IDS), TypeError, "`logits` must be a torch tensor"),
        (
            lambda: token_log_probs(X.double(), IDS),
            TypeError,
            "`logits` must have dtype float32 or bfloat16 or float16, got float64",
        ),
        (
            lambda: token_log_probs(torch.tensor(1.0), IDS),
            ValueError,
            r"`logits` must have shape \[..., V\], got \[\]",
        ),
        (
            lambda: token_log_probs(X[..., :0], IDS),
            ValueError,
            "`logits` must have at least 1 column, got 0",
        ),
        (
            lambda: token_log_probs(torch.zeros(2, 5, 3).mT, IDS),
            ValueError,
            r"`logits` must have stride 1 in the last dimension, got 3; call `.contiguous\(\)`",
        ),
        (
            lambda: token_log_probs(X, IDS.float()),
            TypeError,
            "`token_ids` must have dtype int64 or int32, got float32",
        ),
        (
            lambda: token_log_probs(X, IDS[:, :2]),
            ValueError,
            r"`token_ids` must have shape \[2, 3\], got \[2, 2\]",
        ),
        (
            lambda: token_log_probs(X, IDS.numpy()),
            TypeError,
            "`token_ids` must be a torch tensor, got ndarray",
        ),
        (
            lambda: token_log_probs(X, IDS.to("meta")),
            ValueError,
            "`token_ids` must be on cpu, where `logits` is, got meta",
        ),
        (
            lambda: token_log_probs(X, IDS, mask=IDS),
            TypeError,
            "`mask` must have dtype bool or uint8, got int64",
        ),
        (
            lambda: token_log_probs(X, IDS, mask=torch.ones(3, 2).bool()),
            ValueError,
            r"`mask` must have shape \[2, 3\], got \[3, 2\]",
        ),
        *(
            (
                lambda value=value: token_log_probs(X, IDS, temperature=value),
                ValueError,
                rf"`temperature` must be in \[1e-30, 1e\+30\], got {re.escape(str(value))}",
            )
            for value in (0.0, -1.0, math.nan, math.inf, 1e39, 1e-45, 1e-46)
        ),
        (
            lambda: token_log_probs(X, IDS, temperature="hot"),
            TypeError,
            "`temperature` must be a number, got str",
        ),
        *(
            (
                lambda name=name: token_log_probs(X, IDS, **{name: 1}),
                TypeError,
                f"`{name}` must be True or False, got 1",
            )
            for name in ("entropy", "self_certainty", "inplace_backward")
        ),
        *(
            (
                lambda value=value: token_log_probs(X, IDS, softcap=value),
                ValueError,
                rf"`softcap` must be in \[1e-30, 1e\+30\], got {re.escape(str(value))}",
            )
            for value in (0.0, math.nan, 1e39, 1e-45)
        ),
        (
            lambda: token_log_probs(X, IDS + torch.tensor([[0, 0, 0], [0, 5, 0]])),
            IndexError,
            r"`token_ids` must be in \[0, V = 5\), got 5 at \[1, 1\]",
        ),
        (
            lambda: token_log_probs(X, IDS - torch.tensor([[0, 0, 1], [0, 0, 0]])),
            IndexError,
            r"`token_ids` must be in \[0, V = 5\), got -1 at \[0, 2\]",
        ),
    ],
)
def test_token_log_probs_errors(call, kind, message):
    with pytest.raises(kind, match="token_log_probs: " + message):
        call()


@pytest.mark.usefixtures("triton_backend")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("softcap", [None, 4.0])
def test_a_token_outside_the_vocabulary_gives_nan_on_triton(softcap):
    logits, ids, gradients = make_logits((5, 20))
    ids[0], ids[1], ids[3] = 20, -100, -100
    logits[1, 7] = -math.inf
    x = logits.requires_grad_()
    mask = torch.tensor([1, 1, 1, 0, 1]).bool()
    stats = token_log_probs(x, ids, mask=mask, softcap=softcap, **ALL)
    assert torch.isnan(stats.log_probs).tolist() == [True, True, False, False, False]
    gradients[:, 4] = 0
    torch.autograd.backward(stats, list(gradients))
    assert torch.isnan(x.grad[:2]).all()
    assert torch.isfinite(x.grad[2:]).all()
