// FormFill: enter what an instruction says into a form, field by field, then submit it.
//
// The form has the first `num_fields` of: guest, arrival, nights, departure, room, meal, adults,
// payment. The level draws their values and how each is stated: plainly, or (with
// `inference_probability`) so that it must be worked out, as in "arrival is 2 days after 30 Apr".
// The departure then is the arrival plus the nights. Nothing says whether an entry is right, but a
// later entry replaces it, so what fails a form is the turn of a wrong entry that was never put
// right. Reward, when the form is submitted: the share of right fields ("graded"), or 1 for a form
// without a mistake ("binary"); a form that is not submitted in time earns nothing. Action: a field
// and one of its values, written "arrival = 2 May", or "submit".
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "envs/environment.h"

namespace fastrl {

struct FormFill {
  static constexpr const char* kId = "FormFill-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kGrid;

  enum class Kind { kName, kDate, kNumber, kChoice };
  struct FieldKind {
    std::string_view name;
    Kind kind;
    int num_values;
    std::array<std::string_view, 3> choices;
  };
  static constexpr int kNumNames = 16;
  static constexpr int kNumDays = 365;
  static constexpr std::array<FieldKind, 8> kFields = {{
      {"guest", Kind::kName, kNumNames, {}},
      {"arrival", Kind::kDate, kNumDays, {}},
      {"nights", Kind::kNumber, 14, {}},
      {"departure", Kind::kDate, kNumDays, {}},
      {"room", Kind::kChoice, 3, {"single", "double", "suite"}},
      {"meal", Kind::kChoice, 3, {"fish", "meat", "vegan"}},
      {"adults", Kind::kNumber, 9, {}},
      {"payment", Kind::kChoice, 3, {"cash", "card", "voucher"}},
  }};
  static constexpr int kMaxFields = kFields.size();
  static constexpr int kArrival = 1;
  static constexpr int kNights = 2;
  static constexpr int kDeparture = 3;
  static constexpr std::int16_t kEmpty = -1;

  struct Params {
    double inference_probability;
    std::int32_t num_fields;
    bool binary;
  };

  // Values are counted from 0: names and choices by their position, days from 1 Jan, numbers from
  // 1. Fields that the form does not have are 0 everywhere.
  struct State {
    std::int16_t values[kMaxFields];
    std::int16_t entries[kMaxFields];
    std::int16_t hints[kMaxFields];  // 0: stated plainly; else days, a difference, another name …
    std::int16_t order[kMaxFields];  // of the statements
    std::int16_t last;               // the last action: a field, or one of the following
    std::int16_t submitted;
  };
  static constexpr std::int16_t kNothing = -3;
  static constexpr std::int16_t kMalformed = -2;
  static constexpr std::int16_t kSubmit = -1;

  static Params parse(Options& options) {
    return {
        .inference_probability = options.number("inference_probability", 0.5, 0.0, 1.0),
        .num_fields = static_cast<std::int32_t>(options.integer("num_fields", 4, 2, kMaxFields)),
        .binary = options.choice("reward", "graded", {"graded", "binary"}) == 1};
  }

  // All values of the first field, of the second, …, then "submit".
  static int num_actions(const Params& params) { return first_action(params.num_fields) + 1; }

  // Every field twice, and "submit".
  static std::int32_t default_max_episode_steps(const Params& params) {
    return 2 * params.num_fields + 1;
  }

  // A statement takes at most "departure is 9 days before 30 Apr; ", a row "departure = 30 Apr\n".
  static std::int32_t max_observation_tokens(const Params& params, ObservationForm) {
    return 32 + 64 * params.num_fields;
  }

  static void describe(const Params&, Description& description) {
    for (const char* label : {"complete", "mistake", "submitted", "goal"}) {
      description.add_label(label);
    }
  }

  static State reset(const Params& params, RandomStream& level);

  static StepResult step(const Params& params, State& state, int action) {
    if (action == kMalformedAction) {
      state.last = kMalformed;
      return {};
    }
    if (action < first_action(params.num_fields)) {
      int field = 0;
      while (action >= first_action(field + 1)) ++field;
      state.entries[field] = static_cast<std::int16_t>(action - first_action(field));
      state.last = static_cast<std::int16_t>(field);
      return {};
    }
    state.last = kSubmit;
    state.submitted = 1;
    const int right = count_right(params, state);
    const bool success = right == params.num_fields;
    const double share = static_cast<double>(right) / params.num_fields;
    return {.reward = params.binary ? (success ? 1.0 : 0.0) : share,
            .terminated = true,
            .success = success};
  }

  // Grid: the instruction, then the form, a field a line. Compact: the same at first, then the
  // line of the field that was entered, "?" after a malformed action, "submitted" at the end.
  static void observe(const Params& params, const State& state, int elapsed_steps,
                      ObservationForm form, TokenWriter& writer);

  static std::uint64_t labels(const Params& params, const State& state) {
    bool complete = true;
    bool mistake = false;
    for (int field = 0; field < params.num_fields; ++field) {
      const bool empty = state.entries[field] == kEmpty;
      complete = complete && !empty;
      mistake = mistake || (!empty && state.entries[field] != state.values[field]);
    }
    const bool submitted = state.submitted != 0;
    const bool goal = submitted && complete && !mistake;
    return (complete ? 1U : 0U) | (mistake ? 2U : 0U) | (submitted ? 4U : 0U) | (goal ? 8U : 0U);
  }

  // An entry for each field that is not right, and "submit".
  static Solution solve(const Params& params, const State& state) {
    const int wrong = params.num_fields - count_right(params, state);
    if (state.submitted != 0) return {.distance = wrong == 0 ? 0 : kUnsolvable};
    int action = first_action(params.num_fields);
    for (int field = params.num_fields - 1; field >= 0; --field) {
      const bool right = state.entries[field] == state.values[field];
      if (!right) action = first_action(field) + state.values[field];
    }
    return {.distance = wrong + 1, .first_action = action};
  }

  static bool valid(const Params& params, const State& state, bool running);

  static bool parse_action(const Params& params, std::string_view text, std::int64_t* action);

 private:
  static constexpr int first_action(int field) {
    int first = 0;
    for (int i = 0; i < field; ++i) first += kFields[static_cast<std::size_t>(i)].num_values;
    return first;
  }

  static int count_right(const Params& params, const State& state) {
    int right = 0;
    for (int i = 0; i < params.num_fields; ++i)
      right += state.entries[i] == state.values[i] ? 1 : 0;
    return right;
  }
};

static_assert(Environment<FormFill>);

}  // namespace fastrl
