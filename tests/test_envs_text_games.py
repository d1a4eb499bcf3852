"""Minesweeper, Countdown, TicTacToe, Wordle, FormFill: native against plain Python."""

import re
from itertools import product

import fastrl
import numpy as np
import pytest
from fastrl.envs import PAD_TOKEN, detokenize, tokenize
from fastrl.reference import countdown, wordle
from hypothesis import given, settings
from hypothesis import strategies as st
from text_twins import LETTERS, NUM_ENVS, WORDS, twin


def check_step(env, twins, actions, played, active, result, observation):
    """One step of `env`, given what the twins were to play."""
    observations, rewards, terminated, _, infos = result
    for i, game in enumerate(twins):
        wanted = game.step(played[i]) if active[i] else (0.0, False, False)
        assert (rewards[i], terminated[i], infos["success"][i]) == wanted
        text = detokenize(observations[i])
        whole = observation == "grid" or env.elapsed_steps[i] == 0
        assert text == (game.grid() if whole else game.compact())
        assert len(tokenize(text)) == env.observation_lengths[i]
        assert list(observations[i][: env.observation_lengths[i]]) == list(tokenize(text))
        said = actions[i] >= 0 if actions.ndim == 1 else actions[i, 0] != PAD_TOKEN
        assert infos["action_valid"][i] == (active[i] and said)


@pytest.mark.parametrize("observation", ["grid", "compact"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Minesweeper-v0", {}),
        ("Minesweeper-v0", {"size": 5, "num_mines": 2, "cascade": False}),
        ("Minesweeper-v0", {"height": 3, "width": 14, "reward": "jumanji", "num_mines": 5}),
        ("Minesweeper-v0", {"height": 15, "width": 34, "num_mines": 80, "opening": False}),
        ("TicTacToe-v0", {}),
        ("TicTacToe-v0", {"opponent": "optimal", "first": "random", "draw_reward": 0.25}),
        (
            "TicTacToe-v0",
            {"opponent": "mixed", "optimal_probability": 0.75, "first": "opponent"},
        ),
        ("TicTacToe-v0", {"occupied": "lose", "loss_reward": -1.0}),
        ("Wordle-v0", {"words": WORDS}),
        ("Wordle-v0", {"words": WORDS, "reward": "partial", "max_guesses": 3}),
        ("FormFill-v0", {}),
        ("FormFill-v0", {"num_fields": 8, "inference_probability": 1.0, "reward": "binary"}),
        ("FormFill-v0", {"num_fields": 2, "inference_probability": 0.0}),
    ],
)
def test_steps_match_the_reference(name, options, observation):
    env = fastrl.make_vec(
        name,
        NUM_ENVS,
        observation=observation,
        autoreset_mode="disabled",
        max_episode_steps=30,
        **options,
    )
    env.reset(seed=7)
    twins = [twin(name, options, 7, g) for g in range(NUM_ENVS)]
    assert env.render_text() == [game.grid() for game in twins]
    random = np.random.default_rng(0)
    active = np.ones(NUM_ENVS, bool)
    while active.any():
        actions = random.integers(-1, env.num_actions, NUM_ENVS)
        # Half of the time towards the goal, so that episodes also succeed.
        _, best = env.solve(env.snapshot())
        actions = np.where((random.random(NUM_ENVS) < 0.5) & (best >= 0), best, actions)
        result = env.step(actions, active)
        check_step(env, twins, actions, actions, active, result, observation)
        active &= ~(result[2] | result[3])
    assert env.render_text() == [game.grid() for game in twins]


def expression(random, numbers):
    """Something that a policy may write: mostly right numbers, now and then nonsense."""
    text = [str(n) for n in random.permutation(numbers)]
    if random.random() < 0.15:
        text.append(str(random.integers(0, 12)))
    while len(text) > 1:
        i = random.integers(len(text) - 1)
        joined = f"{text[i]} {random.choice(list('+-*/'))} {text[i + 1]}"
        text[i : i + 2] = [f"({joined})" if random.random() < 0.7 else joined]
    broken = {0: "", 1: text[0] + ")", 2: text[0].replace(" ", "", 1), 3: "- " + text[0]}
    return broken.get(int(random.integers(25)), text[0])


@pytest.mark.parametrize("observation", ["grid", "compact"])
@pytest.mark.parametrize(
    "options",
    [
        {"max_number": 9},
        {"attempts": 5, "num_numbers": 3, "max_number": 6, "max_target": 20},
        {"attempts": 4, "min_numbers": 2, "num_numbers": 3, "use_all": False},
        {"num_numbers": 3, "min_numbers": 3, "levels": "sums"},
        {"num_numbers": 6, "levels": "any", "max_number": 100, "attempts": 2},
    ],
)
def test_countdown_matches_the_reference(options, observation):
    env = fastrl.make_vec(
        "Countdown-v0", NUM_ENVS, observation=observation, autoreset_mode="disabled", **options
    )
    env.reset(seed=3)
    twins = [twin("Countdown-v0", options, 3, g) for g in range(NUM_ENVS)]
    assert env.render_text() == [game.grid() for game in twins]
    random = np.random.default_rng(1)
    active = np.ones(NUM_ENVS, bool)
    while active.any():
        played = [expression(random, game.numbers) for game in twins]
        actions, _ = env.parse_actions([f"So: <answer>{text}</answer>" for text in played])
        result = env.step(actions, active)
        check_step(env, twins, actions, played, active, result, observation)
        active &= ~(result[2] | result[3])


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789+-*/() ", max_size=24))
def test_expressions_are_read_as_python_reads_them(text):
    env = fastrl.make_vec("Countdown-v0", 1)
    rows, valid = env.parse_actions([f"<answer>{text}</answer>"])
    assert valid[0] == (countdown.evaluate(text.strip()) is not None)
    assert detokenize(rows[0]) == (text.strip() if valid[0] else "")


def test_default_word_list_holds_hundreds_of_different_words():
    env = fastrl.make_vec("Wordle-v0", 1, max_guesses=12)
    assert env.num_actions >= 500
    seen = set()
    for start in range(0, env.num_actions, 6):
        env.reset(seed=0)
        for action in range(start, min(start + 6, env.num_actions)):
            _, _, terminated, _, _ = env.step(np.array([action]))
            if terminated[0]:
                break
        seen |= {line.split()[0] for line in env.render_text()[0].split("\n")[1:]}
    assert all(re.fullmatch("[a-z]{5}", word) for word in seen)


@pytest.mark.parametrize(
    ("secret", "guess", "wanted"),
    [
        ("erase", "geese", "XYXGG"),
        ("erase", "eerie", "GXYXG"),
        ("level", "eagle", "YXXYY"),
        ("small", "llama", "YYGYX"),
        ("llama", "small", "XYGYY"),
    ],
)
def test_marks_of_repeated_letters(secret, guess, wanted):
    assert wordle.marks(secret, guess) == wanted
    words = WORDS.split()
    env = fastrl.make_vec("Wordle-v0", 200, words=WORDS, autoreset_mode="disabled")
    env.reset(seed=0)
    _, secrets = env.solve(env.snapshot())
    i = list(secrets).index(words.index(secret))
    env.step(np.full(200, words.index(guess)))
    assert env.render_text([i])[0].split("\n")[1] == f"{guess} {wanted}"


@pytest.mark.parametrize(
    ("name", "options", "text", "action"),
    [
        ("Minesweeper-v0", {}, "<think>2</think><action>(2, 3)</action>", 8),
        ("Minesweeper-v0", {}, "<answer>1 6</answer>", 5),
        ("Minesweeper-v0", {}, "<answer>row 6, column 1</answer>", 30),
        ("Minesweeper-v0", {}, "<action>[6 6]</action> or (1, 1)", 35),
        ("Minesweeper-v0", {}, "<answer>(1, 2) || (3, 3)</answer>", 1),
        ("Minesweeper-v0", {}, "not (1, 1) but (1, 2)", 1),
        ("Minesweeper-v0", {}, "<answer>(0, 3)</answer>", -1),
        ("Minesweeper-v0", {}, "<answer>(7, 3)</answer>", -1),
        ("Minesweeper-v0", {}, "<answer>(-1, 3)</answer>", -1),
        ("Minesweeper-v0", {}, "<answer>(1.5, 3)</answer>", -1),
        ("Minesweeper-v0", {}, "<answer>3</answer>", -1),
        ("Minesweeper-v0", {}, "<answer>12345678901 3</answer>", -1),
        ("Minesweeper-v0", {}, "<answer>up</answer>", -1),
        ("TicTacToe-v0", {}, "[4]", 4),
        ("TicTacToe-v0", {}, "I see [1] and take [8].", 8),
        ("TicTacToe-v0", {}, "<answer>[3] || [5]</answer>", 3),
        ("TicTacToe-v0", {}, "<action>0</action>", 0),
        ("TicTacToe-v0", {}, "<action>9</action>", -1),
        ("TicTacToe-v0", {}, "[ ]", -1),
        ("Wordle-v0", {"words": WORDS}, "[eerie]", 1),
        ("Wordle-v0", {"words": WORDS}, "<answer> GEESE </answer>", 0),
        ("Wordle-v0", {"words": WORDS}, "<answer>[sense]</answer>", 3),
        ("Wordle-v0", {"words": WORDS}, "digit", 9),
        ("Wordle-v0", {"words": WORDS}, "my guess is digit", -1),
        ("Wordle-v0", {"words": WORDS}, "[crane]", -1),
        ("Wordle-v0", {"words": WORDS}, "<answer>g\u00e9ese</answer>", -1),
        ("Wordle-v0", {"words": WORDS}, "<answer>geesegeesegeese</answer>", -1),
        ("Wordle-v0", {"words": WORDS}, "", -1),
        ("FormFill-v0", {}, "<answer>guest = ada</answer>", 0),
        ("FormFill-v0", {}, "[arrival = 1 Jan]", 16),
        ("FormFill-v0", {}, "<action>Arrival: December 31</action>", 16 + 364),
        ("FormFill-v0", {}, "<answer>arrival = 2nd Mar</answer>", 16 + 60),
        ("FormFill-v0", {}, "<answer>nights = 14 || submit</answer>", 16 + 365 + 13),
        ("FormFill-v0", {}, "<answer>submit</answer>", 16 + 365 + 14 + 365),
        ("FormFill-v0", {}, "<answer>nights = 15</answer>", -1),
        ("FormFill-v0", {}, "<answer>nights = 1-2</answer>", -1),
        ("FormFill-v0", {}, "<answer>arrival = 29 Feb</answer>", -1),
        ("FormFill-v0", {}, "<answer>arrival = Feb</answer>", -1),
        ("FormFill-v0", {}, "<answer>arrival = </answer>", -1),
        ("FormFill-v0", {}, "<answer>room = double</answer>", -1),
        ("FormFill-v0", {"num_fields": 5}, "<answer>room = double</answer>", 16 + 365 + 14 + 366),
        ("Sokoban-v0", {}, "<think>up?</think><action>right</action>", 3),
        ("Sokoban-v0", {}, "<answer>Up</answer><action>Down</action>", 1),
        ("Sokoban-v0", {}, "<answer><action>left,up</action></answer>", 2),
        ("Sokoban-v0", {}, "<action>jump</action> up", -1),
    ],
)
def test_actions_are_read_from_text(name, options, text, action):
    env = fastrl.make_vec(name, 1, **options)
    actions, valid = env.parse_actions([text])
    assert actions[0] == action
    assert valid[0] == (action >= 0)


def test_countdown_actions_are_rows_of_tokens():
    env = fastrl.make_vec("Countdown-v0", 1)
    texts = ["<answer>(1 + 2) * 3</answer>", "[7-(2)]", "3 * 4", "it is 3 * 4", "<answer></answer>"]
    rows, valid = env.parse_actions([*texts, f"<answer>{'(' * 40}1{')' * 40}</answer>"])
    assert rows.shape == (6, 64)
    assert detokenize(rows[0]) == "(1 + 2) * 3"
    assert detokenize(rows[1]) == "7-(2)"
    assert detokenize(rows[2]) == "3 * 4"
    assert not rows[3:].any()
    assert list(valid) == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Minesweeper-v0", {"size": 23}, "`size` must be an integer from 2 to 22, got 23"),
        ("Minesweeper-v0", {"height": 20, "width": 30}, "`height` must leave at most 512 cells"),
        (
            "Minesweeper-v0",
            {"size": 3, "num_mines": 8},
            "`num_mines` must be an integer from 1 to 7, got 8",
        ),
        ("Minesweeper-v0", {"reward": "sparse"}, "`reward` must be one of 'lamer', 'jumanji'"),
        ("TicTacToe-v0", {"opponent": "perfect"}, "`opponent` must be one of 'random', 'optimal'"),
        ("TicTacToe-v0", {"draw_reward": 2}, r"`draw_reward` must be a number in \[-1, 1\], got 2"),
        ("Wordle-v0", {"words": "apple pear"}, "all of the same length, got 'pear'"),
        ("Wordle-v0", {"words": "app1e"}, "letters from a to z, .* got 'app1e'"),
        ("Wordle-v0", {"words": "ab"}, "words of 3 to 10 letters"),
        ("Wordle-v0", {"words": "apple APPLE"}, "`words` must be different words, got 'APPLE'"),
        ("Wordle-v0", {"words": " "}, "`words` must hold a word"),
        (
            "Wordle-v0",
            {"words": " ".join("".join(word) for word in list(product(LETTERS, repeat=3))[:4097])},
            "`words` must be at most 4096 words",
        ),
        ("Wordle-v0", {"max_guesses": 13}, "`max_guesses` must be an integer from 1 to 12, got 13"),
        ("FormFill-v0", {"num_fields": 9}, "`num_fields` must be an integer from 2 to 8, got 9"),
        ("Countdown-v0", {"num_numbers": 7}, "`num_numbers` must be an integer from 2 to 6, got 7"),
        (
            "Countdown-v0",
            {"min_target": 50, "max_target": 20},
            "`max_target` must be at least `min_target` = 50, got 20",
        ),
        (
            "Countdown-v0",
            {"num_numbers": 2, "max_number": 3, "min_target": 500, "max_target": 600},
            "`max_target` must leave a target that the numbers can make, got 600",
        ),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=f"make_vec: .*{message}"):
        fastrl.make_vec(name, 1, **options)
