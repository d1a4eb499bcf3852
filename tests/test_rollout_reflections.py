"""Records of rollouts, and reflections found in text."""

import json

import numpy as np
import pytest
from fastrl.rollout import GroupRollout, MalformedReflectionError, Trajectories, parse_reflection
from fastrl.rollout.trajectories import Transcript
from tiny_policies import REPORT, code_lock, make_policy


def test_trajectories_pack_select_and_concatenate():
    envs = code_lock()
    batch, _ = GroupRollout(make_policy(envs), envs).collect(0)
    packed = batch.packed()
    assert packed.cu_seqlens.tolist() == np.concatenate(([0], np.cumsum(batch.lengths))).tolist()
    for row in range(len(batch)):
        part = slice(packed.cu_seqlens[row], packed.cu_seqlens[row + 1])
        np.testing.assert_array_equal(packed.tokens[part], batch.tokens[row, : batch.lengths[row]])
        assert packed.action_mask[part].sum() == batch.num_turns[row] == 5
    both = Trajectories.concatenate([batch[np.array([2, 3])], batch])
    assert len(both) == 10
    np.testing.assert_array_equal(both.tokens[0], batch.tokens[2])
    with pytest.raises(ValueError, match="concatenate: `batches` must not be empty"):
        Trajectories.concatenate([])


def test_a_transcript_keeps_the_turns_of_rows_that_end_early():
    transcript = Transcript(2, 1)
    one = np.array([[7], [8]], np.int32)
    for active in ([True, True], [False, True]):
        transcript.begin_turn(np.array(active))
        transcript.append(one, np.array(active, np.int32))
    assert transcript.turn_starts().tolist() == [[0, -1], [0, 1]]
    forked = transcript.fork(np.array([1, 0]), np.array([1, 1]), np.array([1, 1]))
    assert forked.turn_starts().tolist() == [[0], [0]]
    assert forked.lengths.tolist() == [1, 1]


def test_a_reflection_is_found_in_the_text_around_it():
    reflection = parse_reflection(f"Well: {json.dumps(REPORT)} Done.", num_turns=2)
    assert reflection.retry_from_step == 1
    assert reflection.wants_retry
    assert parse_reflection(reflection.to_json(), num_turns=2) == reflection


def test_a_success_needs_no_pivot():
    report = {
        "trajectory_summary": "",
        "root_cause_analysis": None,
        "trajectory_outcome": "success",
    }
    assert not parse_reflection(json.dumps(report), num_turns=1).wants_retry


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"retry_from_step": 3}, "bad_pivot"),
        ({"retry_from_step": -1}, "bad_pivot"),
        ({"retry_from_step": 2.5}, "bad_pivot"),
        ({"retry_from_step": "1"}, "bad_pivot"),
        ({"retry_from_step": True}, "bad_pivot"),
        ({"retry_from_step": None}, "bad_pivot"),
        ({"trajectory_outcome": "Failure"}, "bad_outcome"),
        ({"trajectory_outcome": ["failure"]}, "bad_outcome"),
        ({"improvement_suggestion": None}, "no_suggestion"),
        ({"improvement_suggestion": 3}, "bad_field"),
        ({"improvement_suggestion": "caf\u00e9"}, "bad_text"),
        ({"improvement_suggestion": "avoid\t3"}, "bad_text"),
        ({"improvement_suggestion": "avoid\u00003"}, "bad_text"),
        ({"improvement_suggestion": "\ud800"}, "bad_text"),
        ({"trajectory_summary": None}, "bad_field"),
    ],
)
def test_reflections_that_cannot_be_used_say_why(change, reason):
    with pytest.raises(MalformedReflectionError) as caught:
        parse_reflection(json.dumps(REPORT | change), num_turns=3)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no idea", "no_json"),
        ("} {", "no_json"),
        ("{'a': 1}", "bad_json"),
        ('{"a":' * 100_000 + "}", "bad_json"),
        ("{}", "missing_field"),
    ],
)
def test_text_that_is_no_reflection_says_why(text, reason):
    with pytest.raises(MalformedReflectionError) as caught:
        parse_reflection(text, num_turns=3)
    assert caught.value.reason == reason
