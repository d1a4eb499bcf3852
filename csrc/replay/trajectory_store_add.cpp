// TrajectoryStore: trajectories come in.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "core/thread_pool.h"
#include "replay/trajectory_store.h"

namespace fastrl {
namespace {

// Of the clock, which then ticks for ever.
constexpr std::int64_t kLatest = std::int64_t{1} << 62;

}  // namespace

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

}  // namespace fastrl
