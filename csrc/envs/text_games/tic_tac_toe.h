// TicTacToe: three in a row against an opponent that moves inside of the step.
//
// The opponent plays at random, optimally (each of its best moves with the same probability), or
// optimally with `optimal_probability` and else at random ("mixed"). Its moves are drawn from the
// environment's stream, an opening move of its own from the level's. Reward: 1 for a win, which
// alone is success, `draw_reward`, `loss_reward`. A taken cell moves nothing, or loses with
// occupied="lose". Action: the cell, written "[4]": 0 to 8 in reading order.
#pragma once

#include <bit>
#include <cstdint>

#include "envs/environment.h"

namespace fastrl {

struct TicTacToe {
  static constexpr const char* kId = "TicTacToe-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kGrid;
  static constexpr int kNumCells = 9;
  static constexpr std::uint16_t kFull = (1 << kNumCells) - 1;

  enum class First { kAgent, kOpponent, kRandom };

  struct Params {
    double optimal_probability;
    double draw_reward;
    double loss_reward;
    First first;
    bool occupied_loses;
  };

  // Bit i of a mask is cell i.
  struct State {
    std::uint16_t own;
    std::uint16_t other;
    std::int16_t reply;  // the opponent's last cell, -1 for none
    std::int16_t forfeited;
  };

  static Params parse(Options& options);

  // Whether these cells hold three in a row.
  static constexpr bool won(unsigned mask) {
    constexpr unsigned kLines[] = {0007, 0070, 0700, 0111, 0222, 0444, 0421, 0124};
    for (const unsigned line : kLines) {
      if ((mask & line) == line) return true;
    }
    return false;
  }

  static int num_actions(const Params&) { return kNumCells; }

  // Five moves of one's own fill a board; the rest is for taken cells.
  static std::int32_t default_max_episode_steps(const Params&) { return 9; }

  static std::int32_t max_observation_tokens(const Params&, ObservationForm) {
    return 2 * kNumCells - 1;
  }

  static void describe(const Params&, Description& description) {
    description.grid_height = 3;
    description.grid_width = 3;
    description.add_label("win");
    description.add_label("draw");
    description.add_label("loss");
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{.own = 0, .other = 0, .reply = -1, .forfeited = 0};
    const bool second =
        params.first == First::kOpponent || (params.first == First::kRandom && level.below(2) == 1);
    if (second) reply(params, state, level);
    return state;
  }

  static StepResult step(const Params& params, State& state, RandomStream& random, int action) {
    state.reply = -1;
    if (action == kMalformedAction) return {};
    if (((state.own | state.other) >> action & 1) != 0) {
      state.forfeited = params.occupied_loses ? 1 : 0;
    } else {
      state.own = static_cast<std::uint16_t>(state.own | (1U << action));
      if (!ended(state)) reply(params, state, random);
    }
    if (lost(state)) return {.reward = params.loss_reward, .terminated = true};
    if (won(state.own)) return {.reward = 1.0, .terminated = true, .success = true};
    const bool draw = (state.own | state.other) == kFull;
    return {.reward = draw ? params.draw_reward : 0.0, .terminated = draw};
  }

  // Grid: X own, O the opponent's, the number of a free cell. Compact: the grid at first, then the
  // cell that the opponent replied with, or "-".
  static void observe(const Params&, const State& state, int elapsed_steps, ObservationForm form,
                      TokenWriter& writer) {
    if (form == ObservationForm::kCompact && elapsed_steps > 0) {
      writer.put(state.reply < 0 ? '-' : static_cast<char>('0' + state.reply));
      return;
    }
    for (int cell = 0; cell < kNumCells; ++cell) {
      if (cell > 0) writer.put(cell % 3 == 0 ? '\n' : ' ');
      const char content = mark(state, cell);
      writer.put(content == '.' ? static_cast<char>('0' + cell) : content);
    }
  }

  static void cells(const Params&, const State& state, char* cells) {
    for (int cell = 0; cell < kNumCells; ++cell) cells[cell] = mark(state, cell);
  }

  static std::uint64_t labels(const Params&, const State& state) {
    if (lost(state)) return 4;
    if (won(state.own)) return 1;
    return (state.own | state.other) == kFull ? 2 : 0;
  }

  // The fewest moves after which the game may be won, over all replies that this opponent may
  // give; of the first moves that allow it the one that is worth most against best play.
  static Solution solve(const Params& params, const State& state);

  static bool valid(const Params& params, const State& state, bool running) {
    const int ahead = std::popcount(state.own) - std::popcount(state.other);
    const bool shares = (state.own & state.other) != 0 || ((state.own | state.other) & ~kFull) != 0;
    const bool replied = state.reply >= 0 && state.reply < kNumCells
                             ? (state.other >> state.reply & 1) != 0
                             : state.reply == -1;
    const bool forfeit = state.forfeited == 0 || (state.forfeited == 1 && params.occupied_loses);
    if (shares || !replied || !forfeit || (won(state.own) && won(state.other))) return false;
    if (running) return (ahead == 0 || ahead == -1) && !ended(state);
    return ahead >= -1 && ahead <= 1;
  }

  // Three rows of X, O and "." with the agent to move.
  static State parse_level(const Params& params, std::string_view text);

  static bool parse_action(const Params&, std::string_view text, std::int64_t* action) {
    std::int32_t cell[1];
    if (!read_numbers(answer_in_brackets(text), cell)) return false;
    if (cell[0] < 0 || cell[0] >= kNumCells) return false;
    *action = cell[0];
    return true;
  }

 private:
  static bool lost(const State& state) { return state.forfeited != 0 || won(state.other); }
  static bool ended(const State& state) {
    return lost(state) || won(state.own) || (state.own | state.other) == kFull;
  }
  static char mark(const State& state, int cell) {
    return (state.own >> cell & 1) != 0 ? 'X' : (state.other >> cell & 1) != 0 ? 'O' : '.';
  }
  static void reply(const Params& params, State& state, RandomStream& random);
};

static_assert(Environment<TicTacToe>);

}  // namespace fastrl
