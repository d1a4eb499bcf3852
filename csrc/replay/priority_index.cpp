#include "replay/priority_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/check.h"
#include "replay/power.h"
#include "replay/priority_weights.h"

namespace fastrl {
namespace {

constexpr std::int64_t kBatch = 256;
constexpr std::int64_t kTargetLog2 = 29;  // of the largest weight: room to grow by 8
constexpr std::uint32_t kSmallLargest = 1u << 20;
constexpr std::size_t kHeaderBytes = 64;

// As it is kept: float32, and 0 only if it was 0.
float kept(double priority) {
  constexpr double kSmallest = std::numeric_limits<float>::denorm_min();
  constexpr double kLargest = std::numeric_limits<float>::max();
  return priority > 0.0 ? static_cast<float>(std::clamp(priority, kSmallest, kLargest)) : 0.0f;
}

}  // namespace

std::size_t PriorityIndex::memory_size(std::int64_t capacity, bool keeps_priorities) {
  const auto size = static_cast<std::size_t>(capacity);
  const std::size_t kept_bytes = keeps_priorities ? (size * sizeof(float) + 63) / 64 * 64 : 0;
  return kHeaderBytes + SumTree::memory_size(capacity) + kept_bytes;
}

PriorityIndex::PriorityIndex(std::byte* memory, std::int64_t capacity, bool keeps_priorities)
    : header_(reinterpret_cast<Header*>(memory)),
      tree_(memory + kHeaderBytes, capacity),
      priorities_(keeps_priorities ? reinterpret_cast<float*>(memory + kHeaderBytes +
                                                              SumTree::memory_size(capacity))
                                   : nullptr) {
  static_assert(sizeof(Header) <= kHeaderBytes);
  if (header_->is_initialized == 0) *header_ = {1, 1.0, 1.0, 0, 0, 0, 0, 0.0};
}

template <typename Priority>
void PriorityIndex::set_checked(std::span<const std::int64_t> slots,
                                std::span<const Priority> priorities) {
  std::array<std::uint32_t, kBatch> weights;
  for (std::size_t begin = 0; begin < slots.size(); begin += kBatch) {
    const std::size_t size = std::min<std::size_t>(kBatch, slots.size() - begin);
    const auto batch_slots = slots.subspan(begin, size);
    const auto batch = priorities.subspan(begin, size);
    if (priorities_ == nullptr) {
      priority_weights(batch, header_->exponent, header_->scale, weights.data());
    } else {
      std::array<float, kBatch> as_kept;
      for (std::size_t k = 0; k < size; ++k) {
        as_kept[k] = kept(static_cast<double>(batch[k]));
        priorities_[batch_slots[k]] = as_kept[k];
      }
      priority_weights(std::span<const float>(as_kept.data(), size), header_->exponent,
                       header_->scale, weights.data());
    }
    tree_.set(batch_slots, std::span(weights.data(), size));
  }
}

void PriorityIndex::set_priorities(const char* function, std::span<const std::int64_t> slots,
                                   std::span<const float> priorities) {
  set_any(function, slots, priorities);
}

void PriorityIndex::set_priorities(const char* function, std::span<const std::int64_t> slots,
                                   std::span<const double> priorities) {
  set_any(function, slots, priorities);
}

template <typename Priority>
void PriorityIndex::set_any(const char* function, std::span<const std::int64_t> slots,
                            std::span<const Priority> priorities) {
  check_slots(function, slots, capacity());
  auto largest = static_cast<double>(checked_largest(function, priorities));
  if (slots.empty()) return;
  if (keeps_priorities()) largest = static_cast<double>(kept(largest));
  make_room_for(largest);
  set_checked(slots, priorities);
  if (largest > 0.0) {
    const bool is_first = header_->has_priorities == 0;
    header_->largest_ever = is_first ? largest : std::max(header_->largest_ever, largest);
    header_->has_priorities = 1;
    header_->largest_since_look = std::max(header_->largest_since_look, largest);
  }
  look_for_lost_range(static_cast<std::int64_t>(slots.size()));
}

PriorityIndex::NewItem PriorityIndex::new_item(const char* function, NewPriority rule,
                                               double value) {
  double priority = header_->largest_ever;
  if (rule == NewPriority::kValue) {
    priority = checked_new_priority(function, value);
  } else if (rule == NewPriority::kMaxInBuffer && count() > 0) {
    if (!keeps_priorities()) return {tree_.extremes().largest, 0.0f};
    priority = static_cast<double>(priorities_[tree_.first_largest()]);
  }
  if (keeps_priorities()) priority = static_cast<double>(kept(priority));
  // Most weigh what the last one did.
  if (priority != newest_.priority || exponent() != newest_.exponent) {
    newest_ = {priority, exponent(), -1, 0, priority > 0.0 ? weight_log2(priority, exponent()) : 0};
  }
  if (priority > 0.0) make_room_for_log2(newest_.log2);
  header_->largest_since_look = std::max(header_->largest_since_look, priority);
  if (header_->scale != newest_.scale || newest_.weight < 0) {
    newest_.scale = header_->scale;
    newest_.weight = priority_weight(priority, exponent(), header_->scale);
  }
  return {static_cast<std::uint32_t>(newest_.weight), kept(priority)};
}

void PriorityIndex::set_new(const char* function, std::int64_t begin, std::int64_t end,
                            NewPriority rule, double value) {
  if (begin >= end) return;
  const NewItem item = new_item(function, rule, value);
  tree_.fill(begin, end, item.weight);
  if (keeps_priorities()) std::fill(priorities_ + begin, priorities_ + end, item.priority);
  look_for_lost_range(end - begin);
}

void PriorityIndex::set_new(const char* function, std::span<const std::int64_t> slots,
                            NewPriority rule, double value) {
  check_slots(function, slots, capacity());
  if (slots.empty()) return;
  const NewItem item = new_item(function, rule, value);
  tree_.set(slots, item.weight);
  if (keeps_priorities()) {
    for (const std::int64_t slot : slots) priorities_[slot] = item.priority;
  }
  look_for_lost_range(static_cast<std::int64_t>(slots.size()));
}

void PriorityIndex::set_new(const char* function, std::span<const std::int64_t> slots,
                            std::span<const std::uint8_t> are_new, NewPriority rule, double value) {
  check_slots(function, slots, capacity());
  const std::int64_t num_new =
      std::ranges::count_if(are_new, [](int is_new) { return is_new != 0; });
  const NewItem item = num_new > 0 ? new_item(function, rule, value) : NewItem{};
  std::array<std::uint32_t, kBatch> weights;
  for (std::size_t begin = 0; begin < slots.size(); begin += kBatch) {
    const std::size_t size = std::min<std::size_t>(kBatch, slots.size() - begin);
    for (std::size_t k = 0; k < size; ++k) weights[k] = are_new[begin + k] != 0 ? item.weight : 0;
    tree_.set(slots.subspan(begin, size), std::span(weights.data(), size));
  }
  if (keeps_priorities()) {
    for (std::size_t k = 0; k < slots.size(); ++k) {
      priorities_[slots[k]] = are_new[k] != 0 ? item.priority : 0.0f;
    }
  }
  look_for_lost_range(num_new);
}

void PriorityIndex::clear(std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  tree_.fill(begin, end, 0);
  if (keeps_priorities()) std::fill(priorities_ + begin, priorities_ + end, 0.0f);
}

void PriorityIndex::clear(std::span<const std::int64_t> slots) {
  tree_.set(slots, 0u);
  if (keeps_priorities()) {
    for (const std::int64_t slot : slots) priorities_[slot] = 0.0f;
  }
}

void PriorityIndex::make_room_for(double largest) {
  if (largest > 0.0) make_room_for_log2(weight_log2(largest, header_->exponent));
}

void PriorityIndex::make_room_for_log2(std::int64_t log2_weight) {
  const std::int64_t fitting = kTargetLog2 - log2_weight;
  if (count() == 0) {
    header_->scale = fitting;
  } else if (fitting + 32 - kTargetLog2 <= header_->scale) {  // it would not be below 2^32
    rescale(fitting);
  }
}

void PriorityIndex::rescale(std::int64_t scale) {
  if (!keeps_priorities()) {
    const std::int64_t bits = scale - header_->scale;
    header_->next_scale = scale;
    tree_.begin_shift(static_cast<int>(std::clamp<std::int64_t>(bits, -64, 64)));
    finish_shift();
    return;
  }
  header_->scale = scale;
  std::array<std::uint32_t, 16 * kBatch> weights;
  constexpr auto kStep = static_cast<std::int64_t>(weights.size());
  for (std::int64_t begin = 0; begin < capacity(); begin += kStep) {
    const auto size = static_cast<std::size_t>(std::min(kStep, capacity() - begin));
    priority_weights(std::span<const float>(priorities_ + begin, size), header_->exponent, scale,
                     weights.data());
    tree_.assign(begin, std::span(weights.data(), size));
  }
}

void PriorityIndex::finish_shift() {
  tree_.continue_shift();
  header_->scale = header_->next_scale;
  tree_.end_shift();
}

void PriorityIndex::rebuild() {
  if (tree_.is_shifting()) finish_shift();
  if (keeps_priorities()) {
    const double largest = *std::max_element(priorities_, priorities_ + capacity());
    std::int64_t scale = header_->scale;
    if (largest > 0) scale = std::min(scale, kTargetLog2 + 2 - weight_log2(largest, exponent()));
    rescale(scale);
  }
  tree_.rebuild();
}

void PriorityIndex::look_for_lost_range(std::int64_t updates) {
  header_->updates_since_look += updates;
  if (header_->updates_since_look < capacity()) return;
  header_->updates_since_look = 0;
  const double given = std::exchange(header_->largest_since_look, 0.0);
  const std::uint32_t largest = tree_.extremes().largest;
  if (largest == 0 || largest >= kSmallLargest) return;
  if (keeps_priorities()) {
    const double kept_largest = *std::max_element(priorities_, priorities_ + capacity());
    rescale(kTargetLog2 - weight_log2(kept_largest, header_->exponent));
  } else if (largest > 1) {
    rescale(header_->scale + kTargetLog2 - (std::bit_width(largest) - 1));
  } else if (given > 0.0) {
    // Nobody knows how small these priorities are.
    const std::int64_t fitting = kTargetLog2 - weight_log2(given, header_->exponent);
    if (fitting > header_->scale) rescale(fitting);
  }
}

void PriorityIndex::set_exponent(const char* function, double exponent) {
  if (checked_exponent(function, exponent) == header_->exponent) return;
  if (count() > 0 && !keeps_priorities()) {
    fail_value(function, "priority_exponent",
               concat("stay ", header_->exponent,
                      " while there are items, unless the priorities themselves are kept"),
               concat(exponent));
  }
  header_->exponent = exponent;
  if (count() == 0) return;
  const float largest = *std::max_element(priorities_, priorities_ + capacity());
  rescale(kTargetLog2 - weight_log2(static_cast<double>(largest), exponent));
}

double PriorityIndex::draw(const char* function, std::int64_t n, DrawScheme scheme,
                           RandomStream& random, std::int64_t* slots, double* probabilities) const {
  return fastrl::draw(function, *this, n, scheme, random, slots, probabilities);
}

double PriorityIndex::smallest_probability(std::int64_t n, double tau) {
  return draw_probability(tree_.extremes().smallest, total(), n, tau);
}

void PriorityIndex::weights(std::span<const std::int64_t> slots, std::uint64_t* weights) const {
  for (std::size_t k = 0; k < slots.size(); ++k) weights[k] = tree_.weight(slots[k]);
}

double PriorityIndex::priority(std::int64_t slot) const {
  if (keeps_priorities()) return static_cast<double>(priorities_[slot]);
  const std::uint32_t weight = tree_.weight(slot);
  if (weight == 0) return 0.0;
  if (header_->exponent == 0.0) return 1.0;
  const double log2_weight = log2_of(static_cast<double>(weight));
  const double y = (log2_weight - static_cast<double>(header_->scale)) / header_->exponent;
  const BinaryExponential result = binary_exponential(y);
  return (1.0 + result.minus_one) * power_of_two(result.n);
}

}  // namespace fastrl
