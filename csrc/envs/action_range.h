// Whether actions lie within their bounds: read before a step writes anything, by one thread, so
// that it must cost little beside the step.
#pragma once

#include <cstdint>

namespace fastrl {

// Does any of n values lie outside of [low, low + range]?
bool any_outside(const std::int64_t* values, std::int64_t n, std::int64_t low, std::uint64_t range);
bool any_outside(const std::int32_t* values, std::int64_t n, std::int64_t low, std::uint64_t range);

// Is any of n values infinite or NaN?
bool any_infinite(const float* values, std::int64_t n);

}  // namespace fastrl
