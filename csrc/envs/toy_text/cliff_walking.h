// CliffWalking: along the cliff from the lower left corner to the lower right one. Bit for bit
// Gymnasium's CliffWalking-v1 and CliffWalkingSlippery-v1; Sutton and Barto, example 6.6.
//
// A step over the edge costs 100 and leads back to the start. On slippery ground a step goes where
// it was meant to or to either side, each with probability 1/3.
//
// Observation  the cell of the 4 × 12 grid, row by row
// Action       0 up, 1 right, 2 down, 3 left
// Reward       -1; -100 over the edge
// End          at the goal; no limit of steps
// Infos        prob: the probability of what happened
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/numpy_random.h"
#include "envs/environment.h"
#include "envs/grid.h"
#include "envs/toy_text/categorical.h"

namespace fastrl {

struct CliffWalking {
  using Random = NumpyRandom;

  static constexpr const char* kId = "CliffWalking-v1";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr Grid kGrid{4, 12};
  static constexpr int kStart = 36;
  static constexpr int kGoal = 47;
  static constexpr int kDown[] = {-1, 0, 1, 0};
  static constexpr int kRight[] = {0, 1, 0, -1};

  struct Params {
    bool slippery;
  };

  struct State {
    std::int32_t player;
    std::int32_t fell;  // in the last step, for `labels`
  };

  struct Result : StepResult {
    double probability;
  };

  static Params parse(Options& options) { return {options.boolean("is_slippery", false)}; }

  static void describe(const Params&, Description& description) {
    description.add_observation(discrete(kGrid.size()));
    description.set_action(discrete(4));
    description.add_info("prob", box<double>({}, 0.0, 1.0), true, /*whole_at_reset=*/true);
    description.add_label("goal");
    description.add_label("cliff");
    description.grid_height = kGrid.height;
    description.grid_width = kGrid.width;
  }

  static State reset(const Params&, NumpyRandom& random) {
    random.random();  // the choice of a start, of which there is one
    return {kStart, 0};
  }

  static Result step(const Params& params, State& state, NumpyRandom& random, int action) {
    const double u = random.random();
    Result result{};
    result.probability = 1.0;
    if (params.slippery) {
      constexpr double kThirds[] = {1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0};
      const int outcome = categorical(kThirds, u);
      result.probability = kThirds[outcome];
      action = (action + outcome + 3) & 3;
    }
    const int row = std::clamp(kGrid.row(state.player) + kDown[action], 0, kGrid.height - 1);
    const int column = std::clamp(kGrid.column(state.player) + kRight[action], 0, kGrid.width - 1);
    const int player = row * kGrid.width + column;
    const bool fell = player > kStart && player < kGoal;
    state = {fell ? kStart : player, fell ? 1 : 0};
    result.reward = fell ? -100.0 : -1.0;
    result.terminated = player == kGoal;
    return result;
  }

  static void observe(const Params&, const State& state, const Rows& rows) {
    *rows.at<std::int64_t>(0) = state.player;
  }

  static void inform(const Params&, const State&, const Result* result, const Rows& rows) {
    *rows.at<double>(0) = result != nullptr ? result->probability : 1.0;
  }

  static bool valid(const Params&, const State& state, bool running) {
    if (state.fell != 0 && (state.fell != 1 || state.player != kStart)) return false;
    const bool on_ground = state.player >= 0 && state.player <= kStart;
    return on_ground || (state.player == kGoal && !running);
  }

  static std::uint64_t labels(const Params&, const State& state) {
    return (state.player == kGoal ? 1u : 0u) | (state.fell != 0 ? 2u : 0u);
  }

  // A player, . ground, C cliff, G goal, * player at the goal.
  static void cells(const Params&, const State& state, char* to) {
    std::fill_n(to, kGrid.size(), '.');
    std::fill(to + kStart + 1, to + kGoal, 'C');
    to[kGoal] = 'G';
    to[state.player] = state.player == kGoal ? '*' : 'A';
  }
};

struct CliffWalkingSlippery : CliffWalking {
  static constexpr const char* kId = "CliffWalkingSlippery-v1";
  static Params parse(Options& options) { return {options.boolean("is_slippery", true)}; }
};

static_assert(Environment<CliffWalking>);
static_assert(Environment<CliffWalkingSlippery>);

}  // namespace fastrl
