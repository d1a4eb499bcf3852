// NumPy's random numbers, bit for bit: `NumpyRandom::seeded(s)` draws what
// `numpy.random.default_rng(s)` does (NumPy ≥ 1.17; checked against NumPy 2).
//
// Math      SeedSequence (O'Neill's seed_seq_fe) spreads the seed's words over a pool of four;
//           PCG64 is PCG XSL RR 128/64 (O'Neill, "PCG: a family of simple fast space-efficient
//           statistically good algorithms for random number generation", 2014).
// Limits    seeds below 2^64; NumPy promises its streams by version, not for ever.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/random.h"

namespace fastrl {

namespace detail {

// The words that numpy.random.SeedSequence is given, as they come.
class SeedWords {
 public:
  // As NumPy takes an integer apart: lowest word first, no leading zeros, but at least one word.
  FASTRL_HOST_DEVICE constexpr void add_integer(std::uint64_t value) {
    add_word(static_cast<std::uint32_t>(value));
    if (value >> 32 != 0) add_word(static_cast<std::uint32_t>(value >> 32));
  }

  FASTRL_HOST_DEVICE constexpr void add_word(std::uint32_t word) { words_[size_++] = word; }

  FASTRL_HOST_DEVICE constexpr void add_both_words(std::uint64_t value) {
    add_word(static_cast<std::uint32_t>(value));
    add_word(static_cast<std::uint32_t>(value >> 32));
  }

  // What follows is a spawn_key.
  FASTRL_HOST_DEVICE constexpr void begin_spawn_key() {
    while (size_ < kPoolSize) add_word(0);
  }

  // SeedSequence.generate_state(4, uint64).
  FASTRL_HOST_DEVICE constexpr void generate(std::uint64_t (&state)[4]) const {
    std::uint32_t pool[kPoolSize]{};
    std::uint32_t constant = 0x43b0d7e5u;
    for (int i = 0; i < kPoolSize; ++i) pool[i] = hash(i < size_ ? words_[i] : 0, constant);
    for (int from = 0; from < kPoolSize; ++from) {
      for (int to = 0; to < kPoolSize; ++to) {
        if (from != to) pool[to] = mixed(pool[to], hash(pool[from], constant));
      }
    }
    for (int from = kPoolSize; from < size_; ++from) {
      for (std::uint32_t& to : pool) to = mixed(to, hash(words_[from], constant));
    }
    constant = 0x8b51f9ddu;
    std::uint32_t word[8]{};
    for (int i = 0; i < 8; ++i) {
      word[i] = pool[i % kPoolSize] ^ constant;
      constant *= 0x58f38dedu;
      word[i] *= constant;
      word[i] ^= word[i] >> 16;
    }
    for (int i = 0; i < 4; ++i) {
      state[i] = word[2 * i] | std::uint64_t{word[2 * i + 1]} << 32;
    }
  }

 private:
  static constexpr int kPoolSize = 4;
  static constexpr int kCapacity = 20;  // two streams and a place

  FASTRL_HOST_DEVICE static constexpr std::uint32_t hash(std::uint32_t value,
                                                         std::uint32_t& constant) {
    value ^= constant;
    constant *= 0x931e8875u;
    value *= constant;
    return value ^ value >> 16;
  }

  FASTRL_HOST_DEVICE static constexpr std::uint32_t mixed(std::uint32_t x, std::uint32_t y) {
    const std::uint32_t sum = 0xca01f9ddu * x - 0x4973f715u * y;
    return sum ^ sum >> 16;
  }

  std::uint32_t words_[kCapacity]{};
  int size_ = 0;
};

}  // namespace detail

// One numpy.random.Generator over PCG64. Plain bytes: copying it is what a snapshot does.
struct NumpyRandom {
  static constexpr bool kFollowsNumpy = true;

  std::uint64_t state_high = 0;
  std::uint64_t state_low = 0;
  std::uint64_t increment_high = 0;
  std::uint64_t increment_low = 1;
  // 32-bit draws take a 64-bit one apart and keep its upper half for the next.
  std::uint64_t has_half = 0;
  std::uint64_t half = 0;

  // numpy.random.default_rng(seed).
  FASTRL_HOST_DEVICE static constexpr NumpyRandom seeded(std::uint64_t seed) {
    detail::SeedWords words;
    words.add_integer(seed);
    return from(words);
  }

  // The stream of an environment's steps: Gymnasium seeds environment i of a batch with seed + i.
  FASTRL_HOST_DEVICE static constexpr NumpyRandom of_steps(std::uint64_t seed,
                                                           std::uint64_t stream) {
    return seeded(seed + stream);
  }

  // The stream that the level after so many resets is drawn from:
  // default_rng(SeedSequence(seed, spawn_key=(group, reset))).
  FASTRL_HOST_DEVICE static constexpr NumpyRandom of_level(std::uint64_t seed, std::uint64_t group,
                                                           std::uint64_t reset) {
    detail::SeedWords words;
    words.add_integer(seed);
    words.begin_spawn_key();
    words.add_integer(group);
    words.add_integer(reset);
    return from(words);
  }

  // Of a state that was copied to `place`, whose own stream was `own`: depends on that, too, so
  // that a second fork of one snapshot is another future.
  FASTRL_HOST_DEVICE static constexpr NumpyRandom fork_of(const NumpyRandom& copied,
                                                          const NumpyRandom& own,
                                                          std::uint64_t place) {
    detail::SeedWords words;
    copied.add_to(words);
    own.add_to(words);
    words.add_both_words(place);
    return from(words);
  }

  FASTRL_HOST_DEVICE constexpr std::uint64_t next_u64() {
    advance();
    const std::uint64_t folded = state_high ^ state_low;
    const std::uint64_t rotation = state_high >> 58;
    return folded >> rotation | folded << ((64 - rotation) & 63);
  }

  FASTRL_HOST_DEVICE constexpr std::uint32_t next_u32() {
    if (has_half != 0) {
      has_half = 0;
      return static_cast<std::uint32_t>(half);
    }
    const std::uint64_t both = next_u64();
    has_half = 1;
    half = both >> 32;
    return static_cast<std::uint32_t>(both);
  }

  // Generator.random(): uniform in [0, 1) with 53 bits.
  FASTRL_HOST_DEVICE constexpr double random() {
    return static_cast<double>(next_u64() >> 11) * 0x1p-53;
  }

  // Generator.uniform(low, high).
  FASTRL_HOST_DEVICE constexpr double uniform(double low, double high) {
    const double range = high - low;
    return low + range * random();
  }

  // Generator.integers(n) and the index that Generator.choice draws among n, n ≥ 1: Lemire's
  // multiplication method over 32 bits where they are enough; n = 1 draws nothing.
  FASTRL_HOST_DEVICE constexpr std::uint64_t below(std::uint64_t n) {
    if (n <= 1) return 0;
    if (n == std::uint64_t{1} << 32) return next_u32();
    if (n >> 32 == 0) return below_u32(static_cast<std::uint32_t>(n));
    unsigned_128 product = unsigned_128{next_u64()} * n;
    if (static_cast<std::uint64_t>(product) < n) {
      const std::uint64_t threshold = (0 - n) % n;
      while (static_cast<std::uint64_t>(product) < threshold) {
        product = unsigned_128{next_u64()} * n;
      }
    }
    return static_cast<std::uint64_t>(product >> 64);
  }

  friend constexpr bool operator==(const NumpyRandom&, const NumpyRandom&) = default;

 private:
  __extension__ typedef unsigned __int128 unsigned_128;  // NOLINT(modernize-use-using)

  FASTRL_HOST_DEVICE static constexpr NumpyRandom from(const detail::SeedWords& words) {
    std::uint64_t seed[4]{};
    words.generate(seed);
    NumpyRandom random;
    random.increment_high = seed[2] << 1 | seed[3] >> 63;
    random.increment_low = seed[3] << 1 | 1;
    random.advance();
    const unsigned_128 sum = joined(random.state_high, random.state_low) + joined(seed[0], seed[1]);
    random.set_state(sum);
    random.advance();
    return random;
  }

  FASTRL_HOST_DEVICE constexpr void add_to(detail::SeedWords& words) const {
    words.add_both_words(state_high);
    words.add_both_words(state_low);
    words.add_both_words(increment_high);
    words.add_both_words(increment_low);
    words.add_word(static_cast<std::uint32_t>(has_half));
  }

  FASTRL_HOST_DEVICE static constexpr unsigned_128 joined(std::uint64_t high, std::uint64_t low) {
    return unsigned_128{high} << 64 | low;
  }

  FASTRL_HOST_DEVICE constexpr void set_state(unsigned_128 state) {
    state_high = static_cast<std::uint64_t>(state >> 64);
    state_low = static_cast<std::uint64_t>(state);
  }

  FASTRL_HOST_DEVICE constexpr void advance() {
    constexpr unsigned_128 kMultiplier = joined(0x2360ED051FC65DA4u, 0x4385DF649FCCF645u);
    // Of a seed the increment is odd. Bytes from outside may be anything, and an even one has short
    // periods, in which a draw that rejects numbers never ends.
    set_state(joined(state_high, state_low) * kMultiplier +
              joined(increment_high, increment_low | 1));
  }

  FASTRL_HOST_DEVICE constexpr std::uint32_t below_u32(std::uint32_t n) {
    std::uint64_t product = std::uint64_t{next_u32()} * n;
    if (static_cast<std::uint32_t>(product) < n) {
      const std::uint32_t threshold = (0u - n) % n;
      while (static_cast<std::uint32_t>(product) < threshold) {
        product = std::uint64_t{next_u32()} * n;
      }
    }
    return static_cast<std::uint32_t>(product >> 32);
  }
};

static_assert(sizeof(NumpyRandom) == 48);

}  // namespace fastrl
