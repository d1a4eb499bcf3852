"""Specification of `fastrl.replay.TrajectoryStore`: lists and scans, slow, obviously right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastrl.reference.envs import RandomStream

EVICTIONS = ("space", "staleness", "age", "uses", "group", "removed")


@dataclass(eq=False)
class Trajectory:
    """What is remembered of one trajectory."""

    tokens: Sequence[int]
    action_mask: Sequence[bool]
    log_probs: Sequence[float]
    group_id: int
    reward: float
    advantage: float
    success: bool
    policy_version: int
    created: int = 0
    handle: int = -1
    use_count: int = 0


@dataclass(eq=False)
class Group:
    """The trajectories of one prompt, in the order in which they came."""

    members: list[Trajectory] = field(default_factory=list)
    reported: int | None = None

    def successes(self) -> int:
        """As reported, else of those that are stored."""
        if self.reported is not None:
            return self.reported
        return sum(member.success for member in self.members)

    def version(self) -> int:
        """Of the newest member."""
        return max(member.policy_version for member in self.members)


class VersionOrder:
    """Items by version; where an older version comes late, the first of each newer one moves."""

    def __init__(self) -> None:
        self.versions: dict[int, list[Any]] = {}

    def insert(self, item: Any, version: int) -> None:
        """At the end of its version."""
        for newer, items in self.versions.items():
            if newer > version:
                items.append(items.pop(0))
        self.versions.setdefault(version, []).append(item)

    def erase(self, item: Any) -> None:
        """Wherever it is."""
        for version, items in self.versions.items():
            if item in items:
                items.remove(item)
                if not items:
                    del self.versions[version]
                return

    def not_older(self, version: float) -> list[Any]:
        """All items of that version and newer ones, oldest version first."""
        newer = sorted(v for v in self.versions if v >= version)
        return [item for v in newer for item in self.versions[v]]


class TrajectoryStore:
    """The same store; sizes in trajectories and in blocks of 32 tokens."""

    def __init__(
        self,
        max_trajectories: int,
        num_blocks: int,
        *,
        max_staleness: int | None = None,
        ttl: int | None = None,
        use_count_limit: int | None = None,
        max_per_group: int | None = None,
        evict: str = "oldest",
        num_buckets: int = 17,
        seed: int = 0,
    ) -> None:
        self.max_trajectories, self.num_blocks = max_trajectories, num_blocks
        self.max_staleness, self.ttl = max_staleness, ttl
        self.use_count_limit, self.max_per_group = use_count_limit, max_per_group
        self.evict_stalest, self.num_buckets = evict == "stalest", num_buckets
        self.arrivals: list[Trajectory] = []
        self.order, self.group_order = VersionOrder(), VersionOrder()
        self.groups: dict[int, Group] = {}
        self.policy_version = self.clock = 0
        self.free: list[int] = []
        self.generations: list[int] = []
        self.added = self.refused_stale = self.refused_updates = self.sampled = 0
        self.evicted = dict.fromkeys(EVICTIONS, 0)
        self.random, self.member_random = RandomStream(seed, 0), RandomStream(seed, 1)

    def add(
        self,
        trajectories: Sequence[Trajectory],
        *,
        created: Sequence[int] | None = None,
        group_successes: Sequence[int] | None = None,
    ) -> list[int]:
        """Handles, −1 for those that are too stale."""
        before = self.clock
        versions = [trajectory.policy_version for trajectory in trajectories]
        self.policy_version = max([self.policy_version, *versions])
        if created is None:
            self.clock += len(trajectories)
        elif created:
            self.clock = created[-1]
        self._evict_outdated()
        for i, new in enumerate(trajectories):
            if self._is_stale(new):
                self.refused_stale += 1
                continue
            new.created = before + 1 + i if created is None else created[i]
            self._insert(new, None if group_successes is None else group_successes[i])
        handles = [new.handle for new in trajectories]
        self._evict_outdated()
        return handles

    def _insert(self, new: Trajectory, group_successes: int | None) -> None:
        group = self.groups.get(new.group_id)
        if self.max_per_group is not None and group and len(group.members) >= self.max_per_group:
            self._evict(group.members[0], "group")
        while len(self.arrivals) == self.max_trajectories or (
            self._blocks() + -(-len(new.tokens) // 32) > self.num_blocks
        ):
            stalest = self.order.not_older(-1)[0]
            self._evict(stalest if self.evict_stalest else self.arrivals[0], "space")
        if self.free:
            slot = self.free.pop()
        else:
            slot = len(self.generations)
            self.generations.append(0)
        new.handle = self.generations[slot] << 32 | slot
        self.arrivals.append(new)
        self.order.insert(new, new.policy_version)
        is_new = new.group_id not in self.groups
        group = self.groups.setdefault(new.group_id, Group())
        if is_new or new.policy_version > group.version():
            self.group_order.erase(new.group_id)
            self.group_order.insert(new.group_id, new.policy_version)
        group.members.append(new)
        if group_successes is not None:
            group.reported = group_successes
        self.added += 1

    def _evict(self, gone: Trajectory, reason: str) -> None:
        group = self.groups[gone.group_id]
        version = group.version()
        group.members.remove(gone)
        if not group.members:
            self.group_order.erase(gone.group_id)
            del self.groups[gone.group_id]
        elif group.version() != version:
            self.group_order.erase(gone.group_id)
            self.group_order.insert(gone.group_id, group.version())
        self.order.erase(gone)
        self.arrivals.remove(gone)
        slot = gone.handle & (2**32 - 1)
        self.generations[slot] += 1
        self.free.append(slot)
        self.evicted[reason] += 1

    def _blocks(self) -> int:
        return sum(-(-len(kept.tokens) // 32) for kept in self.arrivals)

    def _is_stale(self, trajectory: Trajectory) -> bool:
        behind = self.policy_version - trajectory.policy_version
        return self.max_staleness is not None and behind > self.max_staleness

    def _evict_outdated(self) -> None:
        if self.ttl is not None:
            for kept in [k for k in self.arrivals if self.clock - k.created > self.ttl]:
                self._evict(kept, "age")
        for kept in [k for k in self.order.not_older(-1) if self._is_stale(k)]:
            self._evict(kept, "staleness")

    def advance(self, policy_version: int, clock: int) -> None:
        """What is too old now goes."""
        self.policy_version, self.clock = policy_version, clock
        self._evict_outdated()

    def get(self, handle: int) -> Trajectory | None:
        """The trajectory of a handle, None if it is gone."""
        return next((kept for kept in self.arrivals if kept.handle == handle), None)

    def remove(self, handles: Sequence[int]) -> int:
        """The number that was still there."""
        found = [kept for kept in map(self.get, dict.fromkeys(handles)) if kept is not None]
        for kept in found:
            self._evict(kept, "removed")
        return len(found)

    def _oldest(self, max_staleness: int | None) -> float:
        return -1 if max_staleness is None else self.policy_version - max_staleness

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
    ) -> list[Trajectory]:
        """The trajectories that are drawn."""
        found = self.order.not_older(self._oldest(max_staleness))
        found = [kept for kept in found if kept.success or not successes_only]
        if order == "newest":
            found.reverse()
        picked: list[Trajectory] = []
        for i in range(len(found) if n is None else n):
            if replacement:
                drawn = found[self.random.below(len(found))]
            else:
                if order == "uniform":
                    j = i + self.random.below(len(found) - i)
                    found[i], found[j] = found[j], found[i]
                drawn = found[i]
            if not _fits(picked, [drawn], token_budget):
                break
            picked.append(drawn)
        return self._used(picked, count_use)

    def sample_groups(
        self,
        num_groups: int | None = None,
        *,
        group_ids: Sequence[int] | None = None,
        group_size: int | None = None,
        order: str = "uniform",
        bucket_weights: Sequence[float] | None = None,
        max_staleness: int | None = None,
        token_budget: int | None = None,
        count_use: bool = True,
    ) -> list[list[Trajectory]]:
        """The groups that are drawn, or those that are named."""
        oldest = self._oldest(max_staleness)
        keys = self.group_order.not_older(oldest) if group_ids is None else list(group_ids)
        if bucket_weights is None:
            buckets, weights = [keys], [1.0]
        else:
            weights = list(bucket_weights)
            last = self.num_buckets - 1
            buckets = [
                [k for k in keys if min(self.groups[k].successes(), last) == b]
                for b in range(self.num_buckets)
            ]
        if order == "newest":
            for bucket in buckets:
                bucket.reverse()
        available = sum(len(b) for b, w in zip(buckets, weights, strict=True) if w > 0)
        picked: list[list[Trajectory]] = []
        for i in range(available if num_groups is None else num_groups):
            if group_ids is not None:
                key = keys[i]
            else:
                bucket = buckets[0 if bucket_weights is None else self._bucket(buckets, weights)]
                j = self.random.below(len(bucket)) if order == "uniform" else 0
                # Fisher-Yates: the first of those that are left goes where the drawn one was.
                bucket[0], bucket[j] = bucket[j], bucket[0]
                key = bucket.pop(0)
            members = self._members(key, oldest, group_size)
            if not _fits([kept for group in picked for kept in group], members, token_budget):
                break
            picked.append(members)
        self._used([kept for group in picked for kept in group], count_use)
        return picked

    def _bucket(self, buckets: list[list[int]], weights: Sequence[float]) -> int:
        target = self._uniform() * sum(
            w if bucket else 0.0 for bucket, w in zip(buckets, weights, strict=True)
        )
        below, last = 0.0, 0
        for b, (bucket, weight) in enumerate(zip(buckets, weights, strict=True)):
            if bucket and weight > 0:
                below, last = below + weight, b
                if target < below:
                    break
        return last

    def _uniform(self) -> float:
        high = self.random.next_u32() >> 5
        return ((high << 26) | (self.random.next_u32() >> 6)) * 2.0**-53

    def _members(self, key: int, oldest: float, group_size: int | None) -> list[Trajectory]:
        if key not in self.groups:
            return []
        members = [m for m in self.groups[key].members if m.policy_version >= oldest]
        if group_size is None or len(members) <= group_size:
            return members
        for i in range(group_size):
            j = i + self.member_random.below(len(members) - i)
            members[i], members[j] = members[j], members[i]
        return members[:group_size]

    def _used(self, picked: list[Trajectory], count_use: bool) -> list[Trajectory]:
        self.sampled += len(picked) if count_use else 0
        for kept in picked if count_use else []:
            if kept in self.arrivals:
                kept.use_count += 1
                if self.use_count_limit is not None and kept.use_count >= self.use_count_limit:
                    self._evict(kept, "uses")
        return picked


def _fits(picked: list[Trajectory], more: list[Trajectory], token_budget: int | None) -> bool:
    total = sum(len(kept.tokens) for kept in [*picked, *more])
    return token_budget is None or total <= token_budget
