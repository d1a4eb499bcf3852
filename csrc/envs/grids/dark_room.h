// DarkRoom: find the invisible goal of an empty room, and remember where it was.
//
// Observation   row and column of the agent.
// Action        Up, Down, Left, Right, stay.
// Reward        "dense": 1 after every step that ends on the goal; "sparse": 1 after the first one;
//               else 0.
// End           truncated after 20 steps; terminated at the goal with `terminate_at_goal`.
// Level         the goal, any cell but the one that the agent starts from: the middle of the room,
//               its upper left corner or any ("center", "corner", "random"). Levels can be drawn:
//               A agent, G goal, . floor.
//
// Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", 2022: the
// defaults, and `size=17, reward="sparse"` for Dark Room Hard. Lee et al., "Supervised Pretraining
// Can Learn In-Context Reinforcement Learning" (DPT), 2023: `size=10, start="corner"` in 100 steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "envs/environment.h"
#include "envs/grid.h"
#include "envs/grids/darkness.h"
#include "envs/level_text.h"

namespace fastrl {

struct DarkRoom {
  static constexpr const char* kId = "DarkRoom-v0";
  static constexpr std::uint32_t kVersion = 1;

  struct Params {
    Grid grid;
    Start start;
    bool sparse;
    bool terminate_at_goal;
  };

  struct State {
    std::int32_t agent;
    std::int32_t goal;
    std::int32_t rewarded;  // with sparse rewards: whether the goal was reached before
  };

  static Params parse(Options& options) {
    const auto size = static_cast<int>(options.integer("size", 9, 2, kMaxRoomSize));
    return {.grid = {size, size},
            .start = parse_start(options, "center"),
            .sparse = options.choice("reward", "dense", {"dense", "sparse"}) == 1,
            .terminate_at_goal = options.boolean("terminate_at_goal", false)};
  }

  static void describe(const Params& params, Description& description) {
    describe_dark(params.grid, description);
    description.max_episode_steps = 20;
    description.add_label("goal");
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{};
    state.agent = draw_start(params.grid, params.start, level);
    state.goal = draw_other(params.grid, level, {state.agent});
    return state;
  }

  static StepResult step(const Params& params, State& state, int action) {
    state.agent = walk(params.grid, state.agent, action);
    const bool success = state.agent == state.goal;
    StepResult result{.reward = success && state.rewarded == 0 ? 1.0 : 0.0,
                      .terminated = success && params.terminate_at_goal,
                      .success = success};
    if (params.sparse && success) state.rewarded = 1;
    return result;
  }

  static void observe(const Params& params, const State& state, const Rows& rows) {
    observe_place(params.grid, state.agent, rows);
  }

  static Solution solve(const Params& params, const State& state) {
    return shortest_way(params.grid, state.agent, state.goal);
  }

  static std::uint64_t labels(const Params&, const State& state) {
    return state.agent == state.goal ? 1 : 0;
  }

  static void cells(const Params& params, const State& state, char* to) {
    std::fill_n(to, params.grid.size(), '.');
    to[state.goal] = 'G';
    to[state.agent] = state.agent == state.goal ? '*' : 'A';
  }

  static State parse_level(const Params& params, std::string_view text) {
    const LevelText level(text, params.grid.height, params.grid.width, ".AG");
    level.require(1, "A", "agent (A)");
    level.require(1, "G", "goal (G)");
    State state{};
    for (int cell = 0; cell < params.grid.size(); ++cell) {
      if (level[cell] == 'A') state.agent = cell;
      if (level[cell] == 'G') state.goal = cell;
    }
    return state;
  }

  static bool valid(const Params& params, const State& state, bool running) {
    const auto inside = [&](int cell) { return cell >= 0 && cell < params.grid.size(); };
    const bool at_goal = state.agent == state.goal;
    return inside(state.agent) && inside(state.goal) && state.rewarded >= 0 &&
           state.rewarded <= (params.sparse ? 1 : 0) &&
           !(at_goal && params.sparse && state.rewarded == 0) &&
           !(running && at_goal && params.terminate_at_goal);
  }
};

static_assert(Environment<DarkRoom>);

}  // namespace fastrl
