"""What a store of trajectories hands out: arrays by name."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastrl._dispatch import Array


class TrajectoryBatch(Mapping[str, Array]):
    """A batch of trajectories: ``batch.rewards`` or ``batch["rewards"]``; NumPy or torch.

    Packed (B trajectories, N tokens back to back) or padded on the right with 0 ([B, L]):

        token_ids        [N] or [B, L] int32
        action_mask      [N] or [B, L] bool, true where the policy chose the token
        log_probs        [N] or [B, L] float32, the bits that were added
        cu_seqlens       [B + 1] int32: trajectory i has tokens cu_seqlens[i] up to
                         cu_seqlens[i + 1]
        handles          [B] int64
        group_ids        [B] int64
        policy_versions  [B] int64, of the policy that made the trajectory
        created          [B] int64, when
        rewards          [B] float32
        advantages       [B] float32, NaN where none was given
        use_counts       [B] int32, the batches that it was in before this one
        successes        [B] bool
        cu_groups        [G + 1] int32, of `sample_groups` only: group j has trajectories
                         cu_groups[j] up to cu_groups[j + 1]

    and the columns that the store was made with. `policy_loss` takes `token_ids`' siblings as they
    are: ``policy_loss(log_probs, batch.advantages, batch.action_mask,
    behavior_log_probs=batch.log_probs, cu_seqlens=batch.cu_seqlens)``.

    The arrays are the caller's: their memory is used again only after the last of them is gone.
    """

    __slots__ = ("_arrays",)

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._arrays[name]
        except KeyError:
            raise AttributeError(f"this batch has no {name!r}, only {list(self._arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in self._arrays.items())
        return f"TrajectoryBatch({sizes})"
