#include "replay/rank_index.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"
#include "replay/power.h"
#include "replay/priority_weights.h"

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

// Σ k^−exponent for k = begin + 1 … end.
double sum_of_powers(std::int64_t begin, std::int64_t end, double exponent) {
  double sum = 0.0;
  // Exact where the formula below is not: few ranks, and the first ones.
  while (begin < end && (begin < 32 || end - begin <= 8)) {
    sum += power(static_cast<double>(++begin), -exponent);
  }
  if (begin == end) return sum;
  // Euler–Maclaurin between midpoints; the integral of x^−a is a^(1−a) (r^(1−a) − 1) / (1 − a).
  const double a = static_cast<double>(begin) + 0.5;
  const double b = static_cast<double>(end) + 0.5;
  const double log2_a = log2_of(a);
  const double log2_ratio = log2_of(b) - log2_a;
  const double rest = 1.0 - exponent;
  const BinaryExponential growth = binary_exponential(rest * log2_ratio);
  const BinaryExponential at_a = binary_exponential(-exponent * log2_a);
  const double f_a = (1.0 + at_a.minus_one) * power_of_two(at_a.n);
  const double ratio = (1.0 + growth.minus_one) * power_of_two(growth.n);  // (b / a)^(1 − exponent)
  const double f_b = f_a * ratio * a / b;
  const double ratio_minus_one = growth.n == 0.0 ? growth.minus_one : ratio - 1.0;
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  const double integral =
      std::abs(rest * log2_ratio) < 1e-12 ? log2_ratio * kLn2 : ratio_minus_one / rest;
  const double first = exponent / 24.0 * (f_b / b - f_a / a);
  const double third = -7.0 / 5760.0 * exponent * (exponent + 1.0) * (exponent + 2.0) *
                       (f_b / (b * b * b) - f_a / (a * a * a));
  return sum + f_a * a * integral + first + third;
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

void RankIndex::refresh() {
  if (header_->is_stale == 0) return;
  // Integers whose total stays below 2^61.
  const double all = sum_of_powers(0, count(), header_->exponent);
  const double scale = power_of_two(60.0 - std::ceil(log2_of(std::max(all, 1.0))));
  std::int64_t rank = 0;
  std::int64_t num_used = 0;
  std::uint64_t start = 0;
  for (std::int64_t bucket = lists_.occupied_at_or_below(kNumBuckets - 1);
       bucket != BucketLists::kNone; bucket = lists_.occupied_at_or_below(bucket - 1)) {
    const std::int64_t size = lists_.size(bucket);
    const double mean =
        sum_of_powers(rank, rank + size, header_->exponent) / static_cast<double>(size);
    const auto weight = static_cast<std::uint64_t>(std::max(mean * scale, 1.0));
    used_place_[bucket] = static_cast<std::uint16_t>(num_used);
    used_[num_used++] = {start, weight, bucket};
    start += weight * static_cast<std::uint64_t>(size);
    rank += size;
  }
  header_->num_used = num_used;
  header_->total = start;
  header_->is_stale = 0;
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
