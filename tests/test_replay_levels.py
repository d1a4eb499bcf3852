import json

import numpy as np
import pytest
from fastrl.reference import levels as reference
from fastrl.replay import LevelSampler, TaskSampler, level_weights, task_weights
from fastrl.replay.level_weights import mixed_weights
from frequencies import chi_squared_p


def sampler_of(scores, **options):
    sampler = LevelSampler(len(scores), **{"staleness_coef": 0.0, **options})
    sampler.add(np.arange(len(scores)), scores)
    return sampler


@pytest.mark.parametrize("transform", ["rank", "power", "softmax", "eps_greedy", "match"])
@pytest.mark.parametrize("staleness_coef", [0.0, 0.3])
def test_replays_follow_the_specification(transform, staleness_coef):
    options = {
        "transform": transform,
        "temperature": 0.5,
        "staleness_coef": staleness_coef,
        "staleness_transform": "power",
        "staleness_temperature": 2.0,
    }
    sampler = LevelSampler(12, offset=0.0, step_size=0.4, seed=4, **options)
    twin = reference.LevelSampler(12, step_size=0.4)
    rng = np.random.default_rng(5)
    for step in range(40):
        new, score = 100 + step, None if step % 3 == 0 else float(rng.random())
        taken = sampler.add([new], None if score is None else [score])
        assert taken.tolist() == [twin.add(new, score)]
        ids, scores = rng.integers(95, 101 + step, 4), rng.random(4)
        sampler.update(ids, scores)
        for level, value in zip(ids.tolist(), scores.tolist(), strict=True):
            twin.update(level, value)
        for level in sampler.sample(3).ids.tolist():
            twin.draw(level)
        assert set(sampler.ids.tolist()) == set(twin.scores)
        expected = twin.weights(**options) if sampler.num_scored else {}
        weights = dict(zip(sampler.ids.tolist(), sampler.replay_weights(), strict=True))
        for level, weight in weights.items():
            assert weight == pytest.approx(expected.get(level, 0.0), rel=1e-12, abs=1e-300)


def test_ten_thousand_draws_match_softmax():
    scores = np.random.default_rng(0).normal(size=30)
    sampler = sampler_of(scores, transform="softmax", temperature=0.7, seed=1)
    expected = np.exp(scores / 0.7) / np.exp(scores / 0.7).sum()
    batch = sampler.sample(10_000)
    assert chi_squared_p(batch.ids, expected) > 0.01
    np.testing.assert_allclose(batch.probabilities, expected[batch.ids], rtol=1e-12)
    assert batch.is_replay.all()


def test_new_levels_come_with_the_rest_of_the_probability():
    sampler = LevelSampler(100, replay_probability=0.7, min_filled=0.2)
    sampler.add(np.arange(100))
    assert not sampler.sample(40).is_replay.any()
    sampler.update(np.arange(19), np.ones(19))
    assert sampler.replay_chance == 0.0
    sampler.update([19], [1.0])
    assert sampler.replay_chance == 0.7
    assert sampler.probabilities().sum() == pytest.approx(1.0)
    new = [(sampler.sample(20).ids >= 20).mean() for _ in range(200)]
    assert np.mean(new) == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 4000))
    sampler.update(np.arange(20, 100), np.ones(80))
    assert sampler.sample(50).is_replay.all()


def test_the_proportionate_schedule_follows_what_is_seen():
    sampler = LevelSampler(10, replay_schedule="proportionate", replay_probability=0.3)
    sampler.add(range(10))
    sampler.update(range(6), np.ones(6))
    assert sampler.replay_chance == 0.6
    sampler = LevelSampler(
        10, replay_schedule="proportionate", replay_probability=0.3, new_levels="generated"
    )
    sampler.add([0, 1], [1.0, 2.0])
    assert sampler.replay_chance == 0.2
    sampler.add([2, 3, 4], [1.0, 2.0, 3.0])
    assert sampler.replay_chance == 0.3
    assert sampler.probabilities().sum() == pytest.approx(0.3)


def test_new_levels_of_a_batch_are_distinct():
    sampler = LevelSampler(20)
    sampler.add(range(20))
    assert sorted(sampler.sample(20).ids) == list(range(20))
    assert sorted(sampler.sample(40).ids) == sorted(list(range(20)) * 2)
    sampler.update(range(18), np.ones(18))
    assert (sampler.sample(10).ids >= 18).sum() <= 2
    assert sorted(sampler.sample(4, replay=False).ids) == [18, 18, 19, 19]


def test_generated_levels_are_the_caller_s():
    sampler = LevelSampler(3, new_levels="generated", replay_probability=0.5, seed=2)
    assert sampler.sample(4).ids.tolist() == [-1] * 4
    assert sampler.num_drawn == 4
    sampler.add([10, 11], [1.0, 2.0])
    sampler.add([12])
    batch = sampler.sample(30)
    assert np.count_nonzero(batch.ids == 12) == 1
    assert np.count_nonzero(batch.ids == -1) == np.count_nonzero(~batch.is_replay) - 1
    assert sampler.sample(5, replay=False).ids[1:].tolist() == [-1] * 4
    assert sampler.sample(5, replay=True).is_replay.all()
    decisions = [sampler.should_replay() for _ in range(400)]
    assert np.mean(decisions) == pytest.approx(0.5, abs=0.1)


def test_distinct_replays_give_way_to_new_levels():
    options = {"new_levels": "generated", "replay_probability": 1.0, "staleness_coef": 0.0}
    sampler = LevelSampler(8, **options)
    sampler.add([0, 1, 2], [0.1, 0.2, 0.3])
    batch = sampler.sample(5, scheme="without_replacement")
    assert sorted(batch.ids) == [-1, -1, 0, 1, 2]
    assert sampler.sample(2, scheme="top").ids.tolist() == [2, 1]


def test_the_lowest_score_makes_room():
    sampler = LevelSampler(4, new_levels="generated")
    assert sampler.add([0, 1, 2], [0.5, 0.2, 0.9]).all()
    assert sampler.add([3, 4, 5], [0.1, 0.6, 0.05]).tolist() == [True, True, False]
    assert sorted(sampler.ids) == [0, 1, 2, 4]
    assert sampler.add([6], [0.2]).tolist() == [True]  # equal ones are replaced by what is newer
    assert sorted(sampler.ids) == [0, 2, 4, 6]
    assert sampler.add([7, 8]).all()
    assert sorted(sampler.ids) == [2, 4, 7, 8]
    assert sampler.add([9, 10, 11]).tolist() == [True, True, False]  # the others wait for theirs
    assert sorted(sampler.ids) == [7, 8, 9, 10]
    assert not sampler.add([12], [5.0]).any()


def test_the_lowest_weight_makes_room():
    sampler = LevelSampler(
        3, eviction="weight", transform="proportional", staleness_coef=0.9, new_levels="generated"
    )
    sampler.add([0, 1, 2], [0.1, 0.3, 0.2])
    sampler.mark_drawn([1, 1, 2])
    # Level 0 scores least but has waited longest.
    assert sampler.replay_weights().argmin() == 2
    assert sampler.add([3], [0.15]).tolist() == [False]
    assert sampler.add([4], [0.25]).tolist() == [True]
    assert sorted(sampler.ids) == [0, 1, 4]


def test_a_late_score_does_not_land_on_another_level():
    sampler = LevelSampler(2, new_levels="generated")
    sampler.add([0, 1], [0.1, 0.5])
    sampler.add([2], [0.7])
    assert sampler.update([0, 2, 0], [9.0, 0.6, 9.0]) == 1
    assert sampler.refused_updates == 2
    assert dict(zip(sampler.ids, sampler.scores, strict=True)) == {1: 0.5, 2: 0.6}


def test_scores_are_moving_averages_after_the_first():
    sampler = LevelSampler(3, step_size=0.25)
    sampler.add([5, 6])
    assert np.isnan(sampler.scores).all()
    sampler.update([5, 5, 5], [1.0, 2.0, 0.0])
    assert sampler.scores[0] == 0.75 * 1.25
    assert sampler.num_scored == 1


def test_levels_can_be_removed():
    sampler = sampler_of([0.1, 0.2, 0.3, 0.4])
    assert sampler.remove([0, 3, 3, 9]) == 2
    assert sorted(zip(sampler.ids, sampler.scores, strict=True)) == [(1, 0.2), (2, 0.3)]
    sampler.update([2, 3], [0.9, 0.9])
    assert sampler.scores.max() == 0.9
    assert sampler.add([3]).all()
    assert (len(sampler), sampler.num_scored) == (3, 2)


def test_staleness_counts_the_draws_since():
    sampler = sampler_of(np.ones(5), staleness_coef=1.0, staleness_transform="max")
    seen = [sampler.sample(1).ids[0] for _ in range(5)]
    assert sorted(seen) == list(range(5))  # who has waited longest comes next
    assert sampler.staleness[seen].tolist() == [4, 3, 2, 1, 0]
    sampler.mark_drawn([3, 99, 3])
    assert sampler.staleness[3] == 0
    assert sampler.num_drawn == 8


def test_reloading_goes_on_bit_for_bit():
    def play(sampler, rng, steps):
        batches = []
        for _ in range(steps):
            batch = sampler.sample(6, scheme="stratified")
            sampler.update(batch.ids, rng.random(6))
            batches.append((batch.ids, batch.probabilities))
        return batches

    sampler = LevelSampler(50, step_size=0.5, seed=11)
    sampler.add(range(50))
    play(sampler, np.random.default_rng(0), 30)
    sampler.remove([3, 40])
    state = sampler.state_dict()
    kept = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    assert json.loads(json.dumps(kept)) == kept
    assert all(v.dtype != object for v in state.values() if isinstance(v, np.ndarray))
    expected = play(sampler, np.random.default_rng(1), 200)

    other = LevelSampler(50, step_size=0.5, seed=99)
    other.add([7], [1.0])
    other.load_state_dict(state)
    for one, two in zip(expected, play(other, np.random.default_rng(1), 200), strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    for name, value in sampler.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


def test_seeds_are_repeatable_and_differ():
    def draws(seed):
        return sampler_of(np.ones(1000), transform="constant", seed=seed).sample(50).ids.tolist()

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_tasks_are_drawn_by_their_low_rewards():
    sampler = TaskSampler([0, 0, 1], num_starts=[2, 1, 3], alpha=0.8, step_size=0.5, seed=6)
    assert sampler.rewards.tolist() == [0.0, 0.0, 0.0]
    sampler.update([0, 1, 2, 0], [0.9, 0.5, 0.1, 0.7], starts=[0, 0, 2, 1])
    np.testing.assert_allclose(sampler.rewards, [0.8, 0.5, 0.1])
    expected = task_weights(np.array([0.8, 0.5, 0.1]), np.array([0, 0, 1]), alpha=0.8)
    np.testing.assert_allclose(sampler.probabilities(), expected)
    starts = task_weights(np.array([0.9, 0.7]), alpha=0.8)
    np.testing.assert_allclose(sampler.start_probabilities(0), starts)
    joint = np.concatenate([p * sampler.start_probabilities(i) for i, p in enumerate(expected)])
    tasks, begins = sampler.sample(10_000)
    assert chi_squared_p(np.array([0, 2, 3])[tasks] + begins, joint) > 0.01


def test_task_samplers_reload_bit_for_bit():
    sampler, other = TaskSampler([0, 1, 1], seed=1), TaskSampler([0, 1, 1], seed=2)
    sampler.update([2], [0.4])
    sampler.sample(5)
    other.load_state_dict(sampler.state_dict())
    for scheme in ("independent", "systematic"):
        for one, two in zip(
            sampler.sample(50, scheme=scheme), other.sample(50, scheme=scheme), strict=True
        ):
            np.testing.assert_array_equal(one, two)
    sampler.update([2, 0], [0.1, 1.0])
    other.update([2, 0], [0.1, 1.0])
    np.testing.assert_array_equal(sampler.rewards, other.rewards)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LevelSampler(0), "LevelSampler: `capacity` must be from 1 to"),
        (lambda: LevelSampler(4, transform="ranks"), "LevelSampler: `transform` must be one of"),
        (lambda: LevelSampler(4, temperature=0), r"`temperature` must be .*greater than 0, got 0"),
        (lambda: LevelSampler(4, staleness_coef=1.5), r"`staleness_coef` must be in \[0, 1\]"),
        (lambda: LevelSampler(4, step_size=0), r"`step_size` must be in \(0, 1\], got 0"),
        (lambda: LevelSampler(4, band=(0.9, 0.1)), r"`low` must be at most `high` = 0.1, got 0.9"),
        (lambda: LevelSampler(4, band=0.5), r"`band` must be \(low, high\), got 0.5"),
        (lambda: sampler_of([0.5]).add([0]), "add: `ids` must be new, got 0, which is there"),
        (lambda: sampler_of([0.5]).add([3, 3]), "add: `ids` must differ, got 3 twice"),
        (lambda: sampler_of([0.5]).add([-1]), "add: `ids` must be at least 0, got -1"),
        (
            lambda: sampler_of([0.5]).update([0, 1], [1.0]),
            r"`scores` must have shape \[N\] = \[2\]",
        ),
        (
            lambda: sampler_of([0.5]).update([0], [np.nan]),
            "update: `scores` must be finite, got nan",
        ),
        (
            lambda: sampler_of([0.5]).update([[0]], [1]),
            r"`ids` must have shape \[N\], got \[1, 1\]",
        ),
        (lambda: sampler_of([0.5]).sample(0), "sample: `n` must be from 1 to 2147483647, got 0"),
        (lambda: sampler_of([0.5]).sample(1, scheme="all"), "sample: `scheme` must be one of"),
        (
            lambda: sampler_of([0.5, 0.1]).sample(3, scheme="top"),
            "sample: `n` must be at most 2, the levels that 'top' can draw, got 3",
        ),
        (
            lambda: sampler_of([0.5]).sample(1, replay=False),
            "sample: `replay` must not be False where all levels have scores",
        ),
        (
            lambda: LevelSampler(3, new_levels="generated").sample(1, replay=True),
            "sample: `replay` must not be True before a level has a score",
        ),
        (lambda: level_weights(np.array([np.inf])), "level_weights: `scores` must be finite"),
        (lambda: level_weights(np.empty(0)), "level_weights: `scores` must not be empty"),
        (lambda: task_weights(np.ones(2), alpha=2.0), r"`alpha` must be in \[0, 1\], got 2"),
        (
            lambda: mixed_weights(np.ones(2), np.ones(3), 0.5),
            r"`staleness` must have shape \[N\] = \[2\], got \[3\]",
        ),
        (lambda: TaskSampler([]), "`classes` must name at least one task's, got none"),
        (lambda: TaskSampler([0], num_starts=[0]), "`num_starts` must be at least 1, got 0"),
        (lambda: TaskSampler([0, 0]).update([2], [0.1]), "`tasks` must be from 0 to 1, got 2"),
        (
            lambda: TaskSampler([0], num_starts=[2]).update([0], [0.1], starts=[2]),
            "update: `starts` must be from 0 to 1, got 2",
        ),
        (lambda: TaskSampler([0]).update([0], [np.inf]), "`rewards` must be finite, got inf"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_kinds_are_type_errors():
    for call in (
        lambda: sampler_of([0.5]).add(["a"]),
        lambda: sampler_of([0.5]).update([0], ["a"]),
        lambda: sampler_of([0.5]).sample(1, replay=1),
        lambda: TaskSampler([0.5]),
    ):
        with pytest.raises(TypeError, match="must"):
            call()
    with pytest.raises(RuntimeError, match="sample: there are no levels; call add first"):
        LevelSampler(3).sample(1)


def test_refused_calls_change_nothing():
    sampler = sampler_of([0.5, 0.2], seed=3)
    before = sampler.state_dict()
    for call in (
        lambda: sampler.update([0, 1], [1.0, np.nan]),
        lambda: sampler.add([5, 0], [1.0, 2.0]),
        lambda: sampler.sample(9, scheme="without_replacement"),
        lambda: sampler.load_state_dict({**before, "ids": np.array([4, 4])}),
        lambda: sampler.load_state_dict({**before, "scores": np.array([np.nan, 0.0])}),
        lambda: sampler.load_state_dict({**before, "last_drawn": np.array([0, 9])}),
        lambda: sampler.load_state_dict({**before, "seed": 2**64}),
        lambda: sampler.load_state_dict({"seed": 1}),
        lambda: sampler.load_state_dict(sampler_of([1.0, 2.0, 3.0]).state_dict()),
    ):
        with pytest.raises(ValueError, match="must"):
            call()
    for name, value in sampler.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
