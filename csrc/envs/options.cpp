#include "envs/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "core/check.h"

namespace fastrl {
namespace {

constexpr const char* kFunction = "make_vec";
constexpr std::string_view kOptions = "options";
// Of make_vec itself: what is none of them comes as an option.
constexpr const char* kArguments[] = {
    "num_envs",         "precision",       "group_size",        "num_levels",      "level_seed",
    "autoreset_mode",   "invalid_penalty", "max_episode_steps", "num_threads",     "history",
    "output",           "preset",          "render_mode",       "action_repeat",   "contexts",
    "context_selector", "cost_limit",      "context_observed",  "costs",           "retries",
    "trials",           "reward_machine",  "machine_reward",    "machine_observed"};

// The length of the longest sequence of letters that both have in this order.
std::size_t common_letters(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);  // of what was read of `a`, with each start of `b`
  for (const char letter : a) {
    std::size_t diagonal = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
      const std::size_t above = row[i + 1];
      row[i + 1] = letter == b[i] ? diagonal + 1 : std::max(row[i], above);
      diagonal = above;
    }
  }
  return row.back();
}

// The one that may have been meant: more than 60 % of the letters of both are common.
std::string nearest(const std::string& name, const std::vector<std::string>& known) {
  double best = 0.6;
  std::string found;
  for (const std::string& one : known) {
    const double both = 2.0 * static_cast<double>(common_letters(name, one));
    const double share = both / static_cast<double>(name.size() + one.size());
    if (share > best) {
      best = share;
      found = one;
    }
  }
  return found;
}

// The shortest text that reads back as the same double.
std::string exact(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return {text, end};
}

std::string spelled(const OptionValue& value) {
  struct Visitor {
    std::string operator()(bool x) const { return x ? "True" : "False"; }
    std::string operator()(std::int64_t x) const { return std::to_string(x); }
    std::string operator()(double x) const { return exact(x); }
    std::string operator()(const std::string& x) const { return concat("'", x, "'"); }
  };
  return std::visit(Visitor{}, value);
}

[[noreturn]] void refuse(const char* name, const std::string& expected, const OptionValue& value) {
  fail_value(kFunction, name, expected, spelled(value));
}

}  // namespace

const OptionValue* GivenOptions::find(const char* name) {
  known_[name] = true;
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

void GivenOptions::record(const char* name, const std::string& value) {
  read_.emplace_back(name, value);
}

void GivenOptions::omit(const char* name) {
  std::erase_if(read_, [&](const auto& option) { return option.first == name; });
}

std::string GivenOptions::canonical() const {
  std::string line;
  for (const auto& [name, value] : read_) {
    line += concat(line.empty() ? "" : ", ", name, "=", value);
  }
  return line;
}

bool GivenOptions::boolean(const char* name, bool fallback) {
  const OptionValue* given = find(name);
  const bool* value = given ? std::get_if<bool>(given) : &fallback;
  if (value == nullptr) refuse(name, "be True or False", *given);
  record(name, spelled(*value));
  return *value;
}

std::int64_t GivenOptions::integer(const char* name, std::int64_t fallback, std::int64_t low,
                                   std::int64_t high) {
  const OptionValue* given = find(name);
  const std::int64_t* value = given ? std::get_if<std::int64_t>(given) : &fallback;
  if (value == nullptr || *value < low || *value > high) {
    refuse(name, concat("be an integer from ", low, " to ", high),
           given ? *given : OptionValue(fallback));
  }
  record(name, std::to_string(*value));
  return *value;
}

double GivenOptions::number(const char* name, double fallback, double low, double high) {
  const OptionValue* given = find(name);
  double value = fallback;
  if (given != nullptr) {
    if (const auto* real = std::get_if<double>(given)) {
      value = *real;
    } else if (const auto* whole = std::get_if<std::int64_t>(given)) {
      value = static_cast<double>(*whole);
    } else {
      value = NAN;
    }
  }
  if (!(value >= low && value <= high)) {
    refuse(name, concat("be a number in [", low, ", ", high, "]"),
           given ? *given : OptionValue(fallback));
  }
  value += 0.0;  // -0 is 0
  record(name, exact(value));
  return value;
}

int GivenOptions::choice(const char* name, const char* fallback,
                         std::initializer_list<const char*> choices) {
  const OptionValue* given = find(name);
  const std::string chosen(fallback);
  const std::string* value = given ? std::get_if<std::string>(given) : &chosen;
  int index = 0;
  std::string listed;
  for (const char* candidate : choices) {
    if (value != nullptr && *value == candidate) {
      record(name, *value);
      return index;
    }
    listed += concat(index++ == 0 ? "" : ", ", "'", candidate, "'");
  }
  refuse(name, concat("be one of ", listed), *given);
}

std::string_view GivenOptions::text(const char* name, const char* fallback) {
  const OptionValue* given = find(name);
  const auto* value = given ? std::get_if<std::string>(given) : nullptr;
  if (given != nullptr && value == nullptr) refuse(name, "be a string", *given);
  const std::string_view chosen = value != nullptr ? std::string_view(*value) : fallback;
  std::string line;  // of texts of several, too
  for (const char letter : chosen) line += letter == '\n' ? "\\n" : std::string(1, letter);
  record(name, concat("'", line, "'"));
  return chosen;
}

void GivenOptions::finish(const char* function, const char* argument) const {
  for (const auto& [name, value] : values_) {
    if (known_.contains(name)) continue;
    std::string listed;
    std::vector<std::string> names;
    for (const auto& [known, unused] : known_) {
      listed += concat(listed.empty() ? "'" : ", '", known, "'");
      names.push_back(known);
    }
    if (std::string_view(argument) == kOptions) {
      names.insert(names.end(), std::begin(kArguments), std::end(kArguments));
    }
    const std::string meant = nearest(name, names);
    const std::string hint = meant.empty() ? "" : concat("; did you mean '", meant, "'?");
    fail_value(function, argument,
               concat("be among those of ", id_, " (", listed.empty() ? "none" : listed, ")"),
               concat("'", name, "'", hint));
  }
}

}  // namespace fastrl
