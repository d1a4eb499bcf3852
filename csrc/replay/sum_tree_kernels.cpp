#include "replay/sum_tree_kernels.h"

#include <algorithm>
#include <array>
#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastrl {
namespace {

// The two loops below, once per instruction set: always-inline functions that are built for a newer
// processor can only be inlined where the caller is, too, so a template over them will not do.
#define FASTRL_DESCEND(place_in_node)                                    \
  for (std::int64_t k = 0; k < n; ++k) {                                 \
    const std::uint64_t* node = level + std::size_t{children[k]} * 16;   \
    const std::uint32_t place = place_in_node(node, masses[k]);          \
    const std::uint32_t child = children[k] * 16 + place;                \
    masses[k] -= node[place];                                            \
    children[k] = child;                                                 \
    const std::byte* next = below + (std::size_t{child} << below_shift); \
    __builtin_prefetch(next);                                            \
    __builtin_prefetch(next + (std::size_t{1} << (below_shift - 1)));    \
  }
#define FASTRL_FIND_LEAVES(place_in_block)                                      \
  for (std::int64_t k = 0; k < n; ++k) {                                        \
    const std::uint32_t* block = leaves + std::size_t{blocks[k]} * 16;          \
    slots[k] = std::int64_t{blocks[k]} * 16 + place_in_block(block, masses[k]); \
  }

// The last of 16 sums that is at most `mass`; the first one is 0.
FASTRL_INLINE std::uint32_t place_in_node(const std::uint64_t* node, std::uint64_t mass) {
  std::uint32_t place = 0;
  for (int i = 1; i < 16; ++i) place += node[i] <= mass ? 1 : 0;
  return place;
}

// Which of 16 weights owns this mass of theirs.
FASTRL_INLINE std::uint32_t place_in_block(const std::uint32_t* block, std::uint64_t mass) {
  std::uint64_t sum = 0;
  std::uint32_t place = 0;
  for (int i = 0; i < 15; ++i) {
    sum += block[i];
    place += sum <= mass ? 1 : 0;
  }
  return place;
}

// kAfter[15 − place + i] is all ones where i > place.
alignas(64) constexpr std::array<std::uint64_t, 32> kAfter = [] {
  std::array<std::uint64_t, 32> masks{};
  for (std::size_t i = 16; i < 32; ++i) masks[i] = ~std::uint64_t{0};
  return masks;
}();

FASTRL_INLINE void add(std::uint64_t* level, std::int64_t n, std::uint32_t* children,
                       const std::uint64_t* differences) {
  for (std::int64_t k = 0; k < n; ++k) {
    std::uint64_t* __restrict node = level + std::size_t{children[k] >> 4} * 16;
    const std::uint64_t* __restrict is_after = kAfter.data() + 15 - (children[k] & 15);
    const std::uint64_t difference = differences[k];
    children[k] >>= 4;
    for (int i = 0; i < 16; ++i) node[i] += is_after[i] & difference;
  }
}

FASTRL_INLINE void extremes(const std::uint32_t* weights, std::int64_t n, std::uint32_t* smallest,
                            std::uint32_t* largest) {
  std::uint32_t low = 0xFFFFFFFFu;
  std::uint32_t high = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    low = std::min(low, weights[i] - 1);  // 0 becomes the largest number
    high = std::max(high, weights[i]);
  }
  *smallest = low + 1;
  *largest = high;
}

void descend_portable(const std::uint64_t* level, std::int64_t n, std::uint64_t* masses,
                      std::uint32_t* children, const std::byte* below, int below_shift) {
  FASTRL_DESCEND(place_in_node)
}

void find_leaves_portable(const std::uint32_t* leaves, std::int64_t n, const std::uint64_t* masses,
                          const std::uint32_t* blocks, std::int64_t* slots) {
  FASTRL_FIND_LEAVES(place_in_block)
}

void add_portable(std::uint64_t* level, std::int64_t n, std::uint32_t* children,
                  const std::uint64_t* differences) {
  add(level, n, children, differences);
}

void extremes_portable(const std::uint32_t* weights, std::int64_t n, std::uint32_t* smallest,
                       std::uint32_t* largest) {
  extremes(weights, n, smallest, largest);
}

constexpr SumTreeKernels kPortable{descend_portable, find_leaves_portable, add_portable,
                                   extremes_portable};

#if defined(__x86_64__)

FASTRL_INLINE FASTRL_TARGET_V3 std::uint32_t place_in_node_v3(const std::uint64_t* node,
                                                              std::uint64_t mass) {
  // AVX2 compares signed numbers; flipping the highest bits keeps the order of unsigned ones.
  const __m256i sign = _mm256_set1_epi64x(INT64_MIN);
  const __m256i wanted = _mm256_xor_si256(_mm256_set1_epi64x(static_cast<long long>(mass)), sign);
  unsigned above = 0;
  for (int i = 0; i < 16; i += 4) {
    const __m256i sums = _mm256_load_si256(reinterpret_cast<const __m256i*>(node + i));
    const __m256i is_above = _mm256_cmpgt_epi64(_mm256_xor_si256(sums, sign), wanted);
    above |= static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(is_above))) << i;
  }
  return 15 - static_cast<std::uint32_t>(std::popcount(above));
}

FASTRL_INLINE FASTRL_TARGET_V3 std::uint32_t place_in_block_v3(const std::uint32_t* block,
                                                               std::uint64_t mass) {
  const __m256i wanted = _mm256_set1_epi64x(static_cast<long long>(mass));  // below 2^36
  __m256i before = _mm256_setzero_si256();
  unsigned above = 0;
  for (int i = 0; i < 16; i += 4) {
    __m256i sums =
        _mm256_cvtepu32_epi64(_mm_load_si128(reinterpret_cast<const __m128i*>(block + i)));
    sums = _mm256_add_epi64(sums, _mm256_slli_si256(sums, 8));
    const __m256i first_half = _mm256_permute4x64_epi64(sums, 0x55);
    sums = _mm256_add_epi64(sums, _mm256_blend_epi32(_mm256_setzero_si256(), first_half, 0xF0));
    sums = _mm256_add_epi64(sums, before);
    before = _mm256_permute4x64_epi64(sums, 0xFF);
    const __m256i is_above = _mm256_cmpgt_epi64(sums, wanted);
    above |= static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(is_above))) << i;
  }
  return 16 - static_cast<std::uint32_t>(std::popcount(above));
}

FASTRL_TARGET_V3 void descend_v3(const std::uint64_t* level, std::int64_t n, std::uint64_t* masses,
                                 std::uint32_t* children, const std::byte* below,
                                 int below_shift){FASTRL_DESCEND(place_in_node_v3)}

FASTRL_TARGET_V3 void find_leaves_v3(const std::uint32_t* leaves, std::int64_t n,
                                     const std::uint64_t* masses, const std::uint32_t* blocks,
                                     std::int64_t* slots){FASTRL_FIND_LEAVES(place_in_block_v3)}

FASTRL_TARGET_V3 void add_v3(std::uint64_t* level, std::int64_t n, std::uint32_t* children,
                             const std::uint64_t* differences) {
  add(level, n, children, differences);
}

FASTRL_TARGET_V3 void extremes_v3(const std::uint32_t* weights, std::int64_t n,
                                  std::uint32_t* smallest, std::uint32_t* largest) {
  extremes(weights, n, smallest, largest);
}

FASTRL_INLINE FASTRL_TARGET_V4 std::uint32_t place_in_node_v4(const std::uint64_t* node,
                                                              std::uint64_t mass) {
  const __m512i wanted = _mm512_set1_epi64(static_cast<long long>(mass));
  const __mmask8 low = _mm512_cmple_epu64_mask(_mm512_load_si512(node), wanted);
  const __mmask8 high = _mm512_cmple_epu64_mask(_mm512_load_si512(node + 8), wanted);
  return static_cast<std::uint32_t>(std::popcount(_mm512_kunpackb(high, low))) - 1;
}

// Sums of the weights up to and with each of the 8. All operations say what masked lanes become:
// GCC 12 warns about the header of those that leave it open.
FASTRL_INLINE FASTRL_TARGET_V4 __m512i running_sums_v4(const std::uint32_t* weights) {
  __m512i sums = _mm512_maskz_cvtepu32_epi64(
      0xFF, _mm256_load_si256(reinterpret_cast<const __m256i*>(weights)));
  sums = _mm512_add_epi64(sums, _mm512_maskz_alignr_epi64(0xFE, sums, sums, 7));
  sums = _mm512_add_epi64(sums, _mm512_maskz_alignr_epi64(0xFC, sums, sums, 6));
  return _mm512_add_epi64(sums, _mm512_maskz_alignr_epi64(0xF0, sums, sums, 4));
}

FASTRL_INLINE FASTRL_TARGET_V4 std::uint32_t place_in_block_v4(const std::uint32_t* block,
                                                               std::uint64_t mass) {
  const __m512i wanted = _mm512_set1_epi64(static_cast<long long>(mass));
  const __m512i first = running_sums_v4(block);
  const __m512i all_of_first = _mm512_maskz_permutexvar_epi64(0xFF, _mm512_set1_epi64(7), first);
  const __m512i second = _mm512_add_epi64(running_sums_v4(block + 8), all_of_first);
  const __mmask8 low = _mm512_cmple_epu64_mask(first, wanted);
  const __mmask8 high = _mm512_cmple_epu64_mask(second, wanted);
  return static_cast<std::uint32_t>(std::popcount(_mm512_kunpackb(high, low)));
}

FASTRL_TARGET_V4 void descend_v4(const std::uint64_t* level, std::int64_t n, std::uint64_t* masses,
                                 std::uint32_t* children, const std::byte* below,
                                 int below_shift){FASTRL_DESCEND(place_in_node_v4)}

FASTRL_TARGET_V4 void find_leaves_v4(const std::uint32_t* leaves, std::int64_t n,
                                     const std::uint64_t* masses, const std::uint32_t* blocks,
                                     std::int64_t* slots){FASTRL_FIND_LEAVES(place_in_block_v4)}

FASTRL_TARGET_V4 void add_v4(std::uint64_t* level, std::int64_t n, std::uint32_t* children,
                             const std::uint64_t* differences) {
  for (std::int64_t k = 0; k < n; ++k) {
    std::uint64_t* node = level + std::size_t{children[k] >> 4} * 16;
    const unsigned after = 0xFFFEu << (children[k] & 15);
    const __m512i difference = _mm512_set1_epi64(static_cast<long long>(differences[k]));
    const __m512i low = _mm512_load_si512(node);
    const __m512i high = _mm512_load_si512(node + 8);
    _mm512_store_si512(node,
                       _mm512_mask_add_epi64(low, static_cast<__mmask8>(after), low, difference));
    _mm512_store_si512(
        node + 8, _mm512_mask_add_epi64(high, static_cast<__mmask8>(after >> 8), high, difference));
    children[k] >>= 4;
  }
}

FASTRL_TARGET_V4 void extremes_v4(const std::uint32_t* weights, std::int64_t n,
                                  std::uint32_t* smallest, std::uint32_t* largest) {
  extremes(weights, n, smallest, largest);
}

constexpr SumTreeKernels kX86V3{descend_v3, find_leaves_v3, add_v3, extremes_v3};
constexpr SumTreeKernels kX86V4{descend_v4, find_leaves_v4, add_v4, extremes_v4};

#endif

}  // namespace

const SumTreeKernels& sum_tree_kernels([[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::kX86V4) return kX86V4;
  if (set == InstructionSet::kX86V3) return kX86V3;
#endif
  return kPortable;
}

}  // namespace fastrl
