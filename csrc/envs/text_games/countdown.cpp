#include "envs/text_games/countdown.h"

#include <algorithm>
#include <array>
#include <span>

#include "envs/level_text.h"
#include "envs/text_games/countdown_expression.h"
#include "envs/text_games/countdown_solver.h"

namespace fastrl {
namespace {

using Numbers = std::array<std::int32_t, Countdown::kMaxNumbers>;

// The numbers of a level; the rest of the array is 0.
std::span<const std::int32_t> numbers_of(const Countdown::State& state) {
  const auto* end = std::find(state.numbers, state.numbers + Countdown::kMaxNumbers, 0);
  return {state.numbers, end};
}

// The text that a row of tokens spells, "" where it holds anything but characters.
std::string_view spelled(const std::int32_t* row, std::span<char> text) {
  std::size_t size = 0;
  for (; size < text.size() && row[size] != kPadToken; ++size) {
    if (row[size] < kNewlineToken || row[size] >= kVocabularySize) return {};
    text[size] = spelling(row[size])[0];
  }
  return {text.data(), size};
}

// Whether an expression takes only numbers that are there, and all of them with `use_all`.
bool uses_numbers(const Expression& expression, const Countdown::State& state, bool use_all) {
  Numbers left{};
  const auto given = numbers_of(state);
  std::ranges::copy(given, left.begin());
  std::size_t used = 0;
  bool fits = true;
  expression.for_each_number([&](std::int32_t number) {
    const auto found = number == 0 ? left.end() : std::ranges::find(left, number);
    fits = fits && found != left.end();
    if (!fits) return;
    *found = 0;
    ++used;
  });
  return fits && (!use_all || used == given.size());
}

}  // namespace

Countdown::Params Countdown::parse(Options& options) {
  const auto integer = [&](const char* name, std::int64_t fallback, std::int64_t low,
                           std::int64_t high) {
    return static_cast<std::int32_t>(options.integer(name, fallback, low, high));
  };
  Params params{};
  params.num_numbers = integer("num_numbers", 4, 2, kMaxNumbers);
  params.min_numbers = integer("min_numbers", params.num_numbers, 2, params.num_numbers);
  params.max_number = integer("max_number", 99, 1, 100);
  params.min_target = integer("min_target", 10, 1, 1000);
  params.max_target = integer("max_target", std::max(99, params.min_target), 1, 1000);
  params.attempts = integer("attempts", 1, 1, 100);
  params.levels =
      static_cast<Levels>(options.choice("levels", "solvable", {"solvable", "sums", "any"}));
  params.use_all = options.boolean("use_all", true);
  if (params.max_target < params.min_target) {
    fail_value("make_vec", "max_target", concat("be at least `min_target` = ", params.min_target),
               concat(params.max_target));
  }
  // Impossible options are refused here, not in the middle of a rollout.
  auto probe = RandomStream::seeded(0, 0);
  for (int i = 0; i < kMaxDraws; ++i) {
    params.spare = draw(params, probe);
    if (accepted(params, params.spare)) return params;
  }
  fail_value("make_vec", "max_target", "leave a target that the numbers can make",
             concat(params.max_target));
}

Countdown::State Countdown::reset(const Params& params, RandomStream& level) {
  for (int i = 0; i < kMaxDraws; ++i) {
    const State state = draw(params, level);
    if (accepted(params, state)) return state;
  }
  return params.spare;
}

StepResult Countdown::step(const Params& params, State& state, Action action) {
  std::array<char, kActionLength> text;
  const auto expression = Expression::parse(spelled(action, text));
  state.numerator = 0;
  state.denominator = 0;
  ++state.attempts;
  if (!expression) {
    state.outcome = kNoExpression;
  } else if (!uses_numbers(*expression, state, params.use_all)) {
    state.outcome = kWrongNumbers;
  } else if (const auto value = expression->value()) {
    state.outcome = kValue;
    state.numerator = value->numerator;
    state.denominator = value->denominator;
  } else {
    state.outcome = kNoValue;
  }
  if (solved(state)) return {.reward = 1.0, .terminated = true, .success = true};
  const bool last = state.attempts == params.attempts;
  return {.reward = last && state.outcome >= kNoValue ? 0.1 : 0.0, .terminated = last};
}

void Countdown::observe(const Params& params, const State& state, int elapsed_steps,
                        ObservationForm form, TokenWriter& writer) {
  const bool whole = form == ObservationForm::kGrid || elapsed_steps == 0;
  if (whole) {
    writer.put("Target: ");
    writer.put_number(state.target);
    writer.put(", nums: [");
    for (const std::int32_t& number : numbers_of(state)) {
      if (&number != state.numbers) writer.put(", ");
      writer.put_number(number);
    }
    writer.put(']');
    if (params.attempts > 1) {
      writer.put(", attempts: ");
      writer.put_number(params.attempts - state.attempts);
    }
  }
  if (state.outcome == kNothing) return;
  if (whole) writer.put('\n');
  switch (state.outcome) {
    case kNoExpression:
      writer.put("no expression");
      return;
    case kWrongNumbers:
      writer.put("other numbers");
      return;
    case kNoValue:
      writer.put("division by zero");
      return;
    default:
      writer.put("= ");
      writer.put_number(state.numerator);
      if (state.denominator == 1) return;
      writer.put('/');
      writer.put_number(state.denominator);
  }
}

Solution Countdown::solve(const Params& params, const State& state) {
  if (solved(state)) return {.distance = 0};
  const bool solvable = state.attempts < params.attempts &&
                        countdown_solvable(numbers_of(state), state.target, params.use_all);
  return {.distance = solvable ? 1 : kUnsolvable};
}

bool Countdown::valid(const Params& params, const State& state, bool running) {
  // Far above every value, and far below what would not fit.
  constexpr std::int64_t kBound = 1'000'000'000'000'000;
  const auto numbers = numbers_of(state);
  const auto count = static_cast<std::int32_t>(numbers.size());
  const bool in_range = std::ranges::all_of(
      numbers, [&](std::int32_t number) { return number >= 1 && number <= params.max_number; });
  const bool rest_empty = std::all_of(state.numbers + count, state.numbers + kMaxNumbers,
                                      [](std::int32_t number) { return number == 0; });
  const bool value = state.outcome == kValue
                         ? state.denominator >= 1 && state.denominator < kBound &&
                               state.numerator > -kBound && state.numerator < kBound
                         : state.denominator == 0 && state.numerator == 0;
  return in_range && rest_empty && value && count >= params.min_numbers &&
         count <= params.num_numbers && state.target >= params.min_target &&
         state.target <= params.max_target && state.attempts >= 0 &&
         state.attempts + (running ? 1 : 0) <= params.attempts && state.outcome >= kNothing &&
         state.outcome <= kValue && (state.outcome == kNothing) == (state.attempts == 0) &&
         !(running && solved(state));
}

Countdown::State Countdown::parse_level(const Params& params, std::string_view text) {
  std::array<std::int32_t, kMaxNumbers + 2> found{};
  std::size_t count = found.size();
  while (count > 0 && !read_numbers({text, true}, std::span(found).first(count))) --count;
  const auto shown = concat("'", text, "'");
  const auto numbers = static_cast<std::int32_t>(count) - 1;
  if (numbers < params.min_numbers || numbers > params.num_numbers) {
    fail_level(
        concat("name the target and ", params.min_numbers, " to ", params.num_numbers, " numbers"),
        shown);
  }
  State state{};
  state.target = found[0];
  std::copy_n(found.begin() + 1, numbers, state.numbers);
  if (!valid(params, state, true)) {
    fail_level(concat("have a target from ", params.min_target, " to ", params.max_target,
                      " and numbers from 1 to ", params.max_number),
               shown);
  }
  if (!accepted(params, state)) fail_level("have a solution", shown);
  return state;
}

bool Countdown::parse_action(const Params&, std::string_view text, std::int32_t* row) {
  const std::string_view answer = trimmed(answer_in_brackets(text).text);
  if (!Expression::parse(answer)) return false;
  std::fill_n(row, kActionLength, static_cast<std::int32_t>(kPadToken));
  for (std::size_t i = 0; i < answer.size(); ++i) {
    const bool is_space = answer[i] == '\t' || answer[i] == '\r';
    row[i] = character_token(is_space ? ' ' : answer[i]);
  }
  return true;
}

Countdown::State Countdown::draw(const Params& params, RandomStream& level) {
  const auto from = [&](std::int32_t low, std::int32_t high) {
    if (low == high) return low;
    return low + static_cast<std::int32_t>(level.below(static_cast<std::uint32_t>(high - low + 1)));
  };
  State state{};
  const std::int32_t count = from(params.min_numbers, params.num_numbers);
  for (std::int32_t i = 0; i < count; ++i) state.numbers[i] = from(1, params.max_number);
  state.target = from(params.min_target, params.max_target);
  return state;
}

bool Countdown::accepted(const Params& params, const State& state) {
  switch (params.levels) {
    case Levels::kSolvable:
      return countdown_solvable(numbers_of(state), state.target, params.use_all);
    case Levels::kSums:
      return sums_to(numbers_of(state), state.target, params.use_all);
    case Levels::kAny:
      return true;
  }
  return false;
}

}  // namespace fastrl
