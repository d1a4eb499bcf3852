#include "replay/trajectory_store.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/thread_pool.h"
#include "replay/top_k.h"

namespace fastrl {
namespace {

std::uint64_t layout_of(const TrajectorySizes& sizes) {
  std::uint64_t hash = mix64(1);  // the version of the layout
  const auto add = [&](std::int64_t number) {
    hash = mix64(hash ^ static_cast<std::uint64_t>(number));
  };
  add(sizes.max_trajectories);
  add(sizes.num_blocks);
  add(sizes.num_buckets);
  for (const std::int32_t width : sizes.token_widths) add(width);
  add(-1);
  for (const std::int32_t width : sizes.widths) add(width);
  add(sizes.weighted ? -2 : -3);
  return std::max<std::uint64_t>(hash, 1);
}

}  // namespace

void TrajectoryStore::check_weight(const char* function, float weight) {
  if (!std::isfinite(weight) || weight < 0.0f) {
    fail_value(function, "weights", "be finite and at least 0", concat(weight));
  }
}

std::size_t TrajectoryStore::memory_size(const TrajectorySizes& sizes) {
  return TrajectoryStore(MemoryParts(nullptr), sizes, {}).parts_.size();
}

std::int64_t TrajectoryStore::block_size(const TrajectorySizes& sizes) {
  return TokenArena::block_size(sizes.token_widths);
}

TrajectoryStore::TrajectoryStore(MemoryParts parts, const TrajectorySizes& sizes,
                                 const TrajectoryLimits& limits)
    : sizes_(sizes),
      limits_(limits),
      parts_(std::move(parts)),
      header_(parts_.take<Header>("header", 1)),
      records_(parts_.take<Record>("records", sizes.max_trajectories)),
      arena_(parts_, sizes.num_blocks, sizes.token_widths),
      groups_(parts_, sizes.max_trajectories),
      order_(parts_, "order", sizes.max_trajectories, 2, sizes.weighted),
      group_order_(parts_, "group_order", sizes.max_trajectories, sizes.num_buckets, false) {
  for (const std::int32_t width : sizes.widths) {
    const std::string name = "columns." + std::to_string(columns_.size());
    columns_.push_back(parts_.take<std::byte>(name, sizes.max_trajectories * width));
  }
}

TrajectoryStore::TrajectoryStore(std::byte* memory, const TrajectorySizes& sizes,
                                 const TrajectoryLimits& limits, std::uint64_t seed)
    : TrajectoryStore(MemoryParts(memory), sizes, limits) {
  const std::uint64_t layout = layout_of(sizes);
  if (header_->layout == 0) {
    *header_ = Header{.layout = layout,
                      .random = RandomStream::seeded(seed, 0),
                      .member_random = RandomStream::seeded(seed, 1),
                      .policy_version = 0,
                      .clock = 0,
                      .count = 0,
                      .num_tokens = 0,
                      .untouched = 0,
                      .free = kNone,
                      .oldest = kNone,
                      .newest = kNone,
                      .padding = 0,
                      .counters = {}};
  } else if (header_->layout != layout) {
    fail_value("TrajectoryStore", "memory", "hold a store of these sizes and columns",
               "one that was made for others");
  }
}

void TrajectoryStore::advance(std::int64_t policy_version, std::int64_t clock) {
  const std::scoped_lock lock(mutex_);
  if (policy_version < header_->policy_version) {
    fail_value("advance", "policy_version", concat("be at least ", header_->policy_version),
               concat(policy_version));
  }
  if (clock < header_->clock) {
    fail_value("advance", "clock", concat("be at least ", header_->clock), concat(clock));
  }
  header_->policy_version = policy_version;
  header_->clock = clock;
  evict_outdated();
}

std::uint32_t TrajectoryStore::slot_of(std::int64_t handle) const {
  const auto slot = static_cast<std::uint32_t>(handle);
  if (handle < 0 || slot >= header_->untouched) return kNone;
  const Record& record = records_[slot];
  return record.length != 0 && record.generation == static_cast<std::uint64_t>(handle) >> 32
             ? slot
             : kNone;
}

std::int64_t TrajectoryStore::update(std::span<const std::int64_t> handles,
                                     const TrajectoryChange& change) {
  const std::scoped_lock lock(mutex_);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    if (change.rewards != nullptr && !std::isfinite(change.rewards[i])) {
      fail_value("update", "rewards", "be finite", concat(change.rewards[i]));
    }
    if (change.advantages != nullptr && !std::isfinite(change.advantages[i])) {
      fail_value("update", "advantages", "be finite", concat(change.advantages[i]));
    }
    if (change.weights != nullptr) check_weight("update", change.weights[i]);
  }
  std::int64_t applied = 0;
  for (std::size_t i = 0; i < handles.size(); ++i) {
    const std::uint32_t slot = slot_of(handles[i]);
    if (slot == kNone) continue;
    ++applied;
    Record& record = records_[slot];
    if (change.rewards != nullptr) record.reward = change.rewards[i];
    if (change.advantages != nullptr) record.advantage = change.advantages[i];
    if (change.weights != nullptr) order_.set_weight(slot, change.weights[i]);
    if (change.successes != nullptr && (change.successes[i] != 0) != (record.success != 0)) {
      TrajectoryGroup& group = groups_[record.group];
      group.successes -= record.success;
      record.success ^= 1u;
      group.successes += record.success;
      order_.set_class(slot, record.success != 0 ? kSuccess : kFailure);
      place_in_bucket(record.group);
    }
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (change.columns[c] == nullptr) continue;
      const std::int64_t width = sizes_.widths[c];
      std::memcpy(columns_[c] + slot * width,
                  change.columns[c] + static_cast<std::int64_t>(i) * width,
                  static_cast<std::size_t>(width));
    }
  }
  header_->counters.refused_updates += static_cast<std::int64_t>(handles.size()) - applied;
  return applied;
}

std::int64_t TrajectoryStore::remove(std::span<const std::int64_t> handles) {
  const std::scoped_lock lock(mutex_);
  std::int64_t removed = 0;
  for (const std::int64_t gone : handles) {
    const std::uint32_t slot = slot_of(gone);
    if (slot == kNone) continue;
    evict(slot, Eviction::kRemoved);
    ++removed;
  }
  return removed;
}

void TrajectoryStore::contains(std::span<const std::int64_t> handles, std::uint8_t* there) const {
  const std::scoped_lock lock(mutex_);
  for (const std::int64_t asked : handles) *there++ = slot_of(asked) != kNone ? 1 : 0;
}

void TrajectoryStore::group_counts(std::span<const std::int64_t> group_ids, std::int64_t* members,
                                   std::int64_t* successes) const {
  const std::scoped_lock lock(mutex_);
  for (const std::int64_t key : group_ids) {
    const std::uint32_t group = groups_.find(key);
    *members++ = group == kNone ? 0 : groups_[group].count;
    *successes++ = group == kNone                 ? 0
                   : groups_[group].reported >= 0 ? groups_[group].reported
                                                  : groups_[group].successes;
  }
}

void TrajectoryStore::nearest(const float* queries, std::int64_t num_queries, std::size_t column,
                              std::int64_t k, std::int64_t* handles, double* scores) const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::uint8_t> valid(static_cast<std::size_t>(header_->untouched));
  for (std::size_t slot = 0; slot < valid.size(); ++slot) valid[slot] = records_[slot].length != 0;
  top_k({.queries = queries,
         .num_queries = num_queries,
         .keys = reinterpret_cast<const float*>(columns_[column]),
         .num_keys = header_->untouched,
         .dim = sizes_.widths[column] / static_cast<std::int64_t>(sizeof(float)),
         .valid = valid.data()},
        k, handles, scores);
  for (std::int64_t i = 0; i < num_queries * k; ++i) {
    if (handles[i] >= 0) handles[i] = handle(static_cast<std::uint32_t>(handles[i]));
  }
}

std::vector<std::int64_t> TrajectoryStore::handles() const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::int64_t> all;
  all.reserve(static_cast<std::size_t>(header_->count));
  for (std::int64_t k = 0; k < header_->count; ++k) {
    all.push_back(handle(order_.at(VersionOrder::kAll, k)));
  }
  return all;
}

void TrajectoryStore::bucket_counts(std::int64_t* counts) const {
  const std::scoped_lock lock(mutex_);
  for (const VersionOrder::Range& bucket :
       group_order_.ranges(std::numeric_limits<std::int64_t>::min())) {
    *counts++ = bucket.count;
  }
}

void TrajectoryStore::restore(std::span<const MemoryPart> parts) {
  const std::scoped_lock lock(mutex_);
  const std::vector<MemoryPart>& own = parts_.parts();
  bool fits = parts.size() == own.size();
  for (std::size_t i = 0; fits && i < own.size(); ++i) {
    fits = parts[i].name == own[i].name && parts[i].size == own[i].size;
  }
  if (!fits || std::memcmp(parts[0].data, header_, sizeof(header_->layout)) != 0) {
    fail_value("restore", "state", "be of a store of the same sizes and columns",
               "that of another one");
  }
  for (std::size_t i = 0; i < own.size(); ++i) {
    std::memcpy(own[i].data, parts[i].data, own[i].size);
  }
}

TrajectoryTotals TrajectoryStore::totals() const {
  const std::scoped_lock lock(mutex_);
  return {.count = header_->count,
          .num_groups = groups_.count(),
          .num_tokens = header_->num_tokens,
          .num_free_blocks = arena_.num_free(),
          .policy_version = header_->policy_version,
          .clock = header_->clock,
          .counters = header_->counters};
}

}  // namespace fastrl
