#include "replay/version_order.h"

#include <algorithm>

namespace fastrl {

VersionOrder::VersionOrder(MemoryParts& parts, const std::string& name, std::int64_t capacity,
                           int num_classes)
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
}

void VersionOrder::insert(std::uint32_t item, std::int64_t version, int item_class) {
  if (*end_ == num_positions_) compact();
  item_classes_[item] = static_cast<std::uint8_t>(item_class);
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

VersionOrder::Range VersionOrder::not_older(std::int64_t version, int item_class) const {
  const RankBitmap& bitmap = of(item_class);
  const bool everything = *end_ == 0 || versions_[0] >= version;
  const std::int64_t first = everything ? 0 : bitmap.rank(lower_bound(version, *end_));
  return {first, bitmap.count() - first};
}

std::int64_t VersionOrder::lower_bound(std::int64_t version, std::int64_t end) const {
  return std::lower_bound(versions_, versions_ + end, version) - versions_;
}

void VersionOrder::place(std::uint32_t item, std::int64_t position) {
  items_[position] = item;
  positions_[item] = static_cast<std::uint32_t>(position);
  all_.set(position);
  classes_[item_classes_[item]].set(position);
}

void VersionOrder::displace(std::int64_t position) {
  all_.clear(position);
  classes_[item_classes_[items_[position]]].clear(position);
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
