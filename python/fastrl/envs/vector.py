"""The batch of native environments that training loops step."""

import secrets
from collections.abc import Callable
from typing import Any, TypeVar, cast

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.envs.arguments import (
    Ids,
    Seed,
    check_actions,
    check_choice,
    check_ids,
    check_mask,
    check_outputs,
    check_reset_options,
    check_seed,
)
from fastrl.envs.levels import Levels
from fastrl.envs.outputs import Arrays, Step, allocate, flat, make_output_set, step_of, structured
from fastrl.envs.same_step import with_final
from fastrl.envs.sending import Sending
from fastrl.envs.spaces import field_space, observation_space
from fastrl.envs.time_travel import TimeTravel
from fastrl.envs.unrolling import Rollout, Unrolled, collect, unroll

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _native_first(method: _Method) -> _Method:
    """Calls whose arrays are as wanted never get to `method`: the native side answers them."""
    return cast(_Method, _core.native_step_into(method))


class VectorEnv(TimeTravel, Levels, Sending, gymnasium.vector.VectorEnv[Any, Any, Any]):
    """B native environments of one kind; made by `make_vec`.

    Returned arrays belong to the caller: they are never written again while somebody holds them or
    a view of them. Infos are fresh dicts with Gymnasium's "_" masks, of NumPy arrays.

    Attributes:
        num_envs: B.
        max_episode_steps: Where episodes are truncated; 0 for nowhere.
        group_size: So many neighbors share their levels.
        labels: What can be true of a state.
        step_labels: What can be true of a step, for reward machines and costs: `labels`, then
            "success" and "malformed" where the environment has such a thing.

    A batch is used by one thread at a time; a second one gets an error and changes nothing. Numbers
    depend on seeds, actions and calls alone: not on the number of threads, the cut into batches, or
    whether steps are waited for.
    """

    _ring: Any
    _rings: dict[int, Any]

    def __init__(
        self,
        native: Any,
        name: str,
        *,
        num_envs: int,
        group_size: int,
        autoreset_mode: gymnasium.vector.AutoresetMode,
        render_mode: str | None,
        output: str,
    ) -> None:
        self._native = native
        self._name = name
        self._description = description = native.description
        self.num_envs = num_envs
        self.group_size = group_size
        self.render_mode = render_mode
        self.metadata = {
            "autoreset_mode": autoreset_mode,
            "render_modes": render_modes(description),
        }
        self.max_episode_steps: int = native.max_episode_steps
        self.labels: list[str] = description.labels
        self.step_labels: list[str] = native.step_labels
        self.single_observation_space = observation_space(description)
        self.single_action_space = field_space(description.action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        self._all_ids = np.arange(num_envs, dtype=np.int64)
        self._same_step = autoreset_mode == gymnasium.vector.AutoresetMode.SAME_STEP
        self._renew_outputs()
        self._single = description.structure == 0
        self._revised = [field.name for field in description.infos if field.whole_at_reset]
        self._as_tensors = output == "torch"
        self._plain = not (self._same_step or self._revised or self._as_tensors)
        self._np_random_seed = secrets.randbits(62)
        native.seed(self._np_random_seed, 0)

    def __repr__(self) -> str:
        return f"{self._name}(num_envs={self.num_envs}, {self._native.options})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "VectorEnv: cannot be copied or pickled; make another one and restore a snapshot, "
            "which can be pickled"
        )

    # --- Gymnasium ----------------------------------------------------------------------------

    def reset(
        self, *, seed: Seed = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts new episodes, in all environments or where ``options["reset_mask"]`` is set.

        Args:
            seed: An integer gives every environment a stream of its own and every group a level
                sequence of its own. A list names a seed for each environment, wherever it stands
                in the batch (a group takes its level from its first member); None in it leaves an
                environment's streams as they are. None leaves all. Gymnasium's own environments
                get ``seed + i`` as their seed, as Gymnasium has it.
            options: ``{"reset_mask": [B] bool}``, and what the environment's reset takes, such as
                "low" and "high"; with levels or contexts from outside "level" or "context", an
                index or [B] of them, -1 to let it be drawn. Not changed.

        Returns:
            The observations of all environments, and infos of those that were reset.
        """
        arguments = Arguments("reset")
        counts = {"level": self._native.num_levels, "context": self._native.num_contexts}
        choices = {name: count for name, count in counts.items() if count > 0}
        mask, numbers = check_reset_options(
            arguments, options, self.num_envs, self._description.reset_options, choices
        )
        levels, contexts = (
            check_choice(arguments, name, (options or {}).get(name), counts[name], self.num_envs)
            for name in counts
        )
        seeds = check_seed(arguments, seed, mask, self.num_envs)
        if isinstance(seeds, int):
            self._native.seed(seeds, address(mask))
            self._np_random_seed = seeds
        elif seeds is not None:
            self._native.seed_each(address(seeds[0]), address(seeds[1]))
        outputs = self._ring.acquire()
        self._native.reset(
            address(mask), address(numbers), address(levels), address(contexts), outputs
        )
        infos = {
            key: value
            for key, value in outputs.info_dict().items()
            if key.removeprefix("_") in self._reset_infos
        }
        for key in self._revised:
            infos[key] = infos[key].astype(np.int64)
        return self._converted(outputs.observation()), infos

    def step(self, actions: Any, active: npt.NDArray[np.bool_] | None = None) -> Step:
        """One action in every environment, or in those that are `active`.

        Args:
            actions: [B] integers, or rows of the action space. A finite number out of a Box's
                bounds is left to the environment, which clips it as Gymnasium's do.
            active: [B] bool. The others keep their state and observation, with reward 0 and flags
                False; their actions are not read.

        Returns:
            Observations, rewards [B] float64, terminated and truncated [B] bool, and infos; in
            "same_step" mode with "final_obs" and "final_info" of the episodes that ended.
        """
        if active is None:
            result: Step | None = self._native.step(actions, self._ring)
            if result is not None:
                if self._plain or not (self._as_tensors or self._native.is_unusual):
                    return result
                return self._finished(self._ring.last, result)
        outputs = self._step_converted(actions, active)
        return self._finished(outputs, step_of(outputs))

    @_native_first
    def step_into(
        self, actions: Any, *, observations: Any, rewards: Any, terminated: Any, truncated: Any
    ) -> None:
        """As `step`, into the caller's arrays, such as rows of a rollout.

        Args:
            actions: As in `step`.
            observations: Of the shapes and dtypes of the observation space; a dict or a tuple where
                that is one.
            rewards: [B] float64.
            terminated: [B] bool.
            truncated: [B] bool.

        All are C-contiguous NumPy arrays, other buffers or CPU tensors of memory of their own.
        `step_infos` has the infos. In "same_step" mode `final_observations` has the last
        observations of ended episodes.
        """
        try:
            rows = observations if self._single else flat(self._description, observations)
        except (IndexError, KeyError, TypeError):
            names = [field.name for field in self._description.observations]
            wanted = f"be a dict of {names}" if names[0] else f"be a tuple of {len(names)} arrays"
            is_dict = isinstance(observations, dict)
            got = f"a dict of {list(observations)}" if is_dict else type(observations).__name__
            raise Arguments("step_into").error(
                "observations", wanted, got, kind=TypeError
            ) from None
        if self._native.step_into(actions, rows, rewards, terminated, truncated, self._outputs()):
            return
        converted = check_actions(
            Arguments("step_into"), actions, self._description, (self.num_envs,)
        )
        rows, rest = check_outputs(
            Arguments("step_into"),
            self._description,
            self.num_envs,
            (rows,) if self._single else rows,
            {"rewards": rewards, "terminated": terminated, "truncated": truncated},
            converted,
        )
        observed = rows[0] if self._single else rows
        if not self._native.step_into(converted, observed, *rest, self._outputs()):
            raise RuntimeError("step_into: the levels were changed during the call")

    @property
    def step_infos(self) -> dict[str, Any]:
        """The infos of the last `step_into`; written again by the next.

        They are those that the step wrote: in "same_step" mode what `step` moves to `final_info`
        stays here, and dtypes do not change after a reset as Gymnasium's toy text has it.
        """
        into = self._native.into
        if into is None:
            raise RuntimeError("step_infos: there was no step_into yet")
        infos: dict[str, Any] = into.info_dict()
        return infos

    @property
    def final_observations(self) -> Any:
        """[B, …], the last observation of each environment's last episode, in "same_step" mode.

        Rows count where the last step said terminated or truncated; the next step writes again.
        """
        if not self._same_step:
            raise RuntimeError('final_observations: only in autoreset_mode="same_step"')
        return structured(self._description, self._finals[self.num_envs]["final_observations"])

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the thread of `send`; results that were not received are dropped."""
        self._native.close()

    def render(self) -> tuple[Any, ...] | None:
        """All environments as texts ("ansi") or pictures ("rgb_array"), or None without a mode."""
        if self.render_mode is None:
            return None
        from fastrl.envs.pictures import draw, text_of, theme_of

        cells = self._cells(None)
        if self.render_mode == "rgb_array":
            return tuple(draw(cells, theme=theme_of(self._name)))
        return tuple(text_of(cells))

    # --- Many steps ---------------------------------------------------------------------------

    def unroll(
        self, actions: Any = None, *, steps: int | None = None, seed: int | None = None
    ) -> Unrolled:
        """T steps in native code, each environment's one after the other.

        Args:
            actions: [T, B, …], or None to draw them uniformly.
            steps: T, where actions are drawn.
            seed: Of the drawn actions, a function of it, the environment and the step.

        Environments whose episode has ended rest in "disabled" mode.
        """
        return unroll(self, actions, steps, seed)

    def collect(self, policy: Callable[[Any], Any], steps: int) -> Rollout:
        """T steps of a policy, written into one array per kind.

        Args:
            policy: From observations [B, …] to actions [B, …], or to (actions, dict of arrays
                [B, …]), which are kept as well, such as log-probs and values.
            steps: T.

        The first call needs a `reset` before it; later ones go on where the last one stopped.
        """
        return collect(self, policy, steps)

    # --- Inside -------------------------------------------------------------------------------

    def _renew_outputs(self) -> None:
        """New arrays for what the native side writes, after its infos have changed."""
        self._description = self._native.description
        self._finals: dict[int, Arrays] = {}
        self._waiting_final: Arrays | None = None
        self._ring: Any = _core.OutputRing(self._make_outputs(self.num_envs))
        self._rings: dict[int, Any] = {self.num_envs: self._ring}

    def _outputs(self) -> Any:
        """What `step_into` writes beside the caller's arrays."""
        return self._native.into or self._make_outputs(self.num_envs)()

    @property
    def _reset_infos(self) -> set[str]:
        return {field.name for field in self._description.infos if field.at_reset}

    def _make_outputs(self, rows: int) -> Callable[[], Any]:
        """What makes the output sets of a ring; in same-step mode they share their final rows."""
        if self._same_step and rows not in self._finals:
            self._finals[rows] = allocate(self._description, (rows,), final=True)
        native, final = self._native, self._finals.get(rows)
        return lambda: make_output_set(native, rows, final)

    def _step_converted(self, actions: Any, active: npt.NDArray[np.bool_] | None) -> Any:
        arguments = Arguments("step")
        if active is not None:
            check_mask(arguments, "active", active, self.num_envs)
            active = np.ascontiguousarray(active)
        converted = check_actions(arguments, actions, self._description, (self.num_envs,), active)
        return self._native.step_some(address(converted), address(active), self._ring)

    def _finished(self, outputs: Any, result: Step) -> Step:
        """What a step returns, from what the native side has written."""
        observations, rewards, terminated, truncated, infos = result
        if self._same_step:
            ended = terminated | truncated
            if ended.any():
                final = self._finals[ended.size]
                infos = with_final(self._description, final, infos, outputs.stepped, ended)
        if self._revised:
            self._revise(outputs, infos, terminated, truncated)
        if self._as_tensors:
            import torch

            observations = self._converted(observations)
            rewards, terminated, truncated = map(torch.from_numpy, (rewards, terminated, truncated))
        return observations, rewards, terminated, truncated, infos

    def _revise(self, outputs: Any, infos: dict[str, Any], terminated: Any, truncated: Any) -> None:
        """Gymnasium's arrays of infos take their dtype from the first environment.

        A reset of FrozenLake says 1 where a step says 1.0, so a batch whose first environment was
        reset has whole numbers, and fractions are cut off.
        """
        first = int(np.argmax(outputs.informed))
        ended = self._same_step and (terminated[first] or truncated[first])
        if ended or (outputs.informed[first] and not outputs.stepped[first]):
            for key in self._revised:
                infos[key] = infos[key].astype(np.int64)

    def _converted(self, observations: Any) -> Any:
        if not self._as_tensors:
            return observations
        import torch

        if isinstance(observations, dict):
            return {key: torch.from_numpy(array) for key, array in observations.items()}
        if isinstance(observations, tuple):
            return tuple(map(torch.from_numpy, observations))
        return torch.from_numpy(observations)

    def _cells(self, ids: Ids) -> npt.NDArray[np.uint8]:
        chosen = self._chosen("render", "ids", ids)
        size = (self._description.grid_height, self._description.grid_width)
        cells = np.empty((chosen.size, *size), np.uint8)
        self._native.cells(address(chosen), chosen.size, address(cells))
        return cells

    def _chosen(self, function: str, argument: str, ids: Ids) -> npt.NDArray[np.int64]:
        return self._all_ids if ids is None else check_ids(function, argument, ids)


def render_modes(description: Any) -> list[str]:
    """How an environment can be shown."""
    if description.grid_height:
        return ["ansi", "rgb_array"]
    return ["ansi"] if description.is_text else []
