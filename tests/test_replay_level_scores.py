import numpy as np
import pytest
from fastrl.reference import levels as reference
from fastrl.replay import EpisodeScores
from fastrl.replay import level_scores as scores_of
from tolerance import assert_close

torch = pytest.importorskip("torch")


def test_scores_of_advantages():
    advantages = np.array([[1.0, -2.0], [0.5, 0.0]], np.float32)
    assert scores_of.value_l1(advantages).tolist() == [[1.0, 2.0], [0.5, 0.0]]
    assert scores_of.positive_value_loss(advantages).tolist() == [[1.0, 0.0], [0.5, 0.0]]
    assert scores_of.signed_advantage(advantages).tolist() == advantages.tolist()
    tensor = torch.from_numpy(advantages).requires_grad_()
    assert scores_of.value_l1(tensor.bfloat16()).tolist() == [[1.0, 2.0], [0.5, 0.0]]


def test_td_errors_bootstrap_from_the_step_s_own_next_state():
    rewards = np.array([[1.0], [0.0], [2.0]])
    values, next_values = np.array([[0.5], [1.0], [3.0]]), np.array([[1.0], [4.0], [np.nan]])
    terminated = np.array([[False], [False], [True]])
    errors = scores_of.one_step_td_error(rewards, values, next_values, terminated, gamma=0.5)
    assert errors.tolist() == [[1.0], [1.0], [1.0]]


def test_scores_of_policies():
    logits = np.random.default_rng(0).normal(size=(5, 3, 4)) * 3
    logits[0, 0] = 1e4
    logits[1, 1, 2] = -np.inf
    expected = np.array(
        [
            [reference.policy_scores(x.tolist()) for x in row - row.max(-1)[:, None]]
            for row in logits
        ]
    )
    for i, function in enumerate(
        (scores_of.policy_entropy, scores_of.least_confidence, scores_of.min_margin)
    ):
        np.testing.assert_allclose(function(logits), expected[..., i], rtol=1e-12, atol=1e-15)
        assert_close(function(torch.from_numpy(logits)), function(logits))
    assert scores_of.policy_entropy(np.zeros((1, 1, 7))).item() == pytest.approx(1.0)
    assert scores_of.policy_entropy(np.zeros((1, 1, 1))).item() == 0.0


def test_learnability_is_the_variance_of_success():
    successes = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    variances = scores_of.group_return_variance(successes)
    assert variances.tolist() == [0.25, 0.0, 0.1875]
    assert_close(scores_of.learnability(successes.mean(1)), variances)


def test_success_bands_keep_their_ends():
    rates = np.array([0, 1, 5, 9, 10]) / 10
    assert scores_of.success_band(rates).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("flexible", [False, True])
def test_regret_is_that_of_the_specification(flexible):
    rng = np.random.default_rng(1)
    antagonist, protagonist = rng.normal(size=(50, 3)), rng.normal(size=(50, 4))
    protagonist[0] = antagonist[0].max()
    expected = [
        reference.paired_regret(a.tolist(), p.tolist(), flexible)
        for a, p in zip(antagonist, protagonist, strict=True)
    ]
    regret = scores_of.paired_regret(antagonist, protagonist, flexible=flexible)
    np.testing.assert_allclose(regret, expected, atol=1e-15)
    np.testing.assert_array_equal(scores_of.minimax_regret(protagonist), -protagonist.max(1))


@pytest.mark.parametrize("cuts", [[60], [1, 2, 30, 27], [20, 20, 20]])
def test_episodes_are_scored_whole_wherever_rollouts_are_cut(cuts):
    rng = np.random.default_rng(2)
    scores, ended = rng.random((60, 5)), rng.random((60, 5)) < 0.15
    stepped = rng.random((60, 5)) < 0.8
    ids = rng.integers(-1, 6, (60, 5))
    expected = reference.episode_scores(
        scores.tolist(), ids.tolist(), ended.tolist(), stepped.tolist()
    )
    terminated = ended & (rng.random((60, 5)) < 0.5)
    episodes, found = EpisodeScores(5), []
    for start, stop in zip(np.cumsum([0, *cuts[:-1]]), np.cumsum(cuts), strict=True):
        rows = slice(start, stop)
        truncated = ended & ~terminated
        parts = (scores[rows], ids[rows], terminated[rows], truncated[rows])
        played = episodes.add(*parts, stepped=stepped[rows])
        found += zip(played.ids, played.means, played.maxima, played.num_steps, strict=True)
        other = EpisodeScores(5)
        other.load_state_dict(episodes.state_dict())
        episodes = other
    assert [(int(i), int(n)) for i, _, _, n in found] == [(i, n) for i, _, _, n in expected]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_running_episodes_can_be_flushed():
    episodes = EpisodeScores(3)
    nothing = np.zeros((2, 3), bool)
    ids = np.array([[4, -1, 6]] * 2)
    played = episodes.add(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 5.0]]), ids, nothing, nothing)
    assert len(played) == 0
    flushed = episodes.flush()
    assert flushed.ids.tolist() == [4, 6]
    assert flushed.scores().tolist() == [2.0, 4.0]
    assert flushed.scores(max_coef=0.5).tolist() == [2.5, 4.5]
    assert len(episodes.flush()) == 0


def test_nothing_stepped_is_nothing_played():
    nothing = np.zeros((2, 3), bool)
    parts = (np.ones((2, 3)), np.ones((2, 3), np.int64), ~nothing, nothing)
    assert len(EpisodeScores(3).add(*parts, stepped=nothing)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: scores_of.value_l1(np.ones(3)),
            r"value_l1: `advantages` must have shape \[T, B\]",
        ),
        (lambda: scores_of.value_l1(np.ones((0, 3))), "`advantages` must not be empty"),
        (lambda: scores_of.min_margin(np.ones((1, 1, 1))), "`logits` must have at least 2 actions"),
        (lambda: scores_of.learnability(np.array([1.5])), r"`success_rates` must be in \[0, 1\]"),
        (
            lambda: scores_of.success_band(np.array([0.5]), low=0.8, high=0.2),
            "success_band: `low` must be at most `high` = 0.2, got 0.8",
        ),
        (
            lambda: scores_of.paired_regret(np.ones((2, 3)), np.ones((3, 3))),
            r"`protagonist_returns` must have shape \[N, J\] = \[2, J\], got \[3, 3\]",
        ),
        (lambda: EpisodeScores(0), "EpisodeScores: `num_envs` must be from 1 to 21"),
        (
            lambda: EpisodeScores(2).load_state_dict({}),
            r"load_state_dict: `state` must have 'ids', got \[\]",
        ),
        (
            lambda: EpisodeScores(1).add(
                np.array([[np.nan]]),
                np.zeros((1, 1), np.int64),
                np.zeros((1, 1), bool),
                np.zeros((1, 1), bool),
            ),
            "add: `scores` must be finite, got nan",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
