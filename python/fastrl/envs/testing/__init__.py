"""Checks of vectorized environments, anyone's: of the rules of Gymnasium and against a twin."""

from fastrl.envs.testing.parity import ParityReport, check_parity

__all__ = ["ParityReport", "check_parity"]
