// One environment of a batch: plain bytes, so that taking it out and putting it back is a copy.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "core/random.h"
#include "envs/env.h"

namespace fastrl {

// What becomes of the random stream when a state is put into an environment: the snapshot's, the
// environment's own, or a new one that depends on both and on the place.
enum class RngMode { kRestore, kKeep, kFork };

enum class Phase : std::uint32_t { kUnset, kRunning, kEnded };

// What the engine keeps for each environment, beside its state.
struct Episode {
  RandomStream random;     // of `step`
  std::uint64_t seed = 0;  // the level is a function of seed, group and num_resets
  std::uint64_t group = 0;
  std::uint64_t num_resets = 0;
  double episode_return = 0.0;
  std::int32_t elapsed_steps = 0;
  Phase phase = Phase::kUnset;

  // What the next level is drawn from. Salt 0 is taken by the stream of the steps.
  RandomStream level_stream() const {
    return RandomStream::seeded(seed, group).forked(num_resets + 1);
  }

  bool has_next_level_of(const Episode& other) const {
    return seed == other.seed && group == other.group && num_resets == other.num_resets;
  }

  void seed_levels(std::uint64_t level_seed, std::uint64_t level_group) {
    seed = level_seed;
    group = level_group;
    num_resets = 0;
  }

  void seed_steps(std::uint64_t own_seed, std::uint64_t stream) {
    random = RandomStream::seeded(own_seed, stream).forked(0);
  }

  void start() {
    ++num_resets;
    elapsed_steps = 0;
    episode_return = 0.0;
    phase = Phase::kRunning;
  }

  // After this episode was copied from elsewhere: what stays of the one that was here before, which
  // is environment `id`. Its sequence of levels stays unless all is restored.
  void take_over(const Episode& before, RngMode rng, std::int64_t id) {
    if (rng == RngMode::kRestore) return;
    seed = before.seed;
    group = before.group;
    num_resets = before.num_resets;
    random = rng == RngMode::kKeep ? before.random : random.forked(fork_salt(before.random, id));
  }

 private:
  // Depends on the target's stream, so that a second fork of one snapshot is another future.
  static std::uint64_t fork_salt(const RandomStream& own, std::int64_t id) {
    const auto place = static_cast<std::uint64_t>(id) * 0x9E3779B97F4A7C15U;
    return mix64(own.key ^ mix64(own.stream + own.position * 0xBF58476D1CE4E5B9U + place));
  }
};
static_assert(sizeof(Episode) == 64);

template <Environment E>
struct Slot {
  // Raise when the meaning of Episode changes: old snapshots are refused then.
  static constexpr std::uint64_t kEpisodeVersion = 1;

  Episode episode;
  typename E::State state{};

  static std::uint64_t layout() {
    return mix64(sizeof(Slot) ^
                 mix64(sizeof(typename E::State) ^ mix64(E::kVersion ^ mix64(kEpisodeVersion))));
  }

  // May bytes from outside be used as a slot? A right checksum does not say what they hold.
  static bool sound(const typename E::Params& params, const std::byte* bytes) {
    std::array<std::byte, sizeof(Slot)> copy;
    std::memcpy(copy.data(), bytes, sizeof(Slot));
    const auto slot = std::bit_cast<Slot>(copy);
    const auto phase = static_cast<std::uint32_t>(slot.episode.phase);
    if (phase > static_cast<std::uint32_t>(Phase::kEnded)) return false;
    if (slot.episode.elapsed_steps < 0) return false;
    if (slot.episode.elapsed_steps == std::numeric_limits<std::int32_t>::max()) return false;
    if (slot.episode.phase == Phase::kUnset) return true;
    return E::valid(params, slot.state, slot.episode.phase == Phase::kRunning);
  }
};

// Keeps the slots of threads that work side by side out of each other's cache lines.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  CacheLineAllocator() = default;
  template <typename U>
  explicit CacheLineAllocator(const CacheLineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, kAlignment); }
  friend bool operator==(const CacheLineAllocator&, const CacheLineAllocator&) { return true; }
};

}  // namespace fastrl
