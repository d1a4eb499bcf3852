"""Tokens and words: actions parsed from text, and the vocabulary."""

import fastrl
import numpy as np
import pytest
from fastrl.envs import VOCABULARY, detokenize, tokenize
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<answer>Up</answer>", 0),
        ("<think>Down?</think> <answer> right || up </answer>", 3),
        ("<answer>Up</answer> no: <answer>Left</answer>", 2),
        ("I go Up, no, Down.", 1),
        ("down", 1),
        ("<answer></answer> Up", -1),
        ("<answer>Up", 0),
        ("Upwards and rightly", -1),
        ("up_down", -1),
        ("", -1),
        ("\ud800", -1),
        ("<answer>\udfff</answer> Up", -1),
        ("\ud800 Down", 1),
        ("\u2191 nowhere \x00", -1),
        ("</answer>Left<answer>", 2),
    ],
)
def test_actions_are_parsed_from_text(text, action):
    env = fastrl.make_vec("Sokoban-v0", 1)
    actions, valid = env.parse_actions([text, "Left"])
    assert actions.tolist() == [action, 2]
    assert valid.tolist() == [action >= 0, True]
    if text.isascii() and text.isprintable():
        tokens = tokenize(text)
        rows = np.zeros((1, len(tokens) + 2), np.int32)
        rows[0, : len(tokens)] = tokens
        rows[0, len(tokens)] = VOCABULARY.index("<end>")
        rows[0, len(tokens) + 1] = env.action_tokens[3]
        lengths = np.array([len(tokens) + 2], np.int32)
        assert env.parse_action_tokens(rows, lengths).tolist() == [action]


@given(
    st.lists(st.sampled_from(VOCABULARY)).map("".join)
    | st.text([chr(c) for c in range(32, 127)] + ["\n"])
)
@settings(max_examples=150, deadline=None)
def test_detokenize_inverts_tokenize(text):
    tokens = tokenize(text)
    assert detokenize(tokens) == text
    assert (tokens >= 6).all()


def test_vocabulary_is_small_and_its_words_are_single_tokens():
    assert len(VOCABULARY) <= 128
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert VOCABULARY[:6] == (
        "<pad>",
        "<start>",
        "<observation>",
        "<action>",
        "<end>",
        "<guidance>",
    )
    for word in ["Up", "Down", "Left", "Right", "avoid", "try", "turn", "<answer>", "\n", " "]:
        assert tokenize(word).tolist() == [VOCABULARY.index(word)]
    assert detokenize([0, 1, 6, 0]) == "<start>Up"
    assert tokenize("").size == 0
    assert detokenize([]) == ""


def test_vocabulary_errors():
    with pytest.raises(
        ValueError,
        match=r"`text` must hold printable ASCII and newlines only, got '\\xe9' at position 2",
    ):
        tokenize("a\né")
    with pytest.raises(
        ValueError,
        match=r"tokenize: `text` must hold printable .* only, got '\\ud800' at position 0",
    ):
        tokenize("\ud800")
    with pytest.raises(TypeError, match="tokenize: `text` must be a string, got int"):
        tokenize(3)
    with pytest.raises(ValueError, match="detokenize: `tokens` must be from 0 to 121, got 122"):
        detokenize([1, 122])
    with pytest.raises(TypeError, match="detokenize: `tokens` must hold integers, got float64"):
        detokenize([0.5])
    with pytest.raises(
        ValueError, match=r"detokenize: `tokens` must have shape \[N\], got \[1, 2\]"
    ):
        detokenize([[1, 2]])
