#include "replay/version_order.h"

#include <algorithm>

namespace fastrl {

VersionOrder::VersionOrder(MemoryParts& parts, const std::string& name, std::int64_t capacity,
                           int num_classes, bool weighted)
    // Half as many again: the erased positions are swept up once every so many inserts.
    : num_positions_(capacity + capacity / 2 + 64),
      end_(parts.take<std::int64_t>(name + ".end", 1)),
      items_(parts.take<std::uint32_t>(name + ".items", num_positions_)),
      versions_(parts.take<std::int64_t>(name + ".versions", num_positions_)),
      positions_(parts.take<std::uint32_t>(name + ".positions", capacity)),
      item_classes_(parts.take<std::uint8_t>(name + ".classes", capacity)),
      all_(parts, name + ".all", num_positions_) {
  for (int c = 0; c < num_classes; ++c) {
    classes_.emplace_back(parts, name + '.' + std::to_string(c), num_positions_);
  }
  if (weighted) {
    weights_ = std::make_unique<Weights>(parts, name + ".weights", capacity, num_positions_);
  }
}

void VersionOrder::insert(std::uint32_t item, std::int64_t version, int item_class, float weight) {
  if (*end_ == num_positions_) compact();
  item_classes_[item] = static_cast<std::uint8_t>(item_class);
  if (weights_) weights_->of_items[item] = weight;
  const std::int64_t position = sink((*end_)++, version);
  versions_[position] = version;
  place(item, position);
}

void VersionOrder::erase(std::uint32_t item) {
  displace(positions_[item]);
  while (*end_ > 0 && !all_.test(*end_ - 1)) --*end_;
}

void VersionOrder::set_class(std::uint32_t item, int item_class) {
  const std::int64_t position = positions_[item];
  displace(position);
  item_classes_[item] = static_cast<std::uint8_t>(item_class);
  place(item, position);
}

void VersionOrder::set_weight(std::uint32_t item, float weight) {
  weights_->clear(positions_[item]);
  weights_->of_items[item] = weight;
  weights_->set(positions_[item], weight);
}

VersionOrder::Weights::Weights(MemoryParts& parts, const std::string& name, std::int64_t capacity,
                               std::int64_t num_positions)
    : of_items(parts.take<float>(name + ".of_items", capacity)),
      above_zero(parts, name + ".above_zero", num_positions),
      memory(parts.take<std::byte>(
          name + ".index",
          static_cast<std::int64_t>(PriorityIndex::memory_size(num_positions, false)))),
      index(parts.has_memory() ? std::make_unique<PriorityIndex>(memory, num_positions, false)
                               : nullptr) {}

void VersionOrder::Weights::set(std::int64_t position, float weight) {
  if (weight == 0.0f) return;
  above_zero.set(position);
  index->set_priorities("TrajectoryStore", std::span(&position, 1), std::span(&weight, 1));
}

void VersionOrder::Weights::clear(std::int64_t position) {
  if (!above_zero.test(position)) return;
  above_zero.clear(position);
  index->clear(std::span(&position, 1));
}

namespace {

// The slots from one on.
class LastSlots final : public WeightedSlots {
 public:
  LastSlots(const PriorityIndex& all, std::int64_t first, std::int64_t count)
      : all_(all), count_(count), before_(all.prefix(first)) {}

  std::uint64_t total() const override { return all_.total() - before_; }
  std::int64_t count() const override { return count_; }
  std::uint64_t prefix(std::int64_t slot) const override { return all_.prefix(slot) - before_; }
  void weights(std::span<const std::int64_t> slots, std::uint64_t* weights) const override {
    all_.weights(slots, weights);
  }
  void find(std::span<const std::uint64_t> masses, std::int64_t* slots) const override {
    std::vector<std::uint64_t> shifted(masses.begin(), masses.end());
    for (std::uint64_t& mass : shifted) mass += before_;
    all_.find(shifted, slots);
  }

 private:
  const PriorityIndex& all_;
  std::int64_t count_;
  std::uint64_t before_;
};

}  // namespace

std::int64_t VersionOrder::count_weighted(std::int64_t version) const {
  return weights_->above_zero.count() - weights_->above_zero.rank(lower_bound(version, *end_));
}

void VersionOrder::draw_weighted(const char* function, std::int64_t version, std::int64_t n,
                                 bool replacement, RandomStream& random, std::int64_t* positions,
                                 double* probabilities) const {
  const std::int64_t first = std::min(lower_bound(version, *end_), num_positions_ - 1);
  const LastSlots fresh(*weights_->index, first, count_weighted(version));
  draw(function, fresh, n, replacement ? DrawScheme::kIndependent : DrawScheme::kWithoutReplacement,
       random, positions, probabilities);
}

VersionOrder::Range VersionOrder::not_older(std::int64_t version, int item_class) const {
  return from(lower_bound(version, *end_), item_class);
}

std::vector<VersionOrder::Range> VersionOrder::ranges(std::int64_t version) const {
  const std::int64_t position = lower_bound(version, *end_);
  std::vector<Range> found;
  found.reserve(classes_.size());
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    found.push_back(from(position, static_cast<int>(c)));
  }
  return found;
}

VersionOrder::Range VersionOrder::from(std::int64_t position, int item_class) const {
  const RankBitmap& bitmap = of(item_class);
  if (bitmap.count() == 0) return {0, 0};
  const std::int64_t first = bitmap.rank(position);
  return {first, bitmap.count() - first};
}

std::int64_t VersionOrder::lower_bound(std::int64_t version, std::int64_t end) const {
  if (end == 0 || versions_[0] >= version) return 0;
  return std::lower_bound(versions_, versions_ + end, version) - versions_;
}

void VersionOrder::place(std::uint32_t item, std::int64_t position) {
  items_[position] = item;
  positions_[item] = static_cast<std::uint32_t>(position);
  all_.set(position);
  classes_[item_classes_[item]].set(position);
  if (weights_) weights_->set(position, weights_->of_items[item]);
}

void VersionOrder::displace(std::int64_t position) {
  all_.clear(position);
  classes_[item_classes_[items_[position]]].clear(position);
  if (weights_) weights_->clear(position);
}

std::int64_t VersionOrder::sink(std::int64_t hole, std::int64_t version) {
  while (hole > 0 && versions_[hole - 1] > version) {
    const std::int64_t newer = versions_[hole - 1];
    const std::int64_t begin = lower_bound(newer, hole);
    versions_[hole] = newer;
    const std::int64_t before = all_.rank(begin);
    const std::int64_t first = before < all_.count() ? all_.select(before) : hole;
    if (first < hole) {
      displace(first);
      place(items_[first], hole);
    }
    hole = begin;
  }
  return hole;
}

void VersionOrder::compact() {
  std::int64_t to = 0;
  for (std::int64_t from = 0; from < *end_; ++from) {
    if (!all_.test(from)) continue;
    if (from != to) {
      const std::uint32_t item = items_[from];
      displace(from);
      versions_[to] = versions_[from];
      place(item, to);
    }
    ++to;
  }
  *end_ = to;
}

}  // namespace fastrl
