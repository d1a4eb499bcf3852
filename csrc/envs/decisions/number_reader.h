// Reading a level that is written as numbers between spaces and line ends.
#pragma once

#include <charconv>
#include <string>
#include <string_view>

#include "core/check.h"
#include "envs/level_text.h"

namespace fastrl {

class NumberReader {
 public:
  // `expected` says what the text must hold, for errors.
  NumberReader(std::string_view text, std::string expected)
      : rest_(text), expected_(std::move(expected)) {
    skip_space();
  }

  // The next number, which must be in [low, high].
  double next(double low, double high) {
    if (rest_.empty()) fail(concat(read_));
    double value = 0.0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    const bool ends = end == rest_.data() + rest_.size() || is_space(*end);
    if (error != std::errc() || !ends || !(value >= low && value <= high)) {
      fail(concat("'", rest_.substr(0, rest_.find_first_of(kSpace)), "'"));
    }
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    skip_space();
    ++read_;
    return value;
  }

  void finish() const {
    if (!rest_.empty()) fail("more");
  }

 private:
  static constexpr std::string_view kSpace = " \t\n";

  static bool is_space(char c) { return kSpace.find(c) != std::string_view::npos; }

  void skip_space() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
  }

  [[noreturn]] void fail(const std::string& actual) const {
    fail_level(concat("hold ", expected_), actual);
  }

  std::string_view rest_;
  std::string expected_;
  int read_ = 0;
};

}  // namespace fastrl
