"""Buffers in use: two with the same random numbers do the same."""

import threading
from contextlib import contextmanager

import numpy as np
from fastrl.replay import Field, Linear, Marked, Prioritized, RankPrioritized, ReplayBuffer, Uniform

SAMPLERS = {
    "priorities": Prioritized(importance_exponent=Linear(0.4, 1.0, 50), epsilon=0.01),
    "ranks": RankPrioritized(new_priority="max_in_buffer", normalize="buffer"),
    "distinct": Prioritized(scheme="without_replacement", new_priority=0.5),
    "annealed": Prioritized(Linear(0.2, 0.9, 300), new_priority=2.0),
    "marked": Marked(),
    "all": Uniform("stratified"),
}
PLAIN = {"observations": ((3,), "float32"), "rewards": ((), "float32")}
KINDS = {
    "plain": {"fields": PLAIN},
    "samplers": {"fields": PLAIN, "sampler": SAMPLERS, "n_step": 3},
    "pictures": {
        "fields": {
            "observations": {
                "camera": Field((24, 24), "uint8", stack=3),  # lies apart
                "body": {"speeds": Field((2,), "float64", 2, "zeros")},
            },
            "actions": {"arm": ((2,), "float16"), "gripper": ((), "?")},
            "rewards": ((2,), "float64"),
            "discounts": ((), "float32"),
        },
        "sampler": Prioritized(scheme="systematic"),
        "n_step": 2,
        "gamma": 0.3,
    },
    "next_step": {"fields": PLAIN, "autoreset_mode": "next_step", "sampler": SAMPLERS},
    "alone": {"fields": {"goals": ((3,), "int16")}, "sampler": Prioritized()},
}


def values_of(leaf, random, leading):
    return random.integers(0, 2**16, (*leading, *leaf.shape)).astype(leaf.dtype)


class Life:
    """Uses a buffer; two with the same random numbers do the same."""

    def __init__(self, buffer, random):
        self.buffer, self.random = buffer, random
        self.ended = np.zeros(buffer.num_lanes, bool)
        self.first = np.zeros(0, np.uint64)  # handles of rows that get ever older

    def twin(self, buffer):
        """One of another buffer that goes on as this one does."""
        random = np.random.default_rng()
        random.bit_generator.state = self.random.bit_generator.state
        life = Life(buffer, random)
        life.ended, life.first = self.ended.copy(), self.first
        return life

    def add(self, num_steps):
        buffer, random = self.buffer, self.random
        next_step = buffer._options["next_step_autoreset"]
        leading = (num_steps, buffer.num_lanes)
        rows, finals = {}, {}
        for leaf in buffer._leaves:
            for into in (rows, finals)[: 1 + (leaf.is_observation and not next_step)]:
                level = into
                for part in leaf.path[:-1]:
                    level = level.setdefault(part, {})
                level[leaf.path[-1]] = values_of(leaf, random, leading)
        terminated, truncated = random.random((2, *leading)) < 0.08
        if next_step:  # the row after an end is the final observation
            for step in range(num_steps):
                terminated[step, self.ended] = truncated[step, self.ended] = False
                self.ended = terminated[step] | truncated[step]
        else:
            rows["final_observations"] = finals.get("observations")
        has_some = any(not isinstance(one, Uniform) for one in buffer.samplers.values())
        priorities = random.random(leading) if random.random() < 0.3 and has_some else None
        return buffer.add(**rows, terminated=terminated, truncated=truncated, priorities=priorities)

    def step(self):
        """Adds, draws, values and evicts; what was drawn."""
        buffer, random = self.buffer, self.random
        handles = self.add(int(random.integers(1, 6)))
        drawn = [handles]
        if not len(self.first):
            self.first = handles[0]
        n = min(16, buffer.num_drawable)
        for name, sampler in buffer.samplers.items() if n else ():
            if isinstance(sampler, Marked):
                some = buffer.handles()[::5]
                buffer.update_priorities(some, np.ones(len(some)), sampler=name)
            batch = buffer.sample(n, sampler=name)
            drawn.append({key: batch[key] for key in batch})
            if not isinstance(sampler, Uniform):
                handles_of_all_ages = np.concatenate([batch.handles, self.first])
                priorities = random.random(len(handles_of_all_ages))
                buffer.update_priorities(handles_of_all_ages, priorities, sampler=name)
        if random.random() < 0.3:
            buffer.evict(handles[-1])  # those that wait for their next observation
        if random.random() < 0.2:
            buffer.evict(buffer.handles()[:3])
        return drawn

    def live(self, num_steps):
        return [self.step() for _ in range(num_steps)]


def assert_equal_buffers(a, b):
    for name in (
        *("capacity", "num_lanes", "n_step", "gamma", "samplers", "field_names", "num_drawable"),
        *("num_added", "num_sampled", "refused_updates"),
    ):
        assert getattr(a, name) == getattr(b, name)
    assert len(a) == len(b)
    np.testing.assert_array_equal(a.handles(), b.handles())


def made(kind="samplers", *, capacity=120, num_lanes=3, seed=5, **options):
    buffer = ReplayBuffer(capacity, num_lanes=num_lanes, seed=seed, **KINDS[kind], **options)
    return Life(buffer, np.random.default_rng(seed))


@contextmanager
def running(write, arguments):
    """Threads that call write(stop, argument) until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=write, args=(stop, one), daemon=True) for one in arguments]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


class Counter:
    """The smallest object that has a state."""

    def __init__(self, **state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state
