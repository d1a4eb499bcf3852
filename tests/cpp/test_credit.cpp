#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "core/thread_pool.h"
#include "ops/credit.h"

namespace fastrl {
namespace {

TEST(pivot_mask_over_padded_and_packed_tokens) {
  const std::vector<std::uint8_t> actions{1, 1, 0, 1, 1, 1, 1, 1};
  const std::vector<std::int64_t> starts{0, 3, 1, -1};
  const std::vector<std::int64_t> pivots{1, -1};
  std::vector<std::uint8_t> mask(9, 7);
  pivot_mask(actions.data(), starts.data(), pivots.data(), 2, 2, {.row_size = 4}, mask.data());
  CHECK((mask == std::vector<std::uint8_t>{0, 0, 0, 1, 1, 1, 1, 1, 7}));

  const std::vector<std::int32_t> ends{0, 5, 8};
  pivot_mask(actions.data(), starts.data(), pivots.data(), 2, 2, {.cu_seqlens = ends.data()},
             mask.data());
  CHECK((mask == std::vector<std::uint8_t>{0, 0, 0, 1, 1, 1, 1, 1, 7}));
}

TEST(pivot_mask_writes_nothing_when_a_pivot_is_no_turn) {
  const std::vector<std::uint8_t> actions(4, 1);
  const std::vector<std::int64_t> starts{0, -1};
  const std::vector<std::int64_t> pivots{1};
  std::vector<std::uint8_t> mask(4, 7);
  bool failed = false;
  try {
    pivot_mask(actions.data(), starts.data(), pivots.data(), 1, 2, {.row_size = 4}, mask.data());
  } catch (const std::invalid_argument&) {
    failed = true;
  }
  CHECK(failed);
  CHECK((mask == std::vector<std::uint8_t>(4, 7)));
}

TEST(pivot_mask_before_tokens) {
  const std::vector<std::uint8_t> actions{1, 1, 0, 1, 1, 1, 1, 1, 1};
  const std::vector<std::int32_t> ends{0, 3, 6, 9};
  const std::vector<std::int64_t> pivots{-1, 3, 1};
  const std::vector<std::uint8_t> expected{1, 1, 0, 0, 0, 0, 0, 1, 1};
  std::vector<std::uint8_t> mask(9, 7);
  pivot_mask(actions.data(), pivots.data(), 3, {.row_size = 3}, mask.data());
  CHECK(mask == expected);
  mask.assign(9, 7);
  pivot_mask(actions.data(), pivots.data(), 3, {.cu_seqlens = ends.data()}, mask.data());
  CHECK(mask == expected);
}

TEST(pivot_mask_writes_nothing_when_a_pivot_is_no_token) {
  const std::vector<std::uint8_t> actions(4, 1);
  for (const std::int64_t pivot : {-2, 5}) {
    std::vector<std::uint8_t> mask(4, 7);
    bool failed = false;
    try {
      pivot_mask(actions.data(), &pivot, 1, {.row_size = 4}, mask.data());
    } catch (const std::invalid_argument&) {
      failed = true;
    }
    CHECK(failed);
    CHECK((mask == std::vector<std::uint8_t>(4, 7)));
  }
}

TEST(divergence_points_for_any_number_of_threads) {
  constexpr std::int64_t kRows = 40;
  constexpr std::int64_t kLength = 30000;
  std::vector<std::int32_t> base(kRows * kLength);
  for (std::size_t i = 0; i < base.size(); ++i) base[i] = static_cast<std::int32_t>(i * 7);
  std::vector<std::int32_t> retry = base;
  for (std::int64_t b = 1; b < kRows; ++b) {
    retry[static_cast<std::size_t>(b * kLength + b * 701)] += 1;
  }
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    std::vector<std::int32_t> points(kRows, 7);
    divergence_points(base.data(), {.row_size = kLength}, retry.data(), {.row_size = kLength},
                      kRows, points.data());
    CHECK(points[0] == -1);
    for (std::int32_t b = 1; b < kRows; ++b) CHECK(points[static_cast<std::size_t>(b)] == b * 701);
  }
}

TEST(divergence_points_of_different_layouts) {
  const std::vector<std::int64_t> base{1, 2, 3, 1, 2, 3};
  const std::vector<std::int64_t> retry{1, 2, 1, 2, 3};
  const std::vector<std::int64_t> base_lengths{3, 2};
  const std::vector<std::int32_t> retry_ends{0, 2, 5};
  std::vector<std::int32_t> points(2);
  divergence_points(base.data(), {.row_size = 3, .lengths = base_lengths.data()}, retry.data(),
                    {.cu_seqlens = retry_ends.data()}, 2, points.data());
  CHECK((points == std::vector<std::int32_t>{2, 2}));
}

TEST(sequence_ends_must_cover_the_tokens) {
  const std::vector<std::int32_t> ends{0, 3, 2};
  const std::string message =
      error_of([&] { check_cu_seqlens("f", "cu_seqlens", ends.data(), 2, 2); });
  CHECK(message ==
        "f: `cu_seqlens` must go from 0 to 2 without decreasing, got 2 after 3 at index 2");
}

}  // namespace
}  // namespace fastrl
