// Counter-based random numbers: the n-th number of a stream is a pure function of (key, n), so
// results never depend on how work is split over threads, and a stream is 24 bytes of state.
//
// Math      Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
// Limits    2^64 draws of 32 bits a stream.
#pragma once

#include <array>
#include <cstdint>

#if defined(__CUDACC__)
#define FASTRL_HOST_DEVICE __host__ __device__
#else
#define FASTRL_HOST_DEVICE
#endif

namespace fastrl {

using Philox4 = std::array<std::uint32_t, 4>;

FASTRL_HOST_DEVICE constexpr Philox4 philox4x32(std::uint64_t key, std::uint64_t counter_low,
                                                std::uint64_t counter_high) {
  auto x0 = static_cast<std::uint32_t>(counter_low);
  auto x1 = static_cast<std::uint32_t>(counter_low >> 32);
  auto x2 = static_cast<std::uint32_t>(counter_high);
  auto x3 = static_cast<std::uint32_t>(counter_high >> 32);
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * x0;
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * x2;
    x0 = static_cast<std::uint32_t>(b >> 32) ^ x1 ^ k0;
    x1 = static_cast<std::uint32_t>(b);
    x2 = static_cast<std::uint32_t>(a >> 32) ^ x3 ^ k1;
    x3 = static_cast<std::uint32_t>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {x0, x1, x2, x3};
}

// SplitMix64's finalizer: spreads any two different inputs over all 64 bits.
FASTRL_HOST_DEVICE constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// One stream of random numbers. Plain bytes: copying it is what a snapshot does.
struct RandomStream {
  std::uint64_t key = 0;
  std::uint64_t stream = 0;
  std::uint64_t position = 0;

  FASTRL_HOST_DEVICE static constexpr RandomStream seeded(std::uint64_t seed,
                                                          std::uint64_t stream) {
    return {seed, stream, 0};
  }

  // An independent stream that depends on this one's state and on `salt` only.
  FASTRL_HOST_DEVICE constexpr RandomStream forked(std::uint64_t salt) const {
    return {mix64(key ^ mix64(salt)), mix64(stream + mix64(position ^ mix64(salt + 1))), 0};
  }

  // The stream of an environment's steps. Salt 0 is taken by it, later ones by its levels.
  FASTRL_HOST_DEVICE static constexpr RandomStream of_steps(std::uint64_t seed,
                                                            std::uint64_t stream) {
    return seeded(seed, stream).forked(0);
  }

  // The stream that the level after so many resets is drawn from.
  FASTRL_HOST_DEVICE static constexpr RandomStream of_level(std::uint64_t seed, std::uint64_t group,
                                                            std::uint64_t reset) {
    return seeded(seed, group).forked(reset + 1);
  }

  // Of a state that was copied to `place`, whose own stream was `own`: depends on that, too, so
  // that a second fork of one snapshot is another future.
  FASTRL_HOST_DEVICE static constexpr RandomStream fork_of(const RandomStream& copied,
                                                           const RandomStream& own,
                                                           std::uint64_t place) {
    const std::uint64_t spread =
        own.stream + own.position * 0xBF58476D1CE4E5B9u + place * 0x9E3779B97F4A7C15u;
    return copied.forked(mix64(own.key ^ mix64(spread)));
  }

  FASTRL_HOST_DEVICE constexpr std::uint32_t next_u32() {
    const std::uint64_t n = position++;
    return philox4x32(key, n >> 2, stream)[n & 3];
  }

  // The next four numbers: at the start of a block in the time of one.
  FASTRL_HOST_DEVICE constexpr Philox4 next_four() {
    if (position % 4 != 0) return {next_u32(), next_u32(), next_u32(), next_u32()};
    position += 4;
    return philox4x32(key, (position - 4) >> 2, stream);
  }

  // Uniform in [0, 1) with 24 bits: exactly representable in float32.
  FASTRL_HOST_DEVICE constexpr float uniform() { return unit(next_u32()); }
  FASTRL_HOST_DEVICE static constexpr float unit(std::uint32_t number) {
    return static_cast<float>(number >> 8) * 0x1p-24f;
  }

  // Uniform in {0, …, n − 1} without bias, n ≥ 1 (Lemire's multiplication method).
  FASTRL_HOST_DEVICE constexpr std::uint32_t below(std::uint32_t n) {
    std::uint64_t product = std::uint64_t{next_u32()} * n;
    auto low = static_cast<std::uint32_t>(product);
    if (low < n) {
      const std::uint32_t threshold = (0u - n) % n;
      while (low < threshold) {
        product = std::uint64_t{next_u32()} * n;
        low = static_cast<std::uint32_t>(product);
      }
    }
    return static_cast<std::uint32_t>(product >> 32);
  }
};

}  // namespace fastrl
