"""Batches as they would have been with other rewards, or in other states of an automaton."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import as_numpy, check_function, checked_array
from fastrl.replay.batch import Batch
from fastrl.replay.buffer import Relabel, ReplayBuffer
from fastrl.replay.single_steps import (
    OverwrittenError,
    SingleSteps,
    check_result,
    find_places,
    gather_field,
    like,
    stored_discounts,
    with_summed,
)

_ATTEMPTS = 8


class Chain:
    """Several relabels, each of what the one before it gave.

    Args:
        relabels: As `ReplayBuffer.sample` takes them.
    """

    def __init__(self, relabels: Sequence[Relabel]) -> None:
        arguments = Arguments("Chain")
        given: Any = relabels
        if not isinstance(given, Sequence):
            rule = "be a list of functions"
            raise arguments.error("relabels", rule, type(given).__name__, kind=TypeError)
        self._relabels = tuple(given)
        for i, relabel in enumerate(self._relabels):
            check_function(arguments, f"relabels[{i}]", relabel)

    def __repr__(self) -> str:
        return f"Chain([{', '.join(map(repr, self._relabels))}])"

    def __call__(self, buffer: ReplayBuffer, batch: Batch) -> Batch:
        """The batch after all of them."""
        for relabel in self._relabels:
            batch = relabel(buffer, batch)
        return batch


class RewardModel:
    """Rewards, and ends if wanted, by functions of the steps: for data without labels.

    Each function is called once a batch, with a dict of the S single steps' fields, their
    "next_observations", and "terminated" and "truncated" as they were stored; of an n-step
    transition these are all of its steps, and the transition is summed anew, up to the first step
    that terminates. (Li et al., "Accelerating Exploration with Unlabeled Prior Data", 2023.)

    Args:
        rewards: fields → [S, …].
        terminated: fields → [S] bool, or None: as stored.
    """

    def __init__(
        self,
        rewards: Callable[[dict[str, Any]], Any],
        terminated: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self._arguments = arguments = Arguments("RewardModel")
        check_function(arguments, "rewards", rewards)
        check_function(arguments, "terminated", terminated, optional=True)
        self._rewards, self._terminated = rewards, terminated

    def __call__(self, buffer: ReplayBuffer, batch: Batch) -> Batch:
        """The batch with these rewards, in new arrays where something is different."""
        if "rewards" not in batch:
            raise self._arguments.error("buffer", "have the field 'rewards'", list(batch))
        if buffer.n_step == 1:
            return self._of_single(buffer, batch)
        for _ in range(_ATTEMPTS):
            try:
                return self._of_multiple(buffer, batch)
            except OverwrittenError:
                continue
        raise RuntimeError(
            "RewardModel: the batch's rows were overwritten before their rewards were computed"
        )

    def _results(
        self, fields: dict[str, Any], batch: Batch, terminated: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        count = len(terminated)
        shape = (count, *batch.rewards.shape[1:])
        rewards = check_result(self._arguments, "rewards", self._rewards(fields), shape)
        if self._terminated is not None:
            ends = self._terminated(fields)
            terminated = check_result(self._arguments, "terminated", ends, (count,), flags=True)
        return rewards, terminated

    def _of_single(self, buffer: ReplayBuffer, batch: Batch) -> Batch:
        stored = as_numpy(batch.terminated)
        rewards, terminated = self._results(dict(batch.__dict__), batch, stored)
        values = dict(batch.__dict__)
        dtype = as_numpy(batch.rewards).dtype
        values["rewards"] = like(batch.rewards, np.array(rewards, dtype))
        if self._terminated is not None:
            values |= _with_ends(buffer, batch, terminated)
        return Batch.of(values)

    def _of_multiple(self, buffer: ReplayBuffer, batch: Batch) -> Batch:
        held, places = find_places(buffer, batch.handles)
        if not held.all():
            raise OverwrittenError
        chosen = np.arange(len(batch))
        steps = SingleSteps.of(buffer, places, batch, chosen)
        fields = {
            name: gather_field(buffer, steps.lanes, steps.rows, name)
            for name in dict.fromkeys(name.partition("/")[0] for name in buffer.field_names)
        }
        fields["next_observations"] = gather_field(
            buffer, steps.lanes, steps.rows + 1, "observations"
        )
        fields |= {"terminated": steps.terminated, "truncated": steps.truncated}
        rewards, terminated = self._results(fields, batch, steps.terminated)
        of = steps.summed(rewards, terminated)
        return Batch.of(batch.__dict__ | with_summed(batch, chosen, places, steps, of))


class Counterfactuals:
    """Several transitions of each that was drawn: one for each state of an automaton, say.

    The function is given the batch and returns the fields that differ, by name ("observations" and
    "next_observations" may be dicts of some), [M, …] each, and of which item of the batch each is,
    [M] integers. All else, handles, probabilities and importance weights as well, is that item's.
    Where "terminated" is given and "discounts" are not, these follow. (Toro Icarte et al., "Reward
    Machines", 2022; Voloshin et al., "Eventual Discounting Temporal Logic Counterfactual Experience
    Replay", 2023.)

    Args:
        counterfactuals: batch → (fields, sources).

    Example:
        >>> import numpy as np
        >>> from fastrl.replay import Counterfactuals
        >>> def in_two_states(batch):
        ...     sources = np.repeat(np.arange(len(batch)), 2)
        ...     return {"rewards": np.tile([0.0, 1.0], len(batch))}, sources
        >>> relabel = Counterfactuals(in_two_states)
    """

    def __init__(self, counterfactuals: Callable[[Batch], tuple[Mapping[str, Any], Any]]) -> None:
        self._arguments = arguments = Arguments("Counterfactuals")
        check_function(arguments, "counterfactuals", counterfactuals)
        self._counterfactuals = counterfactuals

    def __call__(self, buffer: ReplayBuffer, batch: Batch) -> Batch:
        """The larger batch, in new arrays."""
        error = self._arguments.error
        if buffer.n_step != 1:
            raise error("buffer", "have n_step=1", buffer.n_step)
        made: Any = self._counterfactuals(batch)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Mapping)):
            rule = "return (fields, sources)"
            raise error("counterfactuals", rule, type(made).__name__, kind=TypeError)
        sources = checked_array(self._arguments, "sources", made[1])
        if sources.ndim != 1 or len(sources) == 0 or sources.dtype.kind not in "iu":
            actual = f"{sources.dtype} {list(sources.shape)}"
            raise error("sources", "be [M] integers, at least one", actual)
        if sources.min() < 0 or sources.max() >= len(batch):
            wrong = sources[(sources < 0) | (sources >= len(batch))][0]
            raise error("sources", f"be from 0 to {len(batch) - 1}", wrong)
        repeated = Batch.of(
            {name: _taken(value, sources) for name, value in batch.__dict__.items()}
        )
        for name in made[0]:
            if name not in repeated or name == "handles":
                rule = "return fields that the batch has, but for handles"
                raise error("counterfactuals", rule, repr(name))
        values = {
            name: self._replaced(name, value, made[0][name]) if name in made[0] else value
            for name, value in repeated.__dict__.items()
        }
        if "terminated" in made[0] and "discounts" not in made[0]:
            values |= _with_ends(buffer, repeated, as_numpy(values["terminated"]))
        return Batch.of(values)

    def _replaced(self, name: str, value: Any, new: Any) -> Any:
        error = self._arguments.error
        if isinstance(value, Mapping):
            if not isinstance(new, Mapping) or not set(new) <= set(value):
                actual = list(new) if isinstance(new, Mapping) else type(new).__name__
                raise error(name, f"be a dict of some of {list(value)}", actual)
            return {
                part: self._replaced(f"{name}[{part!r}]", one, new[part]) if part in new else one
                for part, one in value.items()
            }
        old, array = as_numpy(value), checked_array(self._arguments, name, new)
        if array.shape != old.shape:
            raise error(name, f"have shape [M, …] = {list(old.shape)}", list(array.shape))
        if not np.can_cast(array.dtype, old.dtype, "same_kind"):
            rule = f"hold what {old.dtype} can hold"
            raise error(name, rule, array.dtype, kind=TypeError)
        return like(value, np.array(array, old.dtype))


def _taken(values: Any, sources: npt.NDArray[Any]) -> Any:
    if isinstance(values, Mapping):
        return {name: _taken(value, sources) for name, value in values.items()}
    return like(values, as_numpy(values)[sources])


def _with_ends(
    buffer: ReplayBuffer, batch: Batch, terminated: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """What follows where single steps terminate, or do not where they did."""
    stored = as_numpy(batch.terminated)
    discounts = as_numpy(batch.discounts).copy()
    terminated = terminated.copy()
    revived = np.flatnonzero(stored & ~terminated)
    if len(revived) and "discounts" in buffer.field_names:
        held, places = find_places(buffer, batch.handles[revived])
        terminated[revived[~held]] = True  # nobody knows their discounts any more
        discounts[revived[held]] = stored_discounts(buffer, places.lanes, places.rows)
    else:
        discounts[revived] = buffer.gamma
    discounts[terminated] = 0
    truncated = as_numpy(batch.truncated) | (stored & ~terminated)
    return {
        "discounts": like(batch.discounts, discounts),
        "terminated": like(batch.terminated, terminated),
        "truncated": like(batch.truncated, truncated),
    }
