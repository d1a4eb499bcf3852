// A set of cells, one bit each.
#pragma once

#include <bit>
#include <cstdint>

namespace fastrl {

template <int kCells>
struct CellSet {
  static constexpr int kCapacity = kCells;
  static constexpr int kNumWords = (kCells + 63) / 64;

  std::uint64_t words[kNumWords] = {};

  constexpr bool test(int cell) const { return (words[cell >> 6] >> (cell & 63) & 1) != 0; }
  constexpr void set(int cell) { words[cell >> 6] |= std::uint64_t{1} << (cell & 63); }
  constexpr void clear(int cell) { words[cell >> 6] &= ~(std::uint64_t{1} << (cell & 63)); }

  constexpr int count() const {
    int count = 0;
    for (const std::uint64_t word : words) count += std::popcount(word);
    return count;
  }
  constexpr bool empty() const {
    std::uint64_t any = 0;
    for (const std::uint64_t word : words) any |= word;
    return any == 0;
  }

  constexpr bool intersects(const CellSet& other) const {
    std::uint64_t both = 0;
    for (int i = 0; i < kNumWords; ++i) both |= words[i] & other.words[i];
    return both != 0;
  }
  // No cell of this set lies outside of `other`.
  constexpr bool within(const CellSet& other) const {
    std::uint64_t outside = 0;
    for (int i = 0; i < kNumWords; ++i) outside |= words[i] & ~other.words[i];
    return outside == 0;
  }
  friend constexpr bool operator==(const CellSet&, const CellSet&) = default;

  // Calls visit(cell) from the lowest cell up.
  template <typename Visit>
  constexpr void for_each(Visit&& visit) const {
    for (int i = 0; i < kNumWords; ++i) {
      for (std::uint64_t left = words[i]; left != 0; left &= left - 1) {
        visit(i * 64 + std::countr_zero(left));
      }
    }
  }
};

using Bitboard = CellSet<128>;

}  // namespace fastrl
