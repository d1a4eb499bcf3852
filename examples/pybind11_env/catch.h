// Catch: move a paddle on the lowest row to catch a ball that falls from the top.
//
// Observation  the board, rows × columns, 1 at the ball and at the paddle
// Actions      0 left, 1 stay, 2 right
// Reward       1 for a catch, -1 for a miss, both at the end
// Options      rows, columns
// Source       bsuite's Catch (Osband et al., 2020)
#pragma once

#include <fastrl/environment.h>

#include <algorithm>

struct Catch {
  static constexpr const char* kId = "Catch-v0";
  static constexpr std::uint32_t kVersion = 1;

  struct Params {
    std::int32_t rows, columns;
  };
  struct State {
    std::int32_t ball_row, ball_column, paddle;
  };

  static Params parse(fastrl::Options& options) {
    return {static_cast<std::int32_t>(options.integer("rows", 10, 2, 100)),
            static_cast<std::int32_t>(options.integer("columns", 5, 2, 100))};
  }

  static void describe(const Params& params, fastrl::Description& description) {
    description.add_observation(fastrl::box<float>({params.rows, params.columns}, 0, 1));
    description.set_action(fastrl::discrete(3));
    description.reports_success = 1;
    description.grid_height = params.rows;
    description.grid_width = params.columns;
  }

  static State reset(const Params& params, fastrl::RandomStream& level) {
    const auto columns = static_cast<std::uint32_t>(params.columns);
    return {0, static_cast<std::int32_t>(level.below(columns)), params.columns / 2};
  }

  static fastrl::StepResult step(const Params& params, State& state, int action) {
    state.paddle = std::clamp(state.paddle + action - 1, 0, params.columns - 1);
    if (++state.ball_row < params.rows - 1) return {};
    const bool caught = state.paddle == state.ball_column;
    return {.reward = caught ? 1.0 : -1.0, .terminated = true, .success = caught};
  }

  static void observe(const Params& params, const State& state, const fastrl::Rows& rows) {
    auto* board = rows.at<float>(0);
    std::fill_n(board, params.rows * params.columns, 0.0F);
    board[state.ball_row * params.columns + state.ball_column] = 1.0F;
    board[(params.rows - 1) * params.columns + state.paddle] = 1.0F;
  }

  // For pictures and texts of the board.
  static void cells(const Params& params, const State& state, char* to) {
    std::fill_n(to, params.rows * params.columns, '.');
    to[(params.rows - 1) * params.columns + state.paddle] = '=';
    to[state.ball_row * params.columns + state.ball_column] = 'o';
  }

  // What a snapshot from elsewhere must keep to, so that `observe` stays within its row.
  static bool valid(const Params& params, const State& state, bool running) {
    const auto inside = [](std::int32_t x, std::int32_t size) { return x >= 0 && x < size; };
    return inside(state.ball_row, params.rows - (running ? 1 : 0)) &&
           inside(state.ball_column, params.columns) && inside(state.paddle, params.columns);
  }
};
