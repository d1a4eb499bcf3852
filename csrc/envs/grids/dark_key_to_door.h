// DarkKeyToDoor: find the invisible key of an empty room, then its invisible door.
//
// Observation   row and column of the agent; it does not see whether it has the key.
// Action        Up, Down, Left, Right, stay.
// Reward        1 for the key, 1 for the door once the key was found, else 0.
// End           terminated at the door with the key; truncated after 50 steps.
// Level         key and door, any two cells but the one that the agent starts from: the middle of
//               the room, its upper left corner or any ("center", "corner", "random"). Levels can
//               be drawn: A agent, K key, D door, . floor.
//
// Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", 2022.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "envs/environment.h"
#include "envs/grid.h"
#include "envs/grids/darkness.h"
#include "envs/level_text.h"

namespace fastrl {

struct DarkKeyToDoor {
  static constexpr const char* kId = "DarkKeyToDoor-v0";
  static constexpr std::uint32_t kVersion = 1;

  struct Params {
    Grid grid;
    Start start;
  };

  struct State {
    std::int32_t agent;
    std::int32_t key;
    std::int32_t door;
    std::int32_t has_key;
  };

  static Params parse(Options& options) {
    const auto size = static_cast<int>(options.integer("size", 9, 2, kMaxRoomSize));
    return {.grid = {size, size}, .start = parse_start(options, "random")};
  }

  static void describe(const Params& params, Description& description) {
    describe_dark(params.grid, description);
    description.max_episode_steps = 50;
    description.add_label("key");   // in the agent's hands
    description.add_label("door");  // where the agent stands, open or not
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{};
    state.agent = draw_start(params.grid, params.start, level);
    state.key = draw_other(params.grid, level, {state.agent});
    state.door = draw_other(params.grid, level, {state.agent, state.key});
    return state;
  }

  static StepResult step(const Params& params, State& state, int action) {
    state.agent = walk(params.grid, state.agent, action);
    if (state.has_key == 0) {
      state.has_key = state.agent == state.key ? 1 : 0;
      return {.reward = static_cast<double>(state.has_key)};
    }
    const bool success = state.agent == state.door;
    return {.reward = success ? 1.0 : 0.0, .terminated = success, .success = success};
  }

  static void observe(const Params& params, const State& state, const Rows& rows) {
    observe_place(params.grid, state.agent, rows);
  }

  static Solution solve(const Params& params, const State& state) {
    if (state.has_key != 0) return shortest_way(params.grid, state.agent, state.door);
    Solution solution = shortest_way(params.grid, state.agent, state.key);
    solution.distance += shortest_way(params.grid, state.key, state.door).distance;
    return solution;
  }

  static std::uint64_t labels(const Params&, const State& state) {
    return (state.has_key != 0 ? 1U : 0U) | (state.agent == state.door ? 2U : 0U);
  }

  static void cells(const Params& params, const State& state, char* to) {
    std::fill_n(to, params.grid.size(), '.');
    to[state.door] = 'D';
    if (state.has_key == 0) to[state.key] = 'K';
    const bool opened = state.has_key != 0 && state.agent == state.door;
    to[state.agent] = opened ? '*' : 'A';
  }

  static State parse_level(const Params& params, std::string_view text) {
    const LevelText level(text, params.grid.height, params.grid.width, ".AKD");
    level.require(1, "A", "agent (A)");
    level.require(1, "K", "key (K)");
    level.require(1, "D", "door (D)");
    State state{};
    for (int cell = 0; cell < params.grid.size(); ++cell) {
      if (level[cell] == 'A') state.agent = cell;
      if (level[cell] == 'K') state.key = cell;
      if (level[cell] == 'D') state.door = cell;
    }
    return state;
  }

  static bool valid(const Params& params, const State& state, bool running) {
    const auto inside = [&](int cell) { return cell >= 0 && cell < params.grid.size(); };
    const bool has_key = state.has_key == 1;
    return inside(state.agent) && inside(state.key) && inside(state.door) &&
           state.key != state.door && (has_key || state.has_key == 0) &&
           !(state.agent == state.key && !has_key) &&
           !(running && has_key && state.agent == state.door);
  }
};

static_assert(Environment<DarkKeyToDoor>);

}  // namespace fastrl
