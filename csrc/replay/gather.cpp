#include "replay/gather.h"

#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "replay/copy.h"

namespace fastrl {
namespace {

constexpr std::int64_t kAhead = 12;                // rows fetched before their turn
constexpr std::int64_t kGrainBytes = 64 << 10;     // of a batch that is worth a thread
constexpr std::size_t kMaxFetchedBytes = 1 << 10;  // of a row and its successors

double load(const std::byte* from, bool is_double) {
  if (is_double) {
    double value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  float value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

void store(std::byte* to, bool is_double, double value) {
  if (is_double) {
    std::memcpy(to, &value, sizeof(value));
  } else {
    const auto rounded = static_cast<float>(value);
    std::memcpy(to, &rounded, sizeof(rounded));
  }
}

std::size_t position_of(std::span<const Field> fields, FieldRole role) {
  std::size_t f = 0;
  while (f < fields.size() && fields[f].role != role) ++f;
  return f;
}

}  // namespace

// One field's bytes from a row into item i of an array.
struct Gather::Copy {
  const std::byte* start;
  std::size_t stride;
  std::size_t bytes;
  std::byte* to;
  bool of_successor;
};

// What one drawn row stands for.
struct Gather::Step {
  std::int64_t lane;
  std::int64_t slot;
  std::int64_t successor;  // the slot of the next observation
  std::int64_t length;     // m
  double discount;
  std::uint32_t flags;  // of the last step
};

Gather::Gather(const Rows& rows, const Lanes& lanes, std::span<const Field> fields,
               std::int64_t n_step, double gamma)
    : rows_(rows),
      lanes_(lanes),
      fields_(fields),
      n_step_(n_step),
      gamma_(gamma),
      reward_(position_of(fields, FieldRole::kReward)),
      discount_(position_of(fields, FieldRole::kDiscount)) {}

std::vector<Gather::Copy> Gather::plan(const BatchArrays& to) const {
  std::vector<Copy> copies;
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    if (!is_packed(f) || (f == reward_ && n_step_ > 1)) continue;
    const Rows::Place& place = rows_.place(f);
    const auto bytes = static_cast<std::size_t>(fields_[f].bytes);
    for (const bool next : {false, true}) {
      std::byte* out = next ? to.next_values[f] : to.values[f];
      if (out != nullptr) copies.push_back({place.start, place.stride, bytes, out, next});
    }
  }
  return copies;
}

Gather::Step Gather::step_of(std::int64_t slot) const {
  const std::int64_t lane = lanes_.lane_of(slot);
  double discount = gamma_;
  if (discount_ < fields_.size()) {
    discount = load(rows_.place(discount_).at(slot), fields_[discount_].is_double());
  }
  const std::uint32_t flags = rows_.header(slot).flags;
  return {lane, slot, lanes_.next_slot(lane, slot), 1, discount, flags};
}

// Goes on to the n-th step where the episode and the lane do.
void Gather::accumulate(Step& step, std::int64_t item, const BatchArrays& to) const {
  const bool has_rewards = reward_ < fields_.size() && to.values[reward_] != nullptr;
  const std::int64_t newest = lanes_.num_rows(step.lane) - 1;
  const std::int64_t limit = std::min(n_step_, newest - lanes_.row_of(step.lane, step.slot));
  const bool is_double = has_rewards && fields_[reward_].is_double();
  const std::int64_t items = has_rewards ? fields_[reward_].bytes / fields_[reward_].item_bytes : 0;
  std::vector<double> sums;
  double sum = 0;
  double* total = &sum;
  if (items > 1) {
    sums.resize(static_cast<std::size_t>(items));
    total = sums.data();
  }
  const auto add_rewards = [&](std::int64_t slot, double factor) {
    for (std::int64_t i = 0; i < items; ++i) {
      const std::byte* from = rows_.place(reward_).at(slot) + i * fields_[reward_].item_bytes;
      total[i] += factor * load(from, is_double);
    }
  };
  add_rewards(step.slot, 1.0);
  while (step.length < limit &&
         (step.flags & (RowHeader::kTerminated | RowHeader::kTruncated)) == 0) {
    add_rewards(step.successor, step.discount);
    const Step next = step_of(step.successor);
    step.discount *= next.discount;
    step.flags = next.flags;
    step.successor = next.successor;
    ++step.length;
  }
  for (std::int64_t i = 0; i < items; ++i) {
    store(to.values[reward_] + (item * items + i) * fields_[reward_].item_bytes, is_double,
          total[i]);
  }
}

void Gather::write_step(const Step& step, std::int64_t item, const BatchArrays& to) const {
  const bool terminated = (step.flags & RowHeader::kTerminated) != 0;
  if (to.discounts != nullptr) {
    const std::size_t bytes = to.discounts_are_double ? sizeof(double) : sizeof(float);
    store(to.discounts + static_cast<std::size_t>(item) * bytes, to.discounts_are_double,
          terminated ? 0.0 : step.discount);
  }
  if (to.terminated != nullptr) to.terminated[item] = terminated ? 1 : 0;
  if (to.truncated != nullptr) {
    to.truncated[item] = (step.flags & RowHeader::kTruncated) != 0 ? 1 : 0;
  }
  if (to.handles != nullptr) to.handles[item] = lanes_.handle_of(step.lane, step.slot);
}

void Gather::transitions(std::span<const std::int64_t> slots, const BatchArrays& to) const {
  const std::vector<Copy> copies = plan(to);
  const std::size_t fetched =
      std::min(rows_.row_bytes() * static_cast<std::size_t>(n_step_ + 1), kMaxFetchedBytes);
  std::vector<std::size_t> large;
  std::int64_t bytes = static_cast<std::int64_t>(fetched);
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    if (is_packed(f) || (to.values[f] == nullptr && to.next_values[f] == nullptr)) continue;
    large.push_back(f);
    bytes += fields_[f].bytes * fields_[f].stack * 2;
  }
  const auto fetch = [&](std::int64_t slot) {
    const std::byte* row = rows_.row(slot);
    for (std::size_t at = 0; at < fetched; at += 64) __builtin_prefetch(row + at);
  };
  const auto assemble = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < std::min(end, begin + kAhead); ++i) {
      fetch(slots[static_cast<std::size_t>(i)]);
    }
    for (std::int64_t i = begin; i < end; ++i) {
      if (i + kAhead < end) fetch(slots[static_cast<std::size_t>(i + kAhead)]);
      Step step = step_of(slots[static_cast<std::size_t>(i)]);
      if (n_step_ > 1) accumulate(step, i, to);
      for (const Copy& copy : copies) {
        const std::int64_t from = copy.of_successor ? step.successor : step.slot;
        copy_bytes(copy.to + static_cast<std::size_t>(i) * copy.bytes,
                   copy.start + static_cast<std::size_t>(from) * copy.stride, copy.bytes);
      }
      write_step(step, i, to);
      if (large.empty()) continue;
      const std::int64_t age = age_of(step.lane, step.slot);
      for (const std::size_t f : large) {
        const auto size = static_cast<std::size_t>(fields_[f].bytes * fields_[f].stack);
        const std::size_t at = static_cast<std::size_t>(i) * size;
        if (to.values[f] != nullptr) stack(f, step.lane, step.slot, age, to.values[f] + at);
        if (to.next_values[f] != nullptr) {
          stack(f, step.lane, step.successor, age + step.length, to.next_values[f] + at);
        }
      }
    }
  };
  parallel_for(static_cast<std::int64_t>(slots.size()),
               std::max<std::int64_t>(kGrainBytes / bytes, 1), assemble);
}

void Gather::values(std::span<const std::int64_t> slots, std::size_t field, std::byte* to) const {
  const auto size = static_cast<std::size_t>(fields_[field].bytes * fields_[field].stack);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::int64_t lane = lanes_.lane_of(slots[i]);
    stack(field, lane, slots[i], age_of(lane, slots[i]), to + i * size);
  }
}

std::int64_t Gather::age_of(std::int64_t lane, std::int64_t slot) const {
  return lanes_.row_of(lane, slot) - lanes_.episode_of(lane, rows_.header(slot).episode).first;
}

void Gather::stack(std::size_t field, std::int64_t lane, std::int64_t slot, std::int64_t age,
                   std::byte* to) const {
  const Field& of = fields_[field];
  const auto bytes = static_cast<std::size_t>(of.bytes);
  const Rows::Place& place = rows_.place(field);
  for (std::int64_t back = of.stack - 1; back >= 0; --back, to += bytes) {
    if (back > age && of.padding == StackPadding::kZeros) {
      std::memset(to, 0, bytes);
      continue;
    }
    copy_bytes(to, place.at(lanes_.earlier_slot(lane, slot, std::min(back, age))), bytes);
  }
}

}  // namespace fastrl
