"""The nine environments that promise Gymnasium's results, and the check that says so."""

import fastrl
import gymnasium
import numpy as np
import pytest
from every_form import MODES
from fastrl.envs.testing import check_parity
from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from parity_actions import purposeful_actions

# Limits in which some episodes are cut short and others are not; Gymnasium's own for the others.
ENVIRONMENTS = {
    "CartPole-v1": 25,
    "MountainCar-v0": 60,
    "MountainCarContinuous-v0": 60,
    "Pendulum-v1": 60,
    "Acrobot-v1": 60,
    "FrozenLake-v1": 8,
    "CliffWalking-v1": 60,
    "Taxi-v4": 60,
    "Blackjack-v1": 2,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments_are_gymnasiums(name, mode):
    limit = ENVIRONMENTS[name]
    for steps, options in ((520, {}), (200, {"max_episode_steps": limit})):
        env = fastrl.make_vec(name, 3, autoreset_mode=mode, **options)
        actions = purposeful_actions(name, env.action_space)
        report = check_parity(env, name, steps=steps, actions=actions, **options)
        assert report.steps == 3 * steps
        assert report.autoreset_mode == mode
    assert report.episodes > 0
    assert report.truncated > 0


LAKES = [
    {"is_slippery": False},
    {"map_name": "8x8"},
    {"success_rate": 0.7},
    {"desc": ["SFS", "FFH", "SFG"]},
    {"desc": ["SFFHG"], "success_rate": 1.0},
    {"desc": generate_random_map(12, 0.9, 3)},
    {"reward_schedule": (2.5, -1, -0.25)},
]


@pytest.mark.parametrize("options", LAKES)
def test_frozen_lakes_of_all_kinds(options):
    env = fastrl.make_vec("FrozenLake-v1", 4, **options)
    check_parity(env, "FrozenLake-v1", steps=200, seeds=[0, 7], **options)


@pytest.mark.parametrize(("size", "frozen"), [(8, 0.8), (5, 0.6), (2, 0.3), (32, 0.9), (4, 1.0)])
def test_random_lakes_are_drawn_as_gymnasium_draws_them(size, frozen):
    for seed in range(3):
        env = fastrl.make_vec(
            "FrozenLake-v1",
            1,
            desc="random",
            map_size=size,
            frozen_probability=frozen,
            map_seed=seed,
            render_mode="ansi",
        )
        env.reset(seed=0)
        (picture,) = env.render()
        drawn = generate_random_map(size, frozen, seed)
        expected = "\n".join(drawn).replace("F", "_").replace("H", "O").replace("S", "P")
        assert picture == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("FrozenLake8x8-v1", {}),
        ("CliffWalkingSlippery-v1", {}),
        ("CliffWalking-v1", {"is_slippery": True}),
        ("Taxi-v4", {"is_rainy": True}),
        ("Taxi-v4", {"fickle_passenger": True}),
        (
            "Taxi-v4",
            {
                "is_rainy": True,
                "fickle_passenger": True,
                "rainy_probability": 0.5,
                "fickle_probability": 0.9,
            },
        ),
        ("Blackjack-v1", {"natural": True, "sab": False}),
        ("Blackjack-v1", {"sab": False}),
        ("Blackjack-v1", {"natural": True}),
    ],
)
def test_options_are_gymnasiums(name, options, mode):
    env = fastrl.make_vec(name, 4, autoreset_mode=mode, **options)
    actions = purposeful_actions(name, env.action_space)
    check_parity(env, name, steps=150, actions=actions, **options)


def test_options_as_gymnasium_takes_them_name_one_environment():
    plain = fastrl.make_vec("FrozenLake-v1", 1)
    other = fastrl.make_vec(
        "FrozenLake-v1",
        1,
        map_name="8x8",  # `desc` wins
        desc=["SFFF", "FHFH", "FFFH", "HFFG"],
        reward_schedule=(1, 0, 0),
    )
    plain.reset(seed=0)
    other.reset(seed=1)
    other.restore(plain.snapshot())
    assert other.state_hash() == plain.state_hash()
    with pytest.raises(TypeError, match="make_vec: `reward_schedule` must be a number, got str"):
        fastrl.make_vec("FrozenLake-v1", 1, reward_schedule=(1, "0", 0))


def test_options_may_be_none_as_gymnasium_documents_them():
    documented = fastrl.make_vec("FrozenLake-v1", 2, desc=None, map_name="8x8", is_slippery=True)
    check_parity(documented, "FrozenLake-v1", steps=20, desc=None, map_name="8x8")
    options = {"desc": ["SFG"], "map_name": None, "reward_schedule": [2, 0, -1]}
    check_parity(
        fastrl.make_vec("FrozenLake-v1", 2, **options), "FrozenLake-v1", steps=50, **options
    )
    with pytest.raises(ValueError, match="make_vec: `map_name` must be a name where `desc` is"):
        fastrl.make_vec("FrozenLake-v1", 1, desc=None, map_name=None)


def test_taxi_v3_is_gymnasiums_v4():
    # Gymnasium has dropped the old name; without options nothing else has changed.
    env = fastrl.make_vec("Taxi-v3", 3)
    actions = purposeful_actions("Taxi-v4", env.action_space)
    check_parity(env, "Taxi-v4", steps=200, actions=actions)


def test_levels_start_where_the_seed_says():
    # The starts of many seeds, drawn by NumPy itself: the pool of words and both halves of a draw.
    env = fastrl.make_vec("Blackjack-v1", 64)
    for seed in (0, 2**31, 2**32 - 32, 2**62):
        players, dealers, _ = env.reset(seed=seed)[0]
        for i in range(64):
            random = np.random.default_rng(seed + i)
            dealer, _, *hand = (min(int(random.choice(13)) + 1, 10) for _ in range(4))
            usable = 1 in hand and sum(hand) + 10 <= 21
            assert (players[i], dealers[i]) == (sum(hand) + 10 * usable, dealer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"desc": "SF\nF"}, "`desc` must have rows of equal length, 2 as the first, got 'F'"),
        ({"desc": "FG"}, "`desc` must have a start, S, got none"),
        ({"desc": ""}, "`desc` must have 1 to 1024 cells, got none"),
        ({"desc": "S" * 1025}, "`desc` must have 1 to 1024 cells, got more"),
        ({"desc": "SXG"}, "`desc` must be rows of S, F, H and G, joined by newlines, or 'random'"),
        ({"desc": "random", "map_size": 33}, "`map_size` must be an integer from 2 to 32, got 33"),
        (
            {"desc": "random", "map_size": 32, "frozen_probability": 0.1},
            "`frozen_probability` must leave a path to the goal in one of 10000 maps of size 32",
        ),
        (
            {"frozen_probability": 0.5},
            "`options` must be among those of FrozenLake-v1 .*got 'frozen_pro",
        ),
        ({"map_name": "5x5"}, "`map_name` must be one of '4x4', '8x8', got '5x5'"),
        ({"success_rate": 1.5}, r"`success_rate` must be a number in \[0, 1\], got 1.5"),
        ({"reward_schedule": (1, 0)}, "`reward_schedule` must be three numbers with commas"),
        ({"reward_schedule": "1, 0"}, "`reward_schedule` must be three numbers with commas"),
        ({"reward_schedule": "1, 0, x"}, "`reward_schedule` must be three numbers with commas"),
        ({"reward_schedule": "1, 0, inf"}, "`reward_schedule` must be three numbers with commas"),
    ],
)
def test_options_of_lakes_are_checked(options, message):
    with pytest.raises(ValueError, match=f"^make_vec: {message}"):
        fastrl.make_vec("FrozenLake-v1", 1, **options)


# --- The check itself -------------------------------------------------------------------------


class Kind(SyncVectorEnv):
    """Gymnasium's, but leaves the caller's options as they are."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options=options and dict(options))


class Spoiled(VectorWrapper):
    """Changes what one step returns."""

    def __init__(self, env, spoil, at=30):
        super().__init__(env)
        self.spoil, self.left = spoil, at

    def step(self, actions):
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self.left -= 1
        if self.left == 0:
            self.spoil(observations, rewards, terminated, truncated, infos)
        return observations, rewards, terminated, truncated, infos


def sync(name, mode=AutoresetMode.SAME_STEP, **kwargs):
    return Kind([lambda: gymnasium.make(name, **kwargs)] * 3, autoreset_mode=mode)


def test_gymnasium_equals_itself_and_is_counted():
    env = sync("Taxi-v4", max_episode_steps=10)
    report = check_parity(env, "Taxi-v4", steps=96, seeds=[0, 5], max_episode_steps=10)
    assert (report.num_envs, report.steps, report.resets) == (3, 2 * 3 * 96, 2 * 2 * 3)
    assert report.episodes == report.truncated == 2 * 3 * 9
    assert (report.gymnasium_id, report.autoreset_mode) == ("Taxi-v4", "same_step")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (
            "CartPole-v1",
            lambda o, r, te, tr, i: o.__setitem__((1, 2), np.nextafter(o[1, 2], np.float32(9))),
            r"environment 1: observations\[1, 2\] must be np.float32\(.*\), got np.float32\(",
        ),
        (
            "Blackjack-v1",
            lambda o, r, te, tr, i: o[1].__setitem__(2, 0),
            r"environment 2: observations\[1\]\[2\] must be np.int64\(.*\), got np.int64\(0\)",
        ),
        (
            "FrozenLake-v1",
            lambda o, r, te, tr, i: r.__setitem__(1, -0.0),
            r"environment 1: rewards\[1\] must be np.float64\(0.0\), got np.float64\(-0.0\)",
        ),
        (
            "Taxi-v4",
            lambda o, r, te, tr, i: te.__setitem__(0, True),
            r"environment 0: terminated\[0\] must be np.False_, got np.True_",
        ),
        (
            "Taxi-v4",
            lambda o, r, te, tr, i: tr.__setitem__(0, False),
            r"environment 0: truncated\[0\] must be np.True_, got np.False_",
        ),
        (
            "Taxi-v4",
            lambda o, r, te, tr, i: i.pop("_prob"),
            r"the keys of infos must be \[.*'_prob'.*\], got ",
        ),
        (
            "Taxi-v4",
            lambda o, r, te, tr, i: i.update(prob=i["prob"].astype(np.float32)),
            r"infos\['prob'\] must be float64\[3\], got float32\[3\]",
        ),
        (
            "Taxi-v4",
            lambda o, r, te, tr, i: i["final_obs"].__setitem__(1, np.int64(3)),
            r"environment 1: infos\['final_obs'\]\[1\] must be \d+, got np.int64\(3\)",
        ),
        (
            "Taxi-v4",
            lambda o, r, te, tr, i: i["final_info"]["prob"].__setitem__(2, 0.5),
            r"environment 2: infos\['final_info'\]\['prob'\]\[2\] must be np.float64\(1.0\)",
        ),
    ],
)
def test_a_difference_is_named(name, spoil, message):
    env = Spoiled(sync(name, max_episode_steps=30), spoil)
    where = rf"^check_parity: {name} \(same_step\), seed 0, step 30[,:] {message}"
    with pytest.raises(AssertionError, match=where):
        check_parity(env, name, steps=40, max_episode_steps=30)


def test_other_streams_spaces_and_options_are_seen():
    with pytest.raises(AssertionError, match="reset must leave the caller's options as they are"):
        check_parity(gymnasium.make_vec("Taxi-v4", 3, vectorization_mode="sync"), "Taxi-v4")
    with pytest.raises(AssertionError, match=r"spaces: single_observation_space.low must be"):
        check_parity(sync("CartPole-v1"), "Pendulum-v1")
    env = Spoiled(sync("Taxi-v4"), None)
    env.single_action_space = gymnasium.spaces.Discrete(5)
    with pytest.raises(AssertionError, match=r"spaces: single_action_space must be Discrete\(6\)"):
        check_parity(env, "Taxi-v4")
    # Gymnasium's own vectorized CartPole draws all starts from one stream.
    with pytest.raises(AssertionError, match=r"seed 3, reset, environment 0: observations\[0, 1\]"):
        check_parity(gymnasium.make_vec("CartPole-v1", 3), "CartPole-v1", seeds=[3])


def test_arguments_of_the_check():
    env = sync("Taxi-v4")
    with pytest.raises(ValueError, match=r"^check_parity: `steps` must be at least 1, got 0"):
        check_parity(env, "Taxi-v4", steps=0)
    with pytest.raises(ValueError, match=r"^check_parity: `seeds` must be at least 0, got -1"):
        check_parity(env, "Taxi-v4", seeds=[-1])
    env.metadata = {}
    with pytest.raises(TypeError, match=r"^check_parity: `env` must have an AutoresetMode in its"):
        check_parity(env, "Taxi-v4")


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_gymnasiums_own_passes_where_its_options_are_allowed_to_change(mode):
    env = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2, autoreset_mode=mode)
    with pytest.raises(AssertionError, match=r"has changed reset_mask; allow=\['options_unch"):
        check_parity(env, "CartPole-v1", steps=120)
    report = check_parity(env, "CartPole-v1", steps=120, allow=["options_unchanged"])
    assert report.violations == ("options_unchanged",)
    assert check_parity(fastrl.make_vec("CartPole-v1", 2), "CartPole-v1", steps=9).violations == ()
    with pytest.raises(ValueError, match=r"check_parity: `allow` must be .*, got 'rewards'"):
        check_parity(env, "CartPole-v1", allow=["rewards"])
