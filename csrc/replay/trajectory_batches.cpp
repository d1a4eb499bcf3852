// What goes into a batch, and writing it.
#include <algorithm>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "core/thread_pool.h"
#include "replay/distinct_draws.h"
#include "replay/trajectory_store.h"

namespace fastrl {
namespace {

// Uniform in [0, 1) with 53 bits.
double uniform(RandomStream& random) {
  const std::uint64_t high = random.next_u32() >> 5;  // 27 bits
  const std::uint64_t low = random.next_u32() >> 6;   // 26 bits
  return static_cast<double>(high << 26 | low) * 0x1p-53;
}

// A bucket with something left, by weight.
std::size_t draw_bucket(std::span<const double> weights, std::span<const std::int64_t> left,
                        RandomStream& random) {
  double total = 0;
  for (std::size_t b = 0; b < weights.size(); ++b) total += left[b] > 0 ? weights[b] : 0.0;
  const double target = uniform(random) * total;
  std::size_t last = 0;
  double below = 0;
  for (std::size_t b = 0; b < weights.size(); ++b) {
    if (left[b] == 0 || weights[b] == 0) continue;
    last = b;
    below += weights[b];
    if (target < below) break;
  }
  return last;
}

void check_available(const char* function, const char* argument, std::int64_t wanted,
                     std::int64_t available, const char* what) {
  if (available == 0) {
    fail_value(function, argument, concat("have ", what), "none");
  }
  if (wanted > available) {
    fail_value(function, argument, concat("be at most the ", available, " ", what), concat(wanted));
  }
}

}  // namespace

std::int64_t TrajectoryStore::oldest_version(std::int64_t max_staleness) const {
  return max_staleness < 0 ? std::numeric_limits<std::int64_t>::min()
                           : header_->policy_version - max_staleness;
}

void TrajectoryStore::sample(const TrajectoryQuery& query, TrajectoryAllocator& allocator) {
  const std::scoped_lock lock(mutex_);
  Picked picked;
  query.order == DrawOrder::kWeighted ? pick_weighted(query, picked) : pick(query, picked);
  emit("sample", picked, query.count_use, allocator);
}

void TrajectoryStore::pick(const TrajectoryQuery& query, Picked& picked) {
  const int item_class = query.successes_only ? kSuccess : VersionOrder::kAll;
  const VersionOrder::Range range =
      order_.not_older(oldest_version(query.max_staleness), item_class);
  check_available("sample", "n", query.replacement ? 0 : query.count, range.count,
                  "trajectories that can be drawn");
  const std::int64_t count = query.count < 0 ? range.count : query.count;
  const bool budgeted = query.token_budget >= 0;
  DistinctDraws draws(budgeted ? 0 : count);
  RandomStream& random = header_->random;
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t k = i;
    if (query.order == DrawOrder::kNewest) {
      k = range.count - 1 - i;
    } else if (query.order == DrawOrder::kUniform) {
      k = query.replacement ? random.below(static_cast<std::uint32_t>(range.count))
                            : draws.draw(0, i, range.count, random);
    }
    positions.push_back(order_.position(item_class, range.first + k));
    if (!budgeted) continue;
    // With a budget one at a time, to know when to stop.
    const std::uint32_t slot = order_.item(positions.back());
    picked.num_tokens += records_[slot].length;
    if (picked.num_tokens > query.token_budget) {
      positions.pop_back();
      break;
    }
  }
  for (const std::int64_t position : positions) {
    picked.slots.push_back(order_.item(position));
    __builtin_prefetch(records_ + picked.slots.back());
  }
  check_budget("sample", query.token_budget, picked);
}

void TrajectoryStore::pick_weighted(const TrajectoryQuery& query, Picked& picked) {
  const std::int64_t oldest = oldest_version(query.max_staleness);
  const std::int64_t available = order_.count_weighted(oldest);
  check_available("sample", "n", query.replacement ? 0 : query.count, available,
                  "trajectories with a weight above 0");
  const auto count = static_cast<std::size_t>(query.count);
  std::vector<std::int64_t> positions(count);
  picked.probabilities.resize(count);
  order_.draw_weighted("sample", oldest, query.count, query.replacement, header_->random,
                       positions.data(), picked.probabilities.data());
  for (const std::int64_t position : positions) {
    const std::uint32_t slot = order_.item(position);
    picked.num_tokens += records_[slot].length;
    if (query.token_budget >= 0 && picked.num_tokens > query.token_budget) break;
    picked.slots.push_back(slot);
  }
  picked.probabilities.resize(picked.slots.size());
  check_budget("sample", query.token_budget, picked);
}

void TrajectoryStore::check_budget(const char* function, std::int64_t token_budget,
                                   const Picked& picked) const {
  if (token_budget >= 0 && picked.slots.empty()) {
    fail_value(function, "token_budget", "be enough for what was drawn first",
               concat(token_budget));
  }
}

void TrajectoryStore::sample_groups(const GroupQuery& query, TrajectoryAllocator& allocator) {
  const std::scoped_lock lock(mutex_);
  Picked picked;
  picked.cu_groups.push_back(0);
  const std::int64_t oldest = oldest_version(query.max_staleness);
  if (query.group_ids != nullptr) {
    for (std::int64_t i = 0; i < query.count; ++i) {
      picked.groups.push_back(groups_.find(query.group_ids[i]));
    }
    pick_members(query, oldest, picked);
  } else {
    pick_groups(query, oldest, picked);
  }
  check_budget("sample_groups", query.group_ids == nullptr ? query.token_budget : -1, picked);
  emit("sample_groups", picked, query.count_use, allocator);
}

void TrajectoryStore::pick_groups(const GroupQuery& query, std::int64_t oldest, Picked& picked) {
  const std::span<const double> weights = query.bucket_weights;
  const std::vector<VersionOrder::Range> ranges =
      weights.empty() ? std::vector{group_order_.not_older(oldest)} : group_order_.ranges(oldest);
  std::vector<std::int64_t> left;
  std::int64_t available = 0;
  for (std::size_t b = 0; b < ranges.size(); ++b) {
    left.push_back(ranges[b].count);
    if (weights.empty() || weights[b] > 0) available += left.back();
  }
  check_available("sample_groups", "num_groups", query.count, available,
                  "groups that can be drawn");
  const std::int64_t count = query.count < 0 ? available : query.count;
  const bool budgeted = query.token_budget >= 0;
  DistinctDraws draws(budgeted ? 0 : count);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::size_t b = weights.empty() ? 0 : draw_bucket(weights, left, header_->random);
    const std::int64_t drawn = ranges[b].count - left[b]--;
    std::int64_t k = drawn;
    if (query.order == DrawOrder::kNewest) {
      k = ranges[b].count - 1 - drawn;
    } else if (query.order == DrawOrder::kUniform) {
      k = draws.draw(static_cast<std::uint32_t>(b), drawn, ranges[b].count, header_->random);
    }
    const int bucket = weights.empty() ? VersionOrder::kAll : static_cast<int>(b);
    const std::uint32_t group = group_order_.at(bucket, ranges[b].first + k);
    groups_.prefetch(group);
    picked.groups.push_back(group);
    if (budgeted && !pick_members(query, oldest, picked)) return;
  }
  if (!budgeted) pick_members(query, oldest, picked);
}

bool TrajectoryStore::pick_members(const GroupQuery& query, std::int64_t oldest, Picked& picked) {
  // All lists are walked in step, so that their cache misses overlap.
  std::vector<std::size_t> begins;
  std::vector<std::uint32_t> cursors;
  std::size_t total = 0;
  for (const std::uint32_t group : picked.groups) {
    begins.push_back(total);
    if (group == kNone) {
      cursors.push_back(kNone);
      continue;
    }
    total += groups_[group].count;
    cursors.push_back(groups_[group].first);
    __builtin_prefetch(records_ + cursors.back());
  }
  begins.push_back(total);
  std::vector<std::uint32_t> members(total);
  bool more = true;
  for (std::size_t step = 0; more; ++step) {
    more = false;
    for (std::size_t g = 0; g < cursors.size(); ++g) {
      if (cursors[g] == kNone) continue;
      members[begins[g] + step] = cursors[g];
      cursors[g] = records_[cursors[g]].next_member;
      if (cursors[g] == kNone) continue;
      __builtin_prefetch(records_ + cursors[g]);
      more = true;
    }
  }
  for (std::size_t g = 0; g < cursors.size(); ++g) {
    const std::span<std::uint32_t> all =
        std::span(members).subspan(begins[g], begins[g + 1] - begins[g]);
    if (!take_group(query, oldest, all, picked)) return false;
  }
  picked.groups.clear();
  return true;
}

bool TrajectoryStore::take_group(const GroupQuery& query, std::int64_t oldest,
                                 std::span<std::uint32_t> members, Picked& picked) {
  const auto stale = [&](std::uint32_t slot) { return records_[slot].policy_version < oldest; };
  const auto gone = std::ranges::remove_if(members, stale);
  std::span<std::uint32_t> taken = members.first(members.size() - gone.size());
  const auto size = static_cast<std::size_t>(query.group_size);
  if (query.group_size >= 0 && size < taken.size()) {
    for (std::size_t i = 0; i < size; ++i) {
      const auto left = static_cast<std::uint32_t>(taken.size() - i);
      std::swap(taken[i], taken[i + header_->member_random.below(left)]);
    }
    taken = taken.first(size);
  }
  std::int64_t tokens = 0;
  for (const std::uint32_t slot : taken) tokens += records_[slot].length;
  if (query.token_budget >= 0 && picked.num_tokens + tokens > query.token_budget) return false;
  picked.num_tokens += tokens;
  picked.slots.insert(picked.slots.end(), taken.begin(), taken.end());
  picked.cu_groups.push_back(static_cast<std::int32_t>(picked.slots.size()));
  return true;
}

void TrajectoryStore::get(std::span<const std::int64_t> handles, bool count_use,
                          TrajectoryAllocator& allocator) {
  const std::scoped_lock lock(mutex_);
  Picked picked;
  for (const std::int64_t asked : handles) {
    const std::uint32_t slot = slot_of(asked);
    if (slot == kNone) {
      fail_index("get", "handles", "be of trajectories that are in the store", concat(asked));
    }
    __builtin_prefetch(records_ + slot);
    picked.slots.push_back(slot);
  }
  emit("get", picked, count_use, allocator);
}

void TrajectoryStore::emit(const char* function, Picked& picked, bool count_use,
                           TrajectoryAllocator& allocator) {
  TrajectoryBatchSize size{.count = static_cast<std::int64_t>(picked.slots.size()),
                           .num_tokens = 0,
                           .longest = 0,
                           .num_groups = static_cast<std::int64_t>(picked.cu_groups.size()) - 1,
                           .weighted = !picked.probabilities.empty()};
  for (const std::uint32_t slot : picked.slots) {
    size.num_tokens += records_[slot].length;
    size.longest = std::max<std::int64_t>(size.longest, records_[slot].length);
  }
  if (size.num_tokens > std::numeric_limits<std::int32_t>::max()) {
    fail_value(function, "token_budget", "keep a batch below 2^31 tokens", concat(size.num_tokens));
  }
  write_batch(picked, size, allocator.allocate(size));
  if (!count_use) return;
  header_->counters.sampled += size.count;
  for (const std::uint32_t slot : picked.slots) {
    Record& record = records_[slot];
    if (record.length == 0) continue;  // drawn twice, and gone after the first
    ++record.use_count;
    if (limits_.use_count_limit >= 0 && record.use_count >= limits_.use_count_limit) {
      evict(slot, Eviction::kUses);
    }
  }
}

void TrajectoryStore::write_batch(const Picked& picked, const TrajectoryBatchSize& size,
                                  const TrajectoryOutput& out) const {
  std::int32_t end = 0;
  for (std::int64_t b = 0; b < size.count; ++b) {
    out.cu_seqlens[b] = end;
    end += static_cast<std::int32_t>(records_[picked.slots[static_cast<std::size_t>(b)]].length);
  }
  out.cu_seqlens[size.count] = end;
  if (out.cu_groups != nullptr) std::ranges::copy(picked.cu_groups, out.cu_groups);
  if (size.weighted) std::ranges::copy(picked.probabilities, out.probabilities);
  const std::int64_t chunk = trajectories_per_chunk(size.count, size.num_tokens);
  parallel_for(size.count, chunk, [&](std::int64_t begin, std::int64_t stop) {
    constexpr std::int64_t kAhead = 12;
    for (std::int64_t b = begin; b < stop; ++b) {
      if (b + kAhead < stop) {
        const Record& ahead = records_[picked.slots[static_cast<std::size_t>(b + kAhead)]];
        groups_.prefetch(ahead.group);
        arena_.prefetch(ahead.first_block);
      }
      const std::uint32_t slot = picked.slots[static_cast<std::size_t>(b)];
      write_row(slot, b, out);
      if (out.token_columns.empty()) continue;
      write_row_tokens(slot, out.row == 0 ? out.cu_seqlens[b] : b * out.row, out);
    }
  });
}

void TrajectoryStore::write_row(std::uint32_t slot, std::int64_t b,
                                const TrajectoryOutput& out) const {
  const Record& record = records_[slot];
  out.handles[b] = handle(slot);
  out.group_ids[b] = groups_[record.group].key;
  out.policy_versions[b] = record.policy_version;
  out.created[b] = record.created;
  out.rewards[b] = record.reward;
  out.advantages[b] = record.advantage;
  out.use_counts[b] = static_cast<std::int32_t>(record.use_count);
  out.successes[b] = static_cast<std::uint8_t>(record.success);
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const std::int64_t width = sizes_.widths[c];
    std::memcpy(out.columns[c] + b * width, columns_[c] + slot * width,
                static_cast<std::size_t>(width));
  }
}

void TrajectoryStore::write_row_tokens(std::uint32_t slot, std::int64_t offset,
                                       const TrajectoryOutput& out) const {
  const Record& record = records_[slot];
  const std::int64_t length = record.length;
  const auto padding = static_cast<std::size_t>(out.row == 0 ? 0 : out.row - length);
  for (std::size_t c = 0; c < sizes_.token_widths.size(); ++c) {
    const std::int64_t width = sizes_.token_widths[c];
    std::byte* to = out.token_columns[c] + offset * width;
    arena_.read(record.first_block, length, c, to);
    std::memset(to + length * width, 0, padding * static_cast<std::size_t>(width));
  }
  arena_.read_mask(record.first_block, length, out.action_mask + offset);
  std::memset(out.action_mask + offset + length, 0, padding);
}

}  // namespace fastrl
