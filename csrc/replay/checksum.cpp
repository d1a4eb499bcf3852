#include "replay/checksum.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastrl {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, bits reversed
using Table = std::array<std::array<std::uint32_t, 256>, 8>;

// kBytes[k][b]: what the byte b does to the register when k more bytes come after it.
constexpr Table make_bytes() {
  Table table{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[0][b] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t b = 0; b < 256; ++b) {
      const std::uint32_t crc = table[k - 1][b];
      table[k][b] = (crc >> 8) ^ table[0][crc & 0xff];
    }
  }
  return table;
}
constexpr Table kBytes = make_bytes();

std::uint32_t portable(const std::byte* next, std::size_t size, std::uint32_t crc) {
  for (; size >= 8; next += 8, size -= 8) {
    std::uint64_t word;
    std::memcpy(&word, next, 8);
    word ^= crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= kBytes[7 - k][(word >> (8 * k)) & 0xff];
  }
  for (; size > 0; ++next, --size) {
    crc = (crc >> 8) ^ kBytes[0][(crc ^ std::to_integer<std::uint32_t>(*next)) & 0xff];
  }
  return crc;
}

#if defined(__x86_64__)

// The instruction has a latency of three cycles and a throughput of one, so three runs of bytes go
// side by side; the register is linear, so they are joined by what a run of zeros does to it.
constexpr std::size_t kRun = 1024;
using Shift = std::array<std::array<std::uint32_t, 256>, 4>;

constexpr Shift make_shift() {
  std::array<std::uint32_t, 32> bits{};  // what kRun zeros make of each bit
  for (std::size_t bit = 0; bit < 32; ++bit) {
    std::uint32_t crc = std::uint32_t{1} << bit;
    for (std::size_t i = 0; i < kRun; ++i) crc = (crc >> 8) ^ kBytes[0][crc & 0xff];
    bits[bit] = crc;
  }
  Shift shift{};
  for (std::size_t k = 0; k < 4; ++k) {
    for (std::size_t b = 0; b < 256; ++b) {
      for (std::size_t bit = 0; bit < 8; ++bit) {
        if (((b >> bit) & 1) != 0) shift[k][b] ^= bits[8 * k + bit];
      }
    }
  }
  return shift;
}
constexpr Shift kShift = make_shift();

std::uint32_t after_a_run(std::uint32_t crc) {
  return kShift[0][crc & 0xff] ^ kShift[1][(crc >> 8) & 0xff] ^ kShift[2][(crc >> 16) & 0xff] ^
         kShift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) std::uint64_t add_word(std::uint64_t crc, const std::byte* next) {
  std::uint64_t word;
  std::memcpy(&word, next, 8);
  return _mm_crc32_u64(crc, word);
}

__attribute__((target("sse4.2"))) std::uint32_t hardware(const std::byte* next, std::size_t size,
                                                         std::uint32_t crc) {
  for (; size >= 3 * kRun; next += 3 * kRun, size -= 3 * kRun) {
    std::uint64_t a = crc;
    std::uint64_t b = 0;
    std::uint64_t c = 0;
    for (std::size_t i = 0; i < kRun; i += 8) {
      a = add_word(a, next + i);
      b = add_word(b, next + kRun + i);
      c = add_word(c, next + 2 * kRun + i);
    }
    crc = after_a_run(static_cast<std::uint32_t>(a)) ^ static_cast<std::uint32_t>(b);
    crc = after_a_run(crc) ^ static_cast<std::uint32_t>(c);
  }
  for (; size >= 8; next += 8, size -= 8) {
    crc = static_cast<std::uint32_t>(add_word(crc, next));
  }
  return portable(next, size, crc);
}

#endif

}  // namespace

std::uint32_t crc32c([[maybe_unused]] InstructionSet set, std::span<const std::byte> bytes,
                     std::uint32_t before) {
#if defined(__x86_64__)
  if (set != InstructionSet::kPortable) return ~hardware(bytes.data(), bytes.size(), ~before);
#endif
  return ~portable(bytes.data(), bytes.size(), ~before);
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) {
  return crc32c(instruction_set(), bytes, before);
}

}  // namespace fastrl
