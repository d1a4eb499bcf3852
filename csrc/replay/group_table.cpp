#include "replay/group_table.h"

#include <bit>

#include "core/random.h"

namespace fastrl {

GroupTable::GroupTable(MemoryParts& parts, std::int64_t capacity)
    : mask_(std::bit_ceil(static_cast<std::uint64_t>(2 * capacity)) - 1),
      state_(parts.take<State>("group_table", 1)),
      groups_(parts.take<TrajectoryGroup>("groups", capacity)),
      places_(parts.take<std::uint32_t>("group_places", static_cast<std::int64_t>(mask_) + 1)) {}

std::uint64_t GroupTable::home(std::int64_t key) const {
  return mix64(static_cast<std::uint64_t>(key)) & mask_;
}

std::uint64_t GroupTable::place_of(std::int64_t key) const {
  std::uint64_t place = home(key);
  while (places_[place] != 0 && groups_[places_[place] - 1].key != key) place = (place + 1) & mask_;
  return place;
}

std::uint32_t GroupTable::find(std::int64_t key) const {
  const std::uint32_t found = places_[place_of(key)];
  return found == 0 ? kNone : found - 1;
}

std::uint32_t GroupTable::insert(std::int64_t key) {
  std::int64_t group = state_->free - 1;
  if (group < 0) {
    group = state_->untouched++;
  } else {
    state_->free = groups_[group].first;
  }
  ++state_->count;
  groups_[group] = {key, kNone, kNone, 0, 0, 0, -1};
  places_[place_of(key)] = static_cast<std::uint32_t>(group) + 1;
  return static_cast<std::uint32_t>(group);
}

void GroupTable::erase(std::uint32_t group) {
  std::uint64_t hole = place_of(groups_[group].key);
  // Whoever was pushed past the hole by a collision moves back, so that no search stops early.
  for (std::uint64_t next = (hole + 1) & mask_; places_[next] != 0; next = (next + 1) & mask_) {
    const std::uint64_t wanted = home(groups_[places_[next] - 1].key);
    if (((next - wanted) & mask_) < ((next - hole) & mask_)) continue;
    places_[hole] = places_[next];
    hole = next;
  }
  places_[hole] = 0;
  groups_[group].first = static_cast<std::uint32_t>(state_->free);
  state_->free = std::int64_t{group} + 1;
  --state_->count;
}

}  // namespace fastrl
