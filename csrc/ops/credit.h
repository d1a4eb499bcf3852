// Which tokens a trajectory is credited for. The definitions are in python/fastrl/credit.py.
// No scratch memory. Outputs may overlap no input.
#pragma once

#include <cstdint>

namespace fastrl {

// Where the tokens of each sequence are: rows of `row_size` tokens, of which the first
// lengths[b] count (null: all), or, when `cu_seqlens` is given, back to back in one array.
struct TokenLayout {
  std::int64_t row_size = 0;
  const std::int64_t* lengths = nullptr;
  const std::int32_t* cu_seqlens = nullptr;

  std::int64_t begin(std::int64_t b) const {
    return cu_seqlens == nullptr ? b * row_size : cu_seqlens[b];
  }
  std::int64_t length(std::int64_t b) const {
    if (cu_seqlens != nullptr) return std::int64_t{cu_seqlens[b + 1]} - cu_seqlens[b];
    return lengths == nullptr ? row_size : lengths[b];
  }
};

// Rejects cu_seqlens that do not go from 0 to `num_tokens` without a step back.
void check_cu_seqlens(const char* function, const char* argument, const std::int32_t* cu_seqlens,
                      std::int64_t num_sequences, std::int64_t num_tokens);

// Rejects lengths that are not in [0, row_size].
void check_lengths(const char* function, const char* argument, const std::int64_t* lengths,
                   std::int64_t num_sequences, std::int64_t row_size);

// The action mask, 0 before the first token of each sequence's pivot turn. `turn_starts` is
// [num_sequences, num_turns]; entries that are no position of the sequence are padding.
void pivot_mask(const std::uint8_t* action_mask, const std::int64_t* turn_starts,
                const std::int64_t* pivot_turns, std::int64_t num_sequences, std::int64_t num_turns,
                TokenLayout layout, std::uint8_t* loss_mask);

// The same for pivots that are tokens, [num_sequences] from -1 (no pivot) to the length.
void pivot_mask(const std::uint8_t* action_mask, const std::int64_t* pivot_tokens,
                std::int64_t num_sequences, TokenLayout layout, std::uint8_t* loss_mask);

// The first position where two sequences differ: the shorter length if one continues the other,
// -1 if they are identical.
template <typename Token>
void divergence_points(const Token* base, TokenLayout base_layout, const Token* retry,
                       TokenLayout retry_layout, std::int64_t num_sequences, std::int32_t* points);

}  // namespace fastrl
