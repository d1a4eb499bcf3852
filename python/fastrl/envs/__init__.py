"""Native vectorized environments, with time: snapshot, restore, branch, solve.

Importing this also registers every environment with Gymnasium, as in
``gymnasium.make_vec("fastrl/Sokoban-v0", num_envs=64)``. Gymnasium imports it on its
own where the id names it:
``gymnasium.make_vec("fastrl.envs:fastrl/Sokoban-v0", num_envs=64)``.
"""

from importlib.util import find_spec

if find_spec("gymnasium") is None:
    raise ImportError("fastrl.envs needs Gymnasium; pip install 'fastrl[envs]'")

from fastrl.envs.compiling import CompiledEnvironment, CompileError, compile
from fastrl.envs.foreign import LoadedEnvironment, get_include, load
from fastrl.envs.goal_vector import GoalVectorEnv
from fastrl.envs.registration import environment_ids, make_vec, register_environments
from fastrl.envs.reward_machine import Counterfactuals, RewardMachine
from fastrl.envs.sending import Received
from fastrl.envs.single import Environment
from fastrl.envs.snapshot import Snapshot
from fastrl.envs.text_vector import TextVectorEnv
from fastrl.envs.unrolling import Rollout, Unrolled
from fastrl.envs.vector import VectorEnv
from fastrl.envs.vocabulary import (
    ACTION_TOKEN,
    END_TOKEN,
    GUIDANCE_TOKEN,
    OBSERVATION_TOKEN,
    PAD_TOKEN,
    START_TOKEN,
    VOCABULARY,
    detokenize,
    tokenize,
)

__all__ = [
    "ACTION_TOKEN",
    "END_TOKEN",
    "GUIDANCE_TOKEN",
    "OBSERVATION_TOKEN",
    "PAD_TOKEN",
    "START_TOKEN",
    "VOCABULARY",
    "CompileError",
    "CompiledEnvironment",
    "Counterfactuals",
    "Environment",
    "GoalVectorEnv",
    "LoadedEnvironment",
    "Received",
    "RewardMachine",
    "Rollout",
    "Snapshot",
    "TextVectorEnv",
    "Unrolled",
    "VectorEnv",
    "compile",
    "detokenize",
    "environment_ids",
    "get_include",
    "load",
    "make_vec",
    "tokenize",
]

register_environments()
