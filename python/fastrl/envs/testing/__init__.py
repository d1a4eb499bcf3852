"""Checks of vectorized environments, anyone's: of the rules of Gymnasium and against a twin."""

from fastrl.envs.testing.parity import ParityReport, check_parity
from fastrl.envs.testing.rules import RULES
from fastrl.envs.testing.vector import VectorEnvReport, check_vector_env

__all__ = ["RULES", "ParityReport", "VectorEnvReport", "check_parity", "check_vector_env"]
