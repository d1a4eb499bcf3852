// One way to draw from a buffer's rows: uniformly, by priority or by its rank. Several samplers may
// draw from the same rows, each with priorities and random numbers of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <variant>
#include <vector>

#include "core/random.h"
#include "replay/drawable_rows.h"
#include "replay/draws.h"
#include "replay/importance.h"
#include "replay/lanes.h"
#include "replay/priority_index.h"
#include "replay/rank_index.h"

namespace fastrl {

// kMarked draws uniformly from the rows that have been given a priority, which new ones have not.
enum class SamplerKind : std::int32_t { kUniform, kProportional, kRank, kMarked };

// Plain bytes, kept with the sampler's state. Only the first three and the random stream mean
// anything to a uniform sampler.
struct SamplerOptions {
  char name[32];
  SamplerKind kind;
  DrawScheme scheme;
  double epsilon;  // added to every priority that is given
  NewPriority new_priority;
  WeightNormalization normalization;
  double new_value;
  // An exponent goes from start to end over so many batches: that of the importance weights a
  // little with each, that of the priorities in kPriorityStages steps, each of which weighs all
  // rows anew.
  double importance_start;
  double importance_end;
  std::int64_t importance_steps;
  double priority_start;
  double priority_end;
  std::int64_t priority_steps;

  static constexpr std::int64_t kPriorityStages = 64;

  // Annealed, an exponent needs the priorities themselves: weights alone are rounded.
  bool keeps_priorities() const { return priority_steps > 0; }
};

class Sampler {
 public:
  static std::size_t memory_size(const SamplerOptions& options, std::int64_t capacity,
                                 std::int64_t num_lanes);
  Sampler(std::byte* memory, const SamplerOptions& options, std::int64_t capacity,
          std::int64_t num_lanes);
  // In new memory.
  void initialize(std::uint64_t seed, std::uint64_t stream);

  const SamplerOptions& options() const { return options_; }
  bool has_priorities() const { return options_.kind != SamplerKind::kUniform; }
  // Whether priorities that come with new rows are for this one.
  bool takes_new_priorities() const { return options_.kind != SamplerKind::kMarked; }

  // Rows that have become drawable, by their slots; without priorities the rule for new ones holds.
  void add(std::int64_t begin, std::int64_t end);
  void add(std::span<const std::int64_t> slots);
  void add(std::span<const std::int64_t> slots, std::span<const double> priorities);
  void remove(std::int64_t begin, std::int64_t end);
  void remove(std::span<const std::int64_t> slots);
  // Both at once: those that are not new are removed.
  void change(std::span<const std::int64_t> slots, std::span<const std::uint8_t> are_new);

  // Priorities of drawable rows, checked before.
  void set_priorities(std::span<const std::int64_t> slots, std::span<const double> priorities);
  // As the weight stands for it. Proportional samplers only.
  double priority(std::int64_t slot) const;

  // After a call that died: only rows that can be drawn have a weight, and all sums are theirs.
  void repair(const DrawableRows& rows);

  // What a lane's newest row will weigh once it is drawable; negative: as the rule says.
  double& pending(std::int64_t lane) { return pending_[lane]; }

  // How many items can be drawn now.
  std::int64_t count(const DrawableRows& rows) const {
    return std::visit(
        [&]<typename Index>(const Index& index) {
          if constexpr (std::is_same_v<Index, NoIndex>) return rows.count();
          if constexpr (!std::is_same_v<Index, NoIndex>) return index.count();
        },
        index_);
  }
  double importance_exponent() const;
  // Of the next batch. Where it is another than that of the weights, anneal() must come first.
  double priority_exponent() const;
  bool is_due() const;
  void anneal();
  // Writes n slots, their probabilities and importance weights; counts as a batch.
  void draw(std::int64_t n, double importance_exponent, const DrawableRows& rows,
            const Lanes& lanes, std::int64_t* slots, double* probabilities,
            float* importance_weights);

 private:
  struct State {
    RandomStream random;
    std::int64_t num_batches;
    std::int64_t reserved[4];
  };
  static_assert(sizeof(State) == 64);

  struct NoIndex {};  // all rows weigh the same

  // Calls change(index) where there is one.
  template <typename Change>
  void on_index(Change change) {
    std::visit(
        [&]<typename Index>(Index& index) {
          if constexpr (!std::is_same_v<Index, NoIndex>) change(index);
        },
        index_);
  }

  SamplerOptions options_;
  State* state_;
  double* pending_;
  std::variant<NoIndex, PriorityIndex, RankIndex> index_;
  std::vector<double> shifted_;  // priorities with epsilon
};

}  // namespace fastrl
