#include <atomic>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "core/thread_pool.h"

namespace fastrl {
namespace {

TEST(philox_matches_the_published_vectors) {
  // From the known-answer file of the Random123 paper's authors.
  CHECK((philox4x32(0, 0, 0) == Philox4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK(
      (philox4x32(~0ull, ~0ull, ~0ull) == Philox4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK((philox4x32(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e) ==
         Philox4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(streams_and_forks_differ) {
  auto a = RandomStream::seeded(7, 0);
  auto b = RandomStream::seeded(7, 1);
  auto fork = a.forked(0);
  const std::uint32_t first = a.next_u32();
  CHECK(first != b.next_u32());
  CHECK(first != fork.next_u32());
}

TEST(below_is_uniform) {
  auto random = RandomStream::seeded(3, 0);
  std::vector<int> counts(6);
  constexpr int kDraws = 600000;
  for (int i = 0; i < kDraws; ++i) ++counts[random.below(6)];
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 1e5) * (count - 1e5) / 1e5;
  CHECK(chi_square < 40.0);  // 5 degrees of freedom: p below 2e-7
}

TEST(parallel_for_covers_every_item_once) {
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    for (const std::int64_t n : {0, 1, 7, 64, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
      parallel_for(n, 7, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = begin; i < end; ++i) seen[static_cast<std::size_t>(i)].fetch_add(1);
      });
      for (const auto& count : seen) CHECK(count.load() == 1);
    }
  }
}

TEST(chunks_do_not_depend_on_the_number_of_threads) {
  std::vector<std::vector<double>> sums;
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    std::vector<double> partial(15);
    parallel_for(1000, 70, [&](std::int64_t begin, std::int64_t end) {
      double sum = 0;
      for (auto i = begin; i < end; ++i) sum += 1.0 / static_cast<double>(i + 1);
      partial[static_cast<std::size_t>(begin / 70)] = sum;
    });
    sums.push_back(partial);
  }
  for (const auto& partial : sums) CHECK(partial == sums.front());
}

TEST(many_short_jobs_in_a_row) {
  set_num_threads(3);
  std::atomic<std::int64_t> total{0};
  for (int job = 0; job < 20000; ++job) {
    parallel_for(4, 1, [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
  }
  CHECK(total == 80000);
}

TEST(the_first_failing_chunk_is_reported) {
  set_num_threads(3);
  const std::string message = error_of([&] {
    parallel_for(100, 10, [](std::int64_t begin, std::int64_t) {
      if (begin >= 30) throw std::runtime_error(std::to_string(begin));
    });
  });
  CHECK(message == "30");
}

TEST(nested_and_concurrent_calls_run_inline) {
  set_num_threads(2);
  std::atomic<int> total{0};
  const auto nested = [&] {
    for (int i = 0; i < 200; ++i) {
      parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
        parallel_for(3, 1, [&](std::int64_t, std::int64_t) { total.fetch_add(1); });
      });
    }
  };
  std::thread a(nested);
  std::thread b(nested);
  a.join();
  b.join();
  CHECK(total == 2 * 200 * 12);
}

}  // namespace
}  // namespace fastrl
