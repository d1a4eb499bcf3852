"""Batches of several buffers: exact shares, and everything finds its way back."""

import numpy as np
import pytest
import torch
from fastrl.reference import hindsight as spec
from fastrl.replay import Marked, MixReplay, Prioritized, ReplayBuffer, Uniform
from tolerance import assert_close

FIELDS = {"observations": ((2,), "float32"), "rewards": ((), "float32")}


def filled(value, steps=40, **options):
    buffer = ReplayBuffer(100, FIELDS, **options)
    no = np.zeros(1, bool)
    for step in range(steps):
        observations = np.array([[value, step]], np.float32)
        buffer.add(
            observations=observations, rewards=np.full(1, value), terminated=no, truncated=no
        )
    return buffer


def mixed(shares=(0.5, 0.5), **options):
    buffers = {
        "online": filled(0, sampler=Prioritized()),
        "offline": filled(1, steps=20, sampler=Prioritized(normalize=None)),
        "demos": filled(2),
    }
    names = list(buffers)[: len(shares)]
    return MixReplay(
        {name: buffers[name] for name in names}, dict(zip(names, shares, strict=True)), **options
    )


def test_shares_are_exact_and_what_is_rounded_away_is_carried():
    mix = mixed()
    counts = [np.bincount(mix.sample(25).sources, minlength=2).tolist() for _ in range(4)]
    assert counts == [[13, 12], [12, 13], [13, 12], [12, 13]]
    assert mix.carried == [0, 0]


@pytest.mark.parametrize("shares", [(0.1, 0.9), (1, 1, 1), (0.05, 0.25, 0.7), (1e-3, 3, 0)])
def test_counts_are_those_of_the_specification(shares):
    mix = mixed(shares)
    random = np.random.default_rng(0)
    sizes = random.integers(1, 12, 400).tolist()
    total = np.zeros(len(shares))
    made = []
    for i, size in enumerate(sizes):
        made.append(np.bincount(mix.sample(size).sources, minlength=len(shares)).tolist())
        total += made[-1]
        ideal = np.array(shares) / sum(shares) * sum(sizes[: i + 1])
        assert abs(total - ideal).max() < len(shares)
    assert made == spec.counts(list(shares), sizes)


def test_items_come_from_the_source_that_they_name():
    batch = mixed((1, 2, 1)).sample(64)
    assert len(batch) == 64
    np.testing.assert_array_equal(batch.observations[:, 0], batch.sources)
    np.testing.assert_array_equal(batch.rewards, batch.sources)
    np.testing.assert_array_equal(np.bincount(batch.sources), [16, 32, 16])


def test_a_source_without_a_share_is_never_drawn():
    mix = MixReplay({"a": filled(0), "b": ReplayBuffer(9, FIELDS)}, {"a": 1, "b": 0})
    assert set(mix.sample(50).sources) == {0}


def test_probabilities_are_those_of_the_mixture():
    mix = mixed((1, 3))
    batch = mix.sample(64)
    first = batch.sources == 0
    np.testing.assert_allclose(batch.probabilities[first], 0.25 / 39, rtol=1e-12)
    np.testing.assert_allclose(batch.probabilities[~first], 0.75 / 19, rtol=1e-12)
    np.testing.assert_array_equal(batch.importance_weights, 1)


def test_joint_importance_weights():
    mix = mixed((1, 3), joint_exponent=0.5)
    batch = mix.sample(64)
    weights = (58 * np.where(batch.sources == 0, 0.25 / 39, 0.75 / 19)) ** -0.5
    assert_close(batch.importance_weights, weights / weights.max())


def test_priorities_find_their_buffer():
    buffers = {"online": filled(0, sampler=Prioritized()), "demos": filled(1)}
    buffers["offline"] = filled(2, sampler=Prioritized())
    mix = MixReplay(buffers)
    batch = mix.sample(30)
    applied = mix.update_priorities(batch.handles, batch.sources + 2.0, batch.sources)
    assert applied == 20
    for i, name in enumerate(mix.names):
        if name != "demos":
            mine = batch.handles[batch.sources == i]
            assert_close(buffers[name].priorities(mine), np.full(10, i + 2.0), dtype="float32")


def test_priorities_are_of_the_sampler_that_drew():
    both = {"even": Uniform(), "first": Prioritized(), "second": Prioritized()}
    buffers = {"a": filled(0, sampler=both), "b": filled(1, sampler=Prioritized())}
    mix = MixReplay(buffers, samplers={"a": "second"})
    batch = mix.sample(20)
    assert mix.update_priorities(batch.handles, np.full(20, 3.0), batch.sources) == 20
    mine = batch.handles[batch.sources == 0]
    assert_close(buffers["a"].priorities(mine, sampler="second"), np.full(10, 3), dtype="float32")
    np.testing.assert_array_equal(buffers["a"].priorities(mine, sampler="first"), 1)


def test_a_sampler_that_a_source_has_not_changes_no_other():
    buffers = {"a": filled(0, sampler={"own": Prioritized()}), "b": filled(1)}
    mix = MixReplay(buffers)
    batch = mix.sample(20)
    with pytest.raises(ValueError, match="`sampler` must be a sampler of source 'b', one of"):
        mix.update_priorities(batch.handles, np.full(20, 3.0), batch.sources, sampler="own")
    np.testing.assert_array_equal(buffers["a"].priorities(batch.handles[batch.sources == 0]), 1)


def test_relabels_see_their_own_source():
    mix = mixed((1, 1))
    seen = []

    def noted(buffer, batch):
        seen.append(buffer)
        return batch

    mix.sample(10, relabel={"offline": noted})
    mix.sample(10, relabel=noted)
    assert [len(buffer) for buffer in seen] == [20, 40, 20]


def test_what_was_carried_can_be_restored():
    mix, other = mixed((0.3, 0.7)), mixed((0.3, 0.7))
    mix.sample(9)
    other.load_state_dict(mix.state_dict())
    for _ in range(9):
        np.testing.assert_array_equal(mix.sample(7).sources, other.sample(7).sources)


def test_tensors():
    batch = mixed().sample(8, output="torch")
    assert all(isinstance(batch[name], torch.Tensor) for name in batch if name != "handles")
    assert batch.sources.dtype == torch.int64
    assert isinstance(batch.handles, np.ndarray)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "`sources` must be a dict of buffers, at least one, got list"),
        (({},), ValueError, "`sources` must be a dict of buffers, at least one, got {}"),
        (({"a": 3},), TypeError, r"`sources\['a'\]` must be a ReplayBuffer, got int"),
        (({"a": 1}, {"b": 1}), ValueError, r"`shares` must be a dict of \['a'\], got \['b'\]"),
        (({"a": 1}, {"a": -1}), ValueError, r"`shares\['a'\]` must be finite and at least 0, got"),
        (({"a": 1}, {"a": 0}), ValueError, r"`shares` must not all be 0, got \[0.0\]"),
    ],
)
def test_wrong_options(arguments, error, message):
    if len(arguments) > 1:
        arguments = ({"a": filled(0)}, *arguments[1:])
    with pytest.raises(error, match=f"MixReplay: {message}"):
        MixReplay(*arguments)


def test_sources_with_other_fields():
    other = ReplayBuffer(9, {"observations": ((2,), "float32")})
    with pytest.raises(ValueError, match=r"MixReplay: `sources\['b'\]` must have the fields of"):
        MixReplay({"a": filled(0), "b": other})


@pytest.mark.parametrize(
    ("fields", "n_step", "message"),
    [
        ({"rewards": ((), "float64")}, 1, "have 'rewards' as the first has it, float32 .., got f"),
        ({"observations": ((5,), "float32")}, 1, "have 'observations' as the first has it, float3"),
        ({}, 3, "have n_step of 1, as the first, got 3"),
    ],
)
def test_sources_whose_batches_do_not_fit_together(fields, n_step, message):
    other = ReplayBuffer(20, FIELDS | fields, n_step=n_step)
    with pytest.raises(ValueError, match=r"MixReplay: `sources\['b'\]` must " + message):
        MixReplay({"a": filled(0), "b": other})


def test_an_empty_source_changes_nothing():
    mix = MixReplay({"a": filled(0), "b": ReplayBuffer(9, FIELDS)})
    message = r"sample: `sources\['b'\]` must have transitions that can be drawn, got none"
    with pytest.raises(ValueError, match=message):
        mix.sample(3)
    assert mix.carried == [0, 0]
    assert mix.names == ["a", "b"]
    with pytest.raises(ValueError, match=r"sample: `relabel` must be a dict of some of \['a', 'b'"):
        mix.sample(3, relabel={"c": None})


def test_wrong_priorities_change_nothing():
    mix = mixed()
    batch = mix.sample(4)
    buffers = list(mix._sources.values())
    before = [buffer.priorities(buffer.handles()) for buffer in buffers]
    for priorities, sources, message in [
        ([2.0, 2, 2, -1], batch.sources, "`priorities` must be finite and at least 0, got -1"),
        ([2.0, 2, 2, np.nan], batch.sources, "`priorities` must be finite and at least 0, got nan"),
        (np.full(4, 2.0), batch.sources + 1, "`sources` must be from 0 to 1, got 2"),
        (np.full(4, 2.0), batch.sources[:3], r"`sources` must have shape \[n\] = \[4\], got \[3\]"),
        ([2.0, 2, 2], batch.sources, r"`priorities` must have shape \[n\] = \[4\], got \[3\]"),
    ]:
        with pytest.raises(ValueError, match=f"update_priorities: {message}"):
            mix.update_priorities(batch.handles, priorities, sources)
    with pytest.raises(
        TypeError, match="update_priorities: `handles` must have dtype uint64, got f"
    ):
        mix.update_priorities(np.zeros(4), np.ones(4), batch.sources)
    for sources in (batch.sources == 1, batch.sources.astype(float)):
        with pytest.raises(TypeError, match=f"`sources` must hold integers, got {sources.dtype}"):
            mix.update_priorities(batch.handles, np.full(4, 2.0), sources)
    # The items of the first source are right, one of the last source's names no row.
    foreign = batch.handles.copy()
    foreign[3] = 2**40
    rule = "be handles of rows of the source that they name, 'offline', got 1099511627776 at 3"
    with pytest.raises(ValueError, match=f"update_priorities: `handles` must {rule}"):
        mix.update_priorities(foreign, np.full(4, 2.0), batch.sources)
    for buffer, old in zip(buffers, before, strict=True):
        np.testing.assert_array_equal(buffer.priorities(buffer.handles()), old)


def test_empty_sources_may_be_left_out():
    empty = ReplayBuffer(100, FIELDS, sampler={"all": Uniform(), "some": Marked()})
    sources = {"a": filled(0), "b": filled(1), "late": empty}
    mix = MixReplay(sources, {"a": 1, "b": 2, "late": 3}, skip_empty=True)
    assert np.bincount(mix.sample(10).sources).tolist() == [3, 7]
    assert mix.carried == pytest.approx([1 / 3, -1 / 3, 0])
    assert np.bincount(mix.sample(2).sources).tolist() == [1, 1]
    no = np.zeros(1, bool)
    for _ in range(3):
        handles = empty.add(
            observations=np.full((1, 2), 2), rewards=np.full(1, 2), terminated=no, truncated=no
        )
    # What a source has is what its sampler can draw.
    some = {"late": "some"}
    assert np.bincount(mix.sample(12, sampler=some).sources, minlength=3).tolist() == [4, 8, 0]
    assert np.bincount(mix.sample(12).sources).tolist() == [2, 4, 6]
    assert empty.update_priorities(empty.handles()[:1], np.ones(1), sampler="some") == 1
    batch = mix.sample(12, sampler=some)
    assert set(batch.handles[batch.sources == 2]) == set(empty.handles()[:1])
    mix.sample(1)
    other = MixReplay(sources, {"a": 1, "b": 2, "late": 3}, skip_empty=True)
    other.load_state_dict(mix.state_dict())
    assert other.sample(7).sources.tolist() == mix.sample(7).sources.tolist()
    assert handles.shape == (1,)


def test_a_sampler_with_nothing_to_draw_is_found_before_anything_is_drawn():
    marked = filled(1, sampler={"some": Marked()})
    first = filled(0)
    mix = MixReplay({"a": first, "b": marked})
    with pytest.raises(
        ValueError, match=r"sample: `sources\['b'\]` must have transitions that can"
    ):
        mix.sample(4)
    assert first.num_sampled == 0
    only = MixReplay({"b": marked}, skip_empty=True)
    with pytest.raises(
        ValueError, match="sample: `sources` must have transitions that can be draw"
    ):
        only.sample(4)
    with pytest.raises(TypeError, match="MixReplay: `skip_empty` must be True or False, got 3"):
        MixReplay({"a": first}, skip_empty=3)
    with pytest.raises(ValueError, match="num_drawable_by: `sampler` must be one of 'some', got"):
        marked.num_drawable_by("other")
    with pytest.raises(ValueError, match=r"load_state_dict: `state` must have 'carried', got \[\]"):
        only.load_state_dict({})
