"""Prompts and presets for the text environments."""

import fastrl
import pytest
from fastrl.envs import environment_ids
from fastrl.envs.presets import PRESETS
from fastrl.envs.prompts import STYLES, prompt


def text_ids():
    """The ids of text environments."""
    return [name for name in environment_ids() if hasattr(fastrl.make_vec(name), "render_text")]


@pytest.mark.parametrize("style", STYLES)
def test_every_text_environment_has_a_prompt_whose_example_answer_is_read(style):
    names = text_ids()
    assert len(names) >= 8
    for name in names:
        options = {"num_fields": 3} if name == "FormFill-v0" else {}
        env = fastrl.make_vec(name, **options)
        env.reset(seed=0)
        (observation,) = env.render_text()
        text = prompt(env, style, observation)
        assert prompt(f"fastrl/{name}", style, observation) == text
        assert f"\n\n{observation}\n\n" in text
        assert text.isascii()
        _, valid = env.parse_actions([text.rpartition("\n")[2]])
        assert valid[0]
        tags = {
            "ragen": ["<think>", "<answer>"],
            "lamer": ["<action>"],
            "verl_agent": ["<think>", "<action>"],
        }[style]
        for tag in ("<think>", "<answer>", "<action>"):
            assert (tag in text) == (tag in tags)


def test_prompt_errors():
    with pytest.raises(ValueError, match="prompt: `env_or_id` must be one of 'CodeLock-v0'"):
        prompt("Taxi-v3", "ragen", "")
    with pytest.raises(TypeError, match="prompt: `env_or_id` must be a string, got int"):
        prompt(3, "ragen", "")
    with pytest.raises(ValueError, match="`style` must be one of 'ragen', 'lamer', 'verl_agent'"):
        prompt("Sokoban-v0", "trl", "")
    with pytest.raises(TypeError, match="prompt: `observation` must be a string, got list"):
        prompt("Sokoban-v0", "ragen", [])


def test_presets_can_be_played():
    for name, presets in PRESETS.items():
        for preset, options in presets.items():
            env = fastrl.make_vec(name, 2, preset=preset)
            env.reset(seed=0)
            assert env.max_episode_steps == options["max_episode_steps"]


def test_the_presets_of_new_games_say_what_they_are_for():
    env = fastrl.make_vec("Minesweeper-v0", 1, preset="lamer")
    assert env.num_actions == 36
    assert env.max_episode_steps == 7
    env = fastrl.make_vec("Countdown-v0", 64, preset="ragen")
    env.reset(seed=0)
    assert {text.count(",") for text in env.render_text()} == {3, 4}
