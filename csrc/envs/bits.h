// Sets of up to 128 things as rows of 0 and 1.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "envs/bitboard.h"

namespace fastrl {

// Writes bits 0, …, n - 1, eight at a time.
inline void write_bits(const Bitboard& bits, int n, std::int8_t* to) {
  static_assert(std::endian::native == std::endian::little);
  int first = 0;
  for (; first + 8 <= n; first += 8) {
    const std::uint64_t byte = bits.words[first >> 6] >> (first & 63) & 0xff;
    // Bit i alone in byte i, then 1 where that byte is not 0.
    const std::uint64_t spread = byte * 0x0101010101010101u & 0x8040201008040201u;
    const std::uint64_t row = (spread + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
    std::memcpy(to + first, &row, sizeof(row));
  }
  for (; first < n; ++first) to[first] = bits.test(first) ? 1 : 0;
}

// The first n.
constexpr Bitboard all_bits(int n) {
  constexpr auto kOnes = ~std::uint64_t{0};
  const std::uint64_t low = n >= 64 ? kOnes : (std::uint64_t{1} << n) - 1;
  const std::uint64_t high = n <= 64 ? 0 : kOnes >> (128 - n);
  return {{low, high}};
}

}  // namespace fastrl
