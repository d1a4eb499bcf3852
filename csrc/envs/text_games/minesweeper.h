// Minesweeper: open every cell that holds no mine.
//
// The level is a cell and so many mines elsewhere; with `opening` that cell is opened at the start,
// and the level is drawn again where this wins at once. With `cascade` a cell without mines around
// it opens its neighbors, too. Opening a mine ends the episode, opening the last safe cell wins.
// Rewards "lamer": 10 for the win, -0.1 for a mine, 2 where more than one cell opens, 0.5 for one,
// -1 for an action without effect. Rewards "jumanji": 1 for each cell opened, and opening an open
// cell ends the episode. Action: the cell, written "(row, column)" from 1 on.
#pragma once

#include <cstdint>

#include "envs/bitboard.h"
#include "envs/environment.h"
#include "envs/grid.h"

namespace fastrl {

struct Minesweeper {
  static constexpr const char* kId = "Minesweeper-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kGrid;
  static constexpr int kMaxCells = 512;
  static constexpr int kMaxSide = 35;  // coordinates up to 35 are one token

  using Cells = CellSet<kMaxCells>;
  enum class Reward { kLamer, kJumanji };

  struct Params {
    Grid grid;
    int num_mines;
    Reward reward;
    bool cascade;
    bool opening;
  };

  struct State {
    Cells mines;
    Cells open;
    Cells fresh;  // opened by the last action
  };

  static Params parse(Options& options);

  static int num_actions(const Params& params) { return params.grid.size(); }

  static std::int32_t default_max_episode_steps(const Params& params) {
    return params.grid.size() - params.num_mines;
  }

  static std::int32_t max_observation_tokens(const Params& params, ObservationForm form);

  static void describe(const Params& params, Description& description) {
    description.grid_height = params.grid.height;
    description.grid_width = params.grid.width;
    description.add_label("mine");
    description.add_label("goal");
  }

  static State reset(const Params& params, RandomStream& level);

  static StepResult step(const Params& params, State& state, int action) {
    state.fresh = {};
    const bool lamer = params.reward == Reward::kLamer;
    if (action == kMalformedAction || state.open.test(action)) {
      return {.reward = lamer ? -1.0 : 0.0, .terminated = !lamer && action != kMalformedAction};
    }
    open(params, state, action);
    if (state.mines.test(action)) return {.reward = lamer ? -0.1 : 0.0, .terminated = true};
    const bool success = won(params, state);
    const int opened = state.fresh.count();
    const double reward = !lamer ? opened : success ? 10.0 : opened > 1 ? 2.0 : 0.5;
    return {.reward = reward, .terminated = success, .success = success};
  }

  // Grid: "Row 1: ? . 1 …", ? closed, . no mine around, 1-8 mines around, * a mine. Compact: the
  // grid at first, then row, column and content of each cell that the last action opened.
  static void observe(const Params& params, const State& state, int elapsed_steps,
                      ObservationForm form, TokenWriter& writer);

  static void cells(const Params& params, const State& state, char* cells) {
    for (int cell = 0; cell < params.grid.size(); ++cell)
      cells[cell] = content(params, state, cell);
  }

  static std::uint64_t labels(const Params& params, const State& state) {
    return (hit_mine(state) ? 1U : 0U) | (won(params, state) ? 2U : 0U);
  }

  // The fewest cells to open: one in each closed region without mines around, and each closed safe
  // cell that no such region opens.
  static Solution solve(const Params& params, const State& state);

  static bool valid(const Params& params, const State& state, bool running);

  // The characters of the grid without "Row 1: " and spaces; * is a mine that is closed.
  static State parse_level(const Params& params, std::string_view text);

  static bool parse_action(const Params& params, std::string_view text, std::int64_t* action) {
    std::int32_t place[2];
    if (!read_numbers(answer_in_brackets(text), place)) return false;
    const auto [row, column] = place;
    const Grid& grid = params.grid;
    if (row < 1 || row > grid.height || column < 1 || column > grid.width) return false;
    *action = (row - 1) * grid.width + column - 1;
    return true;
  }

 private:
  static bool hit_mine(const State& state) { return state.open.intersects(state.mines); }
  static bool won(const Params& params, const State& state) {
    return !hit_mine(state) && state.open.count() == params.grid.size() - params.num_mines;
  }
  static int mines_around(const Params& params, const Cells& mines, int cell);
  static char content(const Params& params, const State& state, int cell);
  static void open(const Params& params, State& state, int cell);
};

static_assert(Environment<Minesweeper>);

}  // namespace fastrl
