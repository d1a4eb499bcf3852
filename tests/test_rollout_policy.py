"""The torch policy: what it samples has the log-probs that it says."""

import numpy as np
import pytest
from fastrl.rollout import Policy, Session, TorchPolicy
from tiny_policies import full_log_probs, make_model


def test_torch_policy_fulfils_the_protocols():
    policy = TorchPolicy(make_model())
    assert isinstance(policy, Policy)
    assert isinstance(policy.start(2), Session)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_log_probs_equal_a_full_forward(temperature):
    policy = TorchPolicy(make_model(), temperature=temperature, seed=4)
    session = policy.start(3)
    prompts = np.array([[5, 9, 11], [7, 0, 0], [8, 3, 0]], np.int32)
    session.append(prompts, np.array([3, 1, 2], np.int32))
    first = session.generate(np.array([True, True, False]), 70)  # beyond the first capacity
    session.append(prompts, np.array([1, 2, 3], np.int32))
    second = session.generate(np.ones(3, bool), 4)
    assert first.lengths.tolist() == [70, 70, 0]
    for row, prompt in enumerate((3, 1, 2)):
        expected = full_log_probs(policy, session.tokens(row))
        begin = prompt
        for said in (first, second):
            n = said.lengths[row]
            np.testing.assert_array_equal(
                session.tokens(row)[begin : begin + n], said.tokens[row, :n]
            )
            np.testing.assert_allclose(
                said.log_probs[row, :n], expected[begin : begin + n], atol=2e-5
            )
            begin += n + (row + 1)


def test_fork_continues_like_a_conversation_of_its_own():
    policy = TorchPolicy(make_model(), seed=1)
    session = policy.start(2)
    session.append(np.array([[5, 9], [7, 8]], np.int32), np.array([2, 2], np.int32))
    session.generate(np.ones(2, bool), 10)
    before = [session.tokens(0), session.tokens(1)]
    forked = session.fork(np.array([1, 0, 1], np.int32), np.array([12, 3, 6], np.int32))
    forked.append(np.full((3, 1), 20, np.int32), np.array([0, 1, 1], np.int32))
    said = forked.generate(np.ones(3, bool), 5)
    for row, (source, length) in enumerate([(1, 12), (0, 3), (1, 6)]):
        np.testing.assert_array_equal(forked.tokens(row)[:length], before[source][:length])
        expected = full_log_probs(policy, forked.tokens(row))[-5:]
        np.testing.assert_allclose(said.log_probs[row], expected, atol=2e-5)
    np.testing.assert_array_equal(session.tokens(0), before[0])
    again = session.generate(np.ones(2, bool), 3)  # the fork has not disturbed the cache
    np.testing.assert_allclose(
        again.log_probs[0], full_log_probs(policy, session.tokens(0))[-3:], atol=2e-5
    )


def test_a_row_says_the_same_whoever_else_speaks():
    def say(active):
        policy = TorchPolicy(make_model(), seed=6)
        session = policy.start(3)
        session.append(np.full((3, 1), 9, np.int32), np.ones(3, np.int32))
        return session.generate(np.array(active), 8).tokens[1]

    np.testing.assert_array_equal(say([True, True, True]), say([False, True, False]))


def test_sampled_frequencies_follow_the_log_probs():
    policy = TorchPolicy(make_model(), allowed_tokens=[3, 40, 41], seed=0)
    session = policy.start(4000)
    session.append(np.full((4000, 1), 9, np.int32), np.ones(4000, np.int32))
    said = session.generate(np.ones(4000, bool), 1)
    for token in (3, 40, 41):
        chosen = said.tokens[:, 0] == token
        probability = np.exp(said.log_probs[chosen][0, 0])
        assert abs(chosen.mean() - probability) < 5 * np.sqrt(probability / 4000)


def test_avoided_tokens_are_not_said_first_and_their_mass_goes_to_the_others():
    policy = TorchPolicy(make_model(), allowed_tokens=[3, 40, 41], seed=0)
    session = policy.start(300)
    session.append(np.full((300, 1), 9, np.int32), np.ones(300, np.int32))
    said = session.generate(np.ones(300, bool), 1, avoid=np.full(300, 40, np.int32))
    assert set(said.tokens[:, 0]) == {3, 41}
    masses = [np.exp(said.log_probs[said.tokens[:, 0] == t][0, 0]) for t in (3, 41)]
    assert sum(masses) == pytest.approx(1, abs=1e-5)


def test_the_stop_token_ends_a_row():
    policy = TorchPolicy(make_model(), allowed_tokens=[3, 4], stop_token=4, seed=0)
    session = policy.start(50)
    session.append(np.full((50, 1), 9, np.int32), np.ones(50, np.int32))
    said = session.generate(np.ones(50, bool), 6)
    for tokens, length in zip(said.tokens, said.lengths, strict=True):
        assert 4 not in tokens[: length - 1]
        assert length == 6 or tokens[length - 1] == 4
        assert not tokens[length:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, r"TorchPolicy: `temperature` must be .*greater than 0, got -1"),
        ({"allowed_tokens": []}, "TorchPolicy: `allowed_tokens` must name at least one token"),
        ({"allowed_tokens": [128]}, "TorchPolicy: `allowed_tokens` must be from 0 to 127, got 128"),
        ({"allowed_tokens": [3], "stop_token": 4}, "`stop_token` must be one of `allowed_tokens`"),
    ],
)
def test_torch_policy_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        TorchPolicy(make_model(), **options)


def test_a_session_names_what_is_wrong():
    session = TorchPolicy(make_model(), allowed_tokens=[3]).start(2)
    ones = np.ones(2, np.int32)
    with pytest.raises(
        ValueError, match=r"append: `tokens` must have shape \[2, M\], got \[3, 1\]"
    ):
        session.append(np.zeros((3, 1), np.int32), ones)
    with pytest.raises(ValueError, match="append: `lengths` must be from 0 to 1"):
        session.append(np.zeros((2, 1), np.int32), 2 * ones)
    with pytest.raises(ValueError, match="`active` must name conversations with at least one"):
        session.generate(np.ones(2, bool), 1)
    session.append(np.ones((2, 1), np.int32), ones)
    with pytest.raises(ValueError, match="`avoid` must be None where only one token is allowed"):
        session.generate(np.ones(2, bool), 1, avoid=3 * ones)
    with pytest.raises(TypeError, match="generate: `active` must have dtype bool, got int32"):
        session.generate(ones, 1)
    with pytest.raises(ValueError, match="fork: `rows` must be from 0 to 1"):
        session.fork(np.array([2]), np.array([0]))
    with pytest.raises(ValueError, match="fork: `lengths` must be at most the rows' own lengths"):
        session.fork(np.array([1]), np.array([2]))
