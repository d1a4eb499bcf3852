// Fractions in lowest terms. Nothing here looks for overflow: Countdown's numbers are bounded.
#pragma once

#include <compare>
#include <cstdint>
#include <numeric>

namespace fastrl {

struct Rational {
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;  // at least 1

  static constexpr Rational reduced(std::int64_t numerator, std::int64_t denominator) {
    const std::int64_t divisor = std::gcd(numerator, denominator);
    const std::int64_t signed_divisor = denominator < 0 ? -divisor : divisor;
    return {numerator / signed_divisor, denominator / signed_divisor};
  }

  constexpr bool zero() const { return numerator == 0; }

  friend constexpr Rational operator+(const Rational& a, const Rational& b) {
    return reduced(a.numerator * b.denominator + b.numerator * a.denominator,
                   a.denominator * b.denominator);
  }
  friend constexpr Rational operator-(const Rational& a) { return {-a.numerator, a.denominator}; }
  friend constexpr Rational operator-(const Rational& a, const Rational& b) { return a + -b; }
  friend constexpr Rational operator*(const Rational& a, const Rational& b) {
    return reduced(a.numerator * b.numerator, a.denominator * b.denominator);
  }
  // b is not zero.
  friend constexpr Rational operator/(const Rational& a, const Rational& b) {
    return reduced(a.numerator * b.denominator, a.denominator * b.numerator);
  }

  // Any order will do for a sorted table.
  friend constexpr auto operator<=>(const Rational&, const Rational&) = default;
};

}  // namespace fastrl
