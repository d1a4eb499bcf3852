// Maze: find the way to the goal, between walls that levels are made of.
//
// Observation   uint8 planes of 0 and 1 in the last dimension. "view": [V, V, 2], walls and goal
//               around the agent; what lies outside is wall. "full": [H, W, 3], walls, goal, agent.
// Action        "moves": Up, Down, Left, Right; the view has the agent in its middle. "turns": turn
//               left, turn right, go forward, as MiniGrid; the view is what lies ahead of the
//               agent, which stands in the middle of its last row, and the observation is a dict
//               of image and direction (0 right, 1 down, 2 left, 3 up). Walls stop the agent.
// Reward        "sparse": 1 at the goal; "minigrid": 1 - 0.9 t / reward_steps there, t being the
//               steps so far; else 0.
// End           terminated at the goal.
// Level         layout "scattered": up to `num_walls` (or just as many) walls anywhere, drawn until
//               the goal can be reached unless `solvable` is off; "labyrinth": exactly one way
//               between any two cells. Levels can be drawn: # wall, . floor, G goal, A agent, or
//               one of > v < ^ for one that looks there. The wall around the maze is implied.
//
// The levels of Dennis et al., "Emergent Complexity and Zero-shot Transfer via Unsupervised
// Environment Design" (PAIRED), 2020, in the form of minimax and jaxued: 13 × 13 inside the walls.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "envs/environment.h"
#include "envs/grid.h"
#include "envs/grids/cell_rows.h"

namespace fastrl {

struct Maze {
  static constexpr const char* kId = "Maze-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kMaxDraws = 100;  // of a level, until its last draw has a way carved into it

  enum class Layout { kScattered, kLabyrinth };

  struct Params {
    Grid grid;
    int num_walls;
    bool random_num_walls;
    bool solvable;
    Layout layout;
    bool turns;
    int view_size;     // 0: the whole maze
    int reward_steps;  // 0: sparse
  };

  struct State {
    CellRows walls;
    std::int32_t agent;
    std::int32_t goal;
    std::int32_t direction;  // with turns
    std::int32_t steps;      // where the reward needs it, so that equal places are equal states
  };

  static Params parse(Options& options);
  static void describe(const Params& params, Description& description);
  static State reset(const Params& params, RandomStream& level);
  static State parse_level(const Params& params, std::string_view text);
  static void cells(const Params& params, const State& state, char* to);

  static StepResult step(const Params& params, State& state, int action) {
    if (params.reward_steps > 0) ++state.steps;
    if (params.turns && action < 2) {
      state.direction = (state.direction + (action == 0 ? 3 : 1)) % 4;
      return {};
    }
    const auto direction = params.turns ? facing(state.direction) : static_cast<Direction>(action);
    const int next = params.grid.neighbor(state.agent, direction);
    if (next >= 0 && !state.walls.test(params.grid, next)) state.agent = next;
    if (state.agent != state.goal) return {};
    const double late =
        params.reward_steps > 0 ? static_cast<double>(state.steps) / params.reward_steps : 0.0;
    return {.reward = 1.0 - 0.9 * late, .terminated = true, .success = true};
  }

  static void observe(const Params& params, const State& state, const Rows& rows);

  // Breadth first from the goal.
  static Solution solve(const Params& params, const State& state);

  static std::uint64_t labels(const Params&, const State& state) {
    return state.agent == state.goal ? 1 : 0;
  }

  static bool valid(const Params& params, const State& state, bool running) {
    const auto open = [&](int cell) {
      return cell >= 0 && cell < params.grid.size() && !state.walls.test(params.grid, cell);
    };
    return state.walls.within(CellRows::all(params.grid)) && open(state.agent) &&
           open(state.goal) && !(running && state.agent == state.goal) && state.direction >= 0 &&
           state.direction < (params.turns ? 4 : 1) && state.steps >= 0 &&
           state.steps <= (params.reward_steps == 0 ? 0
                           : running                ? kMaxSteps - 1
                                                    : kMaxSteps);
  }

  static std::int32_t default_steps(const Grid& grid) { return std::max(250, grid.size() * 3 / 2); }

  // MiniGrid's order of directions: each is the last one turned to the right.
  static Direction facing(int direction) {
    constexpr Direction kFacing[] = {kRight, kDown, kLeft, kUp};
    return kFacing[direction];
  }

 private:
  // No episode is as long.
  static constexpr std::int32_t kMaxSteps = 1 << 30;
};

static_assert(Environment<Maze>);

}  // namespace fastrl
