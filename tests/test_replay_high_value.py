"""The best episodes are marked, whatever is added, overwritten or evicted."""

import math

import numpy as np
import pytest
from fastrl.replay import (
    HighValueIndex,
    Marked,
    MixReplay,
    Prioritized,
    ReplayBuffer,
    Uniform,
    load_states,
    save_states,
)

FIELDS = {
    "observations": ((1,), "float32"),
    "rewards": ((), "float32"),
    "info": {"won": ((), "bool")},
}
SAMPLERS = {"per": Prioritized(), "best": Marked(), "all": Uniform()}


class Lived:
    """A buffer, and a plain list of all that was ever added to it."""

    def __init__(self, seed=0, num_lanes=2, capacity=60, whole_rewards=False):
        self.random = np.random.default_rng(seed)
        self.buffer = ReplayBuffer(capacity, FIELDS, num_lanes=num_lanes, sampler=SAMPLERS)
        self.rows = [[] for _ in range(num_lanes)]  # (episode, reward, won, is_final, handle)
        self.episodes = [1] * num_lanes
        self.evicted = set()
        self.found = []  # (lane, episode), in the order in which updates found them
        self.passed = set()
        self.whole_rewards = whole_rewards

    def oldest(self, lane):
        return max(0, len(self.rows[lane]) - self.buffer.capacity // len(self.rows))

    def add(self, steps):
        lanes = len(self.rows)
        for _ in range(steps):
            rewards = self.random.normal(size=lanes).astype(np.float32)
            if self.whole_rewards:
                rewards = np.sign(rewards)
            won = self.random.random(lanes) < 0.1
            ends = self.random.random((2, lanes)) < 0.1
            handles = self.buffer.add(
                observations=np.zeros((lanes, 1), np.float32),
                rewards=rewards,
                info={"won": won},
                terminated=ends[0],
                truncated=ends[1],
                final_observations=np.zeros((lanes, 1), np.float32),
                priorities=self.random.random(lanes),
            )
            for lane in range(lanes):
                step = self.episodes[lane], float(rewards[lane]), won[lane], False, handles[lane]
                self.rows[lane].append(step)
                if ends[:, lane].any():
                    self.rows[lane].append((self.episodes[lane], 0.0, False, True, None))
                    self.episodes[lane] += 1

    def evict(self):
        handles = self.buffer.handles()
        mask = self.random.random(len(handles)) < 0.1
        self.buffer.evict(mask)
        self.evicted |= set(handles[mask].tolist())

    def of(self, lane, episode):
        return [(row, one) for row, one in enumerate(self.rows[lane]) if one[0] == episode]

    def look(self):
        """What an update finds."""
        for lane, rows in enumerate(self.rows):
            for episode in sorted({one[0] for one in rows if one[3]}):
                key = lane, episode
                if key in self.passed:
                    continue
                self.passed.add(key)
                if self.of(lane, episode)[0][0] >= self.oldest(lane):
                    self.found.append(key)
        self.found = [
            (lane, episode)
            for lane, episode in self.found
            if self.of(lane, episode)[-2][0] >= self.oldest(lane)
        ]

    def best(self, top, at_least, score):
        """Handles that must be marked, and the episodes' scores."""
        scored = [
            (score([one for _, one in self.of(*key)[:-1]]), age, key)
            for age, key in enumerate(self.found)
        ]
        eligible = sorted((one for one in scored if one[0] >= at_least), reverse=True)
        chosen = eligible[: math.ceil(round(top * len(scored), 9))]
        handles = {
            int(one[4])
            for _, _, (lane, episode) in chosen
            for row, one in self.of(lane, episode)[:-1]
            if row >= self.oldest(lane) and int(one[4]) not in self.evicted
        }
        return handles, [one[0] for one in chosen]


def marked(buffer):
    handles = buffer.handles()
    if buffer.num_drawable_by("best") == 0:
        return set()
    drawn = set(buffer.sample(40 * len(handles), sampler="best").handles.tolist())
    assert len(drawn) == buffer.num_drawable_by("best")
    return drawn


def total(steps):
    return float(np.sum([np.float64(one[1]) for one in steps]))


def won(steps):
    return float(any(one[2] for one in steps))


OPTIONS = {
    "top": ({"top": 0.3}, 0.3, -math.inf, total),
    "all that reach": ({"at_least": 0.5}, 1.0, 0.5, total),
    "both": ({"top": 0.5, "at_least": 0.5}, 0.5, 0.5, total),
    "a field": (
        {"at_least": 1, "score": "info/won"},
        1.0,
        1.0,
        lambda s: float(sum(r[2] for r in s)),
    ),
    "a function": (
        {
            "top": 0.2,
            "score": lambda fields, starts: np.maximum.reduceat(fields["info"]["won"], starts),
            "names": ["info/won"],
        },
        0.2,
        -math.inf,
        won,
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_are_marked_whatever_happens(name, seed):
    options, top, at_least, score = OPTIONS[name]
    lived = Lived(seed, whole_rewards=seed == 1)
    best = HighValueIndex(lived.buffer, "best", **options)
    for turn in range(40):
        lived.add(int(lived.random.choice([1, 4, 12, 40], p=[0.4, 0.3, 0.2, 0.1])))
        if turn % 5 == 4:
            lived.evict()
        lived.look()
        count = best.update()
        handles, scores = lived.best(top, at_least, score)
        assert best.num_episodes == len(lived.found)
        assert count == len(best) == len(scores)
        np.testing.assert_allclose(best.episodes().scores, scores, atol=1e-12)
        assert marked(lived.buffer) == handles
        # Overwriting and eviction take marks away by themselves.
        if turn % 7 == 6:
            lived.add(9)
            lived.evict()
            left = handles - lived.evicted
            assert marked(lived.buffer) == left & set(lived.buffer.handles().tolist())
    assert len(best._best) + len(best._others) < 4 * 60 + 200
    if options.get("top") and not options.get("at_least"):
        assert len(scores) > 0


def test_state_goes_on_where_scores_cannot_be_found_out_again(tmp_path):
    lived, other = Lived(3), Lived(3)
    first = HighValueIndex(lived.buffer, "best", top=0.4)
    for _ in range(30):
        for one in (lived, other):
            one.add(4)
        first.update()
    save_states(tmp_path, {"best": first})
    again = HighValueIndex(other.buffer, "best", top=0.4)
    assert again.update() <= len(first)
    load_states(tmp_path, {"best": again})
    assert marked(other.buffer) == marked(lived.buffer)
    for _ in range(10):
        for one, best in ((lived, first), (other, again)):
            one.add(5)
            best.update()
        assert marked(other.buffer) == marked(lived.buffer)
        for values, others in zip(first.episodes(), again.episodes(), strict=True):
            np.testing.assert_array_equal(values, others)


def test_exact_shares_of_the_best_and_of_all():
    lived = Lived(5)
    best = HighValueIndex(lived.buffer, "best", top=0.2)
    mix = MixReplay(
        {"all": lived.buffer, "best": lived.buffer},
        {"all": 0.75, "best": 0.25},
        samplers={"best": "best"},
        skip_empty=True,
    )
    lived.add(3)
    assert set(mix.sample(20).sources) == {0}
    lived.add(60)
    assert best.update() > 0
    batch = mix.sample(200)
    mine = batch.sources == 1
    assert mine.sum() == 50
    assert set(batch.handles[mine].tolist()) <= marked(lived.buffer)
    assert (batch.importance_weights[mine] == 1).all()
    np.testing.assert_allclose(
        batch.probabilities[mine], 0.25 / lived.buffer.num_drawable_by("best"), rtol=1e-12
    )
    # Priorities of both go to the buffer's first sampler, and marks stay.
    before = marked(lived.buffer)
    applied = mix.update_priorities(batch.handles, np.arange(200.0) + 1, batch.sources)
    assert applied == 200
    last = {int(handle): value for handle, value in zip(batch.handles, range(1, 201), strict=True)}
    handles = np.array(list(last), np.uint64)
    values = lived.buffer.priorities(handles, sampler="per")
    np.testing.assert_allclose(values, list(last.values()), rtol=1e-6)
    assert marked(lived.buffer) == before


def test_marks_are_a_samplers_own():
    buffer = ReplayBuffer(30, FIELDS, sampler=SAMPLERS)
    no = np.zeros(1, bool)

    def add(count):
        return [
            int(
                buffer.add(
                    observations=np.zeros((1, 1)),
                    rewards=np.zeros(1),
                    info={"won": no},
                    terminated=no,
                    truncated=no,
                    priorities=np.ones(1),
                )[0]
            )
            for _ in range(count)
        ]

    handles = np.array(add(10), np.uint64)
    assert buffer.num_drawable_by("best") == 0
    with pytest.raises(ValueError, match="sample: no transition is marked"):
        buffer.sample(1, sampler="best")
    # The newest row can be marked before it can be drawn.
    assert buffer.update_priorities(handles[[2, 9]], np.array([0.25, 9]), sampler="best") == 2
    assert buffer.num_drawable_by("best") == 1
    add(1)
    assert marked(buffer) == set(handles[[2, 9]].tolist())
    batch = buffer.sample(1000, sampler="best")
    assert (batch.probabilities == 0.5).all()
    assert (batch.importance_weights == 1).all()
    assert buffer.update_priorities(handles[2:3], np.zeros(1), sampler="best") == 1
    assert marked(buffer) == {int(handles[9])}
    add(40)
    assert buffer.num_drawable_by("best") == 0
    assert buffer.samplers["best"] == Marked()
    assert buffer.sample_sequences(3, 4, sampler="all").validity_mask.all()


def test_wrong_arguments():
    lived = Lived()
    buffer = lived.buffer
    wrong = [
        ((3, "best"), {"top": 0.1}, TypeError, "`buffer` must be a ReplayBuffer, got int"),
        ((buffer, "x"), {"top": 0.1}, ValueError, "`sampler` must be one of 'per', 'best', 'all'"),
        ((buffer, "all"), {"top": 0.1}, ValueError, "`sampler` must be a Marked one, got Uniform"),
        ((buffer, "best"), {}, ValueError, "`top` must be given, or `at_least`, got neither"),
        ((buffer, "best"), {"top": 0.0}, ValueError, r"`top` must be in \(0, 1\], got 0.0"),
        ((buffer, "best"), {"at_least": np.nan}, ValueError, "`at_least` must be finite, got nan"),
        ((buffer, "best"), {"top": 1, "score": "x"}, ValueError, "`score` must be one of 'info/"),
        (
            (buffer, "best"),
            {"top": 1, "score": "observations"},
            ValueError,
            r"`score` must be a field of shape \(\), got \[1\]",
        ),
        ((buffer, "best"), {"top": 1, "score": len}, ValueError, "`names` must be a list of names"),
        (
            (buffer, "best"),
            {"top": 1, "names": ["rewards"]},
            ValueError,
            "`names` must be None, but with a function as `score`",
        ),
    ]
    for positional, options, error, message in wrong:
        with pytest.raises(error, match=f"HighValueIndex: {message}"):
            HighValueIndex(*positional, **options)
    lived.add(60)

    def scored(value):
        options = {"score": lambda fields, starts: value, "names": ["rewards"], "top": 0.5}
        return HighValueIndex(buffer, "best", **options)

    with pytest.raises(ValueError, match=r"`score` must return real numbers, \[E\] = "):
        scored(np.zeros(99)).update()
    options = {"names": ["rewards"], "top": 0.5}
    nans = HighValueIndex(buffer, "best", score=lambda fields, starts: starts * np.nan, **options)
    with pytest.raises(ValueError, match="`score` must return finite numbers, got nan"):
        nans.update()
    best = HighValueIndex(buffer, "best", top=0.5)
    best.update()
    state = best.state_dict()
    before = marked(buffer)
    with pytest.raises(ValueError, match="load_state_dict: `state` must have "):
        best.load_state_dict({"lanes": state["lanes"]})
    with pytest.raises(
        ValueError, match=r"load_state_dict: `state` must have \[n\] values of each"
    ):
        best.load_state_dict(state | {"scores": state["scores"][1:]})
    with pytest.raises(
        ValueError, match="load_state_dict: `state` must be of a buffer with 2 lanes"
    ):
        best.load_state_dict(state | {"after": np.zeros(3, np.int64)})
    assert marked(buffer) == before
    with pytest.raises(ValueError, match=r"MixReplay: `samplers\['a'\]` must be one of 'per'"):
        MixReplay({"a": buffer}, samplers={"a": "x"})
    with pytest.raises(
        ValueError, match=r"MixReplay: `samplers` must be a dict of some of \['a'\]"
    ):
        MixReplay({"a": buffer}, samplers={"b": "best"})
