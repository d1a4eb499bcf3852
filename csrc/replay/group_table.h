// Which groups there are: a key of 64 bits each, found by hashing.
#pragma once

#include <cstdint>

#include "replay/memory_parts.h"

namespace fastrl {

struct TrajectoryGroup {
  std::int64_t key;
  std::uint32_t first;  // its members, in the order in which they came
  std::uint32_t last;
  std::uint32_t count;
  std::uint32_t successes;
  std::uint32_t newest;   // members of the newest version
  std::int32_t reported;  // successes of the group as the caller says, or -1
};

class GroupTable {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;

  GroupTable(MemoryParts& parts, std::int64_t capacity);

  // The group of this key, or kNone.
  std::uint32_t find(std::int64_t key) const;
  // A new one, without members; the key must be new and there must be room.
  std::uint32_t insert(std::int64_t key);
  void erase(std::uint32_t group);

  std::int64_t count() const { return state_->count; }
  TrajectoryGroup& operator[](std::uint32_t group) { return groups_[group]; }
  const TrajectoryGroup& operator[](std::uint32_t group) const { return groups_[group]; }
  void prefetch(std::uint32_t group) const { __builtin_prefetch(groups_ + group); }

 private:
  struct State {
    std::int64_t count;
    std::int64_t untouched;
    std::int64_t free;  // 1 + the first free group, linked by `first`; or 0
  };

  std::uint64_t home(std::int64_t key) const;
  // Where the group of this key is, or the empty place where it would be.
  std::uint64_t place_of(std::int64_t key) const;

  std::uint64_t mask_;
  State* state_;
  TrajectoryGroup* groups_;
  std::uint32_t* places_;  // 1 + group, or 0
};

}  // namespace fastrl
