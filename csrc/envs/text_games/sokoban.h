// Sokoban: push every box onto a target.
//
// Only the inside of the room is stored; the wall around it is implied. Levels come from
// sokoban_levels.h and can always be solved. Rewards "gym" are those of gym-sokoban: -0.1 a step,
// +1 for a box pushed onto a target, -1 for one pushed off, +10 when all are on; "sparse" is 1 when
// all are on, else 0.
#pragma once

#include <array>
#include <cstdint>

#include "envs/bitboard.h"
#include "envs/environment.h"
#include "envs/grid.h"

namespace fastrl {

struct Sokoban {
  static constexpr const char* kId = "Sokoban-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kGrid;

  struct Params {
    Grid inside;
    int num_boxes;
    std::int32_t min_solution;  // of a level, in actions
    std::int32_t max_solution;
    bool sparse;
    const char* extent;  // the option that says how large the room is, for errors
  };

  struct State {
    Bitboard walls;
    Bitboard targets;
    Bitboard boxes;
    std::uint64_t player;

    bool solved() const { return boxes == targets; }
  };

  static Params parse(Options& options);

  static int num_actions(const Params&) { return 4; }

  static std::int32_t action_token(const Params&, int action) {
    constexpr std::array kTokens = {word_token("Up"), word_token("Down"), word_token("Left"),
                                    word_token("Right")};
    return kTokens[static_cast<std::size_t>(action)];
  }

  static std::int32_t default_max_episode_steps(const Params&) { return 100; }

  static std::int32_t max_observation_tokens(const Params& params, ObservationForm) {
    const int height = params.inside.height + 2;
    return height * (params.inside.width + 2) + height - 1;
  }

  static void describe(const Params& params, Description& description) {
    description.grid_height = params.inside.height + 2;
    description.grid_width = params.inside.width + 2;
    description.add_label("box_on_target");
    description.add_label("goal");
    description.add_label("stuck");  // a box lies where no pushes bring it to a target
  }

  static State reset(const Params& params, RandomStream& level);

  // Moves or pushes; false where a wall or a second box is in the way.
  static bool move(const Params& params, State& state, Direction direction) {
    const int next = params.inside.neighbor(static_cast<int>(state.player), direction);
    if (next < 0 || state.walls.test(next)) return false;
    if (state.boxes.test(next)) {
      const int beyond = params.inside.neighbor(next, direction);
      if (beyond < 0 || state.walls.test(beyond) || state.boxes.test(beyond)) return false;
      state.boxes.clear(next);
      state.boxes.set(beyond);
    }
    state.player = static_cast<std::uint64_t>(next);
    return true;
  }

  static StepResult step(const Params& params, State& state, int action) {
    const int before = on_target(state);
    if (action != kMalformedAction) move(params, state, static_cast<Direction>(action));
    const bool success = state.solved();
    if (params.sparse) return {success ? 1.0 : 0.0, success, success};
    const double gained = on_target(state) - before;
    return {-0.1 + gained + (success ? 10.0 : 0.0), success, success};
  }

  // Grid: # wall, _ floor, O target, X box, * box on a target, P player, S player on a target.
  // Compact: the grid at first, then row and column of the player and of each box.
  static void observe(const Params& params, const State& state, int elapsed_steps,
                      ObservationForm form, TokenWriter& writer);

  static void cells(const Params& params, const State& state, char* cells);

  static std::uint64_t labels(const Params& params, const State& state);

  // The characters of the grid, walls around it, with a solution as far as the solver can tell.
  static State parse_level(const Params& params, std::string_view text);

  // Breadth first over boxes and player; kUnknown when that takes too many states.
  static Solution solve(const Params& params, const State& state);

  static bool valid(const Params& params, const State& state, bool running);

 private:
  static int on_target(const State& state) {
    return Bitboard{{state.boxes.words[0] & state.targets.words[0],
                     state.boxes.words[1] & state.targets.words[1]}}
        .count();
  }
};

static_assert(Environment<Sokoban>);

}  // namespace fastrl
