"""DQN with hindsight: what was reached instead of the goal is learned from as if it was the goal.

Of every k + 1 transitions that are drawn, k get a goal that their episode reached, and the reward
that the environment gives for it. The rest is DQN.

Reference: Andrychowicz et al., "Hindsight experience replay", 2017.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from fastrl._dispatch import Arguments
from fastrl.envs.goal_vector import GoalVectorEnv
from fastrl.recipes.dqn import DeepQ, DQNConfig
from fastrl.replay import HER

STRATEGIES = ("future", "final", "episode", "random")
_GOALS = 5  # a stream of random numbers beside those of all off-policy runs


@dataclass(frozen=True, kw_only=True)
class HindsightDQNConfig(DQNConfig):
    """A run of DQN with hindsight on a goal environment; see `DQNConfig` for what DQN has.

    Args:
        strategy: Where goals are from: "future" steps of the transition's episode, its "final"
            one, any of the "episode", or any in the buffer ("random").
        num_goals: k, relabeled transitions for each one with the goal that it had; 0 is plain DQN.
        ends_at_goals: Whether an episode is over where its goal is reached, with a reward of 0;
            what is relabeled ends there, too.
        target_success: Training also ends when an evaluation reaches this; None never does.
    """

    # For up to 15 bits. Goals are near, so that a short horizon is enough and learned sooner.
    presets: ClassVar = {
        "BitFlip-v0": {
            "env_steps": 20_000,
            "eval_every": 5,
            "num_envs": 16,
            "num_steps": 16,
            "gradient_steps": 40,
            "batch_size": 128,
            "gamma": 0.9,
            "tau": 0.02,
            "width": 256,
        },
    }

    strategy: str = "future"
    num_goals: int = 4
    ends_at_goals: bool = True
    target_success: float | None = None
    n_step: int = 1
    priority_exponent: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        check.choice("strategy", self.strategy, STRATEGIES)
        check.integer("num_goals", self.num_goals, low=0)
        check.flag("ends_at_goals", self.ends_at_goals)
        if self.target_success is not None:
            check.number("target_success", self.target_success, low=0, high=1)

    @property
    def target(self) -> float | None:
        """The success that also ends training."""
        return self.target_success


class HindsightDQN(DeepQ[HindsightDQNConfig]):
    """A run of DQN with hindsight; its score is the share of fresh episodes that succeed."""

    score_name = "eval_success"

    def build(self) -> None:
        """As of DQN, with the relabelling of batches."""
        super().build()
        if not isinstance(self.envs, GoalVectorEnv):
            raise Arguments("HindsightDQN").error("env", "have goals", self.config.env)
        config, compute_reward = self.config, self.envs.compute_reward

        def reached(achieved: Any, desired: Any, info: object) -> Any:
            return compute_reward(achieved, desired) == 0

        if config.num_goals:
            self.relabel = HER(
                config.strategy,
                k=config.num_goals,
                compute_reward=compute_reward,
                compute_terminated=reached if config.ends_at_goals else None,
                seed=self.seed(_GOALS),
            )

    def evaluate(self) -> float:
        """The share of successes in fresh episodes with the preferred actions."""
        return float(self.play()[1].mean())
