#include "envs/text_games/countdown_expression.h"

#include "envs/text.h"

namespace fastrl {

// Recursive descent; each function reads one rule and says whether it was there.
class Expression::Parser {
 public:
  Parser(std::string_view text, Expression& to) : rest_(text), to_(to) {}

  bool parse() { return sum() && next() == '\0'; }

 private:
  // The next character that is no space, '\0' at the end.
  char next() {
    rest_ = trimmed(rest_);
    return rest_.empty() ? '\0' : rest_[0];
  }

  bool take(char c) {
    if (next() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void put(std::int16_t item) { to_.items_[to_.size_++] = item; }

  bool sum() {
    if (!product()) return false;
    while (true) {
      const bool adds = take('+');
      if (!adds && !take('-')) return true;
      if (!product()) return false;
      put(adds ? kAdd : kSubtract);
    }
  }

  bool product() {
    if (!factor()) return false;
    while (true) {
      const bool multiplies = take('*');
      if (!multiplies && !take('/')) return true;
      if (!factor()) return false;
      put(multiplies ? kMultiply : kDivide);
    }
  }

  bool factor() {
    if (take('+')) return factor();
    if (take('-')) {
      if (!factor()) return false;
      put(kNegate);
      return true;
    }
    if (take('(')) return sum() && take(')');
    return number();
  }

  bool number() {
    if (!is_digit(next())) return false;
    std::size_t size = 0;
    std::int16_t number = 0;
    for (; size < rest_.size() && is_digit(rest_[size]); ++size) {
      if (size == 4) return false;
      number = static_cast<std::int16_t>(10 * number + (rest_[size] - '0'));
    }
    rest_.remove_prefix(size);
    put(number);
    return true;
  }

  std::string_view rest_;
  Expression& to_;
};

std::optional<Expression> Expression::parse(std::string_view text) {
  if (text.size() > kMaxSize) return std::nullopt;
  Expression expression;
  if (!Parser(text, expression).parse()) return std::nullopt;
  return expression;
}

std::optional<Rational> Expression::value() const {
  std::array<Rational, kMaxSize> stack;
  std::size_t size = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    const std::int16_t item = items_[i];
    if (item >= 0) {
      stack[size++] = {item, 1};
      continue;
    }
    Rational& top = stack[size - 1];
    if (item == kNegate) {
      top = -top;
      continue;
    }
    Rational& below = stack[size - 2];
    if (item == kDivide && top.zero()) return std::nullopt;
    below = item == kAdd        ? below + top
            : item == kSubtract ? below - top
            : item == kMultiply ? below * top
                                : below / top;
    --size;
  }
  return stack[0];
}

}  // namespace fastrl
