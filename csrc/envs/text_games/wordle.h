// Wordle: guess a hidden word of a list.
//
// After each guess every letter is G (in its place), Y (elsewhere in the word) or X; a letter that
// the guess holds more often than the word is marked only as often as the word has it, greens
// first, then from the left. The level is the word. The episode ends with the word or the last
// guess; a malformed action uses one up. Reward: 1 for the word; with reward="partial" a lost game
// gives the share of letters in their place in its best guess. Action: the position of a word in
// the list, written as the word; any other word is malformed.
#pragma once

#include <algorithm>
#include <cstdint>

#include "envs/environment.h"

namespace fastrl {

struct Wordle {
  static constexpr const char* kId = "Wordle-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kGrid;
  static constexpr int kMaxWords = 4096;
  static constexpr int kMinLength = 3;
  static constexpr int kMaxLength = 10;
  static constexpr int kMaxGuesses = 12;

  // Five bits a letter from the first letter up, "a" being 1.
  using Word = std::uint64_t;

  struct Params {
    Word words[kMaxWords];
    std::int32_t num_words;
    std::int32_t length;
    std::int32_t max_guesses;
    bool partial;
  };

  struct State {
    std::int32_t secret;
    std::int32_t num_guesses;
    std::int16_t guesses[kMaxGuesses];  // -1: malformed
  };

  static Params parse(Options& options);

  static int num_actions(const Params& params) { return params.num_words; }

  static std::int32_t default_max_episode_steps(const Params& params) { return params.max_guesses; }

  static std::int32_t max_observation_tokens(const Params& params, ObservationForm) {
    return kHeaderTokens + params.max_guesses * (2 * params.length + 2);
  }

  static void describe(const Params&, Description& description) { description.add_label("goal"); }

  static State reset(const Params& params, RandomStream& level) {
    return State{.secret = static_cast<std::int32_t>(
                     level.below(static_cast<std::uint32_t>(params.num_words))),
                 .num_guesses = 0,
                 .guesses = {}};
  }

  static StepResult step(const Params& params, State& state, int action) {
    state.guesses[state.num_guesses++] = static_cast<std::int16_t>(action);
    const bool success = action == state.secret;
    const bool lost = !success && state.num_guesses == params.max_guesses;
    const double consolation = lost && params.partial ? best_share(params, state) : 0.0;
    return {
        .reward = success ? 1.0 : consolation, .terminated = success || lost, .success = success};
  }

  // Grid: the guesses left, then each guess with its marks ("crane XYGXX"). Compact: the former at
  // first, then the marks of the last guess. A malformed one is "?".
  static void observe(const Params& params, const State& state, int elapsed_steps,
                      ObservationForm form, TokenWriter& writer) {
    if (form == ObservationForm::kCompact && elapsed_steps > 0) {
      put_marks(params, state, state.num_guesses - 1, writer);
      return;
    }
    writer.put("Letters: ");
    writer.put_number(params.length);
    writer.put(", guesses left: ");
    writer.put_number(params.max_guesses - state.num_guesses);
    for (int i = 0; i < state.num_guesses; ++i) {
      writer.put('\n');
      if (state.guesses[i] >= 0) {
        put_word(params, params.words[state.guesses[i]], writer);
        writer.put(' ');
      }
      put_marks(params, state, i, writer);
    }
  }

  static std::uint64_t labels(const Params&, const State& state) { return solved(state) ? 1 : 0; }

  static Solution solve(const Params& params, const State& state) {
    if (solved(state)) return {.distance = 0};
    if (state.num_guesses >= params.max_guesses) return {};
    return {.distance = 1, .first_action = state.secret};
  }

  static bool valid(const Params& params, const State& state, bool running) {
    const auto is_word = [&](int i) { return i >= 0 && i < params.num_words; };
    if (!is_word(state.secret) || state.num_guesses < 0) return false;
    if (state.num_guesses + (running ? 1 : 0) > params.max_guesses) return false;
    for (int i = 0; i < kMaxGuesses; ++i) {
      const int guess = state.guesses[i];
      if (i < state.num_guesses ? guess != kMalformedAction && !is_word(guess) : guess != 0) {
        return false;
      }
      const bool last = i + 1 == state.num_guesses;
      if (i < state.num_guesses && guess == state.secret && (running || !last)) return false;
    }
    return true;
  }

  // The hidden word.
  static State parse_level(const Params& params, std::string_view text);

  static bool parse_action(const Params& params, std::string_view text, std::int64_t* action);

 private:
  static constexpr int kHeaderTokens = 32;  // "Letters: 10, guesses left: 12"

  static unsigned letter(Word word, int i) { return word >> (5 * i) & 31; }

  static bool solved(const State& state) {
    return state.num_guesses > 0 && state.guesses[state.num_guesses - 1] == state.secret;
  }

  static double best_share(const Params& params, const State& state);
  static void put_word(const Params& params, Word word, TokenWriter& writer);
  static void put_marks(const Params& params, const State& state, int i, TokenWriter& writer);
};

static_assert(Environment<Wordle>);

}  // namespace fastrl
