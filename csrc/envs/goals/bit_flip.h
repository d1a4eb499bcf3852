// BitFlip: turn n bits, one a step, into the bits of the goal.
//
// Observation   dict of observation, achieved_goal (both the bits) and desired_goal, n bits each.
// Action        0, …, n - 1: the bit to flip.
// Reward        0 where the bits are those of the goal, else -1: the reward that plain exploration
//               finds for small n only and hindsight relabelling makes learnable.
// End           terminated at the goal unless `terminate_at_goal` is off; truncated after n steps.
// Level         start and goal, uniform over all pairs that differ.
//
// Andrychowicz et al., "Hindsight Experience Replay", 2017, section 3.1.
#pragma once

#include <cstdint>

#include "envs/bitboard.h"
#include "envs/bits.h"
#include "envs/environment.h"

namespace fastrl {

struct BitFlip {
  static constexpr const char* kId = "BitFlip-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kMaxBits = Bitboard::kCapacity;

  struct Params {
    int num_bits;
    bool terminate_at_goal;
  };

  struct State {
    Bitboard bits;
    Bitboard goal;
  };

  static Params parse(Options& options) {
    return {.num_bits = static_cast<int>(options.integer("num_bits", 10, 1, kMaxBits)),
            .terminate_at_goal = options.boolean("terminate_at_goal", true)};
  }

  static void describe(const Params& params, Description& description) {
    for (const char* key : {"observation", "achieved_goal", "desired_goal"}) {
      description.add_observation(key, multi_binary(params.num_bits));
    }
    description.set_action(discrete(params.num_bits));
    description.max_episode_steps = params.num_bits;
    description.reports_success = 1;
    description.goal_size = params.num_bits;
    description.add_label("goal");
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{.bits = draw(params, level), .goal = draw(params, level)};
    while (state.bits == state.goal) state.goal = draw(params, level);
    return state;
  }

  static StepResult step(const Params& params, State& state, int action) {
    state.bits.words[action >> 6] ^= std::uint64_t{1} << (action & 63);
    const bool success = state.bits == state.goal;
    return {.reward = success ? 0.0 : -1.0,
            .terminated = success && params.terminate_at_goal,
            .success = success};
  }

  static void observe(const Params& params, const State& state, const Rows& rows) {
    write_bits(state.bits, params.num_bits, rows.at<std::int8_t>(0));
    write_bits(state.bits, params.num_bits, rows.at<std::int8_t>(1));
    write_bits(state.goal, params.num_bits, rows.at<std::int8_t>(2));
  }

  static double goal_reward(const Params& params, const float* achieved, const float* desired) {
    for (int i = 0; i < params.num_bits; ++i) {
      if (achieved[i] != desired[i]) return -1.0;
    }
    return 0.0;
  }

  static Solution solve(const Params&, const State& state) {
    const Bitboard wrong{
        {state.bits.words[0] ^ state.goal.words[0], state.bits.words[1] ^ state.goal.words[1]}};
    Solution solution{.distance = wrong.count()};
    wrong.for_each([&](int bit) {
      if (solution.first_action < 0) solution.first_action = bit;
    });
    return solution;
  }

  static std::uint64_t labels(const Params&, const State& state) {
    return state.bits == state.goal ? 1 : 0;
  }

  static bool valid(const Params& params, const State& state, bool running) {
    const Bitboard all = all_bits(params.num_bits);
    const bool ended = params.terminate_at_goal && state.bits == state.goal;
    return state.bits.within(all) && state.goal.within(all) && !(running && ended);
  }

 private:
  static Bitboard draw(const Params& params, RandomStream& level) {
    Bitboard bits;
    for (int first = 0; first < params.num_bits; first += 32) {
      const int count = params.num_bits - first;
      const std::uint32_t used = count < 32 ? (1U << count) - 1 : ~0U;
      bits.words[first >> 6] |= std::uint64_t{level.next_u32() & used} << (first & 63);
    }
    return bits;
  }
};

static_assert(Environment<BitFlip>);

}  // namespace fastrl
