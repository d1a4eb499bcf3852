// Prioritized sampling: P(i) = w_i / Σ w over integer weights w_i = round(p_i^exponent · 2^scale).
//
// Math      w_i = 0 where p_i = 0, else at least 1 and at most 2^32 − 1. `scale` is one number for
//           all: it goes down when a weight would overflow, and up when, after as many updates as
//           there are slots, the largest weight is below 2^20. Then all weights are computed anew
//           from the priorities where these are kept, else multiplied by the power of two and
//           rounded. Where all weights are 1, which says nothing but that a priority that is gone
//           was far larger, the scale is that of the largest priority given since the last look,
//           and they all become the largest weight there is. Probabilities always are those of the
//           integer weights, and importance weights use these, so estimates stay unbiased whatever
//           the rounding was.
// Cost      4.7 bytes a slot; 4 more with `keeps_priorities`.
// Limits    Not synchronized. Weights hold 2^32 of the range of p^exponent: smaller ones are 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/random.h"
#include "replay/draws.h"
#include "replay/sum_tree.h"

namespace fastrl {

// The priority of an item that nobody has valued yet: the largest that was ever set (1 before the
// first), the largest in the buffer now (else the largest ever), or a given one.
enum class NewPriority { kMax, kMaxInBuffer, kValue };

class PriorityIndex final : public WeightedSlots {
 public:
  static std::size_t memory_size(std::int64_t capacity, bool keeps_priorities);

  // All state lies in `memory`, 64-byte aligned: zeroed it is empty, used it is as it was left.
  PriorityIndex(std::byte* memory, std::int64_t capacity, bool keeps_priorities);

  // Every check is made before the first write; errors name `function`, the caller's.
  // Of a slot that comes twice the last priority stays. Slots from 0 to capacity − 1.
  void set_priorities(const char* function, std::span<const std::int64_t> slots,
                      std::span<const float> priorities);
  void set_priorities(const char* function, std::span<const std::int64_t> slots,
                      std::span<const double> priorities);

  // `value` is read by NewPriority::kValue alone.
  void set_new(const char* function, std::int64_t begin, std::int64_t end, NewPriority rule,
               double value);
  void set_new(const char* function, std::span<const std::int64_t> slots, NewPriority rule,
               double value);
  // Those that are not new are cleared.
  void set_new(const char* function, std::span<const std::int64_t> slots,
               std::span<const std::uint8_t> are_new, NewPriority rule, double value);

  // Never drawn from here on, until set again.
  void clear(std::int64_t begin, std::int64_t end);
  void clear(std::span<const std::int64_t> slots);

  // Of the weights from here on, and of those that stand: an error where there are some and the
  // priorities are not kept. O(capacity). 1 in empty memory.
  void set_exponent(const char* function, double exponent);

  // n slots and their probabilities; see draws.h, also for the τ that it returns.
  double draw(const char* function, std::int64_t n, DrawScheme scheme, RandomStream& random,
              std::int64_t* slots, double* probabilities) const;

  // The probability of the slots with the smallest non-zero weight, in a draw of n that returned τ.
  double smallest_probability(std::int64_t n, double tau);

  std::int64_t capacity() const { return tree_.capacity(); }
  std::uint64_t total() const override { return tree_.total(); }
  std::int64_t count() const override { return tree_.count(); }
  std::uint32_t weight(std::int64_t slot) const { return tree_.weight(slot); }
  std::uint64_t prefix(std::int64_t slot) const override { return tree_.prefix(slot); }
  void weights(std::span<const std::int64_t> slots, std::uint64_t* weights) const override;
  void find(std::span<const std::uint64_t> masses, std::int64_t* slots) const override {
    tree_.find(masses, slots);
  }
  WeightExtremes extremes() { return tree_.extremes(); }

  bool keeps_priorities() const { return priorities_ != nullptr; }
  double exponent() const { return header_->exponent; }
  int scale() const { return static_cast<int>(header_->scale); }
  double largest_ever() const { return header_->largest_ever; }  // 1 before the first priority

  // The priority as it was set where they are kept, else the one that the weight stands for.
  double priority(std::int64_t slot) const;

  bool has(std::int64_t slot) const { return tree_.weight(slot) != 0; }

  // For memory that a dying process left half written: finishes a rescaling that was under way, and
  // recomputes all sums from the weights.
  void rebuild();

 private:
  struct Header {
    std::uint64_t is_initialized;
    double exponent;
    double largest_ever;
    std::int64_t scale;
    std::uint64_t has_priorities;     // somebody has set one
    std::int64_t updates_since_look;  // at how small the largest weight has become
    std::int64_t next_scale;          // of weights that are being shifted
    double largest_since_look;        // of the priorities that were given
  };

  template <typename Priority>
  void set_any(const char* function, std::span<const std::int64_t> slots,
               std::span<const Priority> priorities);
  template <typename Priority>
  void set_checked(std::span<const std::int64_t> slots, std::span<const Priority> priorities);
  struct NewItem {
    std::uint32_t weight;
    float priority;
  };
  NewItem new_item(const char* function, NewPriority rule, double value);
  // So that the weight of this priority, or of p^exponent with this logarithm, fits.
  void make_room_for(double largest);
  void make_room_for_log2(std::int64_t log2_weight);
  void rescale(std::int64_t scale);
  void finish_shift();
  void look_for_lost_range(std::int64_t updates);

  Header* header_;
  SumTree tree_;
  float* priorities_;
  struct {
    double priority = -1.0;
    double exponent = 0.0;
    std::int64_t weight = -1;  // with this scale; negative: not known
    std::int64_t scale = 0;
    std::int64_t log2 = 0;  // of p^exponent
  } newest_;                // what the last new item came to
};

}  // namespace fastrl
