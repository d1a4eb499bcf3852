// Which group a trajectory is in, and why it leaves.
#include <algorithm>

#include "replay/trajectory_store.h"

namespace fastrl {

void TrajectoryStore::join_group(std::uint32_t slot, std::int64_t key, std::int32_t reported) {
  Record& record = records_[slot];
  std::uint32_t group = groups_.find(key);
  const bool is_new = group == kNone;
  if (is_new) group = groups_.insert(key);
  TrajectoryGroup& joined = groups_[group];
  record.group = group;
  record.previous_member = joined.last;
  (joined.last == kNone ? joined.first : records_[joined.last].next_member) = slot;
  joined.last = slot;
  ++joined.count;
  joined.successes += record.success;
  if (reported >= 0) joined.reported = reported;
  if (!is_new && record.policy_version < group_order_.version(group)) {
    place_in_bucket(group);
  } else if (!is_new && record.policy_version == group_order_.version(group)) {
    ++joined.newest;
    place_in_bucket(group);
  } else {
    if (!is_new) group_order_.erase(group);
    joined.newest = 1;
    group_order_.insert(group, record.policy_version, bucket_of(joined));
  }
}

void TrajectoryStore::leave_group(std::uint32_t slot) {
  const Record& record = records_[slot];
  TrajectoryGroup& left = groups_[record.group];
  (record.previous_member == kNone ? left.first : records_[record.previous_member].next_member) =
      record.next_member;
  (record.next_member == kNone ? left.last : records_[record.next_member].previous_member) =
      record.previous_member;
  --left.count;
  left.successes -= record.success;
  if (left.count == 0) {
    group_order_.erase(record.group);
    groups_.erase(record.group);
    return;
  }
  if (record.policy_version == group_order_.version(record.group) && --left.newest == 0) {
    std::int64_t newest = -1;
    for (std::uint32_t member = left.first; member != kNone;
         member = records_[member].next_member) {
      const std::int64_t version = records_[member].policy_version;
      left.newest = version > newest ? 1 : left.newest + (version == newest ? 1 : 0);
      newest = std::max(newest, version);
    }
    group_order_.erase(record.group);
    group_order_.insert(record.group, newest, bucket_of(left));
  } else {
    place_in_bucket(record.group);
  }
}

int TrajectoryStore::bucket_of(const TrajectoryGroup& group) const {
  const std::int64_t successes = group.reported >= 0 ? group.reported : group.successes;
  return static_cast<int>(std::min<std::int64_t>(successes, sizes_.num_buckets - 1));
}

void TrajectoryStore::place_in_bucket(std::uint32_t group) {
  const int bucket = bucket_of(groups_[group]);
  if (bucket != group_order_.item_class(group)) group_order_.set_class(group, bucket);
}

void TrajectoryStore::evict(std::uint32_t slot, Eviction reason) {
  Record& record = records_[slot];
  leave_group(slot);
  order_.erase(slot);
  arena_.release(record.first_block);
  (record.previous == kNone ? header_->oldest : records_[record.previous].next) = record.next;
  (record.next == kNone ? header_->newest : records_[record.next].previous) = record.previous;
  --header_->count;
  header_->num_tokens -= record.length;
  ++header_->counters.evicted[static_cast<std::size_t>(reason)];
  record.length = 0;
  record.generation = (record.generation + 1) & 0x7FFFFFFFu;  // handles stay positive
  record.next = header_->free;
  header_->free = slot;
}

void TrajectoryStore::evict_outdated() {
  if (limits_.ttl >= 0) {
    while (header_->oldest != kNone &&
           header_->clock - records_[header_->oldest].created > limits_.ttl) {
      evict(header_->oldest, Eviction::kAge);
    }
  }
  if (limits_.max_staleness >= 0) {
    const std::int64_t oldest = oldest_version(limits_.max_staleness);
    while (header_->count > 0) {
      const std::uint32_t stalest = order_.at(VersionOrder::kAll, 0);
      if (records_[stalest].policy_version >= oldest) break;
      evict(stalest, Eviction::kStaleness);
    }
  }
}

void TrajectoryStore::make_room(std::int64_t num_tokens) {
  while (header_->count == sizes_.max_trajectories ||
         arena_.num_free() < TokenArena::blocks(num_tokens)) {
    evict(limits_.evict_stalest ? order_.at(VersionOrder::kAll, 0) : header_->oldest,
          Eviction::kSpace);
  }
}

}  // namespace fastrl
