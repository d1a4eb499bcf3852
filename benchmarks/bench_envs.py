"""How fast the environments step, next to others' and alone, and what they do with time and text.

    python benchmarks/bench_envs.py --pufferlib pufferlib-3.0.0

EnvPool, Gymnasium and gymnax are compared where they can be imported, PufferLib's C CartPole where
its unpacked source distribution is named; who is missing is said. "native" is the call into the
compiled core with arguments at hand, everything else the public method. Each timing is a block of
repeated calls, so caches are warm, but for a rewind, which is timed once after each replay. The
bars are those that the project has set itself, for a machine with nothing else to do.
"""

import argparse
from pathlib import Path

import env_steps
import fastrl
import numpy as np
from fastrl.envs import Snapshot, VectorEnv
from harness import Provider, judge, measure, parse, report, speedup
from numpy.testing import assert_array_equal

BLOCK = 0.002  # seconds
TURNS = 20  # that a retry would have to replay
SIZES = (1, 64, 1024, 8192)
LEVELS = ((6, 1), (6, 2), (8, 2), (10, 4))  # Sokoban: side, boxes
SOLVED = 16
CHECKED = 16  # environments of a batch that the gate looks at


def show(arguments, title, providers, **columns):
    measure(providers, seconds=arguments.seconds, rest=arguments.rest)
    report(title, providers, json_path=arguments.json, **columns)


def sokoban(num_envs: int, *, size=6, num_boxes=2, **options) -> VectorEnv:
    env = fastrl.make_vec("Sokoban-v0", num_envs, size=size, num_boxes=num_boxes, **options)
    env.reset(seed=0)
    return env


def bench_time(arguments):
    """Restore, snapshot and branch, against a replay of the same turns."""
    num_envs = 1024
    env = sokoban(num_envs, num_levels=1000)
    turns = np.random.default_rng(0).integers(0, env.num_actions, (TURNS, num_envs))

    def replay():
        env.reset(seed=0)
        for actions in turns:
            env.step(actions)

    replay()
    saved, hashes = env.snapshot(), env.state_hash()
    data = saved.tobytes()
    sixty_four = np.arange(1, 65, dtype=np.int64)
    native = env._native

    def native_restore(mode):
        return lambda: native.restore(saved._native, None, mode)

    def row(name, run, check, **limits):
        return Provider(name, run=run, block=BLOCK, check=check, **limits)

    def leads_back(name, run, **limits):
        def check():
            env.reset(seed=1)
            run()
            assert_array_equal(env.state_hash(), hashes)

        return row(name, run, check, **limits)

    def branches(name, run, **limits):
        def check():
            env.restore(saved)
            run()
            assert_array_equal(env.state_hash(), np.r_[hashes[:1].repeat(65), hashes[65:]])

        return row(name, run, check, **limits)

    def gives(name, run, what, want):
        def check():
            env.restore(saved)
            assert_array_equal(what(run()), want)

        return row(name, run, check)

    source, target = np.empty(len(data) // 8), np.empty(len(data) // 8)
    traffic = 2 * len(data)
    providers = [
        leads_back(f'restore, rng="{rng}", native', native_restore(mode), bar=20)
        for mode, rng in enumerate(("restore", "keep", "fork"))
    ]
    for provider in providers:
        provider.bytes_moved = traffic
    providers += [
        leads_back("restore", lambda: env.restore(saved)),
        gives("snapshot", env.snapshot, Snapshot.tobytes, data),
        leads_back("snapshot, restore", lambda: (env.snapshot(), env.restore(saved)), bar=20),
        branches("branch 1 → 64, native", lambda: native.branch(0, sixty_four, 2), bar=5),
        branches("branch 1 → 64", lambda: env.branch(0, sixty_four), bar=5),
        gives("state_hash", env.state_hash, np.asarray, hashes),
        gives("Snapshot.tobytes", saved.tobytes, bytes, data),
        gives("Snapshot.frombytes", lambda: Snapshot.frombytes(data), Snapshot.tobytes, data),
        leads_back("replay", replay),
        Provider("copy", lambda: np.copyto(target, source), block=BLOCK, bytes_moved=traffic),
    ]
    show(
        arguments,
        f"{num_envs:,} Sokoban at turn {TURNS}, {len(data) / 1024:.0f} KiB",
        providers,
        baseline="replay",
        copy="copy",
    )


def bench_rewind(arguments):
    """Back by so many turns, against a replay of them; and CartPole, whose states are small."""
    num_envs = 1024
    env = sokoban(num_envs, num_levels=1000, history=TURNS)
    turns = np.random.default_rng(0).integers(0, env.num_actions, (TURNS, num_envs))

    def play():
        for actions in turns:
            env.step(actions)

    def replay():
        env.reset(seed=0)
        play()

    def check():
        env.reset(seed=0)
        before = env.state_hash()
        play()
        env.rewind(TURNS)
        assert_array_equal(env.state_hash(), before)

    providers = [
        Provider(f"rewind by {TURNS}", run=lambda: env.rewind(TURNS), prepare=replay, check=check),
        Provider(f"replay of {TURNS}", run=replay),
    ]
    title = f"{num_envs:,} Sokoban, back by {TURNS} turns"
    show(arguments, title, providers, baseline=providers[1].name)
    ratio = speedup(*providers)
    judge(arguments, title, [(providers[0].name, providers[1].name, ratio, 100)])

    for precision in ("fast", "exact"):
        poles = env_steps.made("CartPole-v1", num_envs, precision)
        saved = poles.snapshot()

        def leads_back(poles=poles, saved=saved):
            before = poles.state_hash()
            poles.step(np.zeros(num_envs, int))
            poles.restore(saved)
            assert_array_equal(poles.state_hash(), before)

        show(
            arguments,
            f"{num_envs:,} CartPole, {precision}",
            [
                Provider(
                    "snapshot, restore",
                    run=lambda poles=poles, saved=saved: (poles.snapshot(), poles.restore(saved)),
                    block=BLOCK,
                    bar=20,
                    check=leads_back,
                )
            ],
        )


def assert_same_apart(env, apart, run, actions):
    """What a step of the batch does to its last environments is what it does to them elsewhere."""
    last = range(env.num_envs - apart.num_envs, env.num_envs)
    apart.restore(env.snapshot(last))
    run()
    apart.step(actions[last])
    assert_array_equal(env.state_hash(last), apart.state_hash())
    assert_array_equal(env.observe(last)[0], apart.observe()[0])
    assert env.render_text(last) == apart.render_text()


def bench_steps(arguments):
    """Steps that write tokens. Levels are kept; their generation has its own table."""
    random = np.random.default_rng(0)
    for name in ("CodeLock-v0", "FrozenLakeText-v0", "Sokoban-v0"):
        providers = []
        for num_envs in SIZES:
            apart = fastrl.make_vec(name, min(num_envs, CHECKED), num_levels=1000)
            env = fastrl.make_vec(name, num_envs, num_levels=1000)
            env.reset(seed=0)
            actions = random.integers(0, env.num_actions, num_envs)

            def run(env=env, actions=actions):
                return env.step(actions)

            def check(env=env, apart=apart, actions=actions, run=run):
                assert_same_apart(env, apart, run, actions)

            providers.append(
                Provider(f"B = {num_envs:,}", run=run, block=BLOCK, items=num_envs, check=check)
            )
        show(arguments, f"{name}, steps", providers)


def bench_text(arguments):
    """Sokoban as a language model plays it, and with a new level for every episode."""
    num_envs = 1024
    random = np.random.default_rng(0)
    env = sokoban(num_envs, num_levels=1000)
    fresh = sokoban(num_envs, max_episode_steps=20)
    actions = random.integers(0, env.num_actions, num_envs)
    texts = [f"<answer>{env.action_names[action]}</answer>" for action in actions]
    tokens, lengths = env.action_tokens[actions, None], np.ones(num_envs, np.int32)

    def step_in_text():
        env.step(env.parse_actions(texts)[0])
        return env.render_text()

    def row(name, env, run, bar=None, **options):
        apart = sokoban(CHECKED, **options)

        def check():
            assert_same_apart(env, apart, run, actions)

        return Provider(name, run=run, block=BLOCK, items=num_envs, bar=bar, check=check)

    kept = {"num_levels": 1000}
    providers = [
        row("parse, step, render as text", env, step_in_text, 500_000, **kept),
        row(
            "parse tokens, step",
            env,
            lambda: env.step(env.parse_action_tokens(tokens, lengths)),
            1_000_000,
            **kept,
        ),
        row("step", env, lambda: env.step(actions), **kept),
        row(
            "step, a level each episode",
            fresh,
            lambda: fresh.step(actions),
            max_episode_steps=20,
        ),
    ]
    show(arguments, f"Sokoban 6×6, 2 boxes, B = {num_envs:,}, steps", providers)


def bench_levels(arguments):
    """A reset of one environment makes one level, on one core; the solver uses all threads."""
    generators, solvers = [], []
    for size, num_boxes in LEVELS:
        name = f"{size}×{size}, {num_boxes} boxes"
        single = sokoban(1, size=size, num_boxes=num_boxes)

        def is_solvable(single=single):
            single.reset()
            assert single.solve(single.snapshot())[0] > 0, "a level without a solution"

        generators.append(
            Provider(
                name,
                run=single.reset,
                block=10 * BLOCK,
                items=1,
                bar=2000 if (size, num_boxes) == (6, 2) else None,
                check=is_solvable,
            )
        )
        env = sokoban(SOLVED, size=size, num_boxes=num_boxes)
        start = env.snapshot()

        def solve(env=env, start=start):
            return env.solve(start)

        def is_shorter_by_one(env=env, solve=solve):
            distances, first = solve()
            env.step(first)
            going = distances > 1
            assert going.any(), "nothing to solve"
            assert_array_equal(env.solve(env.snapshot())[0][going], distances[going] - 1)

        solvers.append(
            Provider(name, run=solve, block=BLOCK, items=SOLVED, check=is_shorter_by_one)
        )
    show(arguments, "Sokoban, levels made on one core", generators)
    show(arguments, f"Sokoban, {SOLVED} levels solved", solvers)


# Single calls first: minutes of load on all cores leave some machines slower for a while.
TABLES = {
    "latency": env_steps.bench_latency,
    "time": bench_time,
    "rewind": bench_rewind,
    "throughput": env_steps.bench_throughput,
    "busy": env_steps.bench_busy,
    "objects": env_steps.bench_objects,
    "steps": bench_steps,
    "text": bench_text,
    "levels": bench_levels,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument(
        "--envs", nargs="+", choices=env_steps.ENVIRONMENTS, default=env_steps.ENVIRONMENTS
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=(64, 1024, 8192), metavar="B")
    parser.add_argument("--pufferlib", type=Path, help="its unpacked source distribution")
    arguments = parse(parser, seconds=2.0, device=False)
    for table in arguments.tables:
        TABLES[table](arguments)


if __name__ == "__main__":
    main()
