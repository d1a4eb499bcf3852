#include "replay/sum_tree.h"

#include <algorithm>
#include <numeric>

#include "core/instruction_set.h"
#include "replay/process_mutex.h"
#include "replay/sum_tree_kernels.h"

namespace fastrl {
namespace {

constexpr std::int64_t kBatch = 256;            // queries or differences that travel together
constexpr std::int64_t kBlockSlots = 16;        // of one cache line of leaves
constexpr std::int64_t kRegionSlots = 64 * 64;  // of the extremes' upper level
constexpr std::size_t kNodeBytes = 16 * sizeof(std::uint64_t);

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::size_t lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

const SumTreeKernels& kernels() {
  static const SumTreeKernels& chosen = sum_tree_kernels(instruction_set());
  return chosen;
}

}  // namespace

// Where the parts lie, counted from the start of the memory.
struct SumTree::Layout {
  explicit Layout(std::int64_t capacity) {
    std::array<std::int64_t, kMaxLevels> nodes{};
    std::int64_t below = ceil_div(capacity, kBlockSlots);
    do {
      below = ceil_div(below, 16);
      nodes[static_cast<std::size_t>(num_levels++)] = below;
    } while (below > 1);
    size = lines(sizeof(Header));
    for (int level = 0; level < num_levels; ++level) {
      const auto count =
          static_cast<std::size_t>(nodes[static_cast<std::size_t>(num_levels - 1 - level)]);
      levels[static_cast<std::size_t>(level)] = take(count * kNodeBytes);
    }
    const auto regions = static_cast<std::size_t>(ceil_div(capacity, kRegionSlots));
    leaves = take(static_cast<std::size_t>(ceil_div(capacity, 64)) * 64 * sizeof(std::uint32_t));
    stale = take(regions * 64);
    blocks = take(2 * regions * 64 * sizeof(std::uint32_t));
    regions_at = take(2 * regions * sizeof(std::uint32_t));
  }

  std::size_t take(std::size_t bytes) {
    const std::size_t at = size;
    size += lines(bytes);
    return at;
  }

  int num_levels = 0;
  std::size_t size = 0;
  std::array<std::size_t, kMaxLevels> levels{};
  std::size_t leaves, stale, blocks, regions_at;
};

std::size_t SumTree::memory_size(std::int64_t capacity) { return Layout(capacity).size; }

SumTree::SumTree(std::byte* memory, std::int64_t capacity) : capacity_(capacity) {
  const Layout layout(capacity);
  num_levels_ = layout.num_levels;
  header_ = reinterpret_cast<Header*>(memory);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    levels_[level] = reinterpret_cast<std::uint64_t*>(memory + layout.levels[level]);
  }
  leaves_ = reinterpret_cast<std::uint32_t*>(memory + layout.leaves);
  stale_ = reinterpret_cast<std::uint8_t*>(memory + layout.stale);
  const std::int64_t regions = ceil_div(capacity, kRegionSlots);
  auto* of_blocks = reinterpret_cast<std::uint32_t*>(memory + layout.blocks);
  auto* of_regions = reinterpret_cast<std::uint32_t*>(memory + layout.regions_at);
  blocks_ = {of_blocks, of_blocks + regions * 64};
  regions_ = {of_regions, of_regions + regions};
}

template <typename Weight>
void SumTree::set_scattered(std::span<const std::int64_t> slots, Weight weight) {
  std::array<std::uint32_t, kBatch> children;
  std::array<std::uint64_t, kBatch> differences;
  const auto n = static_cast<std::int64_t>(slots.size());
  for (std::int64_t begin = 0; begin < n; begin += kBatch) {
    const std::int64_t end = std::min(begin + kBatch, n);
    for (std::int64_t k = begin; k < end; ++k) {
      __builtin_prefetch(leaves_ + slots[static_cast<std::size_t>(k)], 1);
    }
    std::size_t m = 0;
    std::int64_t count = 0;
    std::int64_t block = slots[static_cast<std::size_t>(begin)] >> 4;
    std::uint64_t difference = 0;  // of this block's sum, modulo 2^64, as all sums here
    const auto end_block = [&] {
      children[m] = static_cast<std::uint32_t>(block);
      differences[m] = difference;
      m += difference != 0 ? 1 : 0;
    };
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int64_t slot = slots[static_cast<std::size_t>(k)];
      const std::uint32_t old = leaves_[slot];
      const std::uint32_t now = weight(k);
      leaves_[slot] = now;
      stale_[slot >> 6] = 1;
      count += (now != 0 ? 1 : 0) - (old != 0 ? 1 : 0);
      if (slot >> 4 != block) {
        end_block();
        block = slot >> 4;
        difference = 0;
      }
      difference += std::uint64_t{now} - old;
    }
    end_block();
    header_->count += count;
    add_to_scattered(std::span(children.data(), m), std::span(differences.data(), m));
  }
  if (n > 0) header_->extremes_are_stale = 1;
}

void SumTree::set(std::span<const std::int64_t> slots, std::span<const std::uint32_t> weights) {
  set_scattered(slots, [&](std::int64_t k) { return weights[static_cast<std::size_t>(k)]; });
}

void SumTree::set(std::span<const std::int64_t> slots, std::uint32_t weight) {
  set_scattered(slots, [&](std::int64_t) { return weight; });
}

// Slot i gets weight(i, its old weight); the sums count the old weight as 0 if `from_nothing`.
template <bool from_nothing, typename Weight>
void SumTree::rewrite(std::int64_t begin, std::int64_t end, Weight weight) {
  std::array<std::uint64_t, kRegionSlots / kBlockSlots> differences;
  while (begin < end) {
    const std::int64_t stop = std::min(end, (begin / kRegionSlots + 1) * kRegionSlots);
    const std::int64_t first_block = begin / kBlockSlots;
    std::size_t m = 0;
    std::int64_t count = 0;
    const auto rewrite_block = [&](std::int64_t slot,
                                   std::int64_t size) __attribute__((always_inline)) {
      std::uint64_t difference = 0;
      for (const std::int64_t block_end = slot + size; slot < block_end; ++slot) {
        const std::uint32_t old = leaves_[slot];
        const std::uint32_t now = weight(slot, old);
        leaves_[slot] = now;
        const std::uint32_t counted = from_nothing ? 0 : old;
        count += (now != 0 ? 1 : 0) - (counted != 0 ? 1 : 0);
        difference += std::uint64_t{now} - counted;
      }
      differences[m++] = difference;
    };
    for (std::int64_t slot = begin; slot < stop;) {
      const std::int64_t size = std::min(stop - slot, kBlockSlots - slot % kBlockSlots);
      if (size == kBlockSlots) {
        rewrite_block(slot, kBlockSlots);  // of a known size: in SIMD
      } else {
        rewrite_block(slot, size);
      }
      slot += size;
    }
    for (std::int64_t block = begin >> 6; block <= (stop - 1) >> 6; ++block) stale_[block] = 1;
    header_->count += count;
    header_->extremes_are_stale = 1;
    add_to_neighbors(num_levels_ - 1, first_block, std::span(differences.data(), m));
    begin = stop;
  }
}

void SumTree::fill(std::int64_t begin, std::int64_t end, std::uint32_t weight) {
  rewrite<false>(begin, end, [&](std::int64_t, std::uint32_t) { return weight; });
}

void SumTree::assign(std::int64_t begin, std::span<const std::uint32_t> weights) {
  rewrite<false>(begin, begin + static_cast<std::int64_t>(weights.size()),
                 [&](std::int64_t slot, std::uint32_t) {
                   return weights[static_cast<std::size_t>(slot - begin)];
                 });
}

void SumTree::shift(int bits) {
  begin_shift(bits);
  continue_shift();
  end_shift();
}

void SumTree::begin_shift(int bits) {
  header_->shift_bits = bits;
  header_->num_shifted = 0;
  std::copy_n(leaves_, kBlockSlots, header_->before_shift[0]);
  in_this_order();
  header_->is_shifting = 1;
  in_this_order();
}

// Block by block, each from what was written down of it before it was touched.
void SumTree::continue_shift() {
  const auto bits = static_cast<int>(header_->shift_bits);
  const int up = std::clamp(bits, 0, 32);
  const int down = std::clamp(-bits, 0, 34);
  const std::uint64_t half = down == 0 ? 0 : std::uint64_t{1} << (down - 1);
  const std::int64_t num_blocks = ceil_div(capacity_, kBlockSlots);
  for (std::int64_t block = header_->num_shifted; block < num_blocks; ++block) {
    const std::uint32_t* before = header_->before_shift[block & 1];
    std::uint32_t* weights = leaves_ + block * kBlockSlots;
    for (std::int64_t i = 0; i < kBlockSlots; ++i) {
      const std::uint64_t scaled = ((std::uint64_t{before[i]} << up) + half) >> down;
      weights[i] = static_cast<std::uint32_t>(
          std::clamp(scaled, std::uint64_t{before[i] != 0 ? 1u : 0u}, std::uint64_t{0xFFFFFFFFu}));
    }
    if (block + 1 < num_blocks) {
      std::copy_n(weights + kBlockSlots, kBlockSlots, header_->before_shift[(block + 1) & 1]);
    }
    in_this_order();
    header_->num_shifted = block + 1;
    in_this_order();
  }
  rebuild();
}

void SumTree::end_shift() {
  in_this_order();
  header_->is_shifting = 0;
}

// Carries the differences of blocks up to the root and into the total, overwriting the blocks.
void SumTree::add_to_scattered(std::span<std::uint32_t> children,
                               std::span<const std::uint64_t> differences) {
  // Near the root many differences meet in one node, each waiting for the one before: there they
  // are added up by child first.
  const int top = std::min(num_levels_ - 1, 1);
  const int dense = children.size() >= 64 ? top : -1;
  const auto n = static_cast<std::int64_t>(children.size());
  for (int level = num_levels_ - 1; level > dense; --level) {
    kernels().add(levels_[static_cast<std::size_t>(level)], n, children.data(), differences.data());
  }
  if (dense < 0) {
    header_->total = std::accumulate(differences.begin(), differences.end(), header_->total);
    return;
  }
  std::array<std::uint64_t, 256> sums{};
  for (std::size_t k = 0; k < children.size(); ++k) sums[children[k]] += differences[k];
  const std::int64_t last_block = (capacity_ - 1) / kBlockSlots;
  const std::int64_t last = last_block >> (4 * (num_levels_ - 1 - top));
  add_to_neighbors(top, 0, std::span(sums.data(), static_cast<std::size_t>(last + 1)));
}

// Carries the differences of neighboring children of a level's nodes up to the root and into the
// total, overwriting them.
void SumTree::add_to_neighbors(int lowest, std::int64_t first_child,
                               std::span<std::uint64_t> differences) {
  std::int64_t first = first_child;
  std::size_t m = differences.size();
  for (int level = lowest; level >= 0; --level) {
    std::size_t out = 0;
    std::uint64_t any = 0;
    for (std::size_t k = 0; k < m;) {
      std::uint64_t* node =
          levels_[static_cast<std::size_t>(level)] + static_cast<std::size_t>(first >> 4) * 16;
      std::uint64_t sum = 0;
      for (auto place = static_cast<std::size_t>(first & 15); place < 16; ++place) {
        node[place] += sum;
        if (k < m) {
          sum += differences[k++];
          ++first;
        }
      }
      differences[out++] = sum;
      any |= sum;
    }
    if (any == 0) return;
    first = (first_child >>= 4);
    m = out;
  }
  header_->total += differences[0];
}

void SumTree::rebuild() {
  header_->total = 0;
  header_->count = 0;
  for (std::int64_t child = ceil_div(capacity_, kBlockSlots), level = num_levels_; level-- > 0;) {
    child = ceil_div(child, 16);
    std::fill_n(levels_[static_cast<std::size_t>(level)], child * 16, std::uint64_t{0});
  }
  rewrite<true>(0, capacity_, [](std::int64_t, std::uint32_t old) { return old; });
}

std::uint64_t SumTree::prefix(std::int64_t slot) const {
  std::uint64_t sum = 0;
  std::int64_t child = slot >> 4;
  for (std::int64_t i = child * kBlockSlots; i < slot; ++i) sum += leaves_[i];
  for (int level = num_levels_; level-- > 0; child >>= 4) {
    sum += levels_[static_cast<std::size_t>(level)][child];
  }
  return sum;
}

void SumTree::find(std::span<const std::uint64_t> masses, std::int64_t* slots) const {
  std::array<std::uint64_t, kBatch> rest;
  std::array<std::uint32_t, kBatch> children;
  const auto n = static_cast<std::int64_t>(masses.size());
  for (std::int64_t begin = 0; begin < n; begin += kBatch) {
    const std::int64_t size = std::min(kBatch, n - begin);
    std::copy_n(masses.data() + begin, size, rest.data());
    std::fill_n(children.data(), size, 0u);
    for (int level = 0; level < num_levels_; ++level) {
      const bool last = level + 1 == num_levels_;
      const void* below = leaves_;
      if (!last) below = levels_[static_cast<std::size_t>(level) + 1];
      kernels().descend(levels_[static_cast<std::size_t>(level)], size, rest.data(),
                        children.data(), static_cast<const std::byte*>(below), last ? 6 : 7);
    }
    kernels().find_leaves(leaves_, size, rest.data(), children.data(), slots + begin);
  }
}

void SumTree::refresh_extremes() {
  const auto of = [](const std::uint32_t* weights) {
    WeightExtremes found{};
    kernels().extremes(weights, 64, &found.smallest, &found.largest);
    return found;
  };
  const std::int64_t regions = ceil_div(capacity_, kRegionSlots);
  for (std::int64_t region = 0; region < regions; ++region) {
    std::uint8_t* stale = stale_ + region * 64;
    if (std::all_of(stale, stale + 64, [](std::uint8_t is_stale) { return is_stale == 0; }))
      continue;
    for (std::int64_t k = 0; k < 64; ++k) {
      if (stale[k] == 0) continue;
      const std::int64_t block = region * 64 + k;
      const WeightExtremes found = of(leaves_ + block * 64);
      blocks_.smallest[block] = found.smallest;
      blocks_.largest[block] = found.largest;
    }
    std::fill_n(stale, 64, std::uint8_t{0});
    regions_.smallest[region] = of(blocks_.smallest + region * 64).smallest;
    regions_.largest[region] = of(blocks_.largest + region * 64).largest;
  }
  std::uint32_t unused = 0;
  kernels().extremes(regions_.smallest, regions, &header_->extremes.smallest, &unused);
  kernels().extremes(regions_.largest, regions, &unused, &header_->extremes.largest);
  header_->extremes_are_stale = 0;
}

WeightExtremes SumTree::extremes() {
  if (header_->extremes_are_stale != 0) refresh_extremes();
  return header_->extremes;
}

std::int64_t SumTree::first_largest() {
  const std::uint32_t largest = extremes().largest;
  if (largest == 0) return -1;
  std::int64_t region = 0;
  while (regions_.largest[region] != largest) ++region;
  std::int64_t block = region * 64;
  while (blocks_.largest[block] != largest) ++block;
  std::int64_t slot = block * 64;
  while (leaves_[slot] != largest) ++slot;
  return slot;
}

}  // namespace fastrl
