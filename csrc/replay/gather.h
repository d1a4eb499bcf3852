// Batches out of rows: the steps that were drawn, their n-step returns and what follows them.
//
// Math      R = r_t + d_t r_{t+1} + d_t d_{t+1} r_{t+2} + … over m ≤ n steps, up to the first that
//           terminated or was truncated and up to the lane's newest row; the next observation is
//           that of row t + m, and the discount ∏ d, or 0 after termination. d is gamma, or each
//           step's own.
// Cost      a step and its successor are neighbors in memory; rows are fetched ahead of their turn.
// Numerics  sums and products in float64, rounded once; the same for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "replay/fields.h"
#include "replay/lanes.h"

namespace fastrl {

// Where a batch of n goes. Arrays are contiguous.
struct BatchArrays {
  std::vector<std::byte*> values;  // by field: [n, shape] or [n, stack, shape]; null: not wanted
  std::vector<std::byte*> next_values;  // by field, of observations; null: not wanted
  std::byte* discounts = nullptr;       // [n], double where rewards or discounts are, else float
  bool discounts_are_double = false;
  std::uint8_t* terminated = nullptr;  // [n], of the last of the m steps
  std::uint8_t* truncated = nullptr;
  std::int64_t* lengths = nullptr;  // [n], m; null: not wanted
  std::uint64_t* handles = nullptr;
  double* probabilities = nullptr;
  float* importance_weights = nullptr;
};

class Gather {
 public:
  Gather(const Rows& rows, const Lanes& lanes, std::span<const Field> fields, std::int64_t n_step,
         double gamma);

  // Transitions: each slot holds a row whose successor is there. Writes everything but
  // probabilities and importance weights.
  void transitions(std::span<const std::int64_t> slots, const BatchArrays& to) const;

  // One field of single rows, final observations as well: [n, shape] or [n, stack, shape].
  void values(std::span<const std::int64_t> slots, std::size_t field, std::byte* to) const;

 private:
  struct Block;
  struct Copy;
  struct Plan;
  struct Step;

  Plan plan(const BatchArrays& to) const;
  Step step_of(std::int64_t slot) const;
  void extend(Step& step, std::span<double> sums) const;
  void write_rewards(std::span<const double> sums, std::int64_t item, const BatchArrays& to) const;
  static void write_block(const Block& block, std::span<const Copy> copies, std::int64_t begin,
                          std::int64_t n, const BatchArrays& to);
  void write_large(const Step& step, std::int64_t item, std::span<const std::size_t> large,
                   const BatchArrays& to) const;
  // The observation of `slot` from rows up to it, newest last; `age` rows of its episode are
  // before.
  void stack(std::size_t field, std::int64_t lane, std::int64_t slot, std::int64_t age,
             std::byte* to) const;
  std::int64_t age_of(std::int64_t lane, std::int64_t slot) const;
  bool is_packed(std::size_t field) const {
    return fields_[field].stack == 1 && !rows_.place(field).apart;
  }

  const Rows& rows_;
  const Lanes& lanes_;
  std::span<const Field> fields_;
  std::int64_t n_step_;
  double gamma_;
  std::size_t reward_;  // their positions in fields_, or fields_.size()
  std::size_t discount_;
};

}  // namespace fastrl
