// Sines, cosines and angles for every number type of number.h.
//
// Math      double and its vectors: the C library's numbers. float and its vectors: the argument
//           less the nearest multiple of π/2 or π (Cody and Waite's subtraction in three parts),
//           then a polynomial.
// Cost      sine_cosine 27 operations, sine or cosine 17, wrap_angle 7; no branch, no division.
// Numerics  absolute error at most 1.3e-7 for |x| ≤ 8192 (tests/cpp/test_classic_control.cpp); the
//           same bits for a float and for each lane of a vector, in every instruction set.
// Limits    beyond 8192 the error grows, beyond 2^22 the result means nothing.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <type_traits>

#include "envs/certain_trigonometry.h"
#include "envs/number.h"

namespace fastrl {
namespace detail {

// Adding it rounds to the nearest integer and leaves that in the low bits.
inline constexpr float kRoundingShift = 0x1.8p23f;

// x - n c for c = high + middle + low, whose first two parts have trailing zeros enough that n
// times them is exact.
template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void subtract_multiple(const Number& n, float high, float middle,
                                                        float low, Number& x) {
  x = x - n * high;
  x = x - n * middle;
  x = x - n * low;
}

// π/2 = 1.5703125 + 4.837513e-4 + 7.549790e-8 + …
inline constexpr float kHalfPiHigh = 0x1.92p0f;
inline constexpr float kHalfPiMiddle = 0x1.fb4p-12f;
inline constexpr float kHalfPiLow = 0x1.4442d2p-24f;

// sin r for |r| ≤ π/2, of degree 9.
template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void sine_polynomial(const Number& r, Number& result) {
  const Number square = r * r;
  result = square * 2.6083159809786594e-6f - 1.9810690719168633e-4f;
  result = result * square + 8.3330785855650902e-3f;
  result = result * square - 1.6666659712791443e-1f;
  result = r + r * (square * result);
}

template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void negate_where_odd(const IntegersOf<Number>& n, Number& x) {
  const auto bits = __builtin_bit_cast(IntegersOf<Number>, x);
  x = __builtin_bit_cast(Number, bits ^ (n << 31));
}

}  // namespace detail

template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void sine_cosine(const Number& x, Number& sine, Number& cosine) {
  if constexpr (std::is_same_v<Number, double>) {
    sine = std::sin(x);
    cosine = std::cos(x);
  } else {
    const Number shifted = x * (2.0f * std::numbers::inv_pi_v<float>)+detail::kRoundingShift;
    const auto quarter = __builtin_bit_cast(IntegersOf<Number>, shifted);
    Number r = x;
    detail::subtract_multiple(Number(shifted - detail::kRoundingShift), detail::kHalfPiHigh,
                              detail::kHalfPiMiddle, detail::kHalfPiLow, r);
    const Number square = r * r;  // r in [-π/4, π/4]
    Number s = square * -1.9515295891e-4f + 8.3321608736e-3f;
    s = s * square - 1.6666654611e-1f;
    s = r + r * (square * s);
    Number c = square * 2.443315711809948e-5f - 1.388731625493765e-3f;
    c = c * square + 4.166664568298827e-2f;
    c = 1.0f - square * 0.5f + square * square * c;
    const auto swapped = (quarter & 1) != 0;
    sine = swapped ? c : s;
    cosine = swapped ? s : c;
    detail::negate_where_odd<Number>(quarter >> 1, sine);
    detail::negate_where_odd<Number>((quarter + 1) >> 1, cosine);
  }
}

// The same, but for vectors of doubles NaN in lanes that only the C library can tell.
template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void sine_cosine_or_nan(const Number& x, Number& sine,
                                                         Number& cosine) {
  if constexpr (std::is_same_v<ScalarOf<Number>, double> && !std::is_same_v<Number, double>) {
    certain_sine_cosine(x, sine, cosine);
  } else {
    sine_cosine(x, sine, cosine);
  }
}

template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void sine(const Number& x, Number& result) {
  if constexpr (std::is_same_v<Number, double>) {
    result = std::sin(x);
  } else {
    const Number shifted = x * std::numbers::inv_pi_v<float> + detail::kRoundingShift;
    Number r = x;
    detail::subtract_multiple(Number(shifted - detail::kRoundingShift), 2.0f * detail::kHalfPiHigh,
                              2.0f * detail::kHalfPiMiddle, 2.0f * detail::kHalfPiLow, r);
    detail::sine_polynomial(r, result);
    detail::negate_where_odd<Number>(__builtin_bit_cast(IntegersOf<Number>, shifted), result);
  }
}

template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void cosine(const Number& x, Number& result) {
  if constexpr (std::is_same_v<Number, double>) {
    result = std::cos(x);
  } else if constexpr (std::is_same_v<ScalarOf<Number>, double>) {
    result = x;
    for (std::size_t lane = 0; lane < sizeof(x) / sizeof(double); ++lane) {
      result[lane] = std::cos(x[lane]);
    }
  } else {
    // cos x = sin(x + π/2) = ± sin(x - (n - 1/2) π) for the n nearest to x / π + 1/2.
    const Number shifted = (x * std::numbers::inv_pi_v<float> + 0.5f) + detail::kRoundingShift;
    Number r = x;
    detail::subtract_multiple(Number((shifted - detail::kRoundingShift) * 2.0f - 1.0f),
                              detail::kHalfPiHigh, detail::kHalfPiMiddle, detail::kHalfPiLow, r);
    detail::sine_polynomial(r, result);
    detail::negate_where_odd<Number>(__builtin_bit_cast(IntegersOf<Number>, shifted), result);
  }
}

// x less the multiple of 2π that brings it into [-π, π]; floats and vectors.
template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void wrap_angle(Number& x) {
  const Number shifted = x * (0.5f * std::numbers::inv_pi_v<float>)+detail::kRoundingShift;
  detail::subtract_multiple(Number(shifted - detail::kRoundingShift), 4.0f * detail::kHalfPiHigh,
                            4.0f * detail::kHalfPiMiddle, 4.0f * detail::kHalfPiLow, x);
}

}  // namespace fastrl
