#include "replay/sampler.h"

#include <algorithm>
#include <cmath>

#include "replay/uniform_draw.h"

namespace fastrl {
namespace {

std::size_t pending_bytes(std::int64_t num_lanes) {
  return static_cast<std::size_t>((num_lanes + 7) / 8) * 64;
}

}  // namespace

std::size_t Sampler::memory_size(const SamplerOptions& options, std::int64_t capacity,
                                 std::int64_t num_lanes) {
  const std::size_t before_index = sizeof(State) + pending_bytes(num_lanes);
  switch (options.kind) {
    case SamplerKind::kProportional:
    case SamplerKind::kMarked:
      return before_index + PriorityIndex::memory_size(capacity, options.keeps_priorities());
    case SamplerKind::kRank:
      return before_index + RankIndex::memory_size(capacity);
    case SamplerKind::kUniform:
      break;
  }
  return sizeof(State);
}

Sampler::Sampler(std::byte* memory, const SamplerOptions& options, std::int64_t capacity,
                 std::int64_t num_lanes)
    : options_(options),
      state_(reinterpret_cast<State*>(memory)),
      pending_(reinterpret_cast<double*>(memory + sizeof(State))) {
  std::byte* at = memory + sizeof(State) + pending_bytes(num_lanes);
  if (options.kind == SamplerKind::kProportional || options.kind == SamplerKind::kMarked) {
    index_.emplace<PriorityIndex>(at, capacity, options.keeps_priorities());
  }
  if (options.kind == SamplerKind::kRank) index_.emplace<RankIndex>(at, capacity);
}

void Sampler::initialize(std::uint64_t seed, std::uint64_t stream) {
  state_->random = RandomStream::seeded(seed, stream);
  on_index([&](auto& index) { index.set_exponent("ReplayBuffer", options_.priority_start); });
}

void Sampler::add(std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  on_index([&](auto& index) {
    index.set_new("add", begin, end, options_.new_priority, options_.new_value);
  });
}

void Sampler::add(std::span<const std::int64_t> slots) {
  if (slots.empty()) return;
  on_index(
      [&](auto& index) { index.set_new("add", slots, options_.new_priority, options_.new_value); });
}

void Sampler::add(std::span<const std::int64_t> slots, std::span<const double> priorities) {
  std::vector<std::int64_t> unvalued;
  std::vector<std::int64_t> valued;
  std::vector<double> values;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (priorities[i] < 0) {
      unvalued.push_back(slots[i]);
    } else {
      valued.push_back(slots[i]);
      values.push_back(priorities[i]);
    }
  }
  set_priorities(valued, values);
  add(unvalued);
}

void Sampler::remove(std::int64_t begin, std::int64_t end) {
  if (begin < end) on_index([&](auto& index) { index.clear(begin, end); });
}

void Sampler::remove(std::span<const std::int64_t> slots) {
  if (!slots.empty()) on_index([&](auto& index) { index.clear(slots); });
}

void Sampler::change(std::span<const std::int64_t> slots, std::span<const std::uint8_t> are_new) {
  if (slots.empty()) return;
  on_index([&](auto& index) {
    index.set_new("add", slots, are_new, options_.new_priority, options_.new_value);
  });
}

void Sampler::set_priorities(std::span<const std::int64_t> slots,
                             std::span<const double> priorities) {
  if (slots.empty()) return;
  if (options_.epsilon != 0) {
    shifted_.resize(priorities.size());
    std::ranges::transform(priorities, shifted_.begin(),
                           [this](double priority) { return priority + options_.epsilon; });
    priorities = shifted_;
  }
  on_index([&](auto& index) { index.set_priorities("update_priorities", slots, priorities); });
}

double Sampler::priority(std::int64_t slot) const {
  return std::get<PriorityIndex>(index_).priority(slot);
}

void Sampler::repair(const DrawableRows& rows) {
  on_index([&](auto& index) {
    index.rebuild();
    std::vector<std::int64_t> gone;
    for (std::int64_t slot = 0; slot < rows.capacity(); ++slot) {
      if (index.has(slot) && !rows.test(slot)) gone.push_back(slot);
    }
    index.clear(gone);
  });
}

double Sampler::importance_exponent() const {
  const std::int64_t steps = options_.importance_steps;
  if (state_->num_batches >= steps) return options_.importance_end;
  const double share = static_cast<double>(state_->num_batches) / static_cast<double>(steps);
  return options_.importance_start + share * (options_.importance_end - options_.importance_start);
}

double Sampler::priority_exponent() const {
  const std::int64_t steps = options_.priority_steps;
  if (state_->num_batches >= steps) return options_.priority_end;
  const double share = static_cast<double>(state_->num_batches) / static_cast<double>(steps);
  const double stage = std::floor(share * SamplerOptions::kPriorityStages);
  return options_.priority_start + stage / SamplerOptions::kPriorityStages *
                                       (options_.priority_end - options_.priority_start);
}

bool Sampler::is_due() const {
  if (options_.priority_steps == 0) return false;
  return std::visit(
      [this]<typename Index>(const Index& index) {
        if constexpr (std::is_same_v<Index, NoIndex>) return false;
        if constexpr (!std::is_same_v<Index, NoIndex>) {
          return index.exponent() != priority_exponent();
        }
      },
      index_);
}

void Sampler::anneal() {
  on_index([&](auto& index) { index.set_exponent("sample", priority_exponent()); });
}

void Sampler::draw(std::int64_t n, double importance_exponent, const DrawableRows& rows,
                   const Lanes& lanes, std::int64_t* slots, double* probabilities,
                   float* importance_weights) {
  if (!has_priorities()) {
    draw_uniform(rows, lanes, n, options_.scheme, state_->random, slots);
    std::fill_n(probabilities, n, 1.0 / static_cast<double>(rows.count()));
    std::fill_n(importance_weights, n, 1.0f);
  }
  on_index([&](auto& index) {
    const double tau =
        index.draw("sample", n, options_.scheme, state_->random, slots, probabilities);
    const double smallest = options_.normalization == WeightNormalization::kBuffer
                                ? index.smallest_probability(n, tau)
                                : 1.0;
    fastrl::importance_weights({probabilities, static_cast<std::size_t>(n)}, index.count(),
                               importance_exponent, options_.normalization, smallest,
                               importance_weights);
  });
  ++state_->num_batches;
}

}  // namespace fastrl
