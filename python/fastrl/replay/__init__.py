"""Experience replay: what was lived through, kept and drawn from."""

from fastrl.replay.priority_index import Draw, PriorityIndex

__all__ = ["Draw", "PriorityIndex"]
