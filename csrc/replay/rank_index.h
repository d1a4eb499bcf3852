// Rank-based prioritized sampling: P(i) ∝ 1 / rank(i)^exponent, rank 1 being the largest priority.
//
// Math      Schaul et al., "Prioritized experience replay", 2016, §3.3. Ranks come from narrow
//           logarithmic buckets, 16 to a factor of two: the slots of a bucket tie and each has the
//           mean of 1 / rank^exponent over the ranks that they take together. Weights are these
//           means as integers; probabilities are exactly those of the integers.
// Cost      O(1) a slot set or drawn, and O(buckets in use) once for the draws after a change.
//           10.3 bytes a slot, and at most 0.2 MB.
// Numerics  a mean's relative error is below 10^-7 for up to 10^7 slots (rank_powers.h). Priorities
//           below 2^-64 and above 2^64 tie with these.
// Limits    Not synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/random.h"
#include "replay/bucket_lists.h"
#include "replay/draws.h"
#include "replay/priority_index.h"

namespace fastrl {

class RankIndex final : public WeightedSlots {
 public:
  static std::size_t memory_size(std::int64_t capacity);

  // All state lies in `memory`, 64-byte aligned: zeroed it is empty, used it is as it was left.
  RankIndex(std::byte* memory, std::int64_t capacity);

  // As PriorityIndex's: everything is checked before the first write, errors name `function`.
  void set_priorities(const char* function, std::span<const std::int64_t> slots,
                      std::span<const float> priorities);
  void set_priorities(const char* function, std::span<const std::int64_t> slots,
                      std::span<const double> priorities);
  void set_new(const char* function, std::int64_t begin, std::int64_t end, NewPriority rule,
               double value);
  void set_new(const char* function, std::span<const std::int64_t> slots, NewPriority rule,
               double value);
  void set_new(const char* function, std::span<const std::int64_t> slots,
               std::span<const std::uint8_t> are_new, NewPriority rule, double value);
  void clear(std::int64_t begin, std::int64_t end);
  void clear(std::span<const std::int64_t> slots);

  // At any time: ranks do not depend on it. 1 in empty memory.
  void set_exponent(const char* function, double exponent);

  double draw(const char* function, std::int64_t n, DrawScheme scheme, RandomStream& random,
              std::int64_t* slots, double* probabilities);

  // The probability of the last rank in a draw of n that returned τ.
  double smallest_probability(std::int64_t n, double tau);

  std::int64_t capacity() const { return capacity_; }
  double exponent() const { return header_->exponent; }
  double largest_ever() const { return header_->largest_ever; }  // 1 before the first priority
  std::int64_t count() const override { return header_->count; }

  bool has(std::int64_t slot) const { return lists_.bucket(slot) != BucketLists::kNone; }

  // For memory that a dying process left half written: makes everything anew from the bucket of
  // each slot. Within a bucket the slots then stand in another order.
  void rebuild();

  // Recomputes the weights of the buckets where something has changed. The four below ask for it.
  void refresh();
  std::uint64_t total() const override { return header_->total; }
  std::uint64_t prefix(std::int64_t slot) const override;
  void weights(std::span<const std::int64_t> slots, std::uint64_t* weights) const override;
  void find(std::span<const std::uint64_t> masses, std::int64_t* slots) const override;

 private:
  static constexpr std::int64_t kNumBuckets = 2048;

  struct Header {
    std::uint64_t is_initialized;
    double exponent;
    double largest_ever;
    std::uint64_t has_priorities;
    std::int64_t count;
    std::uint64_t total;
    std::int64_t num_used;  // buckets that are not empty
    std::uint64_t is_stale;
  };
  struct Used {  // in the order of ranks
    std::uint64_t start;
    std::uint64_t weight;  // of each slot
    std::int64_t bucket;
  };
  struct Layout;

  template <typename Priority>
  void set_any(const char* function, std::span<const std::int64_t> slots,
               std::span<const Priority> priorities);
  void move(std::int64_t slot, std::int64_t bucket);
  std::int64_t new_bucket(const char* function, NewPriority rule, double value) const;
  const Used& used_of(std::int64_t slot) const;

  std::int64_t capacity_;
  Header* header_;
  Used* used_;
  std::uint16_t* used_place_;  // of each bucket in used_
  BucketLists lists_;
};

}  // namespace fastrl
