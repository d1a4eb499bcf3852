"""What can be asked of a store of trajectories: draws, groups, and the nearest by a vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import INTEGERS, Arguments, Array, address, contiguous
from fastrl.replay.arguments import checked_array
from fastrl.replay.trajectory_arguments import (
    TRAJECTORY_ARRAYS,
    as_numpy,
    check_on_cpu,
    checked_handles,
    finite_vectors,
    limit,
)
from fastrl.replay.trajectory_batch import TrajectoryBatch
from fastrl.replay.trajectory_facts import TrajectoryFacts

_ORDERS = ("uniform", "newest", "oldest", "weighted")
_LAYOUTS = ("packed", "padded")
_NO_TOKENS = 2
_OUTPUTS = ("numpy", "torch")


class TrajectoryDraws(TrajectoryFacts):
    """Batches out of a store: the half of `TrajectoryStore` that reads."""

    def sample(
        self,
        n: int | None = None,
        *,
        order: str = "uniform",
        replacement: bool = False,
        successes_only: bool = False,
        max_staleness: int | None = None,
        token_budget: int | None = None,
        count_use: bool = True,
        layout: str = "packed",
        output: str = "numpy",
    ) -> TrajectoryBatch:
        """A batch of trajectories.

        Args:
            n: How many; None: as many as `token_budget` allows, or as there are.
            order: "uniform", or "newest" or "oldest" policy versions first. (Within a version by
                arrival, as long as no trajectory of an older version came late.) "weighted": with
                probability ∝ weight, for a store that is `weighted`. The batch then has
                `probabilities`, [B] float64: w_i / Σ w of each draw; without replacement π_i / n,
                with inclusion probabilities π_i for which Σ f_i / π_i is unbiased.
            replacement: Whether a trajectory may be drawn again; for draws at random.
            successes_only: Draws among the successes.
            max_staleness: Draws among those at most so many versions old.
            token_budget: Takes trajectories as they are drawn, up to the first one that would
                exceed so many tokens (padding does not count).
            count_use: Whether this counts as a use of them.
            layout: "packed" or "padded".
            output: "numpy" or "torch".
        """
        check = Arguments("sample")
        to_torch = check.choice("output", output, _OUTPUTS) == "torch"
        count = -1 if n is None else check.integer("n", n, low=1, high=2**31 - 1)
        check.choice("order", order, _ORDERS)
        random = order in ("uniform", "weighted")
        replacement = check.flag("replacement", replacement)
        if replacement and (not random or n is None):
            raise check.error("replacement", "be False unless `n` are drawn at random", True)
        if order == "weighted":
            if not self.weighted:
                raise check.error("order", "not be 'weighted' for a store without weights", order)
            if n is None or successes_only:
                rule = "be given, without `successes_only`, for a weighted draw"
                raise check.error("n", rule, n)
        arrays = self._core.sample(
            count,
            _ORDERS.index(order),
            replacement,
            check.flag("successes_only", successes_only),
            *_limits(check, max_staleness, token_budget, count_use, layout),
        )
        return self._batch(arrays, to_torch=to_torch)

    def sample_groups(
        self,
        num_groups: int | None = None,
        *,
        group_ids: Array | None = None,
        group_size: int | None = None,
        order: str = "uniform",
        bucket_weights: Array | Sequence[float] | None = None,
        max_staleness: int | None = None,
        token_budget: int | None = None,
        count_use: bool = True,
        layout: str = "packed",
        output: str = "numpy",
    ) -> TrajectoryBatch:
        """Groups of trajectories, drawn without replacement or named.

        The trajectories of a group stand together, in the order in which they came, and
        ``batch.cu_groups`` says where each group ends.

        Args:
            num_groups: How many; None: as many as `token_budget` allows, or as there are.
            group_ids: [G] int32 or int64: these groups, in this order, instead of drawn ones. One
                that the store does not know has no trajectories.
            group_size: At most so many of each group, each alike, drawn without replacement.
            order: "uniform", or those with the "newest" or "oldest" newest trajectory first.
            bucket_weights: [num_buckets] how likely a bucket is, whatever its number of groups;
                those with nothing left are passed over. None: all groups alike.
            max_staleness: Draws among groups with a trajectory at most so many versions old, and
                takes only those of its trajectories.
            token_budget: Takes groups up to the first one that would exceed so many tokens.
            count_use: Whether this counts as a use of the trajectories.
            layout: "packed" or "padded".
            output: "numpy" or "torch".
        """
        check = Arguments("sample_groups")
        to_torch = check.choice("output", output, _OUTPUTS) == "torch"
        if (num_groups is None) == (group_ids is None) and (
            group_ids is not None or token_budget is None
        ):
            actual = "both" if group_ids is not None else "neither"
            raise check.error("num_groups", "be given, or `group_ids`, or a `token_budget`", actual)
        count = (
            -1
            if num_groups is None
            else check.integer("num_groups", num_groups, low=1, high=2**31 - 1)
        )
        named = None
        if group_ids is not None:
            check_on_cpu(check, "group_ids", group_ids, ["G"], INTEGERS)
            named = contiguous(as_numpy(group_ids), "int64")
            count = len(named)
        weights: list[float] = []
        if bucket_weights is not None:
            if named is not None:
                raise check.error("bucket_weights", "be None where `group_ids` are given", "given")
            weights = self._checked_weights(check, bucket_weights)
        check.choice("order", order, _ORDERS[:3])
        arrays = self._core.sample_groups(
            count,
            _ORDERS.index(order),
            limit(check, "group_size", group_size, low=1),
            weights,
            address(named),
            *_limits(check, max_staleness, token_budget, count_use, layout),
        )
        return self._batch(arrays, to_torch=to_torch)

    def get(
        self,
        handles: Array,
        *,
        count_use: bool = False,
        layout: str = "packed",
        output: str = "numpy",
    ) -> TrajectoryBatch:
        """The trajectories of these handles [B], all of which must be in the store."""
        check = Arguments("get")
        to_torch = check.choice("output", output, _OUTPUTS) == "torch"
        asked = checked_handles(check, handles)
        arrays = self._core.get(
            address(asked),
            len(asked),
            check.flag("count_use", count_use),
            _LAYOUTS.index(check.choice("layout", layout, _LAYOUTS)),
        )
        return self._batch(arrays, to_torch=to_torch)

    def peek(self, handles: Array, *, output: str = "numpy") -> TrajectoryBatch:
        """What `get` would give, without tokens and without counting as a draw."""
        check = Arguments("peek")
        to_torch = check.choice("output", output, _OUTPUTS) == "torch"
        asked = checked_handles(check, handles)
        arrays = self._core.get(address(asked), len(asked), False, _NO_TOKENS)
        return self._batch(arrays, to_torch=to_torch)

    def nearest(
        self, queries: Array, k: int, *, column: str
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The trajectories whose vectors in a column match queries best, by dot product.

        Exact: all are looked at. Equal scores are in no particular order.

        Args:
            queries: [Q, D] float32, finite.
            k: Trajectories for each query.
            column: One of the store's `columns`, ``((D,), "float32")``.

        Returns:
            [Q, k] handles and [Q, k] float64 scores, best first; −1 and −inf where there are no
            more trajectories.
        """
        check = Arguments("nearest")
        names = [
            n
            for n, (shape, dtype, _) in self._columns.items()
            if dtype == "float32" and len(shape) == 1
        ]
        check.choice("column", column, names)
        asked = finite_vectors(check, "queries", queries, "Q", self._columns[column][0][0])
        k = check.integer("k", k, low=1, high=2**31 - 1)
        handles = np.empty((len(asked), k), np.int64)
        scores = np.empty((len(asked), k))
        place = list(self._columns).index(column)
        self._core.nearest(address(asked), len(asked), place, k, address(handles), address(scores))
        return handles, scores

    def _checked_weights(self, check: Arguments, weights: Array | Sequence[float]) -> list[float]:
        numbers = checked_array(check, "bucket_weights", weights)
        if numbers.dtype.kind not in "fiub":
            rule = "hold numbers"
            raise check.error("bucket_weights", rule, numbers.dtype, kind=TypeError)
        numbers = numbers.astype(np.float64)
        if numbers.shape != (self.num_buckets,):
            rule = f"have shape [num_buckets] = [{self.num_buckets}]"
            raise check.error("bucket_weights", rule, list(numbers.shape))
        if not np.isfinite(numbers).all() or (numbers < 0).any() or not numbers.any():
            raise check.error(
                "bucket_weights", "be finite, at least 0 and not all 0", numbers.tolist()
            )
        return [float(number) for number in numbers]

    def _batch(self, arrays: Sequence[Any], *, to_torch: bool) -> TrajectoryBatch:
        values = iter(arrays)
        named: dict[str, Array] = {}
        per_token: list[str] = []
        if len(arrays) > len(TRAJECTORY_ARRAYS) + len(self._columns) + 3:
            named["token_ids"] = next(values)
            for name, (shape, dtype, _) in self._token_columns.items():
                flat = next(values).view(dtype)
                named[name] = flat.reshape(*flat.shape[:-1], *shape)
            named["action_mask"] = next(values)
            per_token = list(named)
        named["cu_seqlens"] = next(values)
        for name in TRAJECTORY_ARRAYS:
            named[name] = next(values)
        for name, (shape, dtype, _) in self._columns.items():
            flat = next(values).view(dtype)
            named[name] = flat.reshape(len(flat), *shape)
        cu_groups = next(values)
        if cu_groups is not None:
            named["cu_groups"] = cu_groups
        probabilities = next(values)
        if probabilities is not None:
            named["probabilities"] = probabilities
        if to_torch:
            import torch

            named = {name: torch.from_numpy(array) for name, array in named.items()}
        return TrajectoryBatch(named, per_token)


def _limits(
    check: Arguments,
    max_staleness: int | None,
    token_budget: int | None,
    count_use: bool,
    layout: str,
) -> tuple[int, int, bool, int]:
    """What a draw of trajectories and one of groups have in common, as the native side has it."""
    return (
        limit(check, "max_staleness", max_staleness, low=0),
        limit(check, "token_budget", token_budget, low=1),
        check.flag("count_use", count_use),
        _LAYOUTS.index(check.choice("layout", layout, _LAYOUTS)),
    )
