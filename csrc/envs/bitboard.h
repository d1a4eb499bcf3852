// A set of up to 128 cells.
#pragma once

#include <bit>
#include <cstdint>

namespace fastrl {

struct Bitboard {
  static constexpr int kCapacity = 128;

  std::uint64_t words[2] = {0, 0};

  constexpr bool test(int cell) const { return (words[cell >> 6] >> (cell & 63) & 1) != 0; }
  constexpr void set(int cell) { words[cell >> 6] |= std::uint64_t{1} << (cell & 63); }
  constexpr void clear(int cell) { words[cell >> 6] &= ~(std::uint64_t{1} << (cell & 63)); }

  constexpr int count() const { return std::popcount(words[0]) + std::popcount(words[1]); }
  constexpr bool empty() const { return (words[0] | words[1]) == 0; }

  constexpr bool intersects(const Bitboard& other) const {
    return ((words[0] & other.words[0]) | (words[1] & other.words[1])) != 0;
  }
  // No cell of this set lies outside of `other`.
  constexpr bool within(const Bitboard& other) const {
    return ((words[0] & ~other.words[0]) | (words[1] & ~other.words[1])) == 0;
  }
  friend constexpr bool operator==(const Bitboard&, const Bitboard&) = default;

  // Calls visit(cell) from the lowest cell up.
  template <typename Visit>
  constexpr void for_each(Visit&& visit) const {
    for (int half = 0; half < 2; ++half) {
      for (std::uint64_t left = words[half]; left != 0; left &= left - 1) {
        visit(half * 64 + std::countr_zero(left));
      }
    }
  }
};

}  // namespace fastrl
