// Draws without replacement from {0, …, n − 1}, each remaining number equally likely.
//
// Math      Fisher-Yates on an array that exists only where it was swapped; O(1) a draw, whatever
//           n is and however many are drawn.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "core/random.h"

namespace fastrl {

class DistinctDraws {
 public:
  // Numbers of several ranges may be drawn in turns; a range is known by its number.
  explicit DistinctDraws(std::int64_t expected)
      : entries_(std::bit_ceil(static_cast<std::size_t>(expected < 8 ? 16 : 2 * expected))) {}

  // The `drawn`-th draw (from 0) of {0, …, n − 1}; n < 2^32.
  std::uint32_t draw(std::uint32_t range, std::int64_t drawn, std::int64_t n,
                     RandomStream& random) {
    if (2 * (used_ + 2) > entries_.size()) grow();
    const auto low = static_cast<std::uint32_t>(drawn);
    const std::uint32_t pick = low + random.below(static_cast<std::uint32_t>(n - drawn));
    const std::uint32_t stays = value(range, low);
    if (pick == low) return stays;
    return exchanged(range, pick, stays);
  }

 private:
  struct Entry {
    std::uint64_t key = kEmpty;
    std::uint32_t value = 0;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  static std::uint64_t key_of(std::uint32_t range, std::uint32_t i) {
    return std::uint64_t{range} << 32 | i;
  }
  Entry& entry(std::uint64_t key) {
    std::size_t place = mix64(key) & (entries_.size() - 1);
    while (entries_[place].key != key && entries_[place].key != kEmpty) {
      place = (place + 1) & (entries_.size() - 1);
    }
    return entries_[place];
  }
  std::uint32_t value(std::uint32_t range, std::uint32_t i) {
    const Entry& found = entry(key_of(range, i));
    return found.key == kEmpty ? i : found.value;
  }
  std::uint32_t exchanged(std::uint32_t range, std::uint32_t i, std::uint32_t value) {
    Entry& found = entry(key_of(range, i));
    const std::uint32_t old = found.key == kEmpty ? i : found.value;
    if (found.key == kEmpty) ++used_;
    found = {key_of(range, i), value};
    return old;
  }
  void grow() {
    std::vector<Entry> old(2 * entries_.size());
    old.swap(entries_);
    for (const Entry& kept : old) {
      if (kept.key != kEmpty) entry(kept.key) = kept;
    }
  }

  std::vector<Entry> entries_;
  std::size_t used_ = 0;
};

}  // namespace fastrl
