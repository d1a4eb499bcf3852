// Arithmetic as people write it: whole numbers, + - * /, brackets, signs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "envs/text_games/rational.h"

namespace fastrl {

class Expression {
 public:
  static constexpr std::size_t kMaxSize = 64;  // characters

  // Nothing if the text is no expression, is too long or holds a number of more than four digits.
  static std::optional<Expression> parse(std::string_view text);

  // The numbers in it, in the order of the text.
  template <typename Visit>
  void for_each_number(Visit&& visit) const {
    for (std::size_t i = 0; i < size_; ++i) {
      if (items_[i] >= 0) visit(static_cast<std::int32_t>(items_[i]));
    }
  }

  // Nothing where it divides by zero.
  std::optional<Rational> value() const;

 private:
  enum Operator : std::int16_t { kAdd = -5, kSubtract, kMultiply, kDivide, kNegate };
  class Parser;

  // In postfix order; numbers are not negative.
  std::array<std::int16_t, kMaxSize> items_{};
  std::size_t size_ = 0;
};

}  // namespace fastrl
