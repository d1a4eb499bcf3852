// Whether numbers make a target.
#pragma once

#include <cstdint>
#include <span>

namespace fastrl {

inline constexpr std::size_t kMaxCountdownNumbers = 6;

// By + - * / and brackets, with each number once (`use_all`) or at most once. At most six numbers
// up to 100 and a target up to 1000, so that all fractions fit into 64 bits.
bool countdown_solvable(std::span<const std::int32_t> numbers, std::int32_t target, bool use_all);

// By signs alone: ± a ± b ± c ….
bool sums_to(std::span<const std::int32_t> numbers, std::int32_t target, bool use_all);

}  // namespace fastrl
