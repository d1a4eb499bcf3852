"""The checks behind `check_vector_env`, each of a few rules."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from fastrl.envs.testing.returns import check_returned
from fastrl.envs.testing.rollouts import Flags, Moment, parting, parting_of_rows, roll_out
from fastrl.envs.testing.rules import RULES
from fastrl.envs.testing.structures import (
    as_numpy,
    batched,
    copied,
    difference,
    form,
    leaves,
    rows,
)

_PARTS = ("observations", "rewards", "terminated", "truncated")


class VectorEnvCheck:
    """One call of `check_vector_env`; each method takes care of a few rules."""

    def __init__(
        self, env: VectorEnv[Any, Any, Any], seed: int, steps: int, allow: frozenset[str]
    ) -> None:
        self.env = env
        self.seed = seed
        self.allow = allow
        self.violations: dict[str, str] = {}
        self.not_applicable: dict[str, str] = {}
        self.steps = steps
        self.actions: list[Any] = []
        self.others: list[Any] = []  # actions in the place of others
        self.moments: list[Moment] = []

    def _fail(self, rule: str, what: str, step: int | None = None) -> None:
        """Raises, or takes a note where the rule may be broken."""
        when = "" if step is None else f" at step {step}" if step else " at the reset"
        text = f"{self.env}{when}: {what}"
        if rule not in self.allow:
            raise AssertionError(f"check_vector_env: {rule} ({RULES[rule]}): {text}")
        self.violations.setdefault(rule, text)

    def run(self, close: bool) -> None:
        """Checks all rules."""
        self._check_metadata()
        self._check_spaces()
        space = batch_space(self.env.single_action_space, self.env.num_envs)
        space.seed(self.seed)
        self.actions = [space.sample() for _ in range(self.steps)]
        self.others = [space.sample() for _ in range(8)]
        self.moments = self._check_rollout()
        self._check_seeds()
        self._check_caller_may_write()
        takes_lists = self._check_seed_lists()
        self._check_reset_mask(takes_lists)
        self._check_ends()
        self._check_rest(close)

    # --- What it says of itself ---------------------------------------------------------------

    def _check_metadata(self) -> None:
        mode = self.env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            # What follows depends on the mode, so this cannot be allowed.
            raise AssertionError(
                f"check_vector_env: metadata ({RULES['metadata']}): {self.env}: got {mode!r}"
            )
        num_envs = self.env.num_envs
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
            self._fail("metadata", f"num_envs is {num_envs!r}")

    def _check_spaces(self) -> None:
        env = self.env
        for name in ("observation_space", "action_space"):
            single, whole = getattr(env, f"single_{name}", None), getattr(env, name, None)
            if not isinstance(single, gymnasium.Space):
                self._fail("spaces", f"single_{name} is {single!r}, not a space")
            elif (expected := batch_space(single, env.num_envs)) != whole:
                self._fail("spaces", f"{name} must be {expected}, got {whole}")

    # --- What it returns ----------------------------------------------------------------------

    def _check_rollout(self) -> list[Moment]:
        """Looks at every value of one rollout, and whether it stays as it was."""
        held: list[tuple[int, list[tuple[str, Any]], Any]] = []  # step, named arrays, copies
        infos_seen: dict[int, Any] = {}

        def see(step: int, returned: Any) -> None:
            check_returned(self.env, returned, lambda rule, what: self._fail(rule, what, step))
            infos = returned[-1]
            if id(infos) in infos_seen:
                self._fail("fresh_infos", "infos is a dict that was returned before", step)
            infos_seen[id(infos)] = infos
            for then, arrays, copies in held[-3:]:
                self._check_held(then, step, arrays, copies)
            parts = zip(_PARTS, returned[:-1], strict=False)
            arrays = [pair for name, part in parts for pair in leaves(part, name)]
            arrays.extend(leaves(infos, "infos"))
            held.append((step, arrays, [copied(array) for _, array in arrays]))

        copies = copied(self.actions)
        moments = roll_out(self.env, self.actions, self.seed, see=see)
        for then, arrays, held_copies in held:
            self._check_held(then, self.steps, arrays, held_copies)
        if (text := difference(self.actions, copies, "actions")) is not None:
            self._fail("given_arrays", text)
        return moments

    def _check_held(
        self, then: int, now: int, arrays: list[tuple[str, Any]], copies: list[Any]
    ) -> None:
        for (name, array), copy in zip(arrays, copies, strict=True):
            if (text := difference(as_numpy(array), copy, name)) is not None:
                when = f"at step {then}" if then else "by the reset"
                self._fail("held_arrays", f"of what was returned {when}, {text} before", now)

    # --- Seeds --------------------------------------------------------------------------------

    def _check_seeds(self) -> None:
        again = roll_out(self.env, self.actions, self.seed)
        if (apart := parting(self.moments, again)) is not None:
            self._fail("same_seed", apart[1], apart[0])
        # Three tries, as a lock whose code nobody guesses looks like any other.
        short = self.actions[:50]
        first = roll_out(self.env, short, self.seed)
        for seeds, what in (
            ([None] * 3, "resets without a seed after one"),
            ([self.seed + k * 1_000_003 for k in (1, 2, 3)], "resets with three other seeds"),
        ):
            others = (roll_out(self.env, short, seed) for seed in seeds)
            if all(parting(first, other, infos=False) is None for other in others):
                what = f"{what} give the rollout of seed {self.seed}"
                self._fail("other_seed", f"{what}; allow this where nothing is random")

    def _check_caller_may_write(self) -> None:
        again = roll_out(self.env, self.actions, self.seed, scribble=True)
        if (apart := parting(self.moments, again)) is not None:
            what = f"the rollout differs once the arrays before are overwritten: {apart[1]}"
            self._fail("caller_may_write", what, apart[0])

    def _check_seed_lists(self) -> bool:
        """Returns whether lists of seeds are taken at all."""
        env, short = self.env, self.actions[:20]
        seeds: list[int | None] = [self.seed + 11 + 7 * i for i in range(env.num_envs)]
        given = list(seeds)
        try:
            env.reset(seed=given)  # type: ignore[arg-type]
        except Exception as error:  # any: it is the environment's own way to refuse
            self.not_applicable["seed_list"] = f"refused with {type(error).__name__}: {error}"
            self.not_applicable["reset_clears"] = "needs a seed for each environment"
            return False
        if given != seeds:
            self._fail("given_arrays", f"the list of seeds {seeds} has become {given}")
        first, again = (roll_out(env, short, seeds) for _ in range(2))
        if (apart := parting(first, again)) is not None:
            self._fail("seed_list", f"the same seeds, and yet {apart[1]}", apart[0])
        if env.num_envs > 1:
            partial = roll_out(env, [], [None, *seeds[1:]])
            others = np.arange(1, env.num_envs)
            text = parting_of_rows(env, first[0], partial[0], others)
            if text is not None:
                self._fail("seed_list", f"None for environment 0 changes others: {text}", 0)
        self._refuses("seed_list", [*seeds, 1], None, f"{len(seeds) + 1} seeds")
        return True

    def _refuses(self, rule: str, seed: Any, options: Any, what: str) -> None:
        try:
            self.env.reset(seed=seed, options=options)
        except Exception:  # any: what it raises is its own affair
            return
        self._fail(rule, f"reset takes {what} without an error")

    # --- Masks --------------------------------------------------------------------------------

    def _check_reset_mask(self, takes_lists: bool) -> None:
        env = self.env
        num_envs = env.num_envs
        mask = np.arange(num_envs) % 2 == 0
        before, after = self.actions[:3], self.actions[3:13]
        plain = roll_out(env, self.actions[:13], self.seed)
        last = roll_out(env, before, self.seed)[-1]
        options = {"reset_mask": mask}
        mask_copy = mask.copy()
        try:
            observations, infos = env.reset(options=options)
        except Exception as error:  # any: it is the environment's own way to refuse
            why = f"refused with {type(error).__name__}: {error}"
            if env.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
                self._fail("reset_mask", why)
            for rule in ("reset_mask", "reset_clears", "options_unchanged"):
                self.not_applicable.setdefault(rule, why)
            return
        if options.keys() != {"reset_mask"} or options["reset_mask"] is not mask:
            self._fail("options_unchanged", f"the caller's options have become {options}")
        if not np.array_equal(mask, mask_copy):
            self._fail("given_arrays", f"the mask {mask_copy} has become {mask}")
        others = np.flatnonzero(~mask)
        moment = Moment(3, True, copied(observations))
        if (text := parting_of_rows(env, last, moment, others)) is not None:
            self._fail("reset_mask", f"observations outside of the mask changed: {text}", 3)
        for key, value in infos.items():
            if key.startswith("_") and np.any(as_numpy(value)[~mask]):
                self._fail(
                    "reset_mask", f"infos[{key!r}] marks environments outside of the mask", 3
                )
        if env.metadata["autoreset_mode"] != AutoresetMode.DISABLED:
            # The others go on as if nothing had happened.
            steps = [m for m in plain if m.step > 3]
            for expected, batch in zip(steps, after, strict=True):
                got = Moment(expected.step, False, *map(copied, env.step(batch)))
                if (text := parting_of_rows(env, expected, got, others)) is not None:
                    what = f"the reset of others changes the episode of {text}"
                    self._fail("reset_mask", what, expected.step)
        for wrong, what in (
            (mask.astype(np.int8), "a mask of int8"),
            (np.append(mask, True), f"a mask of {num_envs + 1}"),
            (np.zeros(num_envs, np.bool_), "a mask that selects nothing"),
        ):
            self._refuses("reset_mask", None, {"reset_mask": wrong}, what)
        if takes_lists:
            self._check_reset_clears()

    def _check_reset_clears(self) -> None:
        """An environment that has just ended, reset by mask, is as new as one reset with all."""
        ends = [m for m in self.moments if not m.is_reset and m.ended.any()]
        if not ends:
            self.not_applicable["reset_clears"] = self._no_end()
            return
        env, last = self.env, ends[0].step
        i = int(np.argmax(ends[0].ended))
        seeds: list[int | None] = [None] * env.num_envs
        seeds[i] = self.seed + 5
        mask = np.arange(env.num_envs) == i

        def first_step(masked: bool) -> tuple[Moment, Moment]:
            # All ends up to `last` are autoreset or, where that is disabled, among the masked.
            roll_out(env, self.actions[: last - 1], self.seed)
            env.step(self.actions[last - 1])
            options = {"reset_mask": mask | ends[0].ended} if masked else None
            start = env.reset(seed=seeds, options=options)  # type: ignore[arg-type]
            step = env.step(self.actions[0])
            return (
                Moment(last, True, copied(start[0])),
                Moment(last + 1, False, *map(copied, step)),
            )

        for expected, got in zip(first_step(False), first_step(True), strict=True):
            text = parting_of_rows(env, expected, got, np.array([i]))
            if text is not None:
                what = f"after its end, a reset by mask and one of all differ: {text}"
                self._fail("reset_clears", what, got.step)

    # --- Ends of episodes ---------------------------------------------------------------------

    def _no_end(self) -> str:
        return f"no episode ended in {self.steps} steps"

    def _check_ends(self) -> None:
        mode = self.env.metadata["autoreset_mode"]
        checks = {
            AutoresetMode.NEXT_STEP: ("next_step", self._check_next_step),
            AutoresetMode.SAME_STEP: ("same_step", self._check_same_step),
            AutoresetMode.DISABLED: ("disabled", self._check_disabled),
        }
        for other, (rule, check) in checks.items():
            if other != mode:
                self.not_applicable[rule] = f"the mode is {mode.name}"
            elif not any(m.ended.any() for m in self.moments if not m.is_reset):
                self.not_applicable[rule] = self._no_end()
            else:
                check()

    def _check_next_step(self) -> None:
        ended = np.zeros(self.env.num_envs, np.bool_)
        for moment in self.moments[1:]:
            rewards = np.where(ended, moment.rewards, 0)
            if rewards.any() or (moment.ended & ended).any():
                i = int(np.argmax((rewards != 0) | (moment.ended & ended)))
                what = (
                    f"environment {i} ended in the step before and has reward {rewards[i]}, "
                    f"terminated {moment.terminated[i]}, truncated {moment.truncated[i]}"
                )
                self._fail("next_step", what, moment.step)
            ended = moment.ended
        again = roll_out(self.env, self.actions, self.seed, choose=self._other_actions)
        if (apart := parting(self.moments, again)) is not None:
            what = f"the action of the step after an end matters: {apart[1]}"
            self._fail("next_step", what, apart[0])

    def _other_actions(self, step: int, ended: Flags) -> Any:
        """The actions of a step, others where an episode has just ended."""
        actions = self.actions[step - 1]
        if not ended.any():
            return actions
        space = self.env.action_space
        chosen = rows(space, actions)
        others = [rows(space, batch) for batch in self.others]
        for i in np.flatnonzero(ended):
            unlike = (
                batch[i] for batch in others if difference(batch[i], chosen[i], "") is not None
            )
            chosen[i] = next(unlike, chosen[i])
        return batched(self.env.single_action_space, chosen)

    def _check_same_step(self) -> None:
        for moment in self.moments[1:]:
            step, infos, ended = moment.step, moment.infos, moment.ended
            for key in ("final_obs", "final_info"):
                mask = infos.get(f"_{key}", np.zeros_like(ended))
                if not np.array_equal(mask, ended):
                    self._fail("same_step", f"_{key} is {mask} where {ended} ended", step)
            if not ended.any():
                continue
            finals = infos.get("final_obs")
            if (got := form(finals)) != f"object[{self.env.num_envs}]":
                self._fail("same_step", f"final_obs must be an array object[B], got {got}", step)
                continue
            for i, final in enumerate(finals):
                if not ended[i]:
                    wrong = final is not None
                else:
                    wrong = not self.env.single_observation_space.contains(final)
                if wrong:
                    what = "in the observation space" if ended[i] else "None"
                    self._fail("same_step", f"final_obs[{i}] must be {what}, got {final!r}", step)
            if not isinstance(infos.get("final_info"), dict):
                self._fail("same_step", f"final_info is {infos.get('final_info')!r}", step)

    def _check_disabled(self) -> None:
        first = next(m for m in self.moments if not m.is_reset and m.ended.any())
        roll_out(self.env, self.actions[: first.step - 1], self.seed)
        self.env.step(self.actions[first.step - 1])
        try:
            _, _, terminated, truncated, _ = self.env.step(self.actions[0])
        except Exception:  # any: refusing is right, and how is its own affair
            self.env.reset(seed=self.seed)
            return
        flags = np.asarray(as_numpy(terminated)) | np.asarray(as_numpy(truncated))
        if (first.ended & ~flags).any():
            i = int(np.argmax(first.ended & ~flags))
            what = f"environment {i} ended in the step before and goes on without a reset"
            self._fail("disabled", what, first.step + 1)

    # --- The rest -----------------------------------------------------------------------------

    def _check_rest(self, close: bool) -> None:
        env = self.env
        env.reset(seed=self.seed)
        seeds: Any = env.np_random_seed
        many = isinstance(seeds, tuple | list)
        first = seeds[0] if many else seeds
        if first != self.seed or (many and len(seeds) != env.num_envs):
            what = f"after reset(seed={self.seed}) np_random_seed is {seeds!r}"
            self._fail("np_random", what)
        random: Any = env.np_random
        generators = random if many else [random]
        if not all(isinstance(generator, np.random.Generator) for generator in generators):
            self._fail("np_random", f"np_random is {random!r}")
        if env.render_mode is None or env.render_mode == "human":
            self.not_applicable["render"] = f"the render mode is {env.render_mode}"
        else:
            frames: Any = env.render()
            if not isinstance(frames, tuple | list | np.ndarray) or len(frames) != env.num_envs:
                self._fail("render", f"got {form(frames)}")
        if not close:
            self.not_applicable["close"] = "not asked for"
            return
        env.close()
        try:
            env.close()
        except Exception as error:  # any is too many
            self._fail("close", f"the second time raises {type(error).__name__}: {error}")
