// Division of 32-bit numbers by one that is not known before the program runs, without dividing.
//
// Math      Lemire, Kaser & Kurz, "Faster remainder by direct computation" (2019): with
//           M = ⌈2^64 / d⌉, ⌊n / d⌋ = ⌊M n / 2^64⌋ for all n, d < 2^32.
#pragma once

#include <cstdint>

namespace fastrl {

class Divider {
 public:
  explicit Divider(std::uint32_t divisor)
      : divisor_(divisor), reciprocal_(divisor == 1 ? 0 : ~std::uint64_t{0} / divisor + 1) {}

  std::uint32_t quotient(std::uint32_t n) const {
    if (divisor_ == 1) return n;
    return static_cast<std::uint32_t>((Wide{reciprocal_} * n) >> 64);
  }

 private:
  __extension__ typedef unsigned __int128 Wide;  // NOLINT(modernize-use-using)

  std::uint32_t divisor_;
  std::uint64_t reciprocal_;
};

}  // namespace fastrl
