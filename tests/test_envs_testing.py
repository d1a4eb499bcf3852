"""`check_vector_env` passes what is right and catches each rule's breach by name."""

import gymnasium
import numpy as np
import pytest
from fastrl.envs import environment_ids, make_vec
from fastrl.envs.testing import RULES, check_vector_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
STEPS = 60


class Sound(SyncVectorEnv):
    """Gymnasium's, but it leaves the caller's options alone."""

    def __init__(self, mode=NEXT, *, id="CartPole-v1", num_envs=3, copy=True, **options):
        makers = [lambda: gymnasium.make(id, **options) for _ in range(num_envs)]
        super().__init__(makers, autoreset_mode=mode, copy=copy)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options=None if options is None else dict(options))


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("id", ["CartPole-v1", "FrozenLake-v1", "Blackjack-v1", "Pendulum-v1"])
def test_sound_environments_pass(mode, id):
    report = check_vector_env(Sound(mode, id=id), steps=STEPS)
    assert report.violations == {}
    assert report.autoreset_mode == mode
    assert report.steps == STEPS
    assert set(report.checked) | set(report.not_applicable) == set(RULES)
    if id == "Pendulum-v1":
        assert report.episodes == 0
        assert report.not_applicable[mode.name.lower()] == f"no episode ended in {STEPS} steps"
    else:
        assert report.episodes > 0
        assert set(report.not_applicable) == {"render"} | {
            other.name.lower() for other in AutoresetMode if other != mode
        }


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
@pytest.mark.parametrize("id", environment_ids())
def test_all_of_ours_pass(id, mode):
    # On firm ground nothing there is random.
    allow = ["other_seed"] if id == "CliffWalking-v1" else []
    env = make_vec(id, 3, autoreset_mode=mode, max_episode_steps=15)
    report = check_vector_env(env, steps=32, allow=allow)
    assert list(report.violations) == allow
    assert report.episodes > 0


@pytest.mark.parametrize(
    "options",
    [
        {"output": "torch"},
        {"render_mode": "ansi", "group_size": 2, "num_levels": 3},
        {"history": 4, "num_threads": 1},
    ],
)
def test_options_of_a_batch_change_no_rule(options):
    if options.get("output") == "torch":
        pytest.importorskip("torch")
    env = make_vec("FrozenLakeText-v0", 4, autoreset_mode="same_step", slippery=True, **options)
    assert check_vector_env(env, steps=STEPS).violations == {}


def test_one_environment_and_frames_pass():
    env = Sound(num_envs=1, id="FrozenLake-v1", render_mode="ansi")
    report = check_vector_env(env, steps=STEPS, close=False)
    assert "render" in report.checked
    assert report.not_applicable["close"] == "not asked for"
    env.reset()  # still open
    env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_gymnasium_takes_the_mask_out_of_the_options(mode):
    def make():
        return gymnasium.make_vec(
            "CartPole-v1",
            3,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": mode},
        )

    with pytest.raises(AssertionError, match=r"options_unchanged .* SyncVectorEnv\(CartPole-v1"):
        check_vector_env(make(), steps=STEPS)
    report = check_vector_env(make(), steps=STEPS, allow=["options_unchanged"])
    assert list(report.violations) == ["options_unchanged"]
    assert "VIOLATED        options_unchanged: SyncVectorEnv" in str(report)
    assert "holds           same_seed" in str(report)


def test_cartpole_vector_env_ignores_masks_and_takes_no_seed_lists():
    env = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point")
    assert type(env.unwrapped).__name__ == "CartPoleVectorEnv"
    report = check_vector_env(env, steps=STEPS, allow=["reset_mask"])
    assert list(report.violations) == ["reset_mask"]
    assert report.not_applicable["seed_list"].startswith("refused with")


class Broken(Sound):
    """Breaks one rule; see the name of the method."""

    def __init__(self, rule, mode=NEXT, **options):
        super().__init__(mode, **options)
        self.rule = rule
        self.calls = 0
        self.infos = {}
        self.last_rewards = None
        self.was_closed = False
        if rule == "metadata":
            self.metadata["autoreset_mode"] = mode.value
        if rule == "spaces":
            self.action_space = gymnasium.spaces.MultiDiscrete([2, 2, 3])
        if rule in ("claims next_step", "claims disabled"):
            self.metadata["autoreset_mode"] = NEXT if rule == "claims next_step" else DISABLED

    def reset(self, *, seed=None, options=None):
        if self.rule == "other_seed" and seed is not None:
            seed = 0
        if self.rule == "reseeds" and seed is None:
            seed = 0
        if self.rule == "seed_list" and isinstance(seed, list):
            seed = [3 if None in seed else one for one in seed]
        if self.rule == "seed_list length" and isinstance(seed, list):
            seed = seed[: self.num_envs]
        if self.rule == "writes seeds" and isinstance(seed, list):
            seed[0] = 1
        if self.rule == "reset_mask":
            options = None
        if self.rule == "any mask" and options:
            mask = np.resize(options["reset_mask"], 3).astype(bool)
            options = {"reset_mask": mask if mask.any() else ~mask}
        mask = (options or {}).get("reset_mask")
        if self.rule == "neighbors" and mask is not None and not mask.all():
            self.envs[1].unwrapped.steps_beyond_terminated = None
            self.envs[1].unwrapped.state = np.zeros(4)
        pending = self._autoreset_envs.copy()
        observations, infos = super().reset(seed=seed, options=options)
        if self.rule == "reset_clears" and mask is not None:
            self._autoreset_envs = pending
        if self.rule == "returns":
            return observations
        if self.rule == "late reset infos" and mask is not None:
            infos = {"late": np.ones(3), "_late": np.ones(3, np.bool_)}
        return observations, infos

    def step(self, actions):
        self.calls += 1
        if self.rule == "next_step acts" and self._autoreset_envs.any():
            for env, action, ended in zip(self.envs, actions, self._autoreset_envs, strict=True):
                if ended:
                    env.np_random.random(int(action))
        observations, rewards, terminated, truncated, infos = super().step(actions)
        match self.rule:
            case "observations":
                observations = observations.astype(np.float64)
            case "bounds":
                observations[0, 0] = 1e9
            case "rewards":
                rewards = rewards.astype(np.int64)
            case "infinite rewards":
                rewards[1] = np.inf
            case "flags":
                terminated = terminated.astype(np.uint8)
            case "info_masks":
                infos["speed"] = np.zeros(3)
            case "info_rows":
                infos |= {"speed": np.zeros(2), "_speed": np.ones(3, np.bool_)}
            case "mask dtype":
                infos |= {"speed": np.zeros(3), "_speed": np.ones(3)}
            case "fresh_infos":
                self.infos.clear()
                self.infos.update(infos)
                infos = self.infos
            case "given_arrays":
                actions[0] = 0
            case "caller_may_write":
                if self.last_rewards is not None:
                    rewards = rewards + 0.0 * self.last_rewards
                self.last_rewards = rewards
            case "same_seed":
                rewards = rewards * self.calls
            case "next_step":
                rewards = rewards + 1
            case "same_step":
                infos.pop("final_obs", None)
                infos.pop("_final_obs", None)
            case "final dtype" if "final_obs" in infos:
                infos["final_obs"] = np.stack([np.zeros(4, np.float32)] * 3)
            case "final mask" if "final_obs" in infos:
                infos["_final_obs"] = np.ones(3, np.bool_)
        return observations, rewards, terminated, truncated, infos

    @property
    def np_random_seed(self):
        return -1 if self.rule == "np_random" else super().np_random_seed

    def render(self):
        return "a frame" if self.rule == "render" else super().render()

    def close(self, **kwargs):
        if self.rule == "close" and self.was_closed:
            raise RuntimeError("closed already")
        self.was_closed = True
        super().close(**kwargs)


@pytest.mark.parametrize(
    ("breach", "rule", "message", "mode"),
    [
        ("metadata", "metadata", "got 'NextStep'", NEXT),
        ("spaces", "spaces", r"action_space must be MultiDiscrete\(\[2 2 2\]\), got", NEXT),
        ("returns", "returns", "must return a tuple of 2 of a reset", NEXT),
        ("observations", "observations", r"step 1: observations must be float32\[3, 4\]", NEXT),
        ("bounds", "observations", "step 1: observations must be in Box", NEXT),
        ("rewards", "rewards", r"array of floats, \[B\] = \[3\], got int64\[3\]", NEXT),
        ("infinite rewards", "rewards", "must be finite", NEXT),
        ("flags", "flags", r"terminated must be an array of bool.* got uint8\[3\]", NEXT),
        ("info_masks", "info_masks", r"infos\['speed'\] needs a mask infos\['_speed'\]", NEXT),
        ("info_rows", "info_masks", r"infos\['speed'\] must have B = 3 rows", NEXT),
        ("mask dtype", "info_masks", r"infos\['_speed'\] must be a mask of bool", NEXT),
        ("fresh_infos", "fresh_infos", "step 2: infos is a dict that was returned before", NEXT),
        ("given_arrays", "given_arrays", r"actions\[\d+\]\[0\] is .*0.* and .*1", NEXT),
        ("writes seeds", "given_arrays", r"the list of seeds \[11, 18, 25\] has become", NEXT),
        ("caller_may_write", "caller_may_write", "step 2: .* overwritten: rewards", NEXT),
        ("same_seed", "same_seed", r"step 1: rewards\[0\] is .*1.0.* and .*61.0", NEXT),
        (
            "other_seed",
            "other_seed",
            "three other seeds give the rollout of seed 0",
            NEXT,
        ),
        ("reseeds", "other_seed", "resets without a seed after one give the rollout", NEXT),
        ("seed_list", "seed_list", "None for environment 0 changes others: environment 1", NEXT),
        ("seed_list length", "seed_list", "reset takes 4 seeds without an error", NEXT),
        ("reset_mask", "reset_mask", "outside of the mask changed: environment 1", NEXT),
        ("any mask", "reset_mask", "reset takes a mask of int8 without an error", NEXT),
        ("neighbors", "reset_mask", "resets? of others changes the episode of environment 1", NEXT),
        ("late reset infos", "reset_mask", r"infos\['_late'\] marks environments outside", NEXT),
        ("reset_clears", "reset_clears", "a reset by mask and one of all differ", NEXT),
        ("next_step", "next_step", "ended in the step before and has reward 1.0", NEXT),
        ("claims next_step", "next_step", "ended in the step before and has reward 1.0", SAME),
        ("next_step acts", "next_step", "the action of the step after an end matters", NEXT),
        ("same_step", "same_step", "_final_obs is .* ended", SAME),
        (
            "final dtype",
            "same_step",
            r"final_obs must be an array object\[B\], got float32\[3, 4\]",
            SAME,
        ),
        ("final mask", "same_step", "_final_obs is .* ended", SAME),
        ("claims disabled", "disabled", "goes on without a reset", SAME),
        ("np_random", "np_random", r"after reset\(seed=0\) np_random_seed is -1", NEXT),
        ("close", "close", "the second time raises RuntimeError: closed already", NEXT),
    ],
)
def test_each_breach_is_caught_by_the_name_of_its_rule(breach, rule, message, mode):
    with pytest.raises(AssertionError, match=rf"check_vector_env: {rule}\b[\s\S]*{message}"):
        check_vector_env(Broken(breach, mode), steps=STEPS)


def test_a_frame_that_is_none_is_caught():
    env = Broken("render", id="FrozenLake-v1", render_mode="ansi")
    with pytest.raises(AssertionError, match=r"check_vector_env: render .* got str"):
        check_vector_env(env, steps=STEPS)


def test_reused_observations_are_caught():
    with pytest.raises(
        AssertionError,
        match=r"held_arrays .* at step 1: of what was returned by the reset, observations\[0, 0\]",
    ):
        check_vector_env(Sound(copy=False), steps=STEPS)


def test_a_wrapper_that_keeps_its_returned_mask_is_caught():
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(Sound())
    with pytest.raises(AssertionError, match=r"caller_may_write .* infos\['episode'\]"):
        check_vector_env(env, steps=STEPS)
    # Wall times in its infos differ from run to run, and are not compared.
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(Sound())
    allowed = ["caller_may_write", "options_unchanged"]
    assert list(check_vector_env(env, steps=STEPS, allow=allowed).violations) == allowed


def test_what_is_never_random_may_be_allowed():
    env = Sound(id="CliffWalking-v1")
    with pytest.raises(AssertionError, match="allow this where nothing is random"):
        check_vector_env(env, steps=STEPS)
    report = check_vector_env(Sound(id="CliffWalking-v1"), steps=STEPS, allow=["other_seed"])
    assert list(report.violations) == ["other_seed"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"env": 3}, TypeError, "`env` must be a gymnasium.vector.VectorEnv, got int"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0, got -1"),
        ({"steps": 0}, ValueError, "`steps` must be at least 1, got 0"),
        ({"allow": ["all"]}, ValueError, "`allow` must be one of 'metadata', .*, got 'all'"),
        ({"close": 1}, TypeError, "`close` must be True or False, got 1"),
    ],
)
def test_arguments_are_checked(arguments, kind, message):
    env = arguments.pop("env", None) or Sound()
    with pytest.raises(kind, match=f"check_vector_env: {message}"):
        check_vector_env(env, **arguments)
