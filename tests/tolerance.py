"""The one rule by which every number in the tests is compared."""

import numpy as np

_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def as_float64(array):
    """Any array or tensor as a float64 NumPy array."""
    if hasattr(array, "detach"):
        return array.detach().double().cpu().numpy()
    return np.asarray(array, np.float64)


def assert_close(actual, reference, naive=None, *, dtype=None, what="result"):
    """max|actual − ref64| ≤ 2·max|naive − ref64| + 2·eps(dtype)·max|ref64|.

    `reference` is the float64 specification on the same, already rounded inputs; `naive` is plain
    torch in the kernel's dtype, or None where the bound is rounding alone.
    """
    if dtype is None:
        dtype = str(actual.dtype).removeprefix("torch.")
    epsilon = _EPSILON[str(dtype).removeprefix("torch.")]
    actual, reference = as_float64(actual), as_float64(reference)
    assert actual.shape == reference.shape, f"{what}: {actual.shape} against {reference.shape}"
    if actual.size == 0:
        return
    infinite = ~np.isfinite(reference)
    np.testing.assert_array_equal(actual[infinite], reference[infinite], err_msg=what)
    error = np.abs(actual[~infinite] - reference[~infinite]).max(initial=0.0)
    bound = 2 * epsilon * np.abs(reference[~infinite]).max(initial=0.0)
    if naive is not None:
        naive = as_float64(naive)
        bound += 2 * np.abs(naive[~infinite] - reference[~infinite]).max(initial=0.0)
    assert error <= bound, (
        f"{what}: error {error:.3g} is {error / max(bound, 1e-300):.2f} × {bound:.3g}"
    )
