"""Pivot masks and divergence points: each bad call is named."""

import fastrl
import numpy as np
import pytest

torch = pytest.importorskip("torch")


MASK = np.ones((2, 6), bool)
STARTS = np.array([[0, 3], [1, -1]], np.int32)
PIVOTS = np.array([1, 0], np.int32)
ENDS = np.array([0, 6, 12], np.int32)


def starts_with(*row):
    return np.array([row, [1, -1]], np.int32)


def ends(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (MASK.astype(np.float32), STARTS, PIVOTS),
            {},
            TypeError,
            r"`action_mask` must have dtype bool or uint8, got float32",
        ),
        (
            (MASK[0], STARTS, PIVOTS),
            {},
            ValueError,
            r"`action_mask` must have shape \[B, L\], got \[6\]",
        ),
        (
            (MASK, STARTS[:1], PIVOTS),
            {},
            ValueError,
            r"`turn_starts` must have shape \[B, K\] = \[2, K\], got \[1, 2\]",
        ),
        (
            (MASK, STARTS, PIVOTS[:1]),
            {},
            ValueError,
            r"`pivot_turns` must have shape \[B\] = \[2\], got \[1\]",
        ),
        (
            (MASK, STARTS.astype(np.int16), PIVOTS),
            {},
            TypeError,
            r"`turn_starts` must have dtype int64 or int32, got int16",
        ),
        (
            (MASK, STARTS, torch.tensor(PIVOTS)),
            {},
            TypeError,
            r"`pivot_turns` must be a NumPy array, as `action_mask` is, got Tensor",
        ),
        (
            (MASK, STARTS, np.array([2, 0])),
            {},
            ValueError,
            r"`pivot_turns` must be -1 \(no pivot\) or one of the turns .* \(row 0 has 2\), got 2",
        ),
        (
            (MASK, STARTS, np.array([0, 1])),
            {},
            ValueError,
            r"`pivot_turns` must be .* \(row 1 has 1\), got 1",
        ),
        ((MASK, STARTS, np.array([-2, 0])), {}, ValueError, r"`pivot_turns` must be .*, got -2"),
        (
            (MASK, starts_with(3, 2), PIVOTS),
            {},
            ValueError,
            r"`turn_starts` must not decrease along a row, .*, got 2 after 3 in row 0",
        ),
        (
            (MASK, starts_with(-1, 2), PIVOTS),
            {},
            ValueError,
            r"`turn_starts` must .*, padding last, got 2 after -1 in row 0",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ENDS[:2]},
            ValueError,
            r"`cu_seqlens` must have shape \[B \+ 1\] = \[3\], got \[2\]",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ENDS.astype(np.int64)},
            TypeError,
            r"`cu_seqlens` must have dtype int32, got int64",
        ),
        (
            (MASK,),
            {},
            ValueError,
            r"`turn_starts` must be given when `pivot_tokens` is not, got None",
        ),
        (
            (MASK, STARTS),
            {},
            ValueError,
            r"`pivot_turns` must be given when `pivot_tokens` is not, got None",
        ),
        (
            (MASK, STARTS),
            {"pivot_tokens": PIVOTS},
            ValueError,
            r"`turn_starts` must be None when `pivot_tokens` is given, got an array",
        ),
        (
            (MASK,),
            {"pivot_turns": PIVOTS, "pivot_tokens": PIVOTS},
            ValueError,
            r"`pivot_turns` must be None when `pivot_tokens` is given, got an array",
        ),
        (
            (MASK,),
            {"pivot_tokens": PIVOTS[:1]},
            ValueError,
            r"`pivot_tokens` must have shape \[B\] = \[2\], got \[1\]",
        ),
        (
            (MASK,),
            {"pivot_tokens": PIVOTS.astype(float)},
            TypeError,
            r"`pivot_tokens` must have dtype int64 or int32, got float64",
        ),
        (
            (MASK,),
            {"pivot_tokens": np.array([6, 7])},
            ValueError,
            r"`pivot_tokens` must be -1 \(no pivot\) or from 0 to the length of its row "
            r"\(row 1 has 6\), got 7",
        ),
        (
            (MASK.ravel(),),
            {"pivot_tokens": np.array([-2, 0]), "cu_seqlens": ENDS},
            ValueError,
            r"`pivot_tokens` must be .* \(row 0 has 6\), got -2",
        ),
        (
            (MASK, STARTS, PIVOTS),
            {"cu_seqlens": ENDS},
            ValueError,
            r"`action_mask` must have shape \[N\], got \[2, 6\]",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ENDS + 1},
            ValueError,
            r"`cu_seqlens` must go from 0 to 12 without .*, got 1 at index 0",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ends(0, 13, 12)},
            ValueError,
            r"`cu_seqlens` must .*, got 12 after 13 at index 2",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ends(0, 6, 11)},
            ValueError,
            r"`cu_seqlens` must .*, got 11 at the end",
        ),
    ],
)
def test_pivot_mask_rejects(arguments, options, error, message):
    with pytest.raises(error, match=f"pivot_mask: {message}"):
        fastrl.pivot_mask(*arguments, **options)


IDS = np.arange(6).reshape(2, 3)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (IDS.astype(float), IDS),
            {},
            TypeError,
            r"`base` must have dtype int64 or int32, got float64",
        ),
        ((IDS, IDS.astype(np.int32)), {}, TypeError, r"`retry` must have dtype int64, got int32"),
        (
            (IDS, IDS[:1]),
            {},
            ValueError,
            r"`retry` must have shape \[B, M\] = \[2, M\], got \[1, 3\]",
        ),
        ((IDS[0], IDS), {}, ValueError, r"`base` must have shape \[B, L\], got \[3\]"),
        (
            (IDS, IDS),
            {"base_lengths": np.array([1])},
            ValueError,
            r"`base_lengths` must have shape \[B\] = \[2\], got \[1\]",
        ),
        (
            (IDS, IDS),
            {"base_lengths": np.array([1, 4])},
            ValueError,
            r"`base_lengths` must be from 0 to 3, got 4 at index 1",
        ),
        (
            (IDS, IDS),
            {"retry_lengths": np.array([-1, 0])},
            ValueError,
            r"`retry_lengths` must be from 0 to 3, got -1 at index 0",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(0, 3)},
            ValueError,
            r"`retry_cu_seqlens` must be given, as `base_cu_seqlens` is, got None",
        ),
        (
            (IDS, IDS),
            {"retry_cu_seqlens": ends(0, 3)},
            ValueError,
            r"`retry_cu_seqlens` must be None, as `base_cu_seqlens` is, got an",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(0, 3), "retry_cu_seqlens": ends(0, 1, 3)},
            ValueError,
            r"`retry_cu_seqlens` must have shape \[B \+ 1\] = \[2\], got \[3\]",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": np.array([0, 3]), "retry_cu_seqlens": ends(0, 3)},
            TypeError,
            r"`base_cu_seqlens` must have dtype int32, got int64",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(), "retry_cu_seqlens": ends(0)},
            ValueError,
            r"`base_cu_seqlens` must have shape \[B \+ 1\], got \[0\]",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(0, 3), "retry_cu_seqlens": ends(0, 2)},
            ValueError,
            r"`retry_cu_seqlens` must go from 0 to 3 without decreasing, got 2 at the end",
        ),
        (
            (IDS[0], IDS[0]),
            {
                "base_cu_seqlens": ends(0, 3),
                "retry_cu_seqlens": ends(0, 3),
                "base_lengths": np.array([3]),
            },
            ValueError,
            r"`base_lengths` must be None for packed sequences, got an array",
        ),
    ],
)
def test_divergence_points_rejects(arguments, options, error, message):
    with pytest.raises(error, match=f"divergence_points: {message}"):
        fastrl.divergence_points(*arguments, **options)
