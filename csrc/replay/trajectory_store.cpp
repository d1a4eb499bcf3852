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

constexpr int kFailure = 0;
constexpr int kSuccess = 1;
// Of the clock, which then ticks for ever.
constexpr std::int64_t kLatest = std::int64_t{1} << 62;

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

void check_weight(const char* function, float weight) {
  if (!std::isfinite(weight) || weight < 0.0f) {
    fail_value(function, "weights", "be finite and at least 0", concat(weight));
  }
}

}  // namespace

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

void TrajectoryStore::add(const TrajectoryInput& input, std::int64_t* handles) {
  const std::scoped_lock lock(mutex_);
  check_input(input);
  const std::int64_t before = header_->clock;
  for (std::int64_t i = 0; i < input.count; ++i) {
    header_->policy_version = std::max(header_->policy_version, input.policy_versions[i]);
  }
  if (input.created == nullptr) {
    header_->clock += input.count;
  } else if (input.count > 0) {
    header_->clock = input.created[input.count - 1];
  }
  evict_outdated();
  const std::int64_t oldest = oldest_version(limits_.max_staleness);
  for (std::int64_t i = 0; i < input.count; ++i) {
    if (input.policy_versions[i] < oldest) {
      ++header_->counters.refused_stale;
      handles[i] = -1;
      continue;
    }
    const std::uint32_t slot = insert(input, i);
    records_[slot].created = input.created == nullptr ? before + 1 + i : input.created[i];
    handles[i] = handle(slot);
  }
  evict_outdated();
  write_tokens(input, handles);
}

void TrajectoryStore::check_input(const TrajectoryInput& input) const {
  const char* const name = "add";
  if (input.count > sizes_.max_trajectories) {
    fail_value(name, "token_ids",
               concat("hold at most max_trajectories = ", sizes_.max_trajectories, " trajectories"),
               concat(input.count));
  }
  std::int64_t blocks = 0;
  std::int64_t clock = header_->clock;
  for (std::int64_t i = 0; i < input.count; ++i) {
    const std::int64_t length = std::int64_t{input.cu_seqlens[i + 1]} - input.cu_seqlens[i];
    if (length < 1) {
      fail_value(name, "cu_seqlens", "give every trajectory at least one token",
                 concat(length, " for trajectory ", i));
    }
    blocks += TokenArena::blocks(length);
    if (input.policy_versions[i] < 0) {
      fail_value(name, "policy_version", "be at least 0", concat(input.policy_versions[i]));
    }
    if (!std::isfinite(input.rewards[i])) {
      fail_value(name, "rewards", "be finite", concat(input.rewards[i], " for trajectory ", i));
    }
    if (input.advantages != nullptr && !std::isfinite(input.advantages[i])) {
      fail_value(name, "advantages", "be finite",
                 concat(input.advantages[i], " for trajectory ", i));
    }
    if (input.weights != nullptr) check_weight(name, input.weights[i]);
    if (input.group_successes != nullptr && input.group_successes[i] < 0) {
      fail_value(name, "group_successes", "be at least 0", concat(input.group_successes[i]));
    }
    if (input.created != nullptr) {
      if (input.created[i] < clock) {
        fail_value(name, "created", concat("never run backward, from ", clock, " on"),
                   concat(input.created[i], " for trajectory ", i));
      }
      if (input.created[i] > kLatest) {
        fail_value(name, "created", concat("be at most ", kLatest), concat(input.created[i]));
      }
      clock = input.created[i];
    }
  }
  if (blocks > sizes_.num_blocks) {
    fail_value(name, "token_ids",
               concat("fit into the store's ", sizes_.num_blocks * TokenArena::kBlock, " tokens"),
               concat(blocks * TokenArena::kBlock, " (in blocks of ", TokenArena::kBlock, ")"));
  }
}

std::uint32_t TrajectoryStore::insert(const TrajectoryInput& input, std::int64_t i) {
  const std::int64_t key = input.group_ids[i];
  if (limits_.max_per_group >= 0) {
    const std::uint32_t group = groups_.find(key);
    if (group != kNone && groups_[group].count >= limits_.max_per_group) {
      evict(groups_[group].first, Eviction::kGroup);
    }
  }
  const std::int64_t length = std::int64_t{input.cu_seqlens[i + 1]} - input.cu_seqlens[i];
  make_room(length);
  std::uint32_t slot = header_->free;
  if (slot != kNone) {
    header_->free = records_[slot].next;
  } else {
    slot = static_cast<std::uint32_t>(header_->untouched++);
  }
  const bool success = input.successes[i] != 0;
  records_[slot] = Record{
      .policy_version = input.policy_versions[i],
      .created = 0,
      .generation = records_[slot].generation,
      .length = static_cast<std::uint32_t>(length),
      .first_block = arena_.allocate(length),
      .group = 0,
      .reward = input.rewards[i],
      .advantage = input.advantages == nullptr ? std::numeric_limits<float>::quiet_NaN()
                                               : input.advantages[i],
      .use_count = 0,
      .success = success ? 1u : 0u,
      .previous = header_->newest,
      .next = kNone,
      .previous_member = kNone,
      .next_member = kNone,
  };
  (header_->newest == kNone ? header_->oldest : records_[header_->newest].next) = slot;
  header_->newest = slot;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const std::int64_t width = sizes_.widths[c];
    std::memcpy(columns_[c] + slot * width, input.columns[c] + i * width,
                static_cast<std::size_t>(width));
  }
  order_.insert(slot, input.policy_versions[i], success ? kSuccess : kFailure,
                input.weights == nullptr ? 1.0f : input.weights[i]);
  join_group(slot, key, input.group_successes == nullptr ? -1 : input.group_successes[i]);
  ++header_->count;
  ++header_->counters.added;
  header_->num_tokens += length;
  return slot;
}

void TrajectoryStore::write_tokens(const TrajectoryInput& input, const std::int64_t* handles) {
  if (input.count == 0) return;
  const std::int64_t total = input.cu_seqlens[input.count] - input.cu_seqlens[0];
  parallel_for(input.count, trajectories_per_chunk(input.count, total),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const std::uint32_t slot = slot_of(handles[i]);
                   if (slot == kNone) continue;  // refused, or gone again
                   const Record& record = records_[slot];
                   const std::int64_t first = input.cu_seqlens[i];
                   for (std::size_t c = 0; c < sizes_.token_widths.size(); ++c) {
                     arena_.write(record.first_block, record.length, c,
                                  input.token_columns[c] + first * sizes_.token_widths[c]);
                   }
                   arena_.write_mask(record.first_block, record.length, input.action_mask + first);
                 }
               });
}

std::int64_t TrajectoryStore::trajectories_per_chunk(std::int64_t count,
                                                     std::int64_t num_tokens) const {
  std::int64_t bytes = 1;
  for (const std::int32_t width : sizes_.token_widths) bytes += width;
  constexpr std::int64_t kChunk = 256 << 10;  // worth waking another thread
  return std::max<std::int64_t>(1, count * kChunk / std::max<std::int64_t>(1, num_tokens * bytes));
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
