#include "replay/sum_tree_kernels.h"

#include <algorithm>

namespace fastrl {
namespace {

FASTRL_INLINE void descend(const std::uint64_t* level, std::int64_t n, std::uint64_t* masses,
                           std::uint32_t* children, const std::byte* below, int below_shift) {
  for (std::int64_t k = 0; k < n; ++k) {
    const std::uint64_t* node = level + std::size_t{children[k]} * 16;
    const std::uint64_t mass = masses[k];
    std::uint64_t at_most = 0;
    for (int i = 1; i < 16; ++i) at_most += node[i] <= mass ? 1 : 0;
    masses[k] = mass - node[at_most];
    const std::uint32_t child = children[k] * 16 + static_cast<std::uint32_t>(at_most);
    children[k] = child;
    const std::byte* next = below + (std::size_t{child} << below_shift);
    __builtin_prefetch(next);
    __builtin_prefetch(next + (std::size_t{1} << (below_shift - 1)));
  }
}

FASTRL_INLINE void find_leaves(const std::uint32_t* leaves, std::int64_t n,
                               const std::uint64_t* masses, const std::uint32_t* blocks,
                               std::int64_t* slots) {
  for (std::int64_t k = 0; k < n; ++k) {
    const std::uint32_t* block = leaves + std::size_t{blocks[k]} * 16;
    const std::uint64_t mass = masses[k];
    std::uint64_t sum = 0;
    std::int64_t at_most = 0;
    for (int i = 0; i < 15; ++i) {
      sum += block[i];
      at_most += sum <= mass ? 1 : 0;
    }
    slots[k] = std::int64_t{blocks[k]} * 16 + at_most;
  }
}

FASTRL_INLINE void add(std::uint64_t* level, std::int64_t n, std::uint32_t* children,
                       const std::uint64_t* differences) {
  for (std::int64_t k = 0; k < n; ++k) {
    std::uint64_t* node = level + std::size_t{children[k] >> 4} * 16;
    const std::uint64_t place = children[k] & 15;
    const std::uint64_t difference = differences[k];
    for (std::uint64_t i = 0; i < 16; ++i) node[i] += i > place ? difference : 0;
    children[k] >>= 4;
  }
}

FASTRL_INLINE void extremes(const std::uint32_t* weights, std::int64_t n,
                            std::uint32_t* smallest_less_one, std::uint32_t* largest) {
  std::uint32_t low = 0xFFFFFFFFu;
  std::uint32_t high = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    low = std::min(low, weights[i] - 1);
    high = std::max(high, weights[i]);
  }
  *smallest_less_one = low;
  *largest = high;
}

void descend_portable(const std::uint64_t* level, std::int64_t n, std::uint64_t* masses,
                      std::uint32_t* children, const std::byte* below, int below_shift) {
  descend(level, n, masses, children, below, below_shift);
}

void find_leaves_portable(const std::uint32_t* leaves, std::int64_t n, const std::uint64_t* masses,
                          const std::uint32_t* blocks, std::int64_t* slots) {
  find_leaves(leaves, n, masses, blocks, slots);
}

void add_portable(std::uint64_t* level, std::int64_t n, std::uint32_t* children,
                  const std::uint64_t* differences) {
  add(level, n, children, differences);
}

void extremes_portable(const std::uint32_t* weights, std::int64_t n,
                       std::uint32_t* smallest_less_one, std::uint32_t* largest) {
  extremes(weights, n, smallest_less_one, largest);
}

constexpr SumTreeKernels kPortable{descend_portable, find_leaves_portable, add_portable,
                                   extremes_portable};

}  // namespace

const SumTreeKernels& sum_tree_kernels(InstructionSet) { return kPortable; }

}  // namespace fastrl
