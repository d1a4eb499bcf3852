// Items in the order of their policy versions, each in one of a few classes.
//
// Who is at least as new as a version is then a range of positions: the k-th of them, of a class or
// of all, is found in a bitmap, so a draw among the fresh looks at none of the stale.
//
// Cost      insert of the newest version O(1) amortized; of an older one O(versions that are
// newer),
//           because the first item of each of these moves to the end of its version. erase O(1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "replay/rank_bitmap.h"

namespace fastrl {

class VersionOrder {
 public:
  // Items are numbers below `capacity`.
  VersionOrder(MemoryParts& parts, const std::string& name, std::int64_t capacity, int num_classes);

  void insert(std::uint32_t item, std::int64_t version, int item_class);
  void erase(std::uint32_t item);
  void set_class(std::uint32_t item, int item_class);

  std::int64_t version(std::uint32_t item) const { return versions_[positions_[item]]; }
  int item_class(std::uint32_t item) const { return item_classes_[item]; }
  std::int64_t count() const { return all_.count(); }
  // The items of a class, or of all, that are not older than `version`. `first` is the number of
  // the older ones, so that the k-th of the range is at(class, first + k).
  struct Range {
    std::int64_t first = 0;
    std::int64_t count = 0;
  };
  static constexpr int kAll = -1;
  Range not_older(std::int64_t version, int item_class = kAll) const;
  std::uint32_t at(int item_class, std::int64_t k) const { return item(position(item_class, k)); }
  // The same in two steps, for whoever asks for many: the position is soon in the caches.
  std::int64_t position(int item_class, std::int64_t k) const {
    const std::int64_t found = of(item_class).select(k);
    __builtin_prefetch(items_ + found);
    return found;
  }
  std::uint32_t item(std::int64_t position) const { return items_[position]; }

 private:
  const RankBitmap& of(int item_class) const {
    return item_class == kAll ? all_ : classes_[static_cast<std::size_t>(item_class)];
  }
  std::int64_t lower_bound(std::int64_t version, std::int64_t end) const;
  void place(std::uint32_t item, std::int64_t position);
  void displace(std::int64_t position);
  // Gives `hole` to the newest version that is older than what lies before it.
  std::int64_t sink(std::int64_t hole, std::int64_t version);
  void compact();

  std::int64_t num_positions_;
  std::int64_t* end_;           // positions in use, erased ones included
  std::uint32_t* items_;        // at each position
  std::int64_t* versions_;      // never decreasing; erased positions keep theirs
  std::uint32_t* positions_;    // of each item
  std::uint8_t* item_classes_;  // of each item
  RankBitmap all_;
  std::vector<RankBitmap> classes_;
};

}  // namespace fastrl
