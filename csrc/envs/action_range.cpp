#include "envs/action_range.h"

#include <algorithm>
#include <bit>

#include "core/instruction_set.h"

namespace fastrl {
namespace {

// The largest distance above `low`; what lies below wraps around and is far above.
template <typename T>
FASTRL_INLINE std::uint64_t furthest(const T* values, std::int64_t n, std::int64_t low) {
  std::uint64_t most = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<std::uint64_t>(static_cast<std::int64_t>(values[i]));
    most = std::max(most, value - static_cast<std::uint64_t>(low));
  }
  return most;
}

// The largest magnitude, as bits: those of infinities and NaN are above all others.
FASTRL_INLINE std::uint32_t largest(const float* values, std::int64_t n) {
  std::uint32_t most = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    most = std::max(most, std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffU);
  }
  return most;
}

}  // namespace

bool any_outside(const std::int64_t* values, std::int64_t n, std::int64_t low,
                 std::uint64_t range) {
  return Compiled<&furthest<std::int64_t>>::run(values, n, low) > range;
}

bool any_outside(const std::int32_t* values, std::int64_t n, std::int64_t low,
                 std::uint64_t range) {
  return Compiled<&furthest<std::int32_t>>::run(values, n, low) > range;
}

bool any_infinite(const float* values, std::int64_t n) { return largest(values, n) > 0x7f7fffffU; }

}  // namespace fastrl
