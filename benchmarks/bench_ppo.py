"""PPO through the engine: do its presets solve three environments, how fast, and where time goes.

Each run trains `fastrl.recipes.ppo` with the preset of its environment, and evaluates every few
updates on 500 fresh episodes with the most likely actions. What counts is the evaluation after the
last update. The environments' share is the time inside `step_into` over that of rollouts and
learning together; evaluations are in neither.

    python benchmarks/bench_ppo.py

Results are kept as kept_runs.py says, in results/bench_ppo.jsonl.
"""

from functools import partial

import preset_runs
from fastrl.recipes.ppo import PPO, PPOConfig

LARGEST_SHARE = 0.05
TASK = partial(preset_runs.Task, PPO, PPOConfig, options={"eval_episodes": 500})
# Mean returns to reach. The best policy of Taxi has 7.93 over all starts, below the 8 that
# Gymnasium asks for; 7.7 is two standard errors of 500 episodes less.
TASKS = {
    env: TASK(env, target)
    for env, target in (("CartPole-v1", 500.0), ("Acrobot-v1", -100.0), ("Taxi-v3", 7.7))
}


def share(rows):
    most = max(row["env_share"] for row in rows)
    return ["", f"Environments' share: at most {most:.2%}, bar {LARGEST_SHARE:.0%}."]


if __name__ == "__main__":
    about = __doc__.partition("\n")[0]
    preset_runs.main("bench_ppo", "PPO", about, TASKS, seeds=5, share=50, notes=share)
