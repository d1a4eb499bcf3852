#include "replay/rank_powers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "core/instruction_set.h"
#include "replay/power.h"

namespace fastrl {
namespace {

constexpr std::int64_t kFirst = 32;
constexpr double kLn2 = std::numbers::ln2;

// F above, of ranks below kFirst that of kFirst. Near exponent 1 it is less a constant, so that
// (x^rest − 1) / rest goes to ln x.
FASTRL_INLINE void antiderivatives(const std::int64_t* ranks, std::size_t n, double exponent,
                                   double* values) {
  const double rest = 1.0 - exponent;
  const double divisor = rest == 0.0 ? 1.0 : rest;
  const double constant = rest > -0.25 && rest < 0.25 ? 1.0 : 0.0;
  const double third = 7.0 / 5760.0 * exponent * (exponent + 1.0) * (exponent + 2.0);
  for (std::size_t k = 0; k < n; ++k) {
    // 2^52 + the rank, whose conversion would need AVX-512.
    const std::int64_t rank = ranks[k] < kFirst ? kFirst : ranks[k];
    const double x =
        (std::bit_cast<double>(static_cast<std::uint64_t>(rank) | 0x4330000000000000) - 0x1p52) +
        0.5;
    const double log2_x = log2_of(x);
    const double y = rest * log2_x;
    const BinaryExponential grown = binary_exponential(y);
    const double all = (1.0 + grown.minus_one) * power_of_two(grown.n);  // x^(1 − exponent)
    const double less = grown.n == 0.0 ? grown.minus_one + (1.0 - constant) : all - constant;
    const double divided = less / divisor;
    const double integral = std::abs(y) < 1e-12 ? log2_x * kLn2 : divided;
    const double f = all / x;
    values[k] = integral + exponent * f / (24.0 * x) - third * f / (x * x * x);
  }
}

}  // namespace

void sums_of_powers(std::span<const std::int64_t> ends, double exponent, double* sums) {
  constexpr std::size_t kBatch = 64;
  std::array<double, kBatch + 1> values;
  const std::size_t runs = ends.size() - 1;
  for (std::size_t begin = 0; begin < runs; begin += kBatch) {
    const std::size_t size = std::min(kBatch, runs - begin);
    Compiled<&antiderivatives>::run(ends.data() + begin, size + 1, exponent, values.data());
    for (std::size_t k = 0; k < size; ++k) {
      double sum = 0.0;
      for (std::int64_t rank = ends[begin + k]; rank < std::min(ends[begin + k + 1], kFirst);) {
        sum += power(static_cast<double>(++rank), -exponent);
      }
      sums[begin + k] = sum + (values[k + 1] - values[k]);
    }
  }
}

}  // namespace fastrl
