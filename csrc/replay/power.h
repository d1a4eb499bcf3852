// x^a in float64 from additions, multiplications and one division: the same bits in every
// instruction set, and in NumPy.
//
// Math      x = 2^e m, √½ ≤ m < √2: log2 m = (2 / ln 2) artanh((m − 1) / (m + 1)) by its series;
//           2^y = 2^n e^(f ln 2) with n = round(y), |f| ≤ ½, by the series of e^g.
// Numerics  relative error of x^a at most 2^-52 (4 + 2 |log2 x^a|); x^0 is exactly 1.
#pragma once

#include <bit>
#include <cstdint>
#include <numbers>

#include "core/instruction_set.h"

namespace fastrl {

// Adding it rounds a float64 to an integer, whose low bits are then the low bits of the sum.
inline constexpr double kRoundToInteger = 0x1.8p52;

// The logarithm of a finite x > 0.
FASTRL_INLINE double log2_of(double x) {
  const bool subnormal = x < 0x1p-1022;
  const auto bits = std::bit_cast<std::uint64_t>(subnormal ? x * 0x1p54 : x);
  constexpr std::uint64_t kSqrtHalf = 0x3FE6A09E667F3BCD;
  const std::uint64_t shifted = bits + (0x3FF0000000000000 - kSqrtHalf);
  // 2^52 + the biased exponent, whose conversion would need AVX-512.
  const double e = std::bit_cast<double>((shifted >> 52) | 0x4330000000000000) -
                   (0x1p52 + 1023.0 + (subnormal ? 54.0 : 0.0));
  const auto m = std::bit_cast<double>((shifted & 0x000FFFFFFFFFFFFF) + kSqrtHalf);
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  constexpr double kScale = 0x1.71547652b82fep+1;  // 2 / ln 2
  double p = kScale / 21.0;
  p = p * z + kScale / 19.0;
  p = p * z + kScale / 17.0;
  p = p * z + kScale / 15.0;
  p = p * z + kScale / 13.0;
  p = p * z + kScale / 11.0;
  p = p * z + kScale / 9.0;
  p = p * z + kScale / 7.0;
  p = p * z + kScale / 5.0;
  p = p * z + kScale / 3.0;
  p = p * z + kScale;
  return e + p * s;
}

// (1 + minus_one) 2^n, n a whole number and minus_one from −0.3 to 0.42.
struct BinaryExponential {
  double minus_one;
  double n;
};

// 2^y for |y| < 2^50.
FASTRL_INLINE BinaryExponential binary_exponential(double y) {
  const double n = (y + kRoundToInteger) - kRoundToInteger;
  const double g = (y - n) * std::numbers::ln2;
  double p = 1.0 / 6227020800.0;
  p = p * g + 1.0 / 479001600.0;
  p = p * g + 1.0 / 39916800.0;
  p = p * g + 1.0 / 3628800.0;
  p = p * g + 1.0 / 362880.0;
  p = p * g + 1.0 / 40320.0;
  p = p * g + 1.0 / 5040.0;
  p = p * g + 1.0 / 720.0;
  p = p * g + 1.0 / 120.0;
  p = p * g + 1.0 / 24.0;
  p = p * g + 1.0 / 6.0;
  p = p * g + 0.5;
  return {(p * g) * g + g, n};
}

// 2^n for a whole n, at least 2^-1022 and at most 2^1023.
FASTRL_INLINE double power_of_two(double n) {
  n = n < -1022.0 ? -1022.0 : n;
  n = n > 1023.0 ? 1023.0 : n;
  const auto low_bits = std::bit_cast<std::uint64_t>(n + kRoundToInteger);
  return std::bit_cast<double>((low_bits + 1023) << 52);
}

// x^a for a finite x > 0; results below 2^-1022 come out as about that.
FASTRL_INLINE double power(double x, double a) {
  const BinaryExponential result = binary_exponential(a * log2_of(x));
  return (1.0 + result.minus_one) * power_of_two(result.n);
}

// ln x for a finite x > 0.
FASTRL_INLINE double natural_log(double x) { return log2_of(x) * std::numbers::ln2; }

// 1 − e^−x for x ≥ 0, accurate near 0, too.
FASTRL_INLINE double one_minus_exponential(double x) {
  x = x > 700.0 ? 700.0 : x;
  const BinaryExponential result = binary_exponential(-x * std::numbers::log2e);
  const double all = 1.0 - (1.0 + result.minus_one) * power_of_two(result.n);
  return result.n == 0.0 ? -result.minus_one : all;
}

}  // namespace fastrl
