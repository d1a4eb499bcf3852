// An environment's keyword options: read by name, checked, and written down in one canonical line.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <variant>

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

  // Refuses what nobody has read.
  void finish() const;

  // "size=6, num_boxes=1, …": equal exactly when the environments are.
  const std::string& canonical() const { return canonical_; }

 private:
  const OptionValue* find(const char* name);
  void record(const char* name, const std::string& value);

  std::string id_;
  std::map<std::string, OptionValue> values_;
  std::map<std::string, bool> known_;
  std::string canonical_;
};

}  // namespace fastrl
