#include "replay/rank_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/check.h"
#include "replay/power.h"
#include "replay/priority_weights.h"
#include "replay/rank_powers.h"

namespace fastrl {
namespace {

constexpr std::size_t kHeaderBytes = 64;

// 16 buckets to a factor of two, from 2^-64 to 2^64.
std::int64_t bucket_of(double priority) {
  if (priority == 0.0) return BucketLists::kNone;
  constexpr std::uint64_t kFirst = std::bit_cast<std::uint64_t>(0x1p-64) >> 48;
  const auto top = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(priority) >> 48);
  return std::clamp<std::int64_t>(top - static_cast<std::int64_t>(kFirst), 0, 2047);
}

}  // namespace

struct RankIndex::Layout {
  static constexpr std::size_t kUsed = kHeaderBytes;
  static constexpr std::size_t kUsedPlace = kUsed + kNumBuckets * sizeof(Used);
  static constexpr std::size_t kLists = kUsedPlace + kNumBuckets * sizeof(std::uint16_t);
};

std::size_t RankIndex::memory_size(std::int64_t capacity) {
  return Layout::kLists + BucketLists::memory_size(capacity, kNumBuckets);
}

RankIndex::RankIndex(std::byte* memory, std::int64_t capacity)
    : capacity_(capacity),
      header_(reinterpret_cast<Header*>(memory)),
      used_(reinterpret_cast<Used*>(memory + Layout::kUsed)),
      used_place_(reinterpret_cast<std::uint16_t*>(memory + Layout::kUsedPlace)),
      lists_(memory + Layout::kLists, capacity, kNumBuckets) {
  static_assert(sizeof(Header) <= kHeaderBytes && Layout::kLists % 64 == 0);
  if (header_->is_initialized == 0) *header_ = {1, 1.0, 1.0, 0, 0, 0, 0, 0};
}

void RankIndex::move(std::int64_t slot, std::int64_t bucket) {
  const std::int64_t from = lists_.bucket(slot);
  if (from == bucket) return;
  header_->count += (bucket >= 0 ? 1 : 0) - (from >= 0 ? 1 : 0);
  header_->is_stale = 1;
  lists_.move(slot, bucket);
}

template <typename Priority>
void RankIndex::set_any(const char* function, std::span<const std::int64_t> slots,
                        std::span<const Priority> priorities) {
  check_slots(function, slots, capacity_);
  const auto largest = static_cast<double>(checked_largest(function, priorities));
  for (std::size_t k = 0; k < slots.size(); ++k) {
    move(slots[k], bucket_of(static_cast<double>(priorities[k])));
  }
  if (largest > 0.0) {
    const bool is_first = header_->has_priorities == 0;
    header_->largest_ever = is_first ? largest : std::max(header_->largest_ever, largest);
    header_->has_priorities = 1;
  }
}

void RankIndex::set_priorities(const char* function, std::span<const std::int64_t> slots,
                               std::span<const float> priorities) {
  set_any(function, slots, priorities);
}

void RankIndex::set_priorities(const char* function, std::span<const std::int64_t> slots,
                               std::span<const double> priorities) {
  set_any(function, slots, priorities);
}

std::int64_t RankIndex::new_bucket(const char* function, NewPriority rule, double value) const {
  if (rule == NewPriority::kValue) return bucket_of(checked_new_priority(function, value));
  if (rule == NewPriority::kMaxInBuffer && count() > 0) {
    return lists_.occupied_at_or_below(kNumBuckets - 1);
  }
  return bucket_of(header_->largest_ever);
}

void RankIndex::set_new(const char* function, std::int64_t begin, std::int64_t end,
                        NewPriority rule, double value) {
  const std::int64_t bucket = new_bucket(function, rule, value);
  for (std::int64_t slot = begin; slot < end; ++slot) move(slot, bucket);
}

void RankIndex::set_new(const char* function, std::span<const std::int64_t> slots, NewPriority rule,
                        double value) {
  check_slots(function, slots, capacity_);
  const std::int64_t bucket = new_bucket(function, rule, value);
  for (const std::int64_t slot : slots) move(slot, bucket);
}

void RankIndex::set_new(const char* function, std::span<const std::int64_t> slots,
                        std::span<const std::uint8_t> are_new, NewPriority rule, double value) {
  check_slots(function, slots, capacity_);
  const std::int64_t bucket = new_bucket(function, rule, value);
  for (std::size_t k = 0; k < slots.size(); ++k) {
    if (are_new[k] != 0) move(slots[k], bucket);
  }
  for (std::size_t k = 0; k < slots.size(); ++k) {
    if (are_new[k] == 0) move(slots[k], BucketLists::kNone);
  }
}

void RankIndex::clear(std::int64_t begin, std::int64_t end) {
  for (std::int64_t slot = begin; slot < end; ++slot) move(slot, BucketLists::kNone);
}

void RankIndex::clear(std::span<const std::int64_t> slots) {
  for (const std::int64_t slot : slots) move(slot, BucketLists::kNone);
}

void RankIndex::set_exponent(const char* function, double exponent) {
  header_->exponent = checked_exponent(function, exponent);
  header_->is_stale = 1;
}

void RankIndex::rebuild() {
  lists_.rebuild();
  header_->count = 0;
  for (std::int64_t bucket = 0; bucket < kNumBuckets; ++bucket) {
    header_->count += lists_.size(bucket);
  }
  header_->is_stale = 1;
}

void RankIndex::refresh() {
  if (header_->is_stale == 0) return;
  header_->is_stale = 0;
  // Where each bucket in use ends in the order of ranks.
  std::array<std::int64_t, kNumBuckets + 1> ends;
  std::array<double, kNumBuckets + 1> sums;
  std::size_t num_used = 0;
  ends[0] = 0;
  for (std::int64_t bucket = lists_.occupied_at_or_below(kNumBuckets - 1);
       bucket != BucketLists::kNone; bucket = lists_.occupied_at_or_below(bucket - 1)) {
    used_place_[bucket] = static_cast<std::uint16_t>(num_used);
    used_[num_used].bucket = bucket;
    ends[num_used + 1] = ends[num_used] + lists_.size(bucket);
    ++num_used;
  }
  sums_of_powers(std::span(ends.data(), num_used + 1), header_->exponent, sums.data());
  // Integers whose total stays below 2^61.
  double all = 1.0;
  for (std::size_t k = 0; k < num_used; ++k) all += sums[k];
  const double scale = power_of_two(60.0 - std::ceil(log2_of(all)));
  std::uint64_t start = 0;
  for (std::size_t k = 0; k < num_used; ++k) {
    const std::int64_t size = ends[k + 1] - ends[k];
    const double mean = sums[k] / static_cast<double>(size);
    used_[k].start = start;
    used_[k].weight = static_cast<std::uint64_t>(std::max(mean * scale, 1.0));
    start += used_[k].weight * static_cast<std::uint64_t>(size);
  }
  header_->num_used = static_cast<std::int64_t>(num_used);
  header_->total = start;
}

double RankIndex::draw(const char* function, std::int64_t n, DrawScheme scheme,
                       RandomStream& random, std::int64_t* slots, double* probabilities) {
  refresh();
  return fastrl::draw(function, *this, n, scheme, random, slots, probabilities);
}

double RankIndex::smallest_probability(std::int64_t n, double tau) {
  refresh();
  if (header_->num_used == 0) return 0.0;
  return draw_probability(used_[header_->num_used - 1].weight, total(), n, tau);
}

const RankIndex::Used& RankIndex::used_of(std::int64_t slot) const {
  return used_[used_place_[lists_.bucket(slot)]];
}

std::uint64_t RankIndex::prefix(std::int64_t slot) const {
  const Used& used = used_of(slot);
  return used.start + used.weight * static_cast<std::uint64_t>(lists_.place(slot));
}

void RankIndex::weights(std::span<const std::int64_t> slots, std::uint64_t* weights) const {
  for (std::size_t k = 0; k < slots.size(); ++k) {
    weights[k] = lists_.bucket(slots[k]) < 0 ? 0 : used_of(slots[k]).weight;
  }
}

void RankIndex::find(std::span<const std::uint64_t> masses, std::int64_t* slots) const {
  const Used* begin = used_;
  const Used* end = begin + header_->num_used;
  for (std::size_t k = 0; k < masses.size(); ++k) {
    const Used& used =
        *(std::upper_bound(begin, end, masses[k],
                           [](std::uint64_t mass, const Used& next) { return mass < next.start; }) -
          1);
    const std::uint64_t place = (masses[k] - used.start) / used.weight;
    slots[k] = lists_.slot(used.bucket, static_cast<std::int64_t>(place));
  }
}

}  // namespace fastrl
