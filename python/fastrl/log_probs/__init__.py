"""Log-probs of the tokens that were taken, with entropy and self-certainty, from the logits."""

from fastrl.log_probs.token_stats import TokenStats, token_log_probs

__all__ = ["TokenStats", "token_log_probs"]
