#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "index_memory.h"
#include "replay/sum_tree.h"
#include "replay/sum_tree_kernels.h"

namespace fastrl {
namespace {

using testing::IndexMemory;

// What the tree must always agree with.
struct Plain {
  explicit Plain(std::int64_t capacity) : weights(static_cast<std::size_t>(capacity)) {}

  void check(SumTree& tree) const {
    std::uint64_t sum = 0;
    std::vector<std::uint64_t> masses;
    std::vector<std::int64_t> owners;
    WeightExtremes extremes{0, 0};
    std::int64_t count = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const auto slot = static_cast<std::int64_t>(i);
      CHECK(tree.weight(slot) == weights[i]);
      CHECK(tree.prefix(slot) == sum);
      if (weights[i] == 0) continue;
      for (const std::uint64_t mass : {sum, sum + weights[i] / 2, sum + weights[i] - 1}) {
        masses.push_back(mass);
        owners.push_back(slot);
      }
      sum += weights[i];
      ++count;
      extremes.smallest =
          extremes.smallest == 0 ? weights[i] : std::min(extremes.smallest, weights[i]);
      extremes.largest = std::max(extremes.largest, weights[i]);
    }
    CHECK(tree.total() == sum);
    CHECK(tree.count() == count);
    std::vector<std::int64_t> found(masses.size());
    tree.find(masses, found.data());
    CHECK(found == owners);
    CHECK(tree.extremes().smallest == extremes.smallest);
    CHECK(tree.extremes().largest == extremes.largest);
    const auto first = std::ranges::find(weights, extremes.largest);
    CHECK(tree.first_largest() == (count == 0 ? -1 : first - weights.begin()));
  }

  std::vector<std::uint32_t> weights;
};

std::uint32_t some_weight(RandomStream& random) {
  if (random.below(3) == 0) return 0;
  return random.next_u32() >> random.below(32);
}

TEST(a_sum_tree_agrees_with_a_plain_array) {
  auto random = RandomStream::seeded(1, 0);
  for (const std::int64_t capacity : {1, 2, 15, 16, 17, 255, 256, 257, 4095, 4096, 4097, 9000}) {
    IndexMemory memory(SumTree::memory_size(capacity));
    SumTree tree(memory.get(), capacity);
    Plain plain(capacity);
    plain.check(tree);
    const auto below = [&](std::int64_t n) {
      return static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(n)));
    };
    for (int round = 0; round < 24; ++round) {
      const int kind = round % 6;
      if (kind < 3) {  // duplicates are frequent in small trees
        const auto n = std::size_t{1} + random.below(600);
        std::vector<std::int64_t> slots(n);
        std::vector<std::uint32_t> weights(n);
        for (std::size_t k = 0; k < n; ++k) {
          slots[k] = kind == 0 ? static_cast<std::int64_t>(k) % capacity : below(capacity);
          weights[k] = some_weight(random);
          plain.weights[static_cast<std::size_t>(slots[k])] = weights[k];
        }
        tree.set(slots, weights);
      } else if (kind == 3) {
        const std::int64_t begin = below(capacity);
        const std::int64_t end = begin + below(capacity - begin + 1);
        const std::uint32_t weight = some_weight(random);
        tree.fill(begin, end, weight);
        std::fill(plain.weights.begin() + begin, plain.weights.begin() + end, weight);
      } else if (kind == 4) {
        const std::int64_t begin = below(capacity);
        std::vector<std::uint32_t> weights(static_cast<std::size_t>(below(capacity - begin + 1)));
        for (auto& weight : weights) weight = some_weight(random);
        tree.assign(begin, weights);
        std::ranges::copy(weights, plain.weights.begin() + begin);
      } else {
        const int bits = static_cast<int>(random.below(9)) - 5;
        tree.shift(bits);
        for (auto& weight : plain.weights) {
          const double exact =
              static_cast<double>(weight) * (bits < 0 ? 1.0 / (1 << -bits) : 1 << bits);
          const double rounded = std::min(std::round(exact), 4294967295.0);
          weight = std::max(static_cast<std::uint32_t>(rounded), weight != 0 ? 1u : 0u);
        }
      }
      plain.check(tree);
    }
    tree.rebuild();
    plain.check(tree);
    SumTree again(memory.get(), capacity);  // another view of the same memory
    plain.check(again);
  }
}

TEST(a_sum_tree_is_rebuilt_from_half_written_memory) {
  constexpr std::int64_t kCapacity = 5000;
  IndexMemory memory(SumTree::memory_size(kCapacity));
  SumTree tree(memory.get(), kCapacity);
  Plain plain(kCapacity);
  std::iota(plain.weights.begin(), plain.weights.end(), 0u);
  tree.assign(0, plain.weights);
  std::memset(memory.get(), 0x5A, 64 + 128);  // the header and the root
  tree.rebuild();
  plain.check(tree);
}

TEST(sum_tree_memory_is_small) {
  for (const std::int64_t capacity : {100'000, 1'000'000, 1'000'003}) {
    CHECK(static_cast<double>(SumTree::memory_size(capacity)) <=
          5.0 * static_cast<double>(capacity));
  }
  CHECK(SumTree::memory_size(SumTree::kMaxCapacity) <= std::size_t{5} << 32);
}

}  // namespace
}  // namespace fastrl
