"""Tables of steps: throughput against other libraries, latency, competing processes, objects."""

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import env_rivals
import fastrl
import gymnasium
import numpy as np
from harness import Provider, judge, measure, report, resident, say, speedup
from numpy.testing import assert_allclose, assert_array_equal
from rivals import MissingError

BLOCK = 0.002  # seconds
SERIES = 16  # steps of random actions that go round; as few as stay in the cache, like a policy's
UNROLLED = 32
CHECKED = 8  # environments that the gate follows
FOLLOWED = 40  # for so many steps
BUSY_BLOCK = 0.05  # some time slices of the scheduler

CLASSIC = (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
)
ENVIRONMENTS = (*CLASSIC, "FrozenLake-v1")
# Steps a second through `step`, and times as fast as a rival; of CartPole at the largest size.
CARTPOLE_BARS = {"fast": 200e6, "exact": 40e6}
CARTPOLE_RATIOS = {"PufferLib": 5, "vector": 8, "gymnax": 12, "EnvPool": 150}
OTHER_RATIOS = {"EnvPool": 50, "gymnax": 5}


def made(name: str, num_envs: int, precision: str = "exact", **options):
    env = fastrl.make_vec(name, num_envs, precision=precision, **options)
    env.reset(seed=0)
    return env


def precisions(name: str) -> tuple[str, ...]:
    return ("fast", "exact") if name in CLASSIC else ("exact",)


def series(env, steps: int = SERIES) -> np.ndarray:
    env.action_space.seed(0)
    return np.stack([env.action_space.sample() for _ in range(steps)])


def follows_gymnasium(name: str, precision: str) -> None:
    """Raises AssertionError unless steps lead where Gymnasium's do."""
    env, theirs = made(name, CHECKED, precision), env_rivals.reference(name, CHECKED)
    theirs.reset(seed=0)
    actions = series(env, FOLLOWED)
    if precision == "exact":
        for action in actions:
            for mine, other in zip(env.step(action)[:4], theirs.step(action)[:4], strict=True):
                assert_array_equal(mine, other)
        return
    shown = env.reset(seed=0)[0]
    for action in actions:
        before = shown.copy()
        shown, rewards, terminated, *_ = env.step(action)
        for i in np.flatnonzero(env._ring.last.stepped):
            one = theirs.envs[i]
            one.reset()
            one.unwrapped.state = env_rivals.gymnasium_state(name, before[i])
            if name.startswith("Mountain"):
                one.unwrapped.state = before[i].astype(np.float64)
            want, reward, ended, *_ = one.step(action[i])
            assert_allclose(shown[i], want, atol=2e-4)
            assert_allclose(rewards[i], reward, atol=2e-3)
            assert terminated[i] == ended


def output_rows(env) -> dict[str, np.ndarray]:
    """Arrays for `step_into`."""
    space = env.observation_space
    return {
        "observations": np.zeros(space.shape, space.dtype),
        "rewards": np.zeros(env.num_envs),
        "terminated": np.zeros(env.num_envs, np.bool_),
        "truncated": np.zeros(env.num_envs, np.bool_),
    }


def ways(name: str, num_envs: int, precision: str) -> list[tuple[str, Callable[[int], object]]]:
    """Three ways to step, as functions of the number of the step."""
    env = made(name, num_envs, precision)
    actions = series(env)
    repeated = np.resize(actions, (UNROLLED, *actions.shape[1:]))
    into = made(name, num_envs, precision)
    rows = output_rows(into)
    unrolled = made(name, num_envs, precision)
    return [
        ("step", lambda t: env.step(actions[t % SERIES])),
        ("step_into", lambda t: (into.step_into(actions[t % SERIES], **rows), rows)[1]),
        ("unroll", lambda t: unrolled.unroll(repeated)),
    ]


def agree(name: str, num_envs: int, precision: str) -> None:
    """Raises AssertionError unless all ways of stepping give the same numbers."""
    (_, step), (_, step_into), (_, unroll) = ways(name, num_envs, precision)
    unrolled = unroll(0)
    for t in range(UNROLLED):
        observations, rewards, *_ = step(t)
        rows = step_into(t)
        for other in (rows["observations"], unrolled.observations[t]):
            assert_array_equal(other, observations)
        for other in (rows["rewards"], unrolled.rewards[t]):
            assert_array_equal(other, rewards)


def counting(run: Callable[[int], object]) -> Callable[[], object]:
    """Calls `run` with the number of the call."""
    counter = iter(range(sys.maxsize))
    return lambda: run(next(counter))


def bench_throughput(arguments) -> None:
    """Steps a second of whole batches, ours and others', in turns."""
    makers = (
        env_rivals.envpool,
        env_rivals.gymnasium_sync,
        env_rivals.gymnasium_vector,
        env_rivals.gymnax,
        env_rivals.pufferlib(arguments.pufferlib),
    )
    missing = []
    for name in arguments.envs:
        for num_envs in arguments.sizes:
            ours, rivals = [], []
            for precision in precisions(name):

                def check(precision=precision, name=name):
                    follows_gymnasium(name, precision)
                    agree(name, 70, precision)

                for way, run in ways(name, num_envs, precision):
                    items = num_envs * (UNROLLED if way == "unroll" else 1)
                    bar = None
                    if name == "CartPole-v1" and num_envs == 8192 and way == "step":
                        bar = CARTPOLE_BARS[precision]
                    ours.append(
                        Provider(
                            f"fastrl {precision}, {way}",
                            run=counting(run),
                            block=BLOCK,
                            items=items,
                            bar=bar,
                            check=check,
                        )
                    )
            actions = series(made(name, num_envs))
            for make in makers:
                try:
                    label, run = make(name, num_envs, actions, arguments.threads)
                except MissingError as reason:
                    missing.append(str(reason))
                    continue
                rivals.append(Provider(label, run=counting(run), block=BLOCK, items=num_envs))
            title = f"{name}, B = {num_envs:,}, steps"
            measure(ours + rivals, seconds=arguments.seconds, rest=arguments.rest)
            report(title, ours + rivals, json_path=arguments.json)
            judge(arguments, title, throughput_claims(name, num_envs, ours, rivals))
    print("\nNot compared:")
    for reason in dict.fromkeys(missing):
        print(f"  {reason}")


def throughput_claims(name, num_envs, ours, rivals):
    """The best of our forms through `step` against each rival, by step."""
    best = ours[0]
    if best.wrong:
        return
    is_cartpole = name == "CartPole-v1"
    ratios = CARTPOLE_RATIOS if is_cartpole else OTHER_RATIOS
    for rival in rivals:
        for key, bar in ratios.items():
            if key in rival.name:
                at_bar = num_envs == 8192 or not is_cartpole
                yield best.name, rival.name, speedup(best, rival), bar if at_bar else 0


def in_turn(step: Callable[[object], object], actions) -> Callable[[], None]:
    """One step with each of `actions`."""
    ready = list(actions)

    def run():
        for action in ready:
            step(action)

    return run


def into_in_turn(env, actions) -> Callable[[], None]:
    """One `step_into` with each of `actions`, written out: unpacking a dict costs as much."""
    ready, step_into = list(actions), env.step_into
    observations, rewards, terminated, truncated = output_rows(env).values()

    def run():
        for action in ready:
            step_into(
                action,
                observations=observations,
                rewards=rewards,
                terminated=terminated,
                truncated=truncated,
            )

    return run


def bench_latency(arguments) -> None:
    """What one call costs where there is little to do."""
    name = "CartPole-v1"
    for num_envs, bars in ((1, {"step": 1, "step_into": 0.5}), (64, {"step": 2, "step_into": 2})):
        actions = series(made(name, num_envs))
        providers = []
        for precision in ("fast", "exact"):
            env, into = made(name, num_envs, precision), made(name, num_envs, precision)
            runs = {"step": in_turn(env.step, actions), "step_into": into_in_turn(into, actions)}
            for way, run in runs.items():

                def check(precision=precision):
                    follows_gymnasium(name, precision)

                providers.append(
                    Provider(
                        f"fastrl {precision}, {way}",
                        run=run,
                        loops=SERIES,
                        block=BLOCK,
                        bar=bars[way],
                        check=check,
                    )
                )
        if num_envs == 1:
            providers.append(single_gymnasium(actions[:, 0].tolist()))
        try:
            label, run = env_rivals.envpool(name, num_envs, actions, 1)
            rival = in_turn(run, range(SERIES))
            providers.append(Provider(label, run=rival, loops=SERIES, block=BLOCK))
        except MissingError as reason:
            print(f"\nNot compared: {reason}")
        measure(providers, seconds=arguments.seconds, rest=arguments.rest)
        report(f"{name}, one call of B = {num_envs}", providers, json_path=arguments.json)


def single_gymnasium(actions) -> Provider:
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=0)

    def step(action):
        result = env.step(action)
        if result[2] or result[3]:
            env.reset()

    run = in_turn(step, actions)
    return Provider("Gymnasium, one environment", run=run, loops=SERIES, block=BLOCK)


def bench_busy(arguments) -> None:
    """The rate beside two processes that never rest, as a share of the rate without them."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]

    def send(number):
        for other in others:
            other.send_signal(number)
        time.sleep(0.01)

    try:
        providers = []
        for precision in ("fast", "exact"):
            env = made("CartPole-v1", 8192, precision)
            actions = series(env)
            for label, number in (("alone", signal.SIGSTOP), ("beside two", signal.SIGCONT)):
                providers.append(
                    Provider(
                        f"{precision}, {label}",
                        run=counting(lambda t, env=env, rows=actions: env.step(rows[t % SERIES])),
                        prepare=lambda number=number: send(number),
                        block=BUSY_BLOCK,
                        items=8192,
                        check=lambda precision=precision: follows_gymnasium(
                            "CartPole-v1", precision
                        ),
                    )
                )
        measure(providers, seconds=arguments.seconds, rest=arguments.rest)
    finally:
        for other in others:
            other.kill()
            other.wait()
    title = "CartPole-v1, B = 8,192, beside two busy processes"
    report(title, providers, json_path=arguments.json)
    pairs = ((providers[0], providers[1]), (providers[2], providers[3]))
    judge(
        arguments,
        title,
        [(busy.name, idle.name, speedup(busy, idle), 0.3) for idle, busy in pairs],
    )


def new_objects(step: Callable[[], object]) -> tuple[int, int]:
    """Python objects in a step's result that the one before did not have, and blocks it took."""

    def reachable(result):
        found = {}
        waiting = [result]
        while waiting:
            value = waiting.pop()
            if id(value) not in found and isinstance(value, tuple | dict | list | np.ndarray):
                found[id(value)] = value
                waiting += gc.get_referents(value)
        return found

    for _ in range(10):
        step()
    # Results that are still held show which objects of the next are new; arrays take turns.
    seen = {}
    for _ in range(8):
        result = step()
        seen |= {key: None for key, value in reachable(result).items() if value is not result}
        del result
    drained = [tuple([i] * 5) for i in range(4000)], [{"a": i} for i in range(200)]
    gc.collect()
    gc.disable()
    before = sys.getallocatedblocks()
    result = step()
    blocks = sys.getallocatedblocks() - before
    gc.enable()
    arrays = [value for value in reachable(result).values() if isinstance(value, np.ndarray)]
    containers = [v for v in reachable(result).values() if isinstance(v, tuple | dict | list)]
    fresh = sum(id(array) not in seen for array in arrays)
    del drained
    return len(containers) + fresh, blocks


def bench_objects(arguments) -> None:
    """Objects that a step makes while nobody keeps its arrays."""
    print("\nPython objects and blocks of memory that one step makes, B = 64")
    for name in (*ENVIRONMENTS, "Taxi-v4", "Sokoban-v0"):
        env = made(name, 64)
        action = series(env, 1)[0]
        objects, blocks = new_objects(lambda env=env, action=action: env.step(action))
        rss = resident()
        for _ in range(2000):
            env.step(action)
        grown = resident() - rss
        verdict = "ok" if objects <= 3 else "missed"
        facts = {"objects": objects, "blocks": blocks, "bar": "≤ 3", "verdict": verdict}
        text = f"{name:26} {objects} objects, {blocks} blocks, bar ≤ 3: {verdict}"
        say(arguments, "objects a step", f"{text}; {grown} bytes kept", provider=name, **facts)
