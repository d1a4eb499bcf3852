// Countdown: make the target from the numbers with +, -, *, / and brackets.
//
// Every number counts once: all of them must be used, or some with use_all=False. Expressions are
// evaluated exactly, as fractions. The level is drawn again until it can be solved ("solvable"), or
// solved by sums and differences alone ("sums"), or it is left as it comes ("any"). There are so
// many attempts. Reward, with the attempt that ends the episode: 1 for the target, 0.1 for an
// expression that uses the numbers rightly, else 0. Action: a row of tokens that spell an
// expression, padded.
#pragma once

#include <cstdint>

#include "envs/environment.h"

namespace fastrl {

struct Countdown {
  static constexpr const char* kId = "Countdown-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kGrid;
  static constexpr int kMaxNumbers = 6;
  static constexpr std::int64_t kActionLength = 64;

  using Action = const std::int32_t*;

  enum class Levels { kSolvable, kSums, kAny };
  enum Outcome : std::int64_t { kNothing, kNoExpression, kWrongNumbers, kNoValue, kValue };

  struct State {
    std::int64_t numerator;  // the value of the last expression that has one
    std::int64_t denominator;
    std::int64_t outcome;  // of the last attempt
    std::int32_t numbers[kMaxNumbers];
    std::int32_t target;
    std::int32_t attempts;  // made
  };

  struct Params {
    std::int32_t min_numbers;
    std::int32_t num_numbers;
    std::int32_t max_number;
    std::int32_t min_target;
    std::int32_t max_target;
    std::int32_t attempts;
    Levels levels;
    bool use_all;
    State spare;  // a level for the case that kMaxDraws draws yield none
  };

  static Params parse(Options& options);

  static std::int32_t default_max_episode_steps(const Params& params) { return params.attempts; }

  static std::int32_t max_observation_tokens(const Params&, ObservationForm) { return 128; }

  static void describe(const Params&, Description& description) {
    description.set_action(multi_discrete<std::int32_t>({kActionLength}, kVocabularySize));
    description.add_label("goal");
    description.add_label("right_numbers");
  }

  static State reset(const Params& params, RandomStream& level);

  static StepResult step(const Params& params, State& state, Action action);

  // Grid: target, numbers, attempts left if there can be several, and the value of the last
  // expression or what was wrong with it. Compact: all of this at first, then the last part.
  static void observe(const Params& params, const State& state, int elapsed_steps,
                      ObservationForm form, TokenWriter& writer);

  static std::uint64_t labels(const Params&, const State& state) {
    return (solved(state) ? 1U : 0U) | (state.outcome >= kNoValue ? 2U : 0U);
  }

  // One attempt, or out of reach. An expression has no number, so there is no first action.
  static Solution solve(const Params& params, const State& state);

  static bool valid(const Params& params, const State& state, bool running);

  // The target and then the numbers, whatever stands between them: "24: 2 5 3".
  static State parse_level(const Params& params, std::string_view text);

  // The tokens of the answer if it is an expression.
  static bool parse_action(const Params& params, std::string_view text, std::int32_t* row);

 private:
  static constexpr int kMaxDraws = 10000;

  static bool solved(const State& state) {
    return state.outcome == kValue && state.numerator == state.target && state.denominator == 1;
  }
  static State draw(const Params& params, RandomStream& level);
  static bool accepted(const Params& params, const State& state);
};

static_assert(Environment<Countdown>);

}  // namespace fastrl
