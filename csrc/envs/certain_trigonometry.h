// Sines and cosines with the bits of the C library, several at a time, where these are certain.
//
// Math      The library rounds, in the end, a value that is within E ulp of the true one. Here that
//           is known as a double r and a rest e, to D ulp: where |e| < (1/2 - E - D) ulp, both
//           round to r. Elsewhere, and beyond kFurthest, the result is NaN: the library is to be
//           asked. sin x = x + x³ P(x²), cos x = 1 - x²/2 + x⁴ Q(x²), P and Q the first terms of
//           Taylor's series; what is rounded off 1 - x²/2 and x² is kept.
// Cost      about 60 operations for both; a fifth of the lanes are left to the library.
// Numerics  E: glibc's authors state errors of 0.548 and 0.51 ulp for |x| < 0.85, half an ulp of
//           which is the rounding; 0.05 and 0.02 leave some room.
//           D: x³ P has five roundings of at most 2^-53 and is at most 0.0081 x, which makes 0.04
//           ulp of x; for the cosine what is rounded is below 10^-4, and D below 0.001. The first
//           terms left out are 2^-69 of the result. tests/cpp/test_trigonometry.cpp compares with
//           the library, as many angles as one likes.
// Limits    rounds to nearest. Only glibc's bounds are known: with other libraries all is NaN.
#pragma once

#include <cstdint>
#include <limits>

#include "envs/number.h"

namespace fastrl {
namespace detail {

inline constexpr double kFurthest = 0.22;     // CartPole's poles fall at 0.2095
inline constexpr double kNearest = 0x1p-100;  // -0 is the library's, and what underflows
inline constexpr double kSineRoom = 0.5 - 0.05 - 0.04;
inline constexpr double kCosineRoom = 0.5 - 0.02 - 0.01;
#if defined(__GLIBC__) && !defined(__UCLIBC__)
inline constexpr bool kLibraryIsKnown = true;
#else
inline constexpr bool kLibraryIsKnown = false;
#endif

template <typename V>
FASTRL_INLINE void magnitude(const V& x, V& result) {
  constexpr auto kAllButSign = std::numeric_limits<std::int64_t>::max();
  result = __builtin_bit_cast(V, __builtin_bit_cast(IntegersOf<V>, x) & kAllButSign);
}

// result = r if |rest| < room ulp of r, else NaN. Of two ulps, at a power of two, the smaller.
template <typename V>
FASTRL_INLINE void keep_if_certain(const V& r, const V& rest, double room, V& result) {
  constexpr std::int64_t kExponent = 0x7ff0000000000000;
  const auto power = (__builtin_bit_cast(IntegersOf<V>, r) - 1) & kExponent;
  const V limit = __builtin_bit_cast(V, power) * (room * 0x1p-52);
  V distance;
  magnitude(rest, distance);
  result = V{} + std::numeric_limits<double>::quiet_NaN();
  replace_where_less(distance, limit, r, result);
}

}  // namespace detail

// V is a vector of doubles.
template <typename V>
FASTRL_INLINE void certain_sine_cosine(const V& angle, V& sine, V& cosine) {
  const V none = V{} + std::numeric_limits<double>::quiet_NaN();
  if constexpr (!detail::kLibraryIsKnown) {
    sine = cosine = none;
    return;
  }
  V distance;
  detail::magnitude(angle, distance);
  V x = none;
  replace_where_less(distance, V(V{} + detail::kFurthest), angle, x);
  replace_where_less(distance, V(V{} + detail::kNearest), none, x);

  const V square = x * x;
  V p = square * (1.0 / 6227020800.0) - 1.0 / 39916800.0;
  p = p * square + 1.0 / 362880.0;
  p = p * square - 1.0 / 5040.0;
  p = p * square + 1.0 / 120.0;
  p = p * square - 1.0 / 6.0;
  const V bend = x * (square * p);
  const V s = x + bend;
  detail::keep_if_certain(s, V(bend - (s - x)), detail::kSineRoom, sine);

  // x in halves of its digits, whose products are exact: x² = square + square_rest.
  const V scaled = x * 0x1.0000002p27;
  const V high = scaled - (scaled - x);
  const V low = x - high;
  const V square_rest = ((high * high - square) + 2.0 * (high * low)) + low * low;
  V q = square * (1.0 / 479001600.0) - 1.0 / 3628800.0;
  q = q * square + 1.0 / 40320.0;
  q = q * square - 1.0 / 720.0;
  q = q * square + 1.0 / 24.0;
  const V half = square * 0.5;
  const V begun = 1.0 - half;
  const V rest = ((1.0 - begun) - half) - square_rest * 0.5 + square * square * q;
  const V c = begun + rest;
  detail::keep_if_certain(c, V(rest - (c - begun)), detail::kCosineRoom, cosine);
}

}  // namespace fastrl
