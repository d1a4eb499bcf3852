"""The specification of the replay buffer: lists of steps, read one by one.

Every answer is found by looking through what was added, so nothing here can be out of date. Only
the order of the uniform draws, and which row a handle names, follow the layout of the real one.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastrl.reference.envs import RandomStream


@dataclass
class Step:
    """One row of a lane; a final one has nothing but its observation."""

    values: dict[str, Any]
    episode: int
    is_final: bool = False
    terminated: bool = False
    truncated: bool = False
    evicted: bool = False
    discount: float = 0.99


@dataclass
class ReplayBuffer:
    """What fastrl.ReplayBuffer must do."""

    rows_per_lane: int
    num_lanes: int = 1
    n_step: int = 1
    gamma: float = 0.99
    next_step_autoreset: bool = False
    stack: int = 1
    padding: str = "first"
    lanes: list[list[Step]] = field(default_factory=list)
    episodes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lanes = [[] for _ in range(self.num_lanes)]
        self.episodes = [0] * self.num_lanes

    def add(
        self,
        lane: int,
        values: dict[str, Any],
        terminated: bool,
        truncated: bool,
        final_observation: Any = None,
        discount: float | None = None,
    ) -> int:
        """One step of one lane; returns its handle."""
        steps = self.lanes[lane]
        if steps and self._ended(steps[-1]):  # only with next-step autoreset
            steps.append(Step(values, self.episodes[lane], is_final=True))
            return self.handle(lane, len(steps) - 1)
        if not steps or steps[-1].is_final:
            self.episodes[lane] += 1
        discount = self.gamma if discount is None else discount
        steps.append(
            Step(values, self.episodes[lane], False, terminated, truncated, discount=discount)
        )
        handle = self.handle(lane, len(steps) - 1)
        if (terminated or truncated) and not self.next_step_autoreset:
            self._finish(lane, final_observation)
        return handle

    def end_episode(self, lane: int, final_observation: Any) -> None:
        """The newest step of the lane was truncated."""
        newest = self.lanes[lane][-1]
        if not self._ended(newest):
            newest.truncated = True
        self._finish(lane, final_observation)

    def _finish(self, lane: int, observation: Any) -> None:
        step = Step({"observations": observation}, self.episodes[lane], is_final=True)
        self.lanes[lane].append(step)

    @staticmethod
    def _ended(step: Step) -> bool:
        return not step.is_final and (step.terminated or step.truncated)

    def handle(self, lane: int, row: int) -> int:
        """The generation above the slot."""
        generation, position = divmod(row, self.rows_per_lane)
        return generation << 32 | (lane * self.rows_per_lane + position)

    def find(self, handle: int) -> tuple[int, int]:
        """The lane and the row of a handle."""
        lane, position = divmod(handle & 0xFFFFFFFF, self.rows_per_lane)
        return lane, (handle >> 32) * self.rows_per_lane + position

    def oldest(self, lane: int) -> int:
        """The first row that is still there."""
        return max(0, len(self.lanes[lane]) - self.rows_per_lane)

    def size(self) -> int:
        """Rows that are there."""
        return sum(min(len(steps), self.rows_per_lane) for steps in self.lanes)

    def episode(self, lane: int, row: int) -> tuple[int, int]:
        """First and last row, among those still there, of the row's episode."""
        steps = self.lanes[lane]
        rows = [r for r in range(len(steps)) if steps[r].episode == steps[row].episode]
        return max(rows[0], self.oldest(lane)), rows[-1]

    def stacked_rows(self, lane: int, row: int) -> list[int | None]:
        """The rows of an observation, oldest first; None is zeros."""
        steps = self.lanes[lane]
        first = row
        while first > 0 and steps[first - 1].episode == steps[row].episode:
            first -= 1
        rows = range(row - self.stack + 1, row + 1)
        before = first if self.padding == "first" else None
        return [r if r >= first else before for r in rows]

    def is_drawable(self, lane: int, row: int) -> bool:
        """Whether the row is a transition of which everything is there."""
        steps = self.lanes[lane]
        if row < self.oldest(lane) or row + 1 >= len(steps):
            return False
        if steps[row].is_final or steps[row].evicted:
            return False
        return all(r is None or r >= self.oldest(lane) for r in self.stacked_rows(lane, row))

    def drawable(self) -> list[int]:
        """Handles of all transitions that can be drawn, by lane and age."""
        return [
            self.handle(lane, row)
            for lane in range(self.num_lanes)
            for row in range(len(self.lanes[lane]))
            if self.is_drawable(lane, row)
        ]

    def observation(self, lane: int, row: int) -> Any:
        """Of a row, with its stack."""
        steps = self.lanes[lane]
        newest = np.asarray(steps[row].values["observations"])
        if self.stack == 1:
            return newest
        return np.stack(
            [
                np.zeros_like(newest) if r is None else np.asarray(steps[r].values["observations"])
                for r in self.stacked_rows(lane, row)
            ]
        )

    def transition(self, handle: int) -> dict[str, Any]:
        """R = Σ_k (∏_{j<k} d_j) r_k over up to n steps, and what follows them."""
        lane, row = self.find(handle)
        steps = self.lanes[lane]
        total, discount, last = 0.0, 1.0, row
        for last in range(row, min(row + self.n_step, len(steps) - 1)):
            total += discount * float(steps[last].values["rewards"])
            discount *= steps[last].discount
            if self._ended(steps[last]):
                break
        return {
            **steps[row].values,
            "observations": self.observation(lane, row),
            "next_observations": self.observation(lane, last + 1),
            "rewards": total,
            "discounts": 0.0 if steps[last].terminated else discount,
            "terminated": steps[last].terminated,
            "truncated": steps[last].truncated,
            "lengths": last + 1 - row,
        }


def draw_uniform(buffer: ReplayBuffer, n: int, random: RandomStream) -> list[int]:
    """Handles: places of the longest lane's length in every lane, kept where one can be drawn.

    Where fewer than one in 32 would be kept, the rank in order of the slots is drawn instead.
    """
    drawable = set(buffer.drawable())
    newest = {handle & 0xFFFFFFFF: handle for handle in drawable}
    longest = max(min(len(steps), buffer.rows_per_lane) for steps in buffer.lanes)
    longest = max(longest, 1)
    places = buffer.num_lanes * longest
    dense = len(drawable) * 32 >= places
    slots = sorted(newest)
    drawn: list[int] = []
    while len(drawn) < n:
        if dense:
            lane, position = divmod(random.below(places), longest)
            slot = lane * buffer.rows_per_lane + position
        else:
            slot = slots[random.below(len(slots))]
        if slot in newest:
            drawn.append(newest[slot])
    random.position += -random.position % 4  # the generator's numbers come in fours
    return drawn
