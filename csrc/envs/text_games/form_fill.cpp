#include "envs/text_games/form_fill.h"

#include <cstdlib>
#include <numeric>
#include <optional>
#include <utility>

namespace fastrl {
namespace {

using Kind = FormFill::Kind;

constexpr std::array<std::string_view, FormFill::kNumNames> kNames = {
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo",
    "Ida", "Jon", "Kira", "Leo", "Mia", "Nils", "Olga", "Paul"};

struct Month {
  std::string_view name;
  int days;
};
constexpr Month kMonths[] = {{"January", 31}, {"February", 28}, {"March", 31},
                             {"April", 30},   {"May", 31},      {"June", 30},
                             {"July", 31},    {"August", 31},   {"September", 30},
                             {"October", 31}, {"November", 30}, {"December", 31}};

const FormFill::FieldKind& kind_of(int field) {
  return FormFill::kFields[static_cast<std::size_t>(field)];
}

// The month that a word names by three letters or in full.
const Month* find_month(std::string_view word) {
  const auto* found = std::ranges::find_if(kMonths, [&](const Month& month) {
    return equal_words(word, month.name) || equal_words(word, month.name.substr(0, 3));
  });
  return found == std::end(kMonths) ? nullptr : found;
}

void put_value(int field, int value, TokenWriter& writer) {
  const auto& [name, kind, num_values, choices] = kind_of(field);
  switch (kind) {
    case Kind::kName:
      writer.put(kNames[static_cast<std::size_t>(value)]);
      return;
    case Kind::kNumber:
      writer.put_number(value + 1);
      return;
    case Kind::kChoice:
      writer.put(choices[static_cast<std::size_t>(value)]);
      return;
    case Kind::kDate:
      const Month* month = kMonths;
      for (; value >= month->days; ++month) value -= month->days;
      writer.put_number(value + 1);
      writer.put(' ');
      writer.put(month->name.substr(0, 3));
  }
}

std::optional<int> position(std::span<const std::string_view> words, std::string_view word) {
  const auto found =
      std::ranges::find_if(words, [&](std::string_view known) { return equal_words(word, known); });
  if (found == words.end()) return std::nullopt;
  return static_cast<int>(found - words.begin());
}

// A text of digits.
std::optional<int> parse_number(std::string_view text) {
  std::int32_t number[1];
  if (!std::ranges::all_of(text, is_digit) || !read_numbers({text, true}, number)) {
    return std::nullopt;
  }
  return number[0];
}

// "2 May", "May 2" or "2nd May" as a day of the year.
std::optional<int> parse_date(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  std::string_view day = text.substr(0, space);
  std::string_view month_name = trimmed(text.substr(space));
  if (!is_digit(day[0])) std::swap(day, month_name);
  for (const std::string_view ending : {"st", "nd", "rd", "th"}) {
    if (day.ends_with(ending)) day.remove_suffix(2);
  }
  const Month* month = find_month(month_name);
  const auto number = parse_number(day);
  if (month == nullptr || !number || *number < 1 || *number > month->days) return std::nullopt;
  int first = 0;
  for (const Month* earlier = kMonths; earlier != month; ++earlier) first += earlier->days;
  return first + *number - 1;
}

std::optional<int> parse_value(int field, std::string_view text) {
  const auto& [name, kind, num_values, choices] = kind_of(field);
  switch (kind) {
    case Kind::kName:
      return position(kNames, text);
    case Kind::kChoice:
      return position(choices, text);
    case Kind::kDate:
      return parse_date(text);
    case Kind::kNumber:
      const auto number = parse_number(text);
      if (!number || *number < 1 || *number > num_values) return std::nullopt;
      return *number - 1;
  }
  return std::nullopt;
}

// How a value is stated if it must be worked out; never 0.
int draw_hint(int field, int value, RandomStream& level) {
  const auto& [name, kind, num_values, choices] = kind_of(field);
  if (field == FormFill::kDeparture || kind == Kind::kChoice) return 1;
  const auto below = [&](int n) {
    return static_cast<int>(level.below(static_cast<std::uint32_t>(n)));
  };
  // Another name, as a distance around the list.
  if (kind == Kind::kName) return 1 + below(num_values - 1);
  const int size = 2 + below(8);
  const bool less = below(2) == 1;
  // A number stays at least 1.
  return less || (kind == Kind::kNumber && value < size) ? -size : size;
}

void put_statement(const FormFill::State& state, int field, TokenWriter& writer) {
  const auto& [name, kind, num_values, choices] = kind_of(field);
  const int value = state.values[field];
  const int hint = state.hints[field];
  writer.put(name);
  writer.put(" is ");
  if (hint == 0) {
    put_value(field, value, writer);
    return;
  }
  if (field == FormFill::kDeparture) {
    writer.put("arrival plus nights");
    return;
  }
  switch (kind) {
    case Kind::kName:
      writer.put("not ");
      put_value(field, (value + hint) % num_values, writer);
      writer.put(" but ");
      put_value(field, value, writer);
      return;
    case Kind::kChoice:
      writer.put("neither ");
      put_value(field, (value + 1) % num_values, writer);
      writer.put(" nor ");
      put_value(field, (value + 2) % num_values, writer);
      return;
    case Kind::kNumber:
      writer.put_number(std::abs(hint));
      writer.put(hint > 0 ? " more than " : " less than ");
      put_value(field, value - hint, writer);
      return;
    case Kind::kDate:
      writer.put_number(std::abs(hint));
      writer.put(hint > 0 ? " days after " : " days before ");
      put_value(field, value - hint, writer);
  }
}

void put_row(const FormFill::State& state, int field, TokenWriter& writer) {
  writer.put(kind_of(field).name);
  writer.put(" = ");
  if (state.entries[field] == FormFill::kEmpty) {
    writer.put('?');
  } else {
    put_value(field, state.entries[field], writer);
  }
}

}  // namespace

FormFill::State FormFill::reset(const Params& params, RandomStream& level) {
  const auto below = [&](int n) {
    return static_cast<int>(level.below(static_cast<std::uint32_t>(n)));
  };
  State state{};
  const int count = params.num_fields;
  for (int field = 0; field < count; ++field) {
    const int num_values = kind_of(field).num_values;
    int value = 0;
    if (field == kArrival) {
      value = 30 + below(300);  // whatever is counted from it lies in the same year
    } else if (field == kDeparture) {
      value = state.values[kArrival] + state.values[kNights] + 1;
    } else {
      value = below(num_values);
    }
    state.values[field] = static_cast<std::int16_t>(value);
    state.entries[field] = kEmpty;
    if (level.uniform() < params.inference_probability) {
      state.hints[field] = static_cast<std::int16_t>(draw_hint(field, value, level));
    }
  }
  std::iota(state.order, state.order + count, std::int16_t{0});
  for (int i = count - 1; i > 0; --i) {
    std::swap(state.order[i], state.order[below(i + 1)]);  // NOLINT: below(n) < n
  }
  state.last = kNothing;
  return state;
}

void FormFill::observe(const Params& params, const State& state, int elapsed_steps,
                       ObservationForm form, TokenWriter& writer) {
  if (form == ObservationForm::kCompact && elapsed_steps > 0) {
    if (state.last >= 0) {
      put_row(state, state.last, writer);
    } else {
      writer.put(state.last == kSubmit ? "submitted" : "?");
    }
    return;
  }
  for (int i = 0; i < params.num_fields; ++i) {
    if (i > 0) writer.put("; ");
    put_statement(state, state.order[i], writer);
  }
  writer.put('.');
  for (int field = 0; field < params.num_fields; ++field) {
    writer.put('\n');
    put_row(state, field, writer);
  }
  if (state.submitted != 0) writer.put("\nsubmitted");
}

bool FormFill::valid(const Params& params, const State& state, bool running) {
  std::uint32_t ordered = 0;
  for (int field = 0; field < kMaxFields; ++field) {
    const auto& [name, kind, num_values, choices] = kind_of(field);
    const int value = state.values[field];
    const int hint = state.hints[field];
    const int entry = state.entries[field];
    const int place = state.order[field];
    if (field >= params.num_fields) {
      if (value != 0 || hint != 0 || entry != 0 || place != 0) return false;
      continue;
    }
    if (value < 0 || value >= num_values || entry < kEmpty || entry >= num_values) return false;
    if (place < 0 || place >= params.num_fields) return false;
    ordered |= 1U << place;
    const bool counted = kind == Kind::kDate || kind == Kind::kNumber;
    if (!counted ? hint < 0 || hint >= num_values : std::abs(hint) > 9) return false;
    // What a value is counted from can be written, too; numbers may exceed their field's.
    if (counted && value - hint < 0) return false;
    if (kind == Kind::kDate && value - hint >= num_values) return false;
  }
  const bool last = state.last >= kNothing && state.last < params.num_fields;
  return ordered == (1U << params.num_fields) - 1 && last &&
         state.submitted == (state.last == kSubmit ? 1 : 0) && !(running && state.submitted != 0);
}

bool FormFill::parse_action(const Params& params, std::string_view text, std::int64_t* action) {
  std::string_view answer = trimmed(answer_in_brackets(text).text);
  // The first of several actions.
  for (const std::string_view separator : {"||", "\n", ";"}) {
    answer = trimmed(answer.substr(0, answer.find(separator)));
  }
  if (equal_words(answer, "submit")) {
    *action = first_action(params.num_fields);
    return true;
  }
  const std::size_t sign = answer.find_first_of("=:");
  if (sign == std::string_view::npos) return false;
  for (int field = 0; field < params.num_fields; ++field) {
    if (!equal_words(trimmed(answer.substr(0, sign)), kind_of(field).name)) continue;
    const auto value = parse_value(field, trimmed(answer.substr(sign + 1)));
    if (value) *action = first_action(field) + *value;
    return value.has_value();
  }
  return false;
}

}  // namespace fastrl
