"""A store of token trajectories: groups, successes, policy versions, uses and age."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastrl import _core
from fastrl._dispatch import INTEGERS, MASKS, Arguments, Array, address, contiguous
from fastrl.replay.arguments import as_integers, checked_array
from fastrl.replay.trajectory_arguments import (
    Column,
    as_framework,
    as_numpy,
    check_on_cpu,
    checked_ends,
    checked_handles,
    contiguous_numpy,
    declared_columns,
    limit,
    numbers_of_rows,
    packed_tokens,
    parsed_columns,
    per_trajectory,
)
from fastrl.replay.trajectory_batch import TrajectoryBatch, check_batch
from fastrl.replay.trajectory_draws import TrajectoryDraws
from fastrl.replay.trajectory_saving import TrajectorySaves

_BLOCK = 32  # tokens


class TrajectoryStore(TrajectoryDraws, TrajectorySaves):
    """Token trajectories of variable length under a budget of bytes.

    Tokens are kept as they were sampled, never re-tokenized: ids, a bit per token for the action
    mask, and log-probs whose float32 bits come back. Each trajectory has a group (its prompt), a
    reward, an advantage, a success flag, the version of the policy that made it, the time at which
    it was made, and the number of batches that it has been in.

    Nothing goes without being counted. A trajectory leaves

        space      to make room, the longest stored first (or, with ``evict="stalest"``, the one of
                   the oldest policy)
        staleness  when it is more than `max_staleness` policy versions behind the newest
        age        when the clock is more than `ttl` past its time
        uses       when it has been in `use_count_limit` batches
        group      when its group gets its `max_per_group` + 1st, the first one first
        removed    when the caller removes it

    and `counters` says how many left why, and how many were refused because they were too stale on
    arrival. Handles are 64-bit numbers with a generation: one of a trajectory that is gone never
    names another one. All of this is O(1) a trajectory, amortized, also filtering by staleness:
    who is fresh is a range of an order, not the result of a scan. (Only a trajectory whose policy
    is older than others in the store takes a step for each newer version on its way in.)

    Groups are in buckets by their successes: those reported for the whole group where `add` was
    told (`group_successes`), else those stored.

    Draws come from counter-based random numbers: the same seed and the same calls give the same
    batches, with any number of threads. Any thread may call; the GIL is released meanwhile.

    Args:
        max_bytes: All memory of the store, which the system hands out as it is used.
        max_trajectories: At most that many, whatever their length; by default one for every 4 KiB.
            Each takes about 180 bytes beside its tokens.
        log_probs: Whether the policy's log-probs are kept.
        token_columns: More per token, as ``{"ref_log_probs": "float32", "turns": "int16"}``.
        columns: More per trajectory, as ``{"entropies": "float32", "levels": ((2,), "int64")}``.
        weighted: Whether trajectories have weights to be drawn by.
        max_staleness: Policy versions that a trajectory may be behind; None: any.
        ttl: Clock ticks that it may live; None: any. The clock ticks once a trajectory added,
            unless `add` is told the time.
        use_count_limit: Batches that it may be in; None: any.
        max_per_group: Trajectories of one group; None: any.
        evict: "oldest" (by arrival) or "stalest" (by policy version) makes room.
        success_threshold: The least reward of a success, where `add` is not told.
        num_buckets: Buckets of groups; the last takes all with more successes.
        seed: Of the draws.

    Specification: `fastrl.reference.trajectories.TrajectoryStore`.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        max_trajectories: int | None = None,
        log_probs: bool = True,
        token_columns: Mapping[str, Column] | None = None,
        columns: Mapping[str, Column] | None = None,
        weighted: bool = False,
        max_staleness: int | None = None,
        ttl: int | None = None,
        use_count_limit: int | None = None,
        max_per_group: int | None = None,
        evict: str = "oldest",
        success_threshold: float = 1.0,
        num_buckets: int = 17,
        seed: int = 0,
    ) -> None:
        check = Arguments("TrajectoryStore")
        self.max_bytes = check.integer("max_bytes", max_bytes, low=1, high=2**62)
        if max_trajectories is None:
            max_trajectories = min(max(64, self.max_bytes // 4096), 2**31 - 1)
        self.max_trajectories = check.integer(
            "max_trajectories", max_trajectories, low=1, high=2**31 - 1
        )
        own = {"log_probs": "float32"} if check.flag("log_probs", log_probs) else {}
        self._token_columns = parsed_columns(check, "token_columns", token_columns, own)
        self._columns = parsed_columns(check, "columns", columns, {})
        for name in self._columns.keys() & self._token_columns.keys():
            raise check.error("columns", "have other names than `token_columns`", repr(name))
        self.weighted = check.flag("weighted", weighted)
        limits = {
            "max_staleness": limit(check, "max_staleness", max_staleness, low=0),
            "ttl": limit(check, "ttl", ttl, low=0),
            "use_count_limit": limit(check, "use_count_limit", use_count_limit, low=1),
            "max_per_group": limit(check, "max_per_group", max_per_group, low=1),
        }
        check.choice("evict", evict, ("oldest", "stalest"))
        self.success_threshold = check.number("success_threshold", success_threshold)
        self.num_buckets = check.integer("num_buckets", num_buckets, low=2, high=128)
        seed = check.integer("seed", seed, low=0, high=2**64 - 1)
        token_widths = [4, *(size for _, _, size in self._token_columns.values())]
        widths = [size for _, _, size in self._columns.values()]

        def needed(num_blocks: int) -> int:
            return _core.trajectory_store_size(
                self.max_trajectories,
                num_blocks,
                self.num_buckets,
                token_widths,
                widths,
                self.weighted,
            )

        block_size = needed(1 << 20) - needed(0) >> 20
        num_blocks = (self.max_bytes - needed(0)) // block_size
        while num_blocks > 0 and needed(num_blocks) > self.max_bytes:
            num_blocks -= 1  # the parts' alignment
        if num_blocks < 1:
            rule = f"be at least {needed(1) + 1024} for {self.max_trajectories} trajectories"
            raise check.error("max_bytes", rule, self.max_bytes)
        self.max_tokens = num_blocks * _BLOCK
        self._arguments = {
            "max_bytes": self.max_bytes,
            "max_trajectories": self.max_trajectories,
            "log_probs": bool(own),
            "token_columns": declared_columns(self._token_columns, own),
            "columns": declared_columns(self._columns, {}),
            "weighted": self.weighted,
            "max_staleness": max_staleness,
            "ttl": ttl,
            "use_count_limit": use_count_limit,
            "max_per_group": max_per_group,
            "evict": evict,
            "success_threshold": self.success_threshold,
            "num_buckets": self.num_buckets,
            "seed": seed,
        }
        self._core = _core.TrajectoryStore(
            self.max_trajectories, num_blocks, self.num_buckets, token_widths, widths,
            self.weighted, seed=seed, evict_stalest=evict == "stalest", **limits,
        )  # fmt: skip

    def add(
        self,
        token_ids: Array,
        *,
        action_mask: Array,
        group_ids: Array,
        rewards: Array,
        policy_versions: Array | int,
        log_probs: Array | None = None,
        cu_seqlens: Array | None = None,
        attention_mask: Array | None = None,
        lengths: Array | None = None,
        advantages: Array | None = None,
        successes: Array | None = None,
        group_successes: Array | None = None,
        weights: Array | None = None,
        created: Array | int | None = None,
        **columns: Array,
    ) -> Array:
        """Adds trajectories: all of them, or an error and none.

        Args:
            token_ids: [N] with `cu_seqlens`, or [B, L] with `attention_mask` or `lengths`; int32,
                or int64 within the range of int32.
            action_mask: Like `token_ids`, bool or uint8: where the policy chose the token.
            group_ids: [B] int32 or int64, equal for trajectories of one prompt.
            rewards: [B] float32.
            policy_versions: [B] int64, or one number: the version that made the trajectory. A
                newer one than the store's moves the store's on.
            log_probs: Like `token_ids`, float32, the sampler's; needed where the store keeps them.
            cu_seqlens: [B + 1] int32 of packed tokens.
            attention_mask: [B, L] bool or uint8: the tokens that are not padding, wherever it is.
            lengths: [B] int32 or int64, where padding is on the right.
            advantages: [B] float32, or None: not known yet.
            successes: [B] bool or uint8; None: where the reward reaches `success_threshold`.
            group_successes: [B] int32 or int64: how many of the group's rollouts succeeded, also of
                those that are not added. None: the group's stored successes are counted.
            weights: [B] float32, at least 0, where the store is weighted; None: 1 each.
            created: [B] int64, or one number: when; never less than the clock. None: the clock
                ticks once for each.
            **columns: The store's `token_columns`, like `token_ids`, and its `columns`, [B, ...].

        Returns:
            [B] int64 handles, of the framework of `token_ids`; −1 for a trajectory that is already
            more than `max_staleness` versions old (counted in ``counters["refused_stale"]``).
        """
        check = Arguments("add")
        tokens: dict[str, Array] = {"token_ids": token_ids, "action_mask": action_mask}
        extra = dict(columns)
        for name in self._token_columns:
            value = log_probs if name == "log_probs" else extra.pop(name, None)
            if value is None:
                raise check.error(name, "be given, as the store keeps it", None)
            tokens[name] = value
        if log_probs is not None and "log_probs" not in tokens:
            raise check.error("log_probs", "be None, as the store keeps none", "an array")
        shape: list[str | int] = ["N"] if cu_seqlens is not None else ["B", "L"]
        check_on_cpu(check, "token_ids", token_ids, shape, INTEGERS)
        check.array("action_mask", action_mask, shape, MASKS)
        for name, (more, dtype, _) in self._token_columns.items():
            check.array(name, tokens[name], [*shape, *more], [dtype])
        ends = checked_ends(check, token_ids, cu_seqlens, attention_mask, lengths)
        check.array("group_ids", group_ids, ["B"], INTEGERS)
        batch = check.size("B")
        check.array("rewards", rewards, ["B"], ["float32"])
        if advantages is not None:
            check.array("advantages", advantages, ["B"], ["float32"])
        if successes is not None:
            check.array("successes", successes, ["B"], MASKS)
        if group_successes is not None:
            check.array("group_successes", group_successes, ["B"], INTEGERS)
            group_successes = np.clip(as_numpy(group_successes), -1, 2**31 - 1).astype(np.int32)
        self._check_weights(check, weights)
        rows = self._take_columns(check, extra, needed=True)
        versions = per_trajectory(check, "policy_versions", policy_versions, batch)
        times = None if created is None else per_trajectory(check, "created", created, batch)

        if successes is None:
            successes = as_numpy(rewards) >= np.float32(self.success_threshold)
        packed = packed_tokens(check, tokens, attention_mask, lengths)
        if ends is None:
            assert cu_seqlens is not None
            ends = contiguous(as_numpy(cu_seqlens))
        handles = np.empty(batch, np.int64)
        # Under names: what is contiguous only in a copy has to live until the call has ended.
        arrays = [contiguous(as_numpy(array)) for array in packed.values()]
        mask = arrays.pop(1)
        groups = contiguous(as_numpy(group_ids), "int64")
        rewards, successes = contiguous(as_numpy(rewards)), contiguous(as_numpy(successes))
        advantages, weights = contiguous_numpy(advantages), contiguous_numpy(weights)
        self._core.add(
            batch, address(ends), [address(array) for array in arrays], address(mask),
            address(groups), address(versions), address(times), address(rewards),
            address(advantages), address(successes), address(group_successes),
            address(weights),
            [address(row) for row in rows.values()], address(handles),
        )  # fmt: skip
        return as_framework(handles, token_ids)

    def add_batch(
        self,
        batch: TrajectoryBatch,
        *,
        rows: Array | None = None,
        policy_versions: Array | int,
        group_successes: Array | None = None,
    ) -> Array:
        """Adds trajectories of a packed batch, with all that the store keeps; their handles.

        Args:
            batch: At least `token_ids`, `action_mask`, `cu_seqlens`, `group_ids`, `rewards` and
                the store's columns; `advantages` and `successes` where they are known.
            rows: [K] those that are added; None: all.
            policy_versions: [B] int64, or one number.
            group_successes: [B] as in `add`.
        """
        check = Arguments("add_batch")
        check_batch(check, "batch", batch)
        chosen, count = batch, len(batch.rewards)
        if rows is not None:
            rows = as_integers(check, "rows", checked_array(check, "rows", rows))
            chosen = batch.select(rows)
        versions: Any = numbers_of_rows(check, "policy_versions", policy_versions, rows, count)
        counts: Any = numbers_of_rows(check, "group_successes", group_successes, rows, count)
        names = {
            "token_ids", "action_mask", "cu_seqlens", "group_ids", "rewards", "advantages",
            "successes", *self.column_names,
        }  # fmt: skip
        arrays = {name: chosen[name] for name in chosen if name in names}
        # One framework for all, that of the batch.
        if isinstance(versions, np.ndarray):
            versions = as_framework(versions, chosen.rewards)
        if isinstance(counts, np.ndarray):
            counts = as_framework(counts, chosen.rewards)
        return self.add(**arrays, policy_versions=versions, group_successes=counts)

    def update(
        self,
        handles: Array,
        *,
        rewards: Array | None = None,
        advantages: Array | None = None,
        successes: Array | None = None,
        weights: Array | None = None,
        **columns: Array,
    ) -> int:
        """Changes what is known about trajectories; their number that are still in the store.

        Where a handle comes more than once the last change stays. Handles of trajectories that are
        gone change nothing and are counted in ``counters["refused_updates"]``.

        Args:
            handles: [B] int64.
            rewards: [B] float32. Changes no success.
            advantages: [B] float32.
            successes: [B] bool or uint8.
            weights: [B] float32, at least 0, where the store is weighted.
            **columns: Some of the store's `columns`, [B, ...].
        """
        check = Arguments("update")
        asked = checked_handles(check, handles)
        for name, values, dtypes in (
            ("rewards", rewards, ("float32",)),
            ("advantages", advantages, ("float32",)),
            ("successes", successes, MASKS),
        ):
            if values is not None:
                check.array(name, values, ["B"], dtypes)
        self._check_weights(check, weights)
        rows = self._take_columns(check, columns, needed=False)
        # Under names: what is contiguous only in a copy has to live until the call has ended.
        rewards, advantages = contiguous_numpy(rewards), contiguous_numpy(advantages)
        successes, weights = contiguous_numpy(successes), contiguous_numpy(weights)
        return int(
            self._core.update(
                address(asked),
                len(asked),
                address(rewards),
                address(advantages),
                address(successes),
                address(weights),
                [address(rows.get(name)) for name in self._columns],
            )
        )

    def remove(self, handles: Array) -> int:
        """Removes trajectories; the number of those that were still there."""
        asked = checked_handles(Arguments("remove"), handles)
        return int(self._core.remove(address(asked), len(asked)))

    def clear(self) -> int:
        """Removes all trajectories; their number."""
        return self.remove(self.handles())

    def advance(self, policy_version: int | None = None, *, clock: int | None = None) -> None:
        """Says that the policy, or the time, has moved on; what is too old now goes."""
        check = Arguments("advance")
        totals = self._core.totals()
        version = totals["policy_version"] if policy_version is None else policy_version
        time = totals["clock"] if clock is None else clock
        self._core.advance(
            check.integer("policy_version", version, low=0, high=2**63 - 1),
            check.integer("clock", time, low=-(2**63), high=2**62),
        )

    def _check_weights(self, check: Arguments, weights: Array | None) -> None:
        if weights is None:
            return
        if not self.weighted:
            raise check.error("weights", "be None, as the store is not weighted", "an array")
        check.array("weights", weights, ["B"], ["float32"])

    def _take_columns(
        self, check: Arguments, given: Mapping[str, Array], *, needed: bool
    ) -> dict[str, Array]:
        for name in given:
            if name not in self._columns:
                known = ", ".join([*self._token_columns, *self._columns]) or "none"
                raise check.error(name, f"be one of the store's columns ({known})", "another name")
        rows = {}
        for name, (shape, dtype, _) in self._columns.items():
            if name in given:
                check.array(name, given[name], ["B", *shape], [dtype])
                rows[name] = contiguous(as_numpy(given[name]))
            elif needed:
                raise check.error(name, "be given, as the store keeps it", None)
        return rows


def check_store(arguments: Arguments, store: object) -> None:
    """That what a rule is given as its store is one."""
    if not isinstance(store, TrajectoryStore):
        rule = "be a TrajectoryStore"
        raise arguments.error("store", rule, type(store).__name__, kind=TypeError)
