// CodeLock: enter a hidden code of T digits, one a turn. The level is the code.
//
// Rewards come with the last digit, so that a return is exact: "graded" gives the share of digits
// before the first wrong one, "matches" the share of right digits, "binary" 1 for the whole code.
// The observation never says whether a digit was right. A malformed action is a wrong digit.
#pragma once

#include <cstdint>
#include <string>

#include "envs/environment.h"
#include "envs/level_text.h"

namespace fastrl {

struct CodeLock {
  static constexpr const char* kId = "CodeLock-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kCompact;
  static constexpr int kMaxLength = 64;
  static constexpr std::uint8_t kNoDigit = 0xff;

  enum class Reward { kGraded, kMatches, kBinary };

  struct Params {
    std::uint32_t length;
    std::uint32_t num_choices;
    Reward reward;
  };

  struct State {
    std::uint8_t code[kMaxLength];
    std::uint8_t digits[kMaxLength];  // as entered
    std::uint32_t position;           // digits entered
    std::uint32_t right_prefix;       // right digits before the first wrong one
    std::uint32_t matches;            // right digits in all
  };

  static Params parse(Options& options) {
    return {.length = static_cast<std::uint32_t>(options.integer("length", 8, 1, kMaxLength)),
            .num_choices = static_cast<std::uint32_t>(options.integer("num_choices", 4, 2, 10)),
            .reward = static_cast<Reward>(
                options.choice("reward", "graded", {"graded", "matches", "binary"}))};
  }

  static int num_actions(const Params& params) { return static_cast<int>(params.num_choices); }

  static std::int32_t action_token(const Params&, int action) {
    return character_token(static_cast<char>('0' + action));
  }

  static std::int32_t default_max_episode_steps(const Params& params) {
    return static_cast<std::int32_t>(params.length);
  }

  static std::int32_t max_observation_tokens(const Params& params, ObservationForm form) {
    if (form == ObservationForm::kGrid) return static_cast<std::int32_t>(params.length);
    return params.length < 10 ? 1 : 2;
  }

  static void describe(const Params&, Description& description) {
    description.add_label("wrong_digit");
    description.add_label("goal");
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{};
    for (std::uint32_t i = 0; i < params.length; ++i) {
      state.code[i] = static_cast<std::uint8_t>(level.below(params.num_choices));
    }
    return state;
  }

  static StepResult step(const Params& params, State& state, int action) {
    const auto digit = action == kMalformedAction ? kNoDigit : static_cast<std::uint8_t>(action);
    const bool right = digit == state.code[state.position];
    if (right) {
      ++state.matches;
      if (state.right_prefix == state.position) ++state.right_prefix;
    }
    state.digits[state.position++] = digit;
    if (state.position < params.length) return {};
    const bool success = state.right_prefix == params.length;
    return {.reward = final_reward(params, state, success), .terminated = true, .success = success};
  }

  // Compact: how many digits have been entered. Grid: these digits, then "_" for those to come.
  static void observe(const Params& params, const State& state, int, ObservationForm form,
                      TokenWriter& writer) {
    if (form == ObservationForm::kCompact) {
      writer.put_number(static_cast<int>(state.position));
      return;
    }
    for (std::uint32_t i = 0; i < params.length; ++i) {
      const bool entered = i < state.position;
      const bool malformed = state.digits[i] == kNoDigit;
      writer.put(!entered ? '_' : malformed ? '?' : static_cast<char>('0' + state.digits[i]));
    }
  }

  static std::uint64_t labels(const Params& params, const State& state) {
    const bool wrong = state.right_prefix < state.position;
    return (wrong ? 1U : 0U) | (state.right_prefix == params.length ? 2U : 0U);
  }

  // The digits of the code.
  static State parse_level(const Params& params, std::string_view text) {
    std::string digits = "0123456789";
    digits.resize(params.num_choices);
    const LevelText code(text, 1, static_cast<int>(params.length), digits);
    State state{};
    for (std::uint32_t i = 0; i < params.length; ++i) {
      state.code[i] = static_cast<std::uint8_t>(code[static_cast<int>(i)] - '0');
    }
    return state;
  }

  static Solution solve(const Params& params, const State& state) {
    if (state.right_prefix < state.position) return {};
    const auto left = static_cast<std::int32_t>(params.length - state.position);
    return {.distance = left, .first_action = left == 0 ? -1 : state.code[state.position]};
  }

  static bool valid(const Params& params, const State& state, bool running) {
    for (std::uint32_t i = 0; i < params.length; ++i) {
      if (state.code[i] >= params.num_choices) return false;
      if (state.digits[i] >= params.num_choices && state.digits[i] != kNoDigit) return false;
    }
    return state.position + (running ? 1U : 0U) <= params.length &&
           state.right_prefix <= state.matches && state.matches <= state.position;
  }

 private:
  static double final_reward(const Params& params, const State& state, bool success) {
    switch (params.reward) {
      case Reward::kGraded:
        return static_cast<double>(state.right_prefix) / params.length;
      case Reward::kMatches:
        return static_cast<double>(state.matches) / params.length;
      case Reward::kBinary:
        return success ? 1.0 : 0.0;
    }
    return 0.0;
  }
};

static_assert(Environment<CodeLock>);

}  // namespace fastrl
