// Integer weights of slots, and the slot that owns a unit of their total: the heart of prioritized
// sampling.
//
// Math      slots 0 … C − 1 have weights w_i ≥ 0; slot i owns the masses in [W_i, W_i + w_i) with
//           W_i = w_0 + … + w_{i−1}. A mass drawn uniformly from [0, W_C) picks i with w_i / W_C.
// Layout    16-ary: u32 leaves, 16 to a cache line, and above them nodes of 16 u64, each the sum of
//           the children before it in its node. 4.7 bytes a slot with everything.
// Cost      find: one comparison of 16 numbers a level. set: the differences travel up, one
//           addition to 16 numbers a level. Batches go level by level, so misses overlap.
// Numerics  integers: the total is the sum of the leaves, exactly and always; a slot of weight 0
//           owns nothing and is never found; results do not depend on the instruction set.
// Limits    C ≤ 2^32. Not synchronized. Arguments are not checked: the callers do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace fastrl {

struct WeightExtremes {
  std::uint32_t smallest;  // of the non-zero weights; 0 where there are none
  std::uint32_t largest;
};

class SumTree {
 public:
  static constexpr std::int64_t kMaxCapacity = std::int64_t{1} << 32;

  static std::size_t memory_size(std::int64_t capacity);

  // All state lies in `memory`, 64-byte aligned: zeroed it is empty, used it is as it was left.
  SumTree(std::byte* memory, std::int64_t capacity);

  // Writes weights[k] to slots[k]; of a slot that comes twice the last one stays.
  void set(std::span<const std::int64_t> slots, std::span<const std::uint32_t> weights);
  void set(std::span<const std::int64_t> slots, std::uint32_t weight);

  // Writes neighbors: the slots begin … end − 1, or as many as there are weights.
  void fill(std::int64_t begin, std::int64_t end, std::uint32_t weight);
  void assign(std::int64_t begin, std::span<const std::uint32_t> weights);

  // Multiplies all weights by 2^bits, rounded half up, kept at least 1 where they were not 0 and at
  // most 2^32 − 1. O(C). From begin_shift() to end_shift() the memory says that it is being done,
  // so that a process that finds it half done can go on with continue_shift().
  void shift(int bits);
  void begin_shift(int bits);
  void continue_shift();
  void end_shift();
  bool is_shifting() const { return header_->is_shifting != 0; }

  // Recomputes all sums from the weights: for memory that a dying process left half written. O(C).
  void rebuild();

  std::int64_t capacity() const { return capacity_; }
  std::uint32_t weight(std::int64_t slot) const { return leaves_[slot]; }
  std::uint64_t total() const { return header_->total; }
  std::int64_t count() const { return header_->count; }  // of the weights that are not 0

  // The sum of the weights before this slot.
  std::uint64_t prefix(std::int64_t slot) const;

  // For each mass, less than total(), the slot that owns it.
  void find(std::span<const std::uint64_t> masses, std::int64_t* slots) const;

  // Over all slots. Blocks that were written since the last call are looked through again, so who
  // never asks pays one byte written per weight.
  WeightExtremes extremes();

  // The first slot that has the largest weight; −1 where all are 0.
  std::int64_t first_largest();

 private:
  static constexpr int kMaxLevels = 7;

  struct Header {
    std::uint64_t total;
    std::int64_t count;
    std::uint64_t extremes_are_stale;
    WeightExtremes extremes;
    std::uint64_t is_shifting;
    std::int64_t shift_bits;
    std::int64_t num_shifted;           // blocks of 16 weights; the next one …
    std::uint32_t before_shift[2][16];  // … is as it was here, in turns
  };
  struct Layout;

  template <typename Weight>
  void set_scattered(std::span<const std::int64_t> slots, Weight weight);
  template <bool from_nothing, typename Weight>
  void rewrite(std::int64_t begin, std::int64_t end, Weight weight);
  void add_to_scattered(std::span<std::uint32_t> blocks,
                        std::span<const std::uint64_t> differences);
  void add_to_neighbors(int lowest, std::int64_t first_child, std::span<std::uint64_t> differences);
  void refresh_extremes();

  std::int64_t capacity_;
  int num_levels_;
  Header* header_;
  std::array<std::uint64_t*, kMaxLevels> levels_{};  // [0] is the root
  std::uint32_t* leaves_;
  std::uint8_t* stale_;  // a byte per block of 64 slots: written since last refreshed
  struct Extremes {
    std::uint32_t* smallest;
    std::uint32_t* largest;
  };
  Extremes blocks_;   // of 64 slots each
  Extremes regions_;  // of 64 blocks each
};

}  // namespace fastrl
