"""One native environment behind Gymnasium's `Env`."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from fastrl.envs.foreign import HasEnvironment
from fastrl.envs.registration import make_vec
from fastrl.envs.snapshot import Snapshot
from fastrl.envs.text_vector import TextVectorEnv


class Environment(gymnasium.Env[Any, Any]):
    """One native environment, a batch of one that nobody resets by itself.

    `gymnasium.make("fastrl/CartPole-v1")` makes one. Time limits are the environment's own: say
    `max_episode_steps` here, as Gymnasium's `make` can only set an earlier limit.

    Attributes:
        batch: The `VectorEnv` of one environment, for all that is not here, such as
            `parse_actions`, `solve` and `rewind`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  # as Gymnasium declares it
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self, id: str | HasEnvironment, *, render_mode: str | None = None, **options: Any
    ) -> None:
        self.batch = make_vec(id, 1, autoreset_mode="disabled", render_mode=render_mode, **options)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_modes": self.batch.metadata["render_modes"]}
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def __repr__(self) -> str:
        return f"Environment({self.batch!r})"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; `options` as in `VectorEnv.reset`."""
        super().reset(seed=seed)
        observations, infos = self.batch.reset(seed=seed, options=options)
        return _only(observations), _only_info(infos)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One action; after the end of an episode there is none before the next `reset`."""
        actions = np.asarray(action)[None]
        observations, rewards, terminated, truncated, infos = self.batch.step(actions)
        return (
            _only(observations),
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _only_info(infos),
        )

    def render(self) -> Any:
        """A text ("ansi") or a picture ("rgb_array"), or None without a mode."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Ends the batch."""
        self.batch.close()

    # --- Time ---------------------------------------------------------------------------------

    def observe(self) -> Any:
        """The observation of the present state, as after a `restore`."""
        observed = self.batch.observe()
        return observed[0][0] if isinstance(self.batch, TextVectorEnv) else _only(observed)

    def snapshot(self) -> Snapshot:
        """The present state with all that its future depends on."""
        return self.batch.snapshot()

    def restore(self, snapshot: Snapshot, *, rng: str = "restore") -> None:
        """Puts a state back; see `VectorEnv.restore`."""
        self.batch.restore(snapshot, rng=rng)

    def state_hash(self) -> int:
        """Equal for equal states; random streams and step counts do not matter."""
        return int(self.batch.state_hash()[0])


def make_registered(name: str, **options: Any) -> Environment:
    """`Environment` as Gymnasium calls it, whose own functions have an argument `id`."""
    return Environment(name, **options)


def _only(observations: Any) -> Any:
    """What a batch of one holds; a single number as Gymnasium's environments return it."""
    if isinstance(observations, dict):
        return {key: _only(part) for key, part in observations.items()}
    if isinstance(observations, tuple):
        return tuple(_only(part) for part in observations)
    one = observations[0]
    return int(one) if isinstance(one, np.integer) else one


def _only_info(infos: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    return {
        key: value[0].item() if value.ndim == 1 else value[0]
        for key, value in infos.items()
        if key[0] != "_" and infos[f"_{key}"][0]
    }
