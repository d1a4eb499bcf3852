import pytest
from fastrl.recipes.plots import plot_scores, steps_to


@pytest.mark.parametrize("key", ["success", "eval_return"])
def test_plots_are_written(tmp_path, key):
    records = [{"env_steps": 0, key: 0.0}, {"env_steps": 5}, {"env_steps": 9, key: 1.0}]
    plot_scores({"one": {"R³L": records}, "two": {"R³L": records}}, key, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert steps_to(records, key, 0.9) == 9
    assert steps_to(records[:2], key, 0.9) is None
