"""Every environment in each of its precisions, started; every autoreset mode."""

import fastrl
from fastrl import _core
from fastrl.envs import environment_ids

B = 4
MODES = ("next_step", "same_step", "disabled")
FORMS = [
    (name, precision)
    for name in environment_ids()
    for precision in (("exact", "fast") if _core.has_fast_form(name) else ("exact",))
]


def started(name, precision="exact", **options):
    env = fastrl.make_vec(name, B, precision=precision, history=2, **options)
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    return env
