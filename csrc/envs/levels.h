// Which level an episode begins with: a function of where it stands in its sequence of levels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/random.h"

namespace fastrl {

// All choices of an episode's beginning are functions of these.
struct LevelSource {
  std::uint64_t seed = 0;
  std::uint64_t group = 0;
  std::uint64_t num_resets = 0;

  RandomStream stream() const { return RandomStream::of_level(seed, group, num_resets); }

  friend bool operator==(const LevelSource&, const LevelSource&) = default;
};

// An index drawn in proportion to weights, by one binary search.
class WeightedChoice {
 public:
  WeightedChoice() = default;

  // Finite and not negative, one of them positive: the caller has checked.
  explicit WeightedChoice(std::span<const double> weights) {
    double sum = 0.0;
    for (const double weight : weights) sums_.push_back(sum += weight);
  }

  std::int64_t draw(RandomStream stream) const {
    const std::uint64_t bits = std::uint64_t{stream.next_u32()} << 32 | stream.next_u32();
    const double wanted = static_cast<double>(bits >> 11) * 0x1p-53 * sums_.back();
    // The first sum above it; rounding may have reached the last.
    const auto found = std::min(std::ranges::upper_bound(sums_, wanted),
                                std::ranges::lower_bound(sums_, sums_.back()));
    return found - sums_.begin();
  }

 private:
  std::vector<double> sums_;
};

}  // namespace fastrl
