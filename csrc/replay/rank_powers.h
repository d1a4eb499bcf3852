// Sums of 1 / rank^exponent over runs of ranks, in SIMD.
//
// Math      the first 32 ranks are added up; beyond them Σ_{k=a+1}^{b} f(k) = F(b) − F(a) by
//           Euler–Maclaurin between midpoints: F(r) = ∫ f + exponent f / (24 x) −
//           7 exponent (exponent + 1) (exponent + 2) f / (5760 x³) at x = r + ½, f(x) =
//           x^−exponent.
// Numerics  the differences of F cancel: a sum's relative error is about 2^-50 b log b / (b − a).
#pragma once

#include <cstdint>
#include <span>

namespace fastrl {

// sums[k] = Σ rank^−exponent over the ranks ends[k] + 1 … ends[k + 1]; `ends` starts with 0 and
// rises.
void sums_of_powers(std::span<const std::int64_t> ends, double exponent, double* sums);

}  // namespace fastrl
