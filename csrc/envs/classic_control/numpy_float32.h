// NumPy's sine and cosine of a float32, bit for bit; the C library's differ in one of 200 numbers.
//
// Math      Cody and Waite's reduction by π/2 in three parts, a polynomial of degree 9 (sine) or 8
//           (cosine), all in fused multiply-adds: what NumPy 2.0 to 2.4 compute on every processor
//           that has them.
// Limits    |x| ≤ 71476 (cosine) and 117435 (sine); beyond that NumPy asks the C library, too.
#pragma once

#include <cmath>
#include <cstdint>

namespace fastrl::numpy {
namespace detail {

// sin(x + quarters π/2).
inline float sine_of_quarters(float x, int quarters) {
  constexpr float kShift = 0x1.8p23f;
  const float shifted = x * 0x1.45f306p-1f + kShift;
  const float n = shifted - kShift;
  float r = std::fma(n, -0x1.921fb0p+00f, x);
  r = std::fma(n, -0x1.5110b4p-22f, r);
  r = std::fma(n, -0x1.846988p-48f, r);
  const float square = r * r;
  const int quadrant = static_cast<int>(n) + quarters;
  float result;
  if ((quadrant & 1) == 0) {
    result = std::fma(0x1.7d3bbcp-19f, square, -0x1.a06bbap-13f);
    result = std::fma(result, square, 0x1.11119ap-07f);
    result = std::fma(result, square, -0x1.555556p-03f);
    result = std::fma(result * square, r, r);
  } else {
    result = std::fma(0x1.98e616p-16f, square, -0x1.6c06dcp-10f);
    result = std::fma(result, square, 0x1.55553cp-05f);
    result = std::fma(result, square, -0.5f);
    result = std::fma(result, square, 1.0f);
  }
  return (quadrant & 2) == 0 ? result : 0.0f - result;
}

}  // namespace detail

inline float sin(float x) {
  return std::fabs(x) <= 117435.992f ? detail::sine_of_quarters(x, 0) : std::sin(x);
}

inline float cos(float x) {
  return std::fabs(x) <= 71476.0625f ? detail::sine_of_quarters(x, 1) : std::cos(x);
}

}  // namespace fastrl::numpy
