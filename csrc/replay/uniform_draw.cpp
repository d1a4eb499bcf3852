#include "replay/uniform_draw.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>
#include <vector>

namespace fastrl {
namespace {

__extension__ typedef unsigned __int128 Wide;  // NOLINT(modernize-use-using)

std::uint64_t next_u64(RandomStream& random) {
  const std::uint64_t high = random.next_u32();
  return high << 32 | random.next_u32();
}

// Numbers below n < 2^32 without bias, a block of the generator's at a time.
class Below {
 public:
  Below(RandomStream& random, std::uint32_t n) : random_(random), n_(n), threshold_((0u - n) % n) {}

  std::uint32_t next() {
    while (true) {
      if (used_ == 4) {
        block_ = random_.next_four();
        used_ = 0;
      }
      const std::uint64_t product = std::uint64_t{block_[used_++]} * n_;
      if (static_cast<std::uint32_t>(product) >= threshold_) {
        return static_cast<std::uint32_t>(product >> 32);
      }
    }
  }

 private:
  RandomStream& random_;
  std::uint32_t n_;
  std::uint32_t threshold_;
  Philox4 block_{};
  std::size_t used_ = 4;
};

// Slots that hold rows, drawn blindly and kept if theirs may be drawn.
class Rejection {
 public:
  Rejection(const DrawableRows& rows, const Lanes& lanes, RandomStream& random)
      : rows_(rows),
        rows_per_lane_(lanes.rows_per_lane()),
        longest_(longest(lanes)),
        divider_(static_cast<std::uint32_t>(longest_)),
        below_(random, static_cast<std::uint32_t>(lanes.num_lanes() * longest_)),
        dense_(rows.count() * kFewest >= lanes.num_lanes() * longest_) {}

  // Whether a fair share of the blind draws is kept.
  bool pays() const { return dense_; }

  std::int64_t next() {
    while (true) {
      const std::uint32_t place = below_.next();
      const std::int64_t lane = divider_.quotient(place);
      const std::int64_t slot = lane * rows_per_lane_ + (place - lane * longest_);
      if (rows_.test(slot)) return slot;
    }
  }

 private:
  static constexpr std::int64_t kFewest = 32;

  static std::int64_t longest(const Lanes& lanes) {
    std::int64_t rows = 1;
    for (std::int64_t lane = 0; lane < lanes.num_lanes(); ++lane) {
      rows = std::max(rows, std::min(lanes.num_rows(lane), lanes.rows_per_lane()));
    }
    return rows;
  }

  const DrawableRows& rows_;
  std::int64_t rows_per_lane_;
  std::int64_t longest_;
  Divider divider_;
  Below below_;
  bool dense_;
};

// Calls keep(slot) with random slots until it has returned true n times.
template <typename Keep>
void draw_until(const DrawableRows& rows, const Lanes& lanes, std::int64_t n, RandomStream& random,
                Keep keep) {
  Rejection rejection(rows, lanes, random);
  if (rejection.pays()) {
    while (n > 0) n -= keep(rejection.next()) ? 1 : 0;
    return;
  }
  const DrawableRows::Ranks ranks(rows);
  Below below(random, static_cast<std::uint32_t>(rows.count()));
  while (n > 0) n -= keep(ranks.slot(below.next())) ? 1 : 0;
}

void shuffle(std::int64_t* slots, std::int64_t n, RandomStream& random) {
  for (std::int64_t i = n - 1; i > 0; --i) {
    std::swap(slots[i], slots[random.below(static_cast<std::uint32_t>(i + 1))]);
  }
}

void draw_spread(const DrawableRows& rows, std::int64_t n, bool systematic, RandomStream& random,
                 std::int64_t* slots) {
  const DrawableRows::Ranks ranks(rows);
  // Ranks in units of 1 / n: stratum i is [i, i + 1) · count / n.
  std::uint64_t offset = next_u64(random);
  for (std::int64_t i = 0; i < n; ++i) {
    if (!systematic && i > 0) offset = next_u64(random);
    const Wide position = (Wide{static_cast<std::uint64_t>(i)} << 64) + offset;
    const Wide scaled = position / static_cast<std::uint64_t>(n);  // a fraction of 2^64
    const Wide rank = scaled * static_cast<std::uint64_t>(rows.count()) >> 64;
    slots[i] = ranks.slot(static_cast<std::int64_t>(rank));
  }
  shuffle(slots, n, random);
}

// The slots drawn so far.
class Seen {
 public:
  explicit Seen(std::int64_t n)
      : table_(std::bit_ceil(static_cast<std::size_t>(2 * n)), std::int64_t{-1}) {}

  // False if it was there already.
  bool insert(std::int64_t slot) {
    std::size_t place = mix64(static_cast<std::uint64_t>(slot)) & (table_.size() - 1);
    for (; table_[place] >= 0; place = (place + 1) & (table_.size() - 1)) {
      if (table_[place] == slot) return false;
    }
    table_[place] = slot;
    return true;
  }

 private:
  std::vector<std::int64_t> table_;
};

void draw_distinct(const DrawableRows& rows, const Lanes& lanes, std::int64_t n,
                   RandomStream& random, std::int64_t* slots) {
  if (2 * n <= rows.count()) {
    Seen seen(n);
    draw_until(rows, lanes, n, random, [&](std::int64_t slot) {
      const bool fresh = seen.insert(slot);
      if (fresh) *slots++ = slot;
      return fresh;
    });
    return;
  }
  const DrawableRows::Ranks ranks(rows);
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows.count()));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = ranks.slot(static_cast<std::int64_t>(i));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t other = random.below(static_cast<std::uint32_t>(rows.count() - i));
    std::swap(all[static_cast<std::size_t>(i)], all[static_cast<std::size_t>(i + other)]);
    slots[i] = all[static_cast<std::size_t>(i)];
  }
}

}  // namespace

void draw_uniform(const DrawableRows& rows, const Lanes& lanes, std::int64_t n, DrawScheme scheme,
                  RandomStream& random, std::int64_t* slots) {
  switch (scheme) {
    case DrawScheme::kIndependent:
      draw_until(rows, lanes, n, random, [&](std::int64_t slot) {
        *slots++ = slot;
        return true;
      });
      return;
    case DrawScheme::kStratified:
    case DrawScheme::kSystematic:
      draw_spread(rows, n, scheme == DrawScheme::kSystematic, random, slots);
      return;
    case DrawScheme::kWithoutReplacement:
      draw_distinct(rows, lanes, n, random, slots);
      return;
  }
}

}  // namespace fastrl
