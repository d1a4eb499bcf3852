// Items in the order of their policy versions, each in one of a few classes.
//
// Who is at least as new as a version is then a range of positions: the k-th of them, of a class or
// of all, is found in a bitmap, so a draw among the fresh looks at none of the stale.
//
// Cost      insert of the newest version O(1) amortized; of an older one O(newer versions), because
//           the first item of each of these moves to the end of its version. erase O(1).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "replay/priority_index.h"
#include "replay/rank_bitmap.h"

namespace fastrl {

class VersionOrder {
 public:
  // Items are numbers below `capacity`.
  VersionOrder(MemoryParts& parts, const std::string& name, std::int64_t capacity, int num_classes,
               bool weighted);

  // The weight, at least 0 and finite, matters where the order is weighted.
  void insert(std::uint32_t item, std::int64_t version, int item_class, float weight = 1.0f);
  void erase(std::uint32_t item);
  void set_class(std::uint32_t item, int item_class);
  void set_weight(std::uint32_t item, float weight);

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
  // [num_classes] the ranges of all classes.
  std::vector<Range> ranges(std::int64_t version) const;
  std::uint32_t at(int item_class, std::int64_t k) const { return item(position(item_class, k)); }
  // The same in two steps, for whoever asks for many: the position is soon in the caches.
  std::int64_t position(int item_class, std::int64_t k) const {
    const std::int64_t found = of(item_class).select(k);
    __builtin_prefetch(items_ + found);
    return found;
  }
  std::uint32_t item(std::int64_t position) const { return items_[position]; }

  // Draws n items that are not older than `version` by their weights: their positions and the
  // probabilities of draws.h. Fails as `function` where there are too few.
  void draw_weighted(const char* function, std::int64_t version, std::int64_t n, bool replacement,
                     RandomStream& random, std::int64_t* positions, double* probabilities) const;
  // Those of a range that have a weight above 0.
  std::int64_t count_weighted(std::int64_t version) const;

 private:
  const RankBitmap& of(int item_class) const {
    return item_class == kAll ? all_ : classes_[static_cast<std::size_t>(item_class)];
  }
  std::int64_t lower_bound(std::int64_t version, std::int64_t end) const;
  Range from(std::int64_t position, int item_class) const;
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
  struct Weights {
    Weights(MemoryParts& parts, const std::string& name, std::int64_t capacity,
            std::int64_t num_positions);
    void set(std::int64_t position, float weight);
    void clear(std::int64_t position);

    float* of_items;
    RankBitmap above_zero;  // positions
    std::byte* memory;
    std::unique_ptr<PriorityIndex> index;  // of positions
  };
  std::unique_ptr<Weights> weights_;  // null unless weighted
};

}  // namespace fastrl
