"""What training loops rely on in a vectorized environment."""

from typing import Final

RULES: Final[dict[str, str]] = {
    "metadata": 'metadata["autoreset_mode"] is an AutoresetMode, num_envs at least 1',
    "spaces": "the batched spaces are those of one environment, batched",
    "returns": "reset returns 2 parts, step 5, the last of them infos, a dict",
    "observations": "observations have the space's structure, shapes, dtypes and bounds",
    "rewards": "rewards are an array of floats, [B]",
    "flags": "terminated and truncated are arrays of bool, [B]",
    "info_masks": "each info has a mask _key of bool, [B], and arrays of B rows",
    "fresh_infos": "infos are another dict at each step",
    "held_arrays": "an array that was returned never changes afterwards",
    "given_arrays": "actions, seeds and masks of the caller are not written to",
    "caller_may_write": "what the caller writes into returned arrays changes nothing",
    "same_seed": "the same seed and actions give the same rollout",
    "other_seed": "another seed, or a reset without one, gives another rollout",
    "seed_list": "a seed for each environment, None leaves its stream alone",
    "reset_mask": 'options["reset_mask"] resets these environments and leaves the others alone',
    "reset_clears": "an environment that ended and is reset by mask takes the next action",
    "options_unchanged": "reset does not change the dict of options that it is given",
    "next_step": "NEXT_STEP: the step after an end ignores the action, has reward 0 and no flags",
    "same_step": "SAME_STEP: final_obs and final_info with masks, exactly where an episode ended",
    "disabled": "DISABLED: an environment that ended is not reset by another step",
    "np_random": "np_random and np_random_seed follow the seed of the last reset",
    "render": "render returns a frame for each environment",
    "close": "close may be called twice",
}
