// FrozenLake: walk over the ice to the goal; a hole ends the episode. Bit for bit Gymnasium's
// FrozenLake-v1 and FrozenLake8x8-v1.
//
// On slippery ice a step goes where it was meant to with `success_rate`, otherwise to either side
// with equal probability. A random map (`desc="random"`) is Gymnasium's generate_random_map(size=
// map_size, p=frozen_probability, seed=map_seed).
//
// Observation  the cell, row by row
// Action       0 left, 1 down, 2 right, 3 up
// Reward       `reward_schedule`: at the goal, in a hole, on the ice; 1, 0, 0
// End          goal or hole; truncated after 100 steps, 200 under the id with 8x8
// Infos        prob: the probability of what happened
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/check.h"
#include "core/numpy_random.h"
#include "envs/environment.h"
#include "envs/grid.h"
#include "envs/toy_text/categorical.h"
#include "envs/toy_text/frozen_lake_map.h"

namespace fastrl {

struct FrozenLake {
  using Random = NumpyRandom;

  static constexpr const char* kId = "FrozenLake-v1";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kDown[] = {0, 1, 0, -1};
  static constexpr int kRight[] = {-1, 0, 1, 0};
  struct Params {
    FrozenLakeMap map;
    std::int64_t max_episode_steps;
    double success_rate;
    double aside_rate;   // to each side
    double rewards[3];   // at the goal, in a hole, on the ice
    double start_share;  // of each start in all
    bool slippery;
  };

  struct State {
    std::int32_t row;
    std::int32_t column;
  };

  struct Result : StepResult {
    double probability;
  };

  static Params parse(Options& options) { return parse(options, "4x4", 100); }

  static void describe(const Params& params, Description& description) {
    description.add_observation(discrete(params.map.grid.size()));
    description.set_action(discrete(4));
    description.add_info("prob", box<double>({}, 0.0, 1.0), true, /*whole_at_reset=*/true);
    description.max_episode_steps = params.max_episode_steps;
    description.add_label("goal");
    description.add_label("hole");
    description.grid_height = params.map.grid.height;
    description.grid_width = params.map.grid.width;
  }

  static State reset(const Params& params, NumpyRandom& random) {
    const double u = random.random();
    double sum = 0.0;
    for (int cell = 0; cell < params.map.grid.size(); ++cell) {
      if (params.map.at(cell) == 'S') sum += params.start_share;
      if (sum > u) return at(params, cell);
    }
    return at(params, 0);
  }

  static Result step(const Params& params, State& state, NumpyRandom& random, int action) {
    const double u = random.random();
    double probability = 1.0;
    if (params.slippery) {
      const double rates[] = {params.aside_rate, params.success_rate, params.aside_rate};
      const int outcome = categorical(rates, u);
      probability = rates[outcome];
      action = (action + outcome + 3) & 3;
    }
    const Grid& grid = params.map.grid;
    state.row = std::clamp(state.row + kDown[action], 0, grid.height - 1);
    state.column = std::clamp(state.column + kRight[action], 0, grid.width - 1);
    const char letter = params.map.at(cell(params, state));
    const bool at_goal = letter == 'G';
    const bool in_hole = letter == 'H';
    Result result{};
    result.reward = params.rewards[at_goal ? 0 : in_hole ? 1 : 2];
    result.terminated = at_goal || in_hole;
    result.probability = probability;
    return result;
  }

  static void observe(const Params& params, const State& state, const Rows& rows) {
    *rows.at<std::int64_t>(0) = cell(params, state);
  }

  static void inform(const Params&, const State&, const Result* result, const Rows& rows) {
    *rows.at<double>(0) = result != nullptr ? result->probability : 1.0;
  }

  static bool valid(const Params& params, const State& state, bool running) {
    const Grid& grid = params.map.grid;
    if (state.row < 0 || state.row >= grid.height) return false;
    if (state.column < 0 || state.column >= grid.width) return false;
    return !running || !params.map.ends(cell(params, state));
  }

  static std::uint64_t labels(const Params& params, const State& state) {
    const char letter = params.map.at(cell(params, state));
    return (letter == 'G' ? 1u : 0u) | (letter == 'H' ? 2u : 0u);
  }

  // P player, _ ice, O hole, G goal, X player in a hole, * player at the goal.
  static void cells(const Params& params, const State& state, char* to) {
    const int player = cell(params, state);
    for (int i = 0; i < params.map.grid.size(); ++i) {
      const char letter = params.map.at(i);
      const bool here = i == player;
      to[i] = letter == 'H'   ? (here ? 'X' : 'O')
              : letter == 'G' ? (here ? '*' : 'G')
                              : (here ? 'P' : '_');
    }
  }

  // The picture of `cells`: the map as it is, with the player on any ice.
  static State parse_level(const Params& params, std::string_view text) {
    std::string letters;
    for (const char letter : text) {
      if (letter != '\n') letters += letter;
    }
    const std::size_t player = letters.find('P');
    if (std::ssize(letters) == params.map.grid.size() && player != std::string::npos) {
      const State state = at(params, static_cast<int>(player));
      std::string picture(letters.size(), ' ');
      cells(params, state, picture.data());
      if (picture == letters) return state;
    }
    throw std::invalid_argument("be the environment's map, as it is rendered, with P on its ice");
  }

 protected:
  static Params parse(Options& options, const char* map_name, std::int64_t max_episode_steps) {
    Params params{};
    params.map = parse_frozen_lake_map(options, map_name);
    params.start_share = 1.0 / params.map.num_starts();
    params.max_episode_steps = max_episode_steps;
    params.slippery = options.boolean("is_slippery", true);
    params.success_rate = options.number("success_rate", 1.0 / 3.0, 0.0, 1.0);
    if (!params.slippery) options.omit("success_rate");
    params.aside_rate = (1.0 - params.success_rate) / 2.0;
    parse_rewards(options, params);
    return params;
  }

 private:
  static int cell(const Params& params, const State& state) {
    return state.row * params.map.grid.width + state.column;
  }

  static State at(const Params& params, int cell) {
    return {params.map.grid.row(cell), params.map.grid.column(cell)};
  }

  static void parse_rewards(Options& options, Params& params) {
    const std::string_view text = options.text("reward_schedule", "1.0, 0.0, 0.0");
    const char* next = text.data();
    const char* const end = next + text.size();
    const auto skip = [&](char letter) {
      const bool found = next != end && *next == letter;
      if (found) ++next;
      return found;
    };
    bool good = true;
    for (double& reward : params.rewards) {
      if (&reward != params.rewards) good = good && skip(',');
      while (skip(' ')) continue;
      const auto read = std::from_chars(next, end, reward);
      good = good && read.ec == std::errc() && std::isfinite(reward);
      next = read.ptr;
    }
    if (!good || next != end) {
      fail_value("make_vec", "reward_schedule",
                 "be three numbers with commas between: at the goal, in a hole, on the ice",
                 concat("'", text, "'"));
    }
  }
};

struct FrozenLake8x8 : FrozenLake {
  static constexpr const char* kId = "FrozenLake8x8-v1";
  static Params parse(Options& options) { return FrozenLake::parse(options, "8x8", 200); }
};

static_assert(Environment<FrozenLake>);
static_assert(Environment<FrozenLake8x8>);

}  // namespace fastrl
