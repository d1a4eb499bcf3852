"""Episodes that others recorded, as a replay buffer."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import check_names, put
from fastrl.replay.buffer import ReplayBuffer
from fastrl.replay.samplers import Sampler


def from_minari(
    dataset: Any,
    *,
    capacity: int | None = None,
    infos: Sequence[str] = (),
    n_step: int = 1,
    gamma: float = 0.99,
    sampler: Sampler | Mapping[str, Sampler] | None = None,
    storage: str | os.PathLike[str] = "memory",
    seed: int = 0,
    on_episode: Callable[[int, int], None] | None = None,
) -> ReplayBuffer:
    """A buffer with the episodes of a Minari dataset, the newest last.

    Fields are "observations" and "actions" as the dataset has them, dicts as dicts and tuples as
    dicts with "0", "1", …, "rewards" (float32 unless they are float64), and the `infos`. Each
    episode keeps its terminations, truncations and final observation; one that neither ended nor
    was cut off was cut at its end.

    Args:
        dataset: A `minari.MinariDataset`, the id of one that is there, the path of one, or anything
            with `total_episodes`, `total_steps` and `iterate_episodes()`.
        capacity: Rows of the buffer; else as many as the dataset has steps and episodes. With fewer
            the first episodes are overwritten; more leave room for new steps.
        infos: Names of infos to store, "a/b" of one in a dict: what came with the observation after
            each step.
        n_step: As of `ReplayBuffer`.
        gamma: As of `ReplayBuffer`.
        sampler: As of `ReplayBuffer`.
        storage: As of `ReplayBuffer`.
        seed: As of `ReplayBuffer`.
        on_episode: Called after each episode with how many are in and how many there are, for a
            progress display.

    Returns:
        A buffer with one lane.

    Example:
        >>> import fastrl.replay
        >>> buffer = fastrl.replay.from_minari("D4RL/door/human-v2")  # doctest: +SKIP
    """
    arguments = Arguments("from_minari")
    found = _opened(arguments, dataset)
    total = int(found.total_episodes)
    infos = check_names(arguments, "infos", infos)
    if capacity is None:
        capacity = max(int(found.total_steps) + total, n_step + 2)
    buffer: ReplayBuffer | None = None
    for number, episode in enumerate(found.iterate_episodes(), 1):
        steps = _steps_of(arguments, episode, infos)
        if buffer is None:
            buffer = ReplayBuffer(
                capacity,
                _fields_of(steps),
                n_step=n_step,
                gamma=gamma,
                sampler=sampler,
                storage=storage,
                seed=seed,
            )
        _add(buffer, steps, episode)
        if on_episode is not None:
            on_episode(number, total)
    if buffer is None:
        raise arguments.error("dataset", "have episodes", "none")
    return buffer


def _opened(arguments: Arguments, dataset: Any) -> Any:
    if not isinstance(dataset, str | os.PathLike):
        for name in ("total_episodes", "total_steps", "iterate_episodes"):
            if not hasattr(dataset, name):
                rule = f"be a dataset, an id or a path: it must have {name!r}"
                raise arguments.error("dataset", rule, type(dataset).__name__, kind=TypeError)
        return dataset
    import minari

    path = Path(dataset)
    for folder in (path / "data", path):
        if folder.is_dir():
            return minari.MinariDataset(folder)
    return minari.load_dataset(os.fspath(dataset))


def _steps_of(arguments: Arguments, episode: Any, infos: Sequence[str]) -> dict[str, Any]:
    """Fields of an episode's T steps; observations have one more."""
    count = len(episode.rewards)
    steps: dict[str, Any] = {}
    for name, length in (("observations", count + 1), ("actions", count), ("rewards", count)):
        for path, array in _arrays(arguments, (name,), getattr(episode, name)):
            if len(array) != length:
                rule = f"have {length} entries for {count} steps"
                raise arguments.error("/".join(path), rule, f"{len(array)} in episode {episode.id}")
            put(steps, path, array)
    if steps["rewards"].dtype != np.float64:
        steps["rewards"] = steps["rewards"].astype(np.float32)
    for name in infos:
        value: Any = episode.infos
        for part in name.split("/"):
            known = _names(value)
            if part not in known:
                raise arguments.error("infos", f"be of the dataset, such as {known}", repr(name))
            value = value[part] if isinstance(value, Mapping) else [one[part] for one in value]
        # With those of the reset before them, or without.
        for path, array in _arrays(arguments, tuple(name.split("/")), value):
            if len(array) not in (count, count + 1):
                rule = f"have {count} or {count + 1} entries for {count} steps"
                raise arguments.error(name, rule, f"{len(array)} in episode {episode.id}")
            put(steps, path, array[len(array) - count :])
    return steps


def _names(infos: Any) -> list[str]:
    """Of a dict, or of an array of dicts, as nested infos come out of Arrow files."""
    if not isinstance(infos, Mapping):
        infos = infos[0] if len(infos) and isinstance(infos[0], Mapping) else {}
    return sorted(infos)


def _arrays(
    arguments: Arguments, path: tuple[str, ...], value: Any
) -> Iterator[tuple[tuple[str, ...], npt.NDArray[Any]]]:
    if isinstance(value, tuple):
        value = {str(i): one for i, one in enumerate(value)}
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _arrays(arguments, (*path, str(name)), one)
        return
    array = np.asarray(value)
    if array.dtype.hasobject or array.dtype.kind == "U" or array.ndim == 0:
        rule = "be an array of numbers, or dicts and tuples of these"
        raise arguments.error("/".join(path), rule, f"{type(value).__name__} of {array.dtype}")
    yield path, array


def _fields_of(steps: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _fields_of(value) if isinstance(value, Mapping) else (value.shape[1:], value.dtype)
        for name, value in steps.items()
    }


def _add(buffer: ReplayBuffer, steps: dict[str, Any], episode: Any) -> None:
    count = len(steps["rewards"])
    if count == 0:
        return
    observations = steps["observations"]
    terminated, truncated = (
        np.asarray(flags, np.bool_).reshape(count, 1)
        for flags in (episode.terminations, episode.truncations)
    )
    rest = {name: value for name, value in steps.items() if name != "observations"}
    buffer.add(
        observations=_rows(observations, slice(0, count)),
        final_observations=_rows(observations, slice(1, count + 1)),
        terminated=terminated,
        truncated=truncated,
        **_rows(rest, slice(0, count)),
    )
    if not (terminated[-1, 0] or truncated[-1, 0]):
        buffer.end_episode(
            np.zeros(1, np.int64), _rows(observations, slice(count, None), lane=False)
        )


def _rows(values: Any, which: slice, *, lane: bool = True) -> Any:
    if isinstance(values, Mapping):
        return {name: _rows(value, which, lane=lane) for name, value in values.items()}
    return values[which, None] if lane else values[which]
