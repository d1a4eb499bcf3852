#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "index_memory.h"
#include "replay/divider.h"
#include "replay/drawable_rows.h"
#include "replay/lanes.h"

namespace fastrl {
namespace {

TEST(division_by_multiplication_is_exact) {
  auto random = RandomStream::seeded(1, 0);
  for (const std::uint32_t divisor : {1u, 2u, 3u, 7u, 641u, 65535u, 1u << 31, ~0u}) {
    const Divider divider(divisor);
    bool equal = true;
    for (const std::uint32_t n : {0u, 1u, divisor - 1, divisor, divisor + 1, ~0u}) {
      equal = equal && divider.quotient(n) == n / divisor;
    }
    for (int i = 0; i < 1000; ++i) {
      const std::uint32_t n = random.next_u32();
      equal = equal && divider.quotient(n) == n / divisor;
    }
    CHECK(equal);
  }
}

TEST(ranks_count_the_drawable_rows_before) {
  auto random = RandomStream::seeded(2, 0);
  for (const std::int64_t capacity : {1, 63, 64, 65, 511, 513, 3000}) {
    testing::IndexMemory memory(DrawableRows::memory_size(capacity));
    DrawableRows rows(memory.get(), capacity);
    std::vector<bool> expected(static_cast<std::size_t>(capacity));
    for (int change = 0; change < 200; ++change) {
      const std::int64_t a = random.below(static_cast<std::uint32_t>(capacity));
      const std::int64_t end = a + 1 + random.below(static_cast<std::uint32_t>(capacity - a));
      const bool set = random.below(2) == 0;
      set ? rows.set(a, end) : rows.clear(a, end);
      for (std::int64_t slot = a; slot < end; ++slot) {
        expected[static_cast<std::size_t>(slot)] = set;
      }
    }
    const DrawableRows::Ranks ranks(rows);
    std::int64_t rank = 0;
    bool equal = true;
    for (std::int64_t slot = 0; slot < capacity; ++slot) {
      const bool drawable = expected[static_cast<std::size_t>(slot)];
      equal = equal && rows.test(slot) == drawable;
      if (drawable) equal = equal && ranks.slot(rank++) == slot;
    }
    CHECK(equal);
    CHECK(rows.count() == rank);
  }
}

TEST(a_new_row_makes_the_one_before_it_drawable) {
  constexpr std::int64_t kCapacity = 300;
  testing::IndexMemory memory(DrawableRows::memory_size(kCapacity));
  DrawableRows rows(memory.get(), kCapacity);
  rows.set(100, 200);
  rows.move_ends(std::vector<std::int64_t>{1, 64, 128, 150, 200, 256});
  std::int64_t count = 0;
  for (std::int64_t slot = 0; slot < kCapacity; ++slot) {
    const bool was = slot >= 100 && slot < 200;
    const bool is_before = slot == 0 || slot == 63 || slot == 255;
    CHECK(rows.test(slot) == ((was && slot != 128 && slot != 150) || is_before));
    count += rows.test(slot) ? 1 : 0;
  }
  CHECK(rows.count() == count);
}

TEST(handles_and_rows_name_each_other) {
  constexpr std::int64_t kRows = 7;
  testing::IndexMemory memory(Lanes::memory_size(3, kRows));
  Lanes lanes(memory.get(), 3, kRows);
  CHECK(lanes.size() == 0);
  CHECK(lanes.state_of(0) == HandleState::kForeign);
  lanes.advance(1, 5, true);
  lanes.advance(1, 7, false);
  CHECK(lanes.num_rows(1) == 12);
  CHECK(lanes.oldest_row(1) == 5);
  CHECK(lanes.size() == 7);
  for (std::int64_t row = 0; row < 14; ++row) {
    const std::int64_t slot = kRows + row % kRows;
    const auto handle = static_cast<std::uint64_t>(row / kRows << 32 | slot);
    CHECK(lanes.lane_of(slot) == 1);
    if (row < 5) CHECK(lanes.state_of(handle) == HandleState::kStale);
    if (row >= 12) CHECK(lanes.state_of(handle) == HandleState::kForeign);
    if (!lanes.holds(1, row)) continue;
    CHECK(lanes.state_of(handle) == HandleState::kLive);
    CHECK(lanes.slot_of(1, row) == slot);
    CHECK(lanes.row_of(1, slot) == row);
    CHECK(lanes.handle_of(1, slot) == handle);
  }
  CHECK(lanes.state_of(3 * kRows) == HandleState::kForeign);
}

TEST(episodes_are_known_by_what_their_rows_say) {
  constexpr std::int64_t kRows = 20;
  testing::IndexMemory memory(Lanes::memory_size(1, kRows));
  Lanes lanes(memory.get(), 1, kRows);
  auto random = RandomStream::seeded(3, 0);
  std::vector<std::int64_t> episode_of;  // each row's, from the start
  std::vector<std::int64_t> begins{0};   // each episode's
  for (int episode = 1; episode < 200; ++episode) {
    const std::int64_t length = 2 + random.below(episode % 10 == 0 ? 30 : 4);
    begins.push_back(static_cast<std::int64_t>(episode_of.size()));
    for (std::int64_t i = 0; i < length; ++i) {
      lanes.advance(0, 1, i == 0);
      lanes.lane(0).state = i + 1 == length ? LaneState::kBetween : LaneState::kOpen;
      episode_of.push_back(episode);
      const auto newest = static_cast<std::int64_t>(episode_of.size()) - 1;
      for (std::int64_t row = lanes.oldest_row(0); row <= newest; ++row) {
        const std::int64_t of = episode_of[static_cast<std::size_t>(row)];
        const Episode found = lanes.episode_of(0, static_cast<std::uint32_t>(of));
        CHECK(found.number == of);
        CHECK(found.begin == begins[static_cast<std::size_t>(of)]);
        CHECK(found.first == std::max(found.begin, lanes.oldest_row(0)));
        const bool is_newest = of == episode;
        CHECK(found.last == (is_newest ? newest : begins[static_cast<std::size_t>(of) + 1] - 1));
        CHECK(found.complete == (!is_newest || i + 1 == length));
      }
    }
  }
}

}  // namespace
}  // namespace fastrl
