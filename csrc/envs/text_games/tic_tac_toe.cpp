#include "envs/text_games/tic_tac_toe.h"

#include <algorithm>
#include <array>

#include "envs/level_text.h"

namespace fastrl {
namespace {

constexpr int kNumBoards = 19683;  // 3^9
constexpr int kFar = 99;

// 3^(sum of the bits' places): a board's number is that of `own` plus twice that of `other`.
constexpr auto kPowers = [] {
  std::array<std::uint16_t, 512> sums{};
  for (unsigned mask = 0; mask < sums.size(); ++mask) {
    unsigned power = 1;
    for (unsigned bit = 0; bit < 9; ++bit, power *= 3) {
      if ((mask >> bit & 1) != 0) sums[mask] = static_cast<std::uint16_t>(sums[mask] + power);
    }
  }
  return sums;
}();

constexpr std::size_t board(unsigned own, unsigned other) {
  return kPowers[own] + 2U * kPowers[other];
}

// What every board is worth, and how far a win is.
class Analysis {
 public:
  Analysis() {
    for (auto& values : values_) values.fill(kUnset);
    for (auto& distances : distances_) distances.fill(kUnset);
  }

  // Under best play from both sides: 1 the agent wins, 0 a draw, -1 the opponent wins.
  int value(unsigned own, unsigned other, bool agents_turn) {
    std::int8_t& known = values_[agents_turn ? 1 : 0][board(own, other)];
    if (known != kUnset) return known;
    int best = agents_turn ? -1 : 1;
    if (TicTacToe::won(other)) {
      best = -1;
    } else if (TicTacToe::won(own)) {
      best = 1;
    } else if ((own | other) == TicTacToe::kFull) {
      best = 0;
    } else {
      for_each_free(own, other, [&](unsigned bit) {
        best = agents_turn ? std::max(best, value(own | bit, other, false))
                           : std::min(best, value(own, other | bit, true));
      });
    }
    known = static_cast<std::int8_t>(best);
    return best;
  }

  // The fewest moves of the agent, whose turn it is, to a win that the replies may allow; kFar
  // where they cannot. `best_replies`: the opponent makes no mistakes.
  int distance(unsigned own, unsigned other, bool best_replies) {
    std::int8_t& known = distances_[best_replies ? 1 : 0][board(own, other)];
    if (known != kUnset) return known;
    int best = kFar;
    if (TicTacToe::won(own)) {
      best = 0;
    } else if (!TicTacToe::won(other)) {
      for_each_free(own, other, [&](unsigned bit) {
        best = std::min(best, 1 + distance_after(own | bit, other, best_replies));
      });
    }
    known = static_cast<std::int8_t>(std::min(best, kFar));
    return known;
  }

  // The same when the opponent is to reply.
  int distance_after(unsigned own, unsigned other, bool best_replies) {
    if (TicTacToe::won(own)) return 0;
    int best = kFar;
    const int worst = value(own, other, false);
    for_each_free(own, other, [&](unsigned bit) {
      if (best_replies && value(own, other | bit, true) != worst) return;
      best = std::min(best, distance(own, other | bit, best_replies));
    });
    return best;
  }

  template <typename Visit>
  static void for_each_free(unsigned own, unsigned other, Visit&& visit) {
    for (unsigned left = ~(own | other) & TicTacToe::kFull; left != 0; left &= left - 1) {
      visit(left & (0U - left));
    }
  }

 private:
  static constexpr std::int8_t kUnset = -99;

  std::array<std::array<std::int8_t, kNumBoards>, 2> values_;
  std::array<std::array<std::int8_t, kNumBoards>, 2> distances_;
};

// One a thread, as it fills up while it is asked.
Analysis& analysis() {
  thread_local Analysis analysis;
  return analysis;
}

}  // namespace

TicTacToe::Params TicTacToe::parse(Options& options) {
  const int opponent = options.choice("opponent", "random", {"random", "optimal", "mixed"});
  double optimal = options.number("optimal_probability", 0.5, 0.0, 1.0);
  if (opponent != 2) {
    optimal = opponent;
    options.omit("optimal_probability");
  }
  return {.optimal_probability = optimal,
          .draw_reward = options.number("draw_reward", 0.5, -1.0, 1.0),
          .loss_reward = options.number("loss_reward", 0.0, -1.0, 1.0),
          .first =
              static_cast<First>(options.choice("first", "agent", {"agent", "opponent", "random"})),
          .occupied_loses = options.choice("occupied", "stay", {"stay", "lose"}) == 1};
}

void TicTacToe::reply(const Params& params, State& state, RandomStream& random) {
  const double p = params.optimal_probability;
  const bool optimal = p >= 1.0 || (p > 0.0 && random.uniform() < p);
  std::array<std::int16_t, kNumCells> choices{};
  std::uint32_t count = 0;
  const int best = optimal ? analysis().value(state.own, state.other, false) : 0;
  Analysis::for_each_free(state.own, state.other, [&](unsigned bit) {
    if (optimal && analysis().value(state.own, state.other | bit, true) != best) return;
    choices[count++] = static_cast<std::int16_t>(std::countr_zero(bit));
  });
  state.reply = choices[random.below(count)];
  state.other = static_cast<std::uint16_t>(state.other | (1U << state.reply));
}

Solution TicTacToe::solve(const Params& params, const State& state) {
  if (lost(state)) return {};
  if (won(state.own)) return {.distance = 0};
  const bool best_replies = params.optimal_probability >= 1.0;
  Solution solution;
  int shortest = kFar;
  int best_value = -2;
  Analysis::for_each_free(state.own, state.other, [&](unsigned bit) {
    const int distance = 1 + analysis().distance_after(state.own | bit, state.other, best_replies);
    const int value = analysis().value(state.own | bit, state.other, false);
    if (distance > shortest || distance >= kFar) return;
    if (distance == shortest && value <= best_value) return;
    shortest = distance;
    best_value = value;
    solution = {.distance = distance, .first_action = std::countr_zero(bit)};
  });
  return solution;
}

TicTacToe::State TicTacToe::parse_level(const Params& params, std::string_view text) {
  const LevelText level(text, 3, 3, "XO.");
  State state{.own = 0, .other = 0, .reply = -1, .forfeited = 0};
  for (int cell = 0; cell < kNumCells; ++cell) {
    std::uint16_t& mask = level[cell] == 'X' ? state.own : state.other;
    if (level[cell] != '.') mask = static_cast<std::uint16_t>(mask | (1U << cell));
  }
  if (!valid(params, state, true)) {
    fail_level("be a game in which it is the turn of X", concat("'", text, "'"));
  }
  return state;
}

}  // namespace fastrl
