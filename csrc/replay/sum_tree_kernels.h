// The loops of SumTree that have SIMD forms. All forms give the same integers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/instruction_set.h"

namespace fastrl {

struct SumTreeKernels {
  // One level down: children[k], a node of `level`, becomes its child that owns masses[k], and
  // masses[k] the mass within that child. `below` is what the children index, 2^below_shift bytes
  // each, for prefetching.
  void (*descend)(const std::uint64_t* level, std::int64_t n, std::uint64_t* masses,
                  std::uint32_t* children, const std::byte* below, int below_shift);
  // The last level: slots[k] is the one of the 16 weights of block blocks[k] that owns masses[k].
  void (*find_leaves)(const std::uint32_t* leaves, std::int64_t n, const std::uint64_t* masses,
                      const std::uint32_t* blocks, std::int64_t* slots);
  // Adds differences[k] to what comes after child children[k] in its node; children[k] becomes that
  // node, the child of the level above.
  void (*add)(std::uint64_t* level, std::int64_t n, std::uint32_t* children,
              const std::uint64_t* differences);
  // The smallest non-zero weight, 0 where there is none, and the largest.
  void (*extremes)(const std::uint32_t* weights, std::int64_t n, std::uint32_t* smallest,
                   std::uint32_t* largest);
};

const SumTreeKernels& sum_tree_kernels(InstructionSet set);

}  // namespace fastrl
