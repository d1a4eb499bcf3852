// e^x and e^x − 1 in float32, written so that a plain loop over them vectorizes.
//
// Math      x = n ln 2 + s with |s| ≤ ln 2 / 2; e^s − 1 = s + s² P(s), P from Cephes' expf.
// Numerics  at most 2 ulp each, e^x − 1 also near 0; e^0 is exactly 1; infinities, NaN and
//           subnormal results come out as in std::exp. The same bits in every instruction set.
#pragma once

#include <bit>
#include <cstdint>
#include <numbers>

#include "core/instruction_set.h"

namespace fastrl {

struct Exponential {
  float value;      // e^x
  float minus_one;  // e^x − 1
};

FASTRL_INLINE Exponential exponential(float x) {
  // The comparisons are false for NaN, which then passes through.
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  // Adding 1.5 · 2^23 rounds to the nearest integer, which is then in the low bits.
  constexpr float kRound = 12582912.0f;
  const float shifted = x * std::numbers::log2e_v<float> + kRound;
  const float n = shifted - kRound;
  const std::int32_t exponent = std::bit_cast<std::int32_t>(shifted) - 0x4B400000;
  // ln 2 in two parts, the first so short that n times it is exact.
  constexpr float kLn2High = 0.693359375f;  // NOLINT(modernize-use-std-numbers)
  constexpr float kLn2Low = -2.12194440e-4f;
  const float s = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * s + 1.3981999507e-3f;
  p = p * s + 8.3334519073e-3f;
  p = p * s + 4.1665795894e-2f;
  p = p * s + 1.6666665459e-1f;
  p = p * s + 5.0000001201e-1f;
  const float m = p * s * s + s;  // e^s − 1
  // Two factors, because 2^n alone overflows or is subnormal at both ends.
  const std::int32_t half = exponent >> 1;
  const auto scale = std::bit_cast<float>((half + 127) << 23);
  const auto rest = std::bit_cast<float>((exponent - half + 127) << 23);
  const float value = (rest + rest * m) * scale;
  return {value, exponent == 0 ? m : value - 1.0f};
}

}  // namespace fastrl
