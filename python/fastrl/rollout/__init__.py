"""Reflect-then-retry: attempts, reflections, and retries from the turn that went wrong."""

from fastrl.rollout.episodes import Episodes, RolloutSpec
from fastrl.rollout.policy import Generation, Policy, Session
from fastrl.rollout.reflect_then_retry import GroupRollout, ReflectThenRetry
from fastrl.rollout.reflections import (
    MalformedReflectionError,
    Reflection,
    Reflections,
    parse_reflection,
)
from fastrl.rollout.reflectors import ModelReflector, Reflector, RuleReflector
from fastrl.rollout.torch_policy import TorchPolicy
from fastrl.rollout.trajectories import PackedTrajectories, Role, Trajectories

__all__ = [
    "Episodes",
    "Generation",
    "GroupRollout",
    "MalformedReflectionError",
    "ModelReflector",
    "PackedTrajectories",
    "Policy",
    "ReflectThenRetry",
    "Reflection",
    "Reflections",
    "Reflector",
    "Role",
    "RolloutSpec",
    "RuleReflector",
    "Session",
    "TorchPolicy",
    "Trajectories",
    "parse_reflection",
]
