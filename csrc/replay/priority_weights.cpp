#include "replay/priority_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/check.h"
#include "core/instruction_set.h"
#include "replay/power.h"

namespace fastrl {
namespace {

template <typename Priority>
using Bits = std::conditional_t<sizeof(Priority) == 4, std::uint32_t, std::uint64_t>;

// One loop for the exponent 1, whose power is p itself, and one for all others.
template <bool is_linear, typename Priority>
FASTRL_INLINE void to_weights(const Priority* priorities, std::int64_t n, double exponent,
                              double scale, std::uint32_t* weights) {
  // Two factors, because one alone may overflow where the product does not.
  const double half = (scale * 0.5 + kRoundToInteger) - kRoundToInteger;
  const double first = power_of_two(half);
  const double second = power_of_two(scale - half);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto p = static_cast<double>(priorities[i]);
    double w = p * first * second;
    if constexpr (!is_linear) {
      const BinaryExponential result = binary_exponential(exponent * log2_of(p));
      double n_scaled = result.n + scale;
      n_scaled = n_scaled > 40.0 ? 40.0 : n_scaled;
      w = (1.0 + result.minus_one) * power_of_two(n_scaled);
    }
    w = w > 0xFFFFFFFFp0 ? 0xFFFFFFFFp0 : w;
    w = w < 1.0 ? 1.0 : w;
    const auto rounded = static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(w + 0x1p52));
    weights[i] = p > 0.0 ? rounded : 0;
  }
}

template <typename Priority>
FASTRL_INLINE void to_weights_of_exponent(const Priority* priorities, std::int64_t n,
                                          double exponent, double scale, std::uint32_t* weights) {
  if (exponent == 1.0) {
    to_weights<true>(priorities, n, exponent, scale, weights);
  } else {
    to_weights<false>(priorities, n, exponent, scale, weights);
  }
}

template <typename Priority>
void dispatch(std::span<const Priority> priorities, double exponent, std::int64_t scale,
              std::uint32_t* weights) {
  Compiled<&to_weights_of_exponent<Priority>>::run(priorities.data(),
                                                   static_cast<std::int64_t>(priorities.size()),
                                                   exponent, static_cast<double>(scale), weights);
}

// Floats that are not negative order as their bits do; the others' bits are larger than all these.
template <typename Priority>
Priority largest_or_fail(const char* function, std::span<const Priority> priorities) {
  Bits<Priority> largest = 0;
  for (const Priority p : priorities) largest = std::max(largest, std::bit_cast<Bits<Priority>>(p));
  if (largest <= std::bit_cast<Bits<Priority>>(std::numeric_limits<Priority>::max())) {
    return std::bit_cast<Priority>(largest);
  }
  Priority of_rest = 0;
  for (const Priority p : priorities) {  // −0 passes here
    if (!(p >= 0) || std::isinf(p)) {
      fail_value(function, "priorities", "be finite and at least 0", concat(p));
    }
    of_rest = std::max(of_rest, p);
  }
  return of_rest;
}

}  // namespace

std::int64_t weight_log2(double priority, double exponent) {
  if (exponent == 1.0) return std::ilogb(priority);
  const BinaryExponential result = binary_exponential(exponent * log2_of(priority));
  return static_cast<std::int64_t>(result.n) - (result.minus_one < 0.0 ? 1 : 0);
}

std::uint32_t priority_weight(double priority, double exponent, std::int64_t scale) {
  std::uint32_t weight = 0;
  dispatch(std::span<const double>(&priority, 1), exponent, scale, &weight);
  return weight;
}

void priority_weights(std::span<const float> priorities, double exponent, std::int64_t scale,
                      std::uint32_t* weights) {
  dispatch(priorities, exponent, scale, weights);
}

void priority_weights(std::span<const double> priorities, double exponent, std::int64_t scale,
                      std::uint32_t* weights) {
  dispatch(priorities, exponent, scale, weights);
}

float checked_largest(const char* function, std::span<const float> priorities) {
  return largest_or_fail(function, priorities);
}

double checked_largest(const char* function, std::span<const double> priorities) {
  return largest_or_fail(function, priorities);
}

double checked_new_priority(const char* function, double value) {
  if (!(value >= 0.0) || std::isinf(value)) {
    fail_value(function, "new_priority", "be finite and at least 0", concat(value));
  }
  return value;
}

double checked_exponent(const char* function, double exponent) {
  if (!(exponent >= 0.0 && exponent <= 1000.0)) {
    fail_value(function, "priority_exponent", "be in [0, 1000]", concat(exponent));
  }
  return exponent;
}

void check_slots(const char* function, std::span<const std::int64_t> slots, std::int64_t capacity) {
  std::int64_t outside = 0;  // negative as soon as one is
  for (const std::int64_t slot : slots) outside |= slot | (capacity - 1 - slot);
  if (outside >= 0) return;
  for (const std::int64_t slot : slots) {
    if (slot < 0 || slot >= capacity) {
      fail_index(function, "slots", concat("be from 0 to ", capacity - 1), concat(slot));
    }
  }
}

}  // namespace fastrl
