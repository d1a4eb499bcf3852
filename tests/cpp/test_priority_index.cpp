#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "index_memory.h"
#include "replay/importance.h"
#include "replay/power.h"
#include "replay/priority_index.h"
#include "replay/rank_index.h"

namespace fastrl {
namespace {

using testing::IndexMemory;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

template <typename Index>
void set(Index& index, const std::vector<std::int64_t>& slots,
         const std::vector<double>& priorities) {
  index.set_priorities("set", slots, std::span<const double>(priorities));
}

TEST(powers_are_those_of_the_library_to_many_digits) {
  auto random = RandomStream::seeded(5, 0);
  for (int i = 0; i < 100000; ++i) {
    const double x = std::ldexp(1.0 + random.uniform(), static_cast<int>(random.below(200)) - 100);
    const double a = random.uniform() * 2.0 - 1.0;
    const double exact = std::pow(x, a);
    CHECK(std::abs(power(x, a) - exact) <= exact * 0x1p-52 * (4 + 2 * std::abs(std::log2(exact))));
    const double y = std::ldexp(random.uniform(), static_cast<int>(random.below(40)) - 30);
    CHECK(std::abs(one_minus_exponential(y) + std::expm1(-y)) <= -std::expm1(-y) * 0x1p-49);
  }
  CHECK(power(3.0, 0.0) == 1.0);
  CHECK(log2_of(0x1p-1074) == -1074.0 && log2_of(0x1p1000) == 1000.0 && log2_of(1.0) == 0.0);
}

TEST(weights_are_rounded_powers) {
  IndexMemory memory(PriorityIndex::memory_size(10, false));
  PriorityIndex index(memory.get(), 10, false);
  index.set_exponent("test", 0.5);
  set(index, {0, 1, 2, 3}, {4.0, 1.0, 0.0, 1e-30});
  CHECK(index.weight(0) == 1u << 29);
  CHECK(index.weight(1) == 1u << 28);
  CHECK(index.weight(2) == 0);
  CHECK(index.weight(3) == 1);
  CHECK(index.count() == 3 && index.scale() == 28 && index.largest_ever() == 4.0);
  CHECK(std::abs(index.priority(0) - 4.0) < 1e-12);
}

TEST(the_scale_follows_the_priorities_down_and_up) {
  IndexMemory memory(PriorityIndex::memory_size(4, false));
  PriorityIndex index(memory.get(), 4, false);
  set(index, {0, 1}, {1.0, 0.75});
  CHECK(index.weight(0) == 1u << 29 && index.scale() == 29);
  set(index, {2}, {7.0});
  CHECK(index.scale() == 29 && index.weight(2) == 7u << 29);
  set(index, {3}, {1024.0});  // would overflow: all others shrink with it
  CHECK(index.scale() == 19);
  CHECK(index.weight(3) == 1u << 29 && index.weight(0) == 1u << 19 && index.weight(2) == 7u << 19);
  for (int i = 0; i < 2; ++i) set(index, {0, 1, 2, 3}, {0x1p-10, 0x1p-11, 0.0, 0.0});
  CHECK(index.weight(0) == 1u << 29 && index.weight(1) == 1u << 28 && index.count() == 2);
}

TEST(kept_priorities_let_the_exponent_change) {
  IndexMemory memory(PriorityIndex::memory_size(100, true));
  IndexMemory fresh_memory(PriorityIndex::memory_size(100, true));
  PriorityIndex index(memory.get(), 100, true);
  PriorityIndex fresh(fresh_memory.get(), 100, true);
  auto random = RandomStream::seeded(2, 0);
  std::vector<std::int64_t> slots;
  std::vector<double> priorities;
  for (std::int64_t slot = 0; slot < 90; ++slot) {
    slots.push_back(slot);
    priorities.push_back(slot % 7 == 0 ? 0.0 : static_cast<double>(random.uniform()));
  }
  set(index, slots, priorities);
  index.set_exponent("test", 0.4);
  fresh.set_exponent("test", 0.4);
  set(fresh, slots, priorities);
  CHECK(index.scale() == fresh.scale() && index.total() == fresh.total());
  for (std::int64_t slot = 0; slot < 100; ++slot) CHECK(index.weight(slot) == fresh.weight(slot));
}

TEST(new_items_take_the_largest_priority) {
  IndexMemory memory(PriorityIndex::memory_size(10, false));
  PriorityIndex index(memory.get(), 10, false);
  index.set_new("test", 0, 2, NewPriority::kMax, 0);
  CHECK(index.priority(0) == 1.0 && index.count() == 2);
  set(index, {0}, {0.25});
  set(index, {1}, {0.125});
  index.set_new("test", 2, 3, NewPriority::kMax, 0);
  CHECK(index.priority(2) == 0.25);
  set(index, {0, 2}, {0.0625, 0.0625});
  index.set_new("test", 3, 4, NewPriority::kMaxInBuffer, 0);
  CHECK(index.priority(3) == 0.125);
  const std::vector<std::int64_t> scattered{5, 7};
  index.set_new("test", scattered, NewPriority::kValue, 0.5);
  CHECK(index.priority(5) == 0.5 && index.priority(7) == 0.5 && index.priority(6) == 0.0);
  index.clear(0, 10);
  CHECK(index.count() == 0 && index.total() == 0);
}

template <typename Index>
void check_errors(Index& index) {
  const std::vector<std::int64_t> slots{1, 2};
  const auto set_both = [&](double a, double b) {
    const std::vector<double> values{a, b};
    return error_of([&] { index.set_priorities("add", slots, std::span<const double>(values)); });
  };
  set(index, {0}, {1.0});
  for (const double bad : {-1.0, kInfinity, kNan}) {
    CHECK(set_both(1.0, bad).starts_with("add: `priorities` must be finite and at least 0, got "));
  }
  CHECK(set_both(-0.0, 0.0).empty());
  CHECK(index.count() == 1);
  const std::vector<std::int64_t> outside{0, 10};
  const std::vector<float> ones{1, 1};
  CHECK(error_of([&] { index.set_priorities("add", outside, std::span<const float>(ones)); }) ==
        "add: `slots` must be from 0 to 9, got 10");
  CHECK(error_of([&] {
          index.set_new("add", slots, NewPriority::kValue, kNan);
        }).starts_with("add: `new_priority` must be finite and at least 0, got "));
  std::int64_t slot = 0;
  double probability = 0;
  auto random = RandomStream::seeded(0, 0);
  const auto draw = [&](std::int64_t n, DrawScheme scheme) {
    return error_of([&] { index.draw("sample", n, scheme, random, &slot, &probability); });
  };
  CHECK(draw(0, DrawScheme::kIndependent) == "sample: `n` must be at least 1, got 0");
  CHECK(draw(2, DrawScheme::kWithoutReplacement) ==
        "sample: `n` must be at most the number of drawable items without replacement, 1, got 2");
  index.clear(0, 10);
  CHECK(draw(1, DrawScheme::kIndependent) ==
        "sample: nothing can be drawn: no item has a priority above 0");
  CHECK(error_of([&] {
          index.set_exponent("anneal", kNan);
        }).starts_with("anneal: `priority_exponent` must be in [0, 1000], got "));
}

TEST(bad_arguments_change_nothing) {
  IndexMemory memory(PriorityIndex::memory_size(10, false));
  PriorityIndex index(memory.get(), 10, false);
  check_errors(index);
  set(index, {0}, {1.0});
  CHECK(error_of([&] {
          index.set_exponent("anneal", 0.5);
        }).starts_with("anneal: `priority_exponent` must stay 1 while there are items"));
  IndexMemory rank_memory(RankIndex::memory_size(10));
  RankIndex ranks(rank_memory.get(), 10);
  check_errors(ranks);
}

// Σ f / (N P) over draws of each scheme, against Σ f / N.
template <typename Index>
void check_unbiased(Index& index, const std::vector<double>& values, double mean) {
  auto random = RandomStream::seeded(11, 0);
  for (const auto scheme : {DrawScheme::kIndependent, DrawScheme::kStratified,
                            DrawScheme::kSystematic, DrawScheme::kWithoutReplacement}) {
    constexpr int kBatches = 20000;
    constexpr std::int64_t kSize = 8;
    std::vector<std::int64_t> slots(kSize);
    std::vector<double> probabilities(kSize);
    double sum = 0;
    double squares = 0;
    for (int i = 0; i < kBatches; ++i) {
      index.draw("test", kSize, scheme, random, slots.data(), probabilities.data());
      double estimate = 0;
      for (std::size_t k = 0; k < slots.size(); ++k) {
        estimate += values[static_cast<std::size_t>(slots[k])] /
                    (static_cast<double>(index.count()) * probabilities[k]) / kSize;
      }
      sum += estimate;
      squares += estimate * estimate;
    }
    const double average = sum / kBatches;
    const double deviation = std::sqrt((squares / kBatches - average * average) / kBatches);
    CHECK(std::abs(average - mean) <= 4 * deviation);
  }
}

TEST(estimates_are_unbiased_in_every_scheme) {
  constexpr std::int64_t kCapacity = 40;
  IndexMemory memory(PriorityIndex::memory_size(kCapacity, false));
  PriorityIndex index(memory.get(), kCapacity, false);
  IndexMemory rank_memory(RankIndex::memory_size(kCapacity));
  RankIndex ranks(rank_memory.get(), kCapacity);
  std::vector<std::int64_t> slots;
  std::vector<double> priorities;
  std::vector<double> values;
  double sum = 0;
  for (std::int64_t slot = 0; slot < kCapacity; ++slot) {
    slots.push_back(slot);
    priorities.push_back(slot % 5 == 4 ? 0.0 : 1.0 + static_cast<double>(slot % 7));
    values.push_back(std::sin(static_cast<double>(slot)) + 2.0);
    if (priorities.back() > 0) sum += values.back();
  }
  set(index, slots, priorities);
  set(ranks, slots, priorities);
  check_unbiased(index, values, sum / static_cast<double>(index.count()));
  check_unbiased(ranks, values, sum / static_cast<double>(ranks.count()));
}

TEST(draws_without_replacement_are_distinct_and_may_be_all) {
  constexpr std::int64_t kCapacity = 300;
  IndexMemory memory(PriorityIndex::memory_size(kCapacity, false));
  PriorityIndex index(memory.get(), kCapacity, false);
  std::vector<std::int64_t> wanted;
  for (std::int64_t slot = 0; slot < kCapacity; slot += 3) {  // from 2^-33 to 1: many rounds
    set(index, {slot}, {std::ldexp(1.0, static_cast<int>(-slot / 9))});
    wanted.push_back(slot);
  }
  auto random = RandomStream::seeded(4, 0);
  std::vector<std::int64_t> slots(wanted.size());
  std::vector<double> probabilities(wanted.size());
  const auto n = static_cast<std::int64_t>(wanted.size());
  const double tau = index.draw("test", n, DrawScheme::kWithoutReplacement, random, slots.data(),
                                probabilities.data());
  CHECK(tau == kInfinity);
  for (const double p : probabilities) CHECK(p == 1.0 / static_cast<double>(n));
  std::ranges::sort(slots);
  CHECK(slots == wanted);
}

TEST(a_slot_of_weight_zero_is_never_drawn) {
  constexpr std::int64_t kCapacity = 4096;
  IndexMemory memory(PriorityIndex::memory_size(kCapacity, false));
  PriorityIndex index(memory.get(), kCapacity, false);
  auto random = RandomStream::seeded(6, 0);
  for (std::int64_t slot = 0; slot < kCapacity; ++slot) {
    const double priority = std::ldexp(1.0, -static_cast<int>(random.below(30)));
    set(index, {slot}, {random.below(2) == 0 ? 0.0 : priority});
  }
  std::vector<std::int64_t> slots(10000);
  std::vector<double> probabilities(slots.size());
  for (int round = 0; round < 300; ++round) {
    const auto scheme = static_cast<DrawScheme>(round % 3);
    index.draw("test", 10000, scheme, random, slots.data(), probabilities.data());
    for (const std::int64_t slot : slots) {
      if (index.weight(slot) == 0) CHECK(false);
    }
  }
}

TEST(importance_weights_are_normalized) {
  const std::vector<double> p{0.5, 0.25, 0.125};
  std::vector<float> weights(3);
  importance_weights(p, 4, 1.0, WeightNormalization::kNone, 0, weights.data());
  CHECK((weights == std::vector<float>{0.5f, 1.0f, 2.0f}));
  importance_weights(p, 4, 1.0, WeightNormalization::kBatch, 0, weights.data());
  CHECK((weights == std::vector<float>{0.25f, 0.5f, 1.0f}));
  importance_weights(p, 4, 1.0, WeightNormalization::kBuffer, 0.0625, weights.data());
  CHECK((weights == std::vector<float>{0.125f, 0.25f, 0.5f}));
  importance_weights(p, 4, 0.0, WeightNormalization::kNone, 0, weights.data());
  CHECK((weights == std::vector<float>{1.0f, 1.0f, 1.0f}));
}

TEST(ranks_are_those_of_the_sorted_priorities) {
  constexpr std::int64_t kCapacity = 6000;
  IndexMemory memory(RankIndex::memory_size(kCapacity));
  RankIndex index(memory.get(), kCapacity);
  auto random = RandomStream::seeded(9, 0);
  std::vector<int> exponents(kCapacity, 1000);  // powers of two: a bucket each
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 2000; ++i) {
      const auto slot = static_cast<std::int64_t>(random.below(kCapacity));
      const int e = static_cast<int>(random.below(12)) - 6 - round % 3;
      const bool is_cleared = random.below(4) == 0;
      exponents[static_cast<std::size_t>(slot)] = is_cleared ? 1000 : e;
      set(index, {slot}, {is_cleared ? 0.0 : std::ldexp(1.0, e)});
    }
    const double exponent = 0.1 * static_cast<double>(round % 13);
    index.set_exponent("test", exponent);
    index.refresh();
    double all = 0;
    std::int64_t rank = 0;
    std::vector<std::pair<int, double>> means;
    for (int e = 10; e > -20; --e) {
      double sum = 0;
      const auto size = std::count(exponents.begin(), exponents.end(), e);
      for (std::int64_t k = 0; k < size; ++k)
        sum += std::pow(static_cast<double>(++rank), -exponent);
      all += sum;
      if (size > 0) means.emplace_back(e, sum / static_cast<double>(size));
    }
    CHECK(index.count() == rank);
    std::vector<std::uint64_t> masses;
    std::vector<std::int64_t> owners;
    std::uint64_t sum = 0;
    for (std::int64_t slot = 0; slot < kCapacity; ++slot) {
      std::uint64_t weight = 0;
      index.weights(std::span(&slot, 1), &weight);
      sum += weight;
      const int e = exponents[static_cast<std::size_t>(slot)];
      CHECK((weight == 0) == (e == 1000));
      if (weight == 0) continue;
      double mean = 0;
      for (const auto& [of, value] : means) mean = of == e ? value : mean;
      const double p = static_cast<double>(weight) / static_cast<double>(index.total());
      CHECK(std::abs(p - mean / all) <= 1e-9 * p);
      for (const std::uint64_t within : {std::uint64_t{0}, weight - 1}) {
        masses.push_back(index.prefix(slot) + within);
        owners.push_back(slot);
      }
    }
    CHECK(sum == index.total());
    std::vector<std::int64_t> found(masses.size());
    index.find(masses, found.data());
    CHECK(found == owners);
  }
  CHECK(RankIndex::memory_size(1'000'000) < std::size_t{11} * 1'000'000);
}

}  // namespace
}  // namespace fastrl
