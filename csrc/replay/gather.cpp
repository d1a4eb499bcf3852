#include "replay/gather.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/thread_pool.h"
#include "replay/copy.h"
#include "replay/copy_items.h"
#include "replay/fetch.h"

namespace fastrl {
namespace {

constexpr std::size_t kFetchedAhead = 64 << 10;    // bytes of rows on their way to the second-level
                                                   // cache: the first has fewer misses under way
constexpr std::int64_t kGrainBytes = 24 << 10;     // of a batch that is worth a thread
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

// One packed field's bytes from a row into item i of an array.
struct Gather::Copy {
  std::size_t offset;  // in the row
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

// Neighbors in a batch, whose parts are written field by field.
struct Gather::Block {
  static constexpr std::int64_t kItems = 64;

  std::array<const std::byte*, kItems> rows;
  std::array<const std::byte*, kItems> successors;
  std::array<double, kItems> discounts;
  std::array<std::uint32_t, kItems> flags;
  std::array<std::uint64_t, kItems> handles;
};

// What a batch wants, sorted by how it is found.
struct Gather::Plan {
  std::vector<Copy> copies;
  std::vector<std::size_t> large;  // fields that lie apart or are stacked
  std::int64_t num_rewards = 0;    // numbers of a reward that are summed over n steps
  std::int64_t item_bytes = 0;     // about, of one item
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

Gather::Plan Gather::plan(const BatchArrays& to) const {
  Plan plan;
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    if (to.values[f] == nullptr && to.next_values[f] == nullptr) continue;
    plan.item_bytes += 2 * fields_[f].bytes * fields_[f].stack;
    if (f == reward_ && n_step_ > 1) {
      plan.num_rewards = fields_[f].bytes / fields_[f].item_bytes;
    } else if (!is_packed(f)) {
      plan.large.push_back(f);
    } else {
      const auto offset = static_cast<std::size_t>(rows_.place(f).start - rows_.row(0));
      const auto bytes = static_cast<std::size_t>(fields_[f].bytes);
      if (to.values[f] != nullptr) plan.copies.push_back({offset, bytes, to.values[f], false});
      if (to.next_values[f] != nullptr) {
        plan.copies.push_back({offset, bytes, to.next_values[f], true});
      }
    }
  }
  return plan;
}

FASTRL_INLINE Gather::Step Gather::step_of(std::int64_t slot) const {
  const std::int64_t lane = lanes_.lane_of(slot);
  double discount = gamma_;
  if (discount_ < fields_.size()) {
    discount = load(rows_.place(discount_).at(slot), fields_[discount_].is_double());
  }
  const std::uint32_t flags = rows_.header(slot).flags;
  return {lane, slot, lanes_.next_slot(lane, slot), 1, discount, flags};
}

// Goes on to the n-th step where the episode and the lane do; rewards are added to the sums.
void Gather::extend(Step& step, std::span<double> sums) const {
  const std::int64_t newest = lanes_.num_rows(step.lane) - 1;
  const std::int64_t limit = std::min(n_step_, newest - lanes_.row_of(step.lane, step.slot));
  const auto add_rewards = [&](std::int64_t slot, double factor) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const std::size_t at = i * static_cast<std::size_t>(fields_[reward_].item_bytes);
      sums[i] += factor * load(rows_.place(reward_).at(slot) + at, fields_[reward_].is_double());
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
}

void Gather::write_rewards(std::span<const double> sums, std::int64_t item,
                           const BatchArrays& to) const {
  const auto bytes = static_cast<std::size_t>(fields_[reward_].item_bytes);
  std::byte* out = to.values[reward_] + static_cast<std::size_t>(item) * sums.size() * bytes;
  for (const double sum : sums) {
    store(out, fields_[reward_].is_double(), sum);
    out += bytes;
  }
}

void Gather::write_block(const Block& block, std::span<const Copy> copies, std::int64_t begin,
                         std::int64_t n, const BatchArrays& to) {
  for (const Copy& copy : copies) {
    copy_items(copy.of_successor ? block.successors.data() : block.rows.data(), copy.offset,
               copy.bytes, n, copy.to + static_cast<std::size_t>(begin) * copy.bytes);
  }
  const auto has = [&](std::int64_t k, std::uint32_t flag) {
    return (block.flags[static_cast<std::size_t>(k)] & flag) != 0;
  };
  const auto discount = [&](std::int64_t k) {
    return has(k, RowHeader::kTerminated) ? 0.0 : block.discounts[static_cast<std::size_t>(k)];
  };
  if (to.discounts_are_double) {
    auto* discounts = reinterpret_cast<double*>(to.discounts) + begin;
    for (std::int64_t k = 0; k < n; ++k) discounts[k] = discount(k);
  } else {
    auto* discounts = reinterpret_cast<float*>(to.discounts) + begin;
    for (std::int64_t k = 0; k < n; ++k) discounts[k] = static_cast<float>(discount(k));
  }
  std::uint8_t* terminated = to.terminated + begin;
  for (std::int64_t k = 0; k < n; ++k) terminated[k] = has(k, RowHeader::kTerminated) ? 1 : 0;
  std::uint8_t* truncated = to.truncated + begin;
  for (std::int64_t k = 0; k < n; ++k) truncated[k] = has(k, RowHeader::kTruncated) ? 1 : 0;
  std::copy_n(block.handles.data(), n, to.handles + begin);
}

void Gather::write_large(const Step& step, std::int64_t item, std::span<const std::size_t> large,
                         const BatchArrays& to) const {
  const std::int64_t age = age_of(step.lane, step.slot);
  for (const std::size_t f : large) {
    const auto size = static_cast<std::size_t>(fields_[f].bytes * fields_[f].stack);
    const std::size_t at = static_cast<std::size_t>(item) * size;
    if (to.values[f] != nullptr) stack(f, step.lane, step.slot, age, to.values[f] + at);
    if (to.next_values[f] != nullptr) {
      stack(f, step.lane, step.successor, age + step.length, to.next_values[f] + at);
    }
  }
}

void Gather::transitions(std::span<const std::int64_t> slots, const BatchArrays& to) const {
  const Plan plan = this->plan(to);
  const std::size_t fetched =
      std::min(static_cast<std::size_t>(n_step_) * rows_.row_bytes() + rows_.observation_bytes(),
               kMaxFetchedBytes);
  const auto ahead =
      static_cast<std::int64_t>(kFetchedAhead / std::max<std::size_t>(fetched, 1)) + 1;
  const auto assemble = [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(plan.num_rewards));
    std::int64_t asked = begin;  // up to here rows are on their way
    Block block;
    for (auto first = begin; first < end; first += Block::kItems) {
      const std::int64_t n = std::min(Block::kItems, end - first);
      for (; asked < std::min(first + n + ahead, end); ++asked) {
        fetch(rows_.row(slots[static_cast<std::size_t>(asked)]), fetched);
      }
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t item = first + k;
        const auto at = static_cast<std::size_t>(k);
        Step step = step_of(slots[static_cast<std::size_t>(item)]);
        if (n_step_ > 1) {
          std::ranges::fill(sums, 0.0);
          extend(step, sums);
          if (!sums.empty()) write_rewards(sums, item, to);
        }
        if (to.lengths != nullptr) to.lengths[item] = step.length;
        if (!plan.large.empty()) write_large(step, item, plan.large, to);
        block.rows[at] = rows_.row(step.slot);
        block.successors[at] = rows_.row(step.successor);
        block.discounts[at] = step.discount;
        block.flags[at] = step.flags;
        block.handles[at] = lanes_.handle_of(step.lane, step.slot);
      }
      write_block(block, plan.copies, first, n, to);
    }
  };
  // Who asks for no fields at all gets handles and flags, some bytes an item.
  const std::int64_t grain = kGrainBytes / std::max<std::int64_t>(plan.item_bytes, 8);
  parallel_for(static_cast<std::int64_t>(slots.size()), std::max<std::int64_t>(grain, 1), assemble);
}

void Gather::values(std::span<const std::int64_t> slots, std::size_t field, std::byte* to) const {
  const auto size = static_cast<std::size_t>(fields_[field].bytes * fields_[field].stack);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::int64_t lane = lanes_.lane_of(slots[i]);
    stack(field, lane, slots[i], age_of(lane, slots[i]), to + i * size);
  }
}

std::int64_t Gather::age_of(std::int64_t lane, std::int64_t slot) const {
  const std::int64_t row = lanes_.row_of(lane, slot);
  // A row that was left alone lies before the begin of its episode.
  return std::max<std::int64_t>(row - lanes_.episode_of(lane, rows_.header(slot).episode).first, 0);
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
