"""DQN, SAC and DQN with hindsight by their presets: do they solve their environments, how soon.

Each run trains a recipe with the preset of its environment until an evaluation, 100 fresh episodes
with the preferred actions, reaches the target. BitFlip has 15 bits; without hindsight it trains for
its whole budget.

    python benchmarks/bench_off_policy.py

Results are kept as kept_runs.py says, in results/bench_off_policy.jsonl.
"""

import preset_runs
from fastrl.recipes import (
    DQN,
    DQNConfig,
    HindsightDQN,
    HindsightDQNConfig,
    SACDiscrete,
    SACDiscreteConfig,
)
from preset_runs import Task

BITS = {"env_options": {"num_bits": 15}, "target_success": 1.0}
HINDSIGHT = (HindsightDQN, HindsightDQNConfig, "BitFlip-v0", 1.0)
POLE, ACROBOT = {"target_return": 500.0}, {"target_return": -100.0}
TASKS = {
    "DQN, CartPole": Task(DQN, DQNConfig, "CartPole-v1", 500.0, POLE),
    "DQN, Acrobot": Task(DQN, DQNConfig, "Acrobot-v1", -100.0, ACROBOT),
    "SAC, Acrobot": Task(SACDiscrete, SACDiscreteConfig, "Acrobot-v1", -100.0, ACROBOT),
    "DQN + HER, BitFlip 15": Task(*HINDSIGHT, BITS),
    "DQN, BitFlip 15": Task(*HINDSIGHT, BITS | {"num_goals": 0}),
}

if __name__ == "__main__":
    about = __doc__.partition("\n")[0]
    preset_runs.main("bench_off_policy", "DQN and SAC", about, TASKS, seeds=3, share=20)
