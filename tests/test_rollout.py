"""Rollouts: attempts, reflections and retries."""

import dataclasses
import json

import fastrl
import numpy as np
import pytest
from fastrl.envs import detokenize, tokenize
from fastrl.rollout import (
    GroupRollout,
    ModelReflector,
    Reflection,
    Reflections,
    ReflectThenRetry,
    Role,
    RolloutSpec,
    RuleReflector,
    TorchPolicy,
    parse_reflection,
)
from fastrl.rollout.policy import Generation
from tiny_policies import REPORT, code_lock, full_log_probs, make_model, make_policy


def reflect_then_retry(envs, *, suggest=False, **spec):
    policy = make_policy(envs)
    rollout = ReflectThenRetry(policy, envs, RuleReflector(suggest=suggest), RolloutSpec(**spec))
    batch, metrics = rollout.collect(11)
    return policy, batch, metrics


def played(envs, batch, row, seed=11):
    """The rewards and success of the actions of a trajectory, played again from the start."""
    actions = envs.parse_action_tokens(
        batch.tokens[row][batch.action_mask[row]][:, None],
        np.ones(batch.num_turns[row], np.int32),
    )
    envs.reset(seed=seed)
    pair = batch.pairs[row]
    env = row if pair < 0 else pair
    total, success = 0.0, False
    for action in actions:
        active = np.arange(envs.num_envs) == env
        _, rewards, _, _, infos = envs.step(np.full(envs.num_envs, action), active=active)
        total += rewards[env]
        success |= bool(infos["success"][env])
    return total, success


def test_group_rollouts_record_what_the_policy_said():
    envs = code_lock()
    policy = make_policy(envs)
    batch, metrics = GroupRollout(policy, envs).collect(11)
    assert metrics["env_steps"] == 8 * 5
    assert batch.group_ids.tolist() == [0] * 4 + [1] * 4
    for row in range(8):
        tokens = batch.tokens[row, : batch.lengths[row]]
        chosen = batch.action_mask[row, : batch.lengths[row]]
        np.testing.assert_allclose(
            batch.log_probs[row][batch.action_mask[row]],
            full_log_probs(policy, tokens)[chosen],
            atol=2e-5,
        )
        assert played(envs, batch, row) == pytest.approx((batch.rewards[row], batch.successes[row]))


@pytest.mark.parametrize("guidance", ["none", "turn", "episode"])
def test_a_retry_shares_its_bases_tokens_up_to_the_pivots_observation(guidance):
    envs = code_lock()
    _, batch, metrics = reflect_then_retry(envs, guidance=guidance)
    retries = np.flatnonzero(batch.roles == Role.RETRY)
    assert len(retries) == metrics["retries"] == 8 - metrics["base_successes"] > 0
    mark = envs.vocabulary.index("<guidance>")
    marker = envs.vocabulary.index("<action>")
    for row in retries:
        base, pivot = batch.pairs[row], batch.pivot_turns[row]
        assert batch.pivot_turns[base] == pivot
        assert batch.group_ids[base] == batch.group_ids[row]
        np.testing.assert_array_equal(
            batch.turn_starts[row, : pivot + 1], batch.turn_starts[base, : pivot + 1]
        )
        # The observation at the pivot stands there once, and the advice nowhere.
        begin = batch.turn_starts[row, pivot]
        decision = begin + int(np.argmax(batch.tokens[row, begin:] == marker)) + 1
        np.testing.assert_array_equal(batch.tokens[row, :decision], batch.tokens[base, :decision])
        np.testing.assert_array_equal(
            batch.log_probs[row, :decision], batch.log_probs[base, :decision]
        )
        assert mark not in batch.tokens[row]
        assert batch.tokens[row, decision] != batch.tokens[base, decision]  # avoided
        assert batch.num_turns[row] == 5
        assert played(envs, batch, row) == pytest.approx((batch.rewards[row], batch.successes[row]))


def test_retries_cost_the_suffix_only():
    envs = code_lock()
    _, batch, metrics = reflect_then_retry(envs)
    retries = batch[np.flatnonzero(batch.roles == Role.RETRY)]
    assert metrics["retry_env_steps"] == (retries.num_turns - retries.pivot_turns).sum()
    assert metrics["env_steps"] == metrics["base_env_steps"] + metrics["retry_env_steps"]


def test_the_rule_finds_the_first_wrong_digit():
    envs = code_lock(reward="graded")
    _, batch, _ = reflect_then_retry(envs)
    for row in np.flatnonzero((batch.roles == Role.BASE) & ~batch.successes):
        assert batch.pivot_turns[row] == round(float(batch.rewards[row]) * 5)


@pytest.mark.parametrize("guidance", ["turn", "episode"])
def test_log_probs_of_a_retry_are_those_under_the_advice(guidance):
    envs = code_lock()
    policy, batch, _ = reflect_then_retry(
        envs, guidance=guidance, avoid=False, verified="improvement", suggest=True
    )
    mark = envs.vocabulary.index("<guidance>")
    guided_rows = np.flatnonzero(batch.roles == Role.GUIDED)
    assert len(guided_rows)
    for row in guided_rows:
        tokens = batch.tokens[row, : batch.lengths[row]]
        assert (tokens == mark).sum() == 1
        advice = detokenize(tokens[np.argmax(tokens == mark) + 1 :])
        assert advice.startswith("avoid ")
        assert " try " in advice
        chosen = batch.action_mask[row, : batch.lengths[row]]
        np.testing.assert_allclose(
            batch.log_probs[row][batch.action_mask[row]],
            full_log_probs(policy, tokens)[chosen],
            atol=2e-5,
        )
        twin = np.flatnonzero((batch.roles == Role.RETRY) & (batch.pairs == batch.pairs[row]))[0]
        pivot = batch.pivot_turns[row]
        assert chosen.sum() == (pivot + 1 if guidance == "turn" else batch.num_turns[twin])
        np.testing.assert_array_equal(
            tokens[chosen], batch.tokens[twin][batch.action_mask[twin]][: chosen.sum()]
        )
        assert batch.rewards[row] > batch.rewards[batch.pairs[row]]


def test_rollouts_repeat_with_their_seed():
    envs = code_lock()
    _, first, _ = reflect_then_retry(envs)
    _, second, _ = reflect_then_retry(envs)
    np.testing.assert_array_equal(first.tokens, second.tokens)
    np.testing.assert_array_equal(first.log_probs, second.log_probs)


class ScriptedPolicy:
    """Says given texts, whatever it is told."""

    def __init__(self, texts):
        self.texts = texts
        self.prompts = []

    def seed(self, seed):
        pass

    def start(self, num_conversations):
        return self

    def append(self, tokens, lengths):
        self.prompts = [detokenize(t[:n]) for t, n in zip(tokens, lengths, strict=True)]

    def generate(self, active, max_new_tokens, *, avoid=None):
        said = [tokenize(text)[:max_new_tokens] for text in self.texts]
        lengths = np.array([len(tokens) for tokens in said], np.int32)
        padded = np.zeros((len(said), lengths.max()), np.int32)
        for row, tokens in enumerate(said):
            padded[row, : len(tokens)] = tokens
        return Generation(padded, lengths, np.where(padded > 0, -0.5, 0).astype(np.float32))


def test_a_models_malformed_reflections_are_counted_and_cost_nothing_else():
    envs = code_lock(num_envs=4)
    good = json.dumps(REPORT)
    texts = [good, "nonsense", json.dumps(REPORT | {"retry_from_step": 5}), good]
    scripted = ScriptedPolicy(texts)
    rollout = ReflectThenRetry(
        make_policy(envs), envs, ModelReflector(scripted), RolloutSpec(verified="improvement")
    )
    batch, metrics = rollout.collect(11)
    assert metrics["reflections"] == 4
    assert metrics["malformed"] == 2
    assert metrics["malformed_no_json"] == metrics["malformed_bad_pivot"] == 1
    assert metrics["retries"] == 2
    assert batch.pivot_turns[:4].tolist() == [1, -1, -1, 1]
    assert "Step 4" in scripted.prompts[0]
    assert "Feedback: failure" in scripted.prompts[0]
    spoken = batch[np.flatnonzero(batch.roles == Role.REFLECTION)]
    assert len(spoken) == metrics["verified"]
    for row in range(len(spoken)):
        assert detokenize(spoken.tokens[row][spoken.action_mask[row]]) == good


def test_an_untrained_model_reflects_badly_and_nothing_breaks():
    envs = code_lock(num_envs=4)
    reflector = ModelReflector(TorchPolicy(make_model()), max_new_tokens=8)
    batch, metrics = ReflectThenRetry(make_policy(envs), envs, reflector).collect(0)
    assert metrics["malformed"] == 4
    assert len(batch) == 4
    assert (batch.pivot_turns == -1).all()


def test_escapes_that_no_token_spells_cost_one_reflection_only():
    envs = code_lock(num_envs=4)
    good = json.dumps(REPORT)
    texts = [json.dumps(REPORT | {"improvement_suggestion": t}) for t in ("\u00e9", "\t", "\0")]
    rollout = ReflectThenRetry(
        make_policy(envs), envs, ModelReflector(ScriptedPolicy([*texts, good]))
    )
    _, metrics = rollout.collect(11)
    assert metrics["malformed_bad_text"] == metrics["malformed"] == 3
    assert metrics["retries"] == 1


@pytest.mark.parametrize("token", [-1, 128])
def test_tokens_without_a_spelling_cost_one_reflection_only(token):
    class Stray(ScriptedPolicy):
        def generate(self, *arguments, **options):
            said = super().generate(*arguments, **options)
            said.tokens[0, 3] = token
            return said

    envs = code_lock(num_envs=4)
    reflector = ModelReflector(Stray([json.dumps(REPORT)] * 4))
    _, metrics = ReflectThenRetry(make_policy(envs), envs, reflector).collect(11)
    assert metrics["malformed_bad_token"] == metrics["malformed"] == 1
    assert metrics["retries"] == 3


def test_reflections_that_rightly_judge_a_success_are_learned():
    envs = code_lock(length=1, num_choices=2)
    report = json.dumps(REPORT | {"trajectory_outcome": "success"})
    rollout = ReflectThenRetry(
        make_policy(envs), envs, ModelReflector(ScriptedPolicy([report] * 8))
    )
    batch, metrics = rollout.collect(11)
    spoken = batch.roles == Role.REFLECTION
    assert 0 < metrics["base_successes"] < 8
    assert metrics["verified_reflections"] == metrics["base_successes"] == spoken.sum()
    assert batch.successes[batch.pairs[spoken]].all()


class Judge:
    """Gives every attempt the same reflection."""

    def __init__(self, reflection):
        self.reflection = reflection

    def reflect(self, attempts, episodes):
        reflections = Reflections()
        reflections += [self.reflection] * len(attempts)
        return reflections


def test_attempts_judged_a_success_are_left_alone():
    envs = code_lock()
    judge = Judge(Reflection("fine", None, "success", None, None))
    batch, metrics = ReflectThenRetry(make_policy(envs), envs, judge).collect(0)
    assert metrics["retries"] == 0
    assert len(batch) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"retry_from_step": 5}, "`retry_from_step` must be from 0 to 4, got 5"),
        ({"retry_from_step": -1}, "`retry_from_step` must be from 0 to 4, got -1"),
        ({"retry_from_step": None}, "`retry_from_step` must be an integer, got NoneType"),
        ({"avoid_action": 4}, "`avoid_action` must be from -1 to 3, got 4"),
        ({"trajectory_outcome": "Failure"}, "`trajectory_outcome` must be one of 'success'"),
        ({"improvement_suggestion": "\t"}, "`improvement_suggestion` must be printable ASCII"),
    ],
)
def test_a_reflectors_mistake_is_named(change, message):
    envs = code_lock()
    judge = Judge(dataclasses.replace(parse_reflection(json.dumps(REPORT), num_turns=2), **change))
    with pytest.raises((ValueError, TypeError), match=rf"Judge\.reflect, attempt 0: {message}"):
        ReflectThenRetry(make_policy(envs), envs, judge).collect(0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: Reflections(), r"`return value` must hold one row for each of 8 attempts, got 0"),
        (lambda: [None] * 8, "`return value` must be Reflections, got list"),
    ],
)
def test_a_reflector_that_does_not_answer_each_attempt_is_named(answer, message):
    class Short:
        def reflect(self, attempts, episodes):
            return answer()

    envs = code_lock()
    with pytest.raises((ValueError, TypeError), match=rf"Short\.reflect: {message}"):
        ReflectThenRetry(make_policy(envs), envs, Short()).collect(0)


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_environments_that_reset_themselves_are_refused(mode):
    envs = fastrl.make_vec("CodeLock-v0", 2, autoreset_mode=mode)
    with pytest.raises(ValueError, match=r'GroupRollout: `envs` must be made with .*"disabled"'):
        GroupRollout(make_policy(envs), envs)
    with pytest.raises(ValueError, match="ReflectThenRetry: `envs` must be made with"):
        ReflectThenRetry(make_policy(envs), envs, RuleReflector())


def test_the_rule_finds_falls_and_detours_on_ice():
    envs = fastrl.make_vec(
        "FrozenLakeText-v0",
        16,
        group_size=4,
        autoreset_mode="disabled",
        observation="compact",
        max_episode_steps=8,
    )
    policy = make_policy(envs)
    reflector = RuleReflector(suggest=True, inefficient=True)
    rollout = ReflectThenRetry(policy, envs, reflector, RolloutSpec(verified="improvement"))
    bases, episodes, _, _ = rollout._attempt(2, keep_snapshots=True)
    distances = np.stack([envs.solve(s)[0] for s in episodes.snapshots], axis=1)
    outcomes = set()
    for row, reflection in enumerate(reflector.reflect(bases, episodes)):
        outcomes.add(reflection.trajectory_outcome)
        if reflection.trajectory_outcome == "success":
            assert bases.num_turns[row] == distances[row, 0]
            continue
        k = reflection.retry_from_step
        fell = distances[row, k + 1] == -1
        assert fell or distances[row, k + 1] >= distances[row, k]
        assert fell == (-1 in distances[row])
        assert reflection.improvement_suggestion.startswith("avoid ")
    assert "failure" in outcomes
    batch, _ = rollout.collect(2)
    for row in np.flatnonzero(batch.roles == Role.RETRY):
        assert batch.num_turns[row] <= 8


def test_rules_need_snapshots():
    envs = code_lock()
    rollout = ReflectThenRetry(make_policy(envs), envs, RuleReflector())
    bases, episodes, _, _ = rollout._attempt(0, keep_snapshots=False)
    with pytest.raises(ValueError, match="`episodes` must hold the snapshots of every turn"):
        RuleReflector().reflect(bases, episodes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_action_tokens": 0}, "RolloutSpec: `max_action_tokens` must be at least 1, got 0"),
        (
            {"guidance": "always"},
            "RolloutSpec: `guidance` must be one of 'episode', 'turn', 'none'",
        ),
        ({"verified": "maybe"}, "RolloutSpec: `verified` must be one of 'success', 'improvement'"),
        ({"retry_rng": "new"}, "RolloutSpec: `retry_rng` must be one of 'restore', 'keep', 'fork'"),
    ],
)
def test_a_spec_names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        RolloutSpec(**options)


@pytest.mark.parametrize("value", ["False", 0, None])
def test_flags_are_true_or_false(value):
    with pytest.raises(TypeError, match="RolloutSpec: `avoid` must be True or False, got"):
        RolloutSpec(avoid=value)
    with pytest.raises(TypeError, match="RuleReflector: `suggest` must be True or False, got"):
        RuleReflector(suggest=value)


def test_collect_names_a_wrong_seed():
    envs = code_lock()
    with pytest.raises(
        ValueError, match=r"GroupRollout\.collect: `seed` must be at least 0, got -1"
    ):
        GroupRollout(make_policy(envs), envs).collect(-1)
