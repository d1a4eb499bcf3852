// An environment's keyword options: read by name, checked, and written down in one canonical line.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace fastrl {

using OptionValue = std::variant<bool, std::int64_t, double, std::string>;

class Options {
 public:
  Options(std::string id, std::map<std::string, OptionValue> values)
      : id_(std::move(id)), values_(std::move(values)) {}

  bool boolean(const char* name, bool fallback);
  std::int64_t integer(const char* name, std::int64_t fallback, std::int64_t low,
                       std::int64_t high);
  double number(const char* name, double fallback, double low, double high);
  // The position of the chosen name in `choices`.
  int choice(const char* name, const char* fallback, std::initializer_list<const char*> choices);

  bool given(const char* name) const { return values_.contains(name); }

  // Leaves an option that was read out of the canonical line: it changes nothing, or others say it.
  void omit(const char* name);

  // Refuses what nobody has read.
  void finish() const;

  // "height=6, width=6, num_boxes=1, …": equal exactly when the environments are.
  std::string canonical() const;

 private:
  const OptionValue* find(const char* name);
  void record(const char* name, const std::string& value);

  std::string id_;
  std::map<std::string, OptionValue> values_;
  std::map<std::string, bool> known_;
  std::vector<std::pair<std::string, std::string>> read_;  // in order
};

}  // namespace fastrl
