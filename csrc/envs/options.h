// An environment's keyword options: read by name, checked, and written down in one canonical line.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace fastrl {

using OptionValue = std::variant<bool, std::int64_t, double, std::string>;

// What an environment's `parse` reads from. An interface, so that code compiled elsewhere can call
// it without linking to it.
class Options {
 public:
  virtual ~Options() = default;

  virtual bool boolean(const char* name, bool fallback) = 0;
  virtual std::int64_t integer(const char* name, std::int64_t fallback, std::int64_t low,
                               std::int64_t high) = 0;
  virtual double number(const char* name, double fallback, double low, double high) = 0;
  // The position of the chosen name in `choices`.
  virtual int choice(const char* name, const char* fallback,
                     std::initializer_list<const char*> choices) = 0;
  // Lives as long as the options.
  virtual std::string_view text(const char* name, const char* fallback) = 0;

  virtual bool given(const char* name) const = 0;

  // Leaves an option that was read out of the canonical line: it changes nothing, or others say it.
  virtual void omit(const char* name) = 0;
};

// The options of one call of make_vec.
class GivenOptions final : public Options {
 public:
  GivenOptions(std::string id, std::map<std::string, OptionValue> values)
      : id_(std::move(id)), values_(std::move(values)) {}

  bool boolean(const char* name, bool fallback) override;
  std::int64_t integer(const char* name, std::int64_t fallback, std::int64_t low,
                       std::int64_t high) override;
  double number(const char* name, double fallback, double low, double high) override;
  int choice(const char* name, const char* fallback,
             std::initializer_list<const char*> choices) override;
  std::string_view text(const char* name, const char* fallback) override;
  bool given(const char* name) const override { return values_.contains(name); }
  void omit(const char* name) override;

  // Refuses what nobody has read, in the name of the argument that it came with.
  void finish(const char* function = "make_vec", const char* argument = "options") const;

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
