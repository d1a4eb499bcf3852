#include "ops/credit.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/thread_pool.h"

namespace fastrl {
namespace {

// Bytes that are worth handing to another thread: about 10 µs of copying.
constexpr std::int64_t kBytesPerChunk = 1 << 18;

// Compared at a time: large for memcmp's vector loop, small for the scalar search that follows.
constexpr std::int64_t kTokensPerBlock = 256;

std::int64_t sequences_per_chunk(std::int64_t num_sequences, std::int64_t num_bytes) {
  const std::int64_t bytes =
      std::max<std::int64_t>(1, num_bytes / std::max<std::int64_t>(1, num_sequences));
  return std::max<std::int64_t>(1, kBytesPerChunk / bytes);
}

std::int64_t num_tokens(const TokenLayout& layout, std::int64_t num_sequences) {
  return layout.cu_seqlens == nullptr ? num_sequences * layout.row_size
                                      : layout.cu_seqlens[num_sequences];
}

// The number of turns of a sequence: its starts come first, in order, then the padding.
std::int64_t check_turn_starts(const std::int64_t* starts, std::int64_t num_turns,
                               std::int64_t length, std::int64_t sequence) {
  std::int64_t count = 0;
  for (std::int64_t k = 0; k < num_turns; ++k) {
    if (starts[k] < 0 || starts[k] >= length) continue;
    if (count < k || (k > 0 && starts[k] < starts[k - 1])) {
      fail_value("pivot_mask", "turn_starts", "not decrease along a row, padding last",
                 concat(starts[k], " after ", starts[k - 1], " in row ", sequence));
    }
    ++count;
  }
  return count;
}

void check_pivots(const std::int64_t* turn_starts, const std::int64_t* pivot_turns,
                  std::int64_t num_sequences, std::int64_t num_turns, const TokenLayout& layout) {
  for (std::int64_t b = 0; b < num_sequences; ++b) {
    const std::int64_t turns =
        check_turn_starts(turn_starts + b * num_turns, num_turns, layout.length(b), b);
    if (pivot_turns[b] < -1 || pivot_turns[b] >= std::max<std::int64_t>(turns, 1)) {
      fail_value(
          "pivot_mask", "pivot_turns",
          concat("be -1 (no pivot) or one of the turns of its row (row ", b, " has ", turns, ")"),
          concat(pivot_turns[b]));
    }
  }
}

void check_pivot_tokens(const std::int64_t* pivot_tokens, std::int64_t num_sequences,
                        const TokenLayout& layout) {
  for (std::int64_t b = 0; b < num_sequences; ++b) {
    if (pivot_tokens[b] < -1 || pivot_tokens[b] > layout.length(b)) {
      fail_value("pivot_mask", "pivot_tokens",
                 concat("be -1 (no pivot) or from 0 to the length of its row (row ", b, " has ",
                        layout.length(b), ")"),
                 concat(pivot_tokens[b]));
    }
  }
}

// Copies `action_mask`, with zeros before token first_token(b) of each sequence.
template <typename FirstToken>
void mask_before(const std::uint8_t* action_mask, FirstToken first_token,
                 std::int64_t num_sequences, TokenLayout layout, std::uint8_t* loss_mask) {
  const std::int64_t grain = sequences_per_chunk(num_sequences, num_tokens(layout, num_sequences));
  parallel_for(num_sequences, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t start = first_token(b);
      const std::int64_t begin = layout.begin(b);
      const std::int64_t rest = layout.length(b) - start;
      std::fill_n(loss_mask + begin, start, std::uint8_t{0});
      std::copy_n(action_mask + begin + start, rest, loss_mask + begin + start);
    }
  });
}

template <typename Token>
std::int64_t first_difference(const Token* a, const Token* b, std::int64_t n) {
  std::int64_t i = 0;
  while (i + kTokensPerBlock <= n &&
         std::memcmp(a + i, b + i, kTokensPerBlock * sizeof(Token)) == 0) {
    i += kTokensPerBlock;
  }
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

}  // namespace

void check_cu_seqlens(const char* function, const char* argument, const std::int32_t* cu_seqlens,
                      std::int64_t num_sequences, std::int64_t num_tokens) {
  const std::string rule = concat("go from 0 to ", num_tokens, " without decreasing");
  if (cu_seqlens[0] != 0)
    fail_value(function, argument, rule, concat(cu_seqlens[0], " at index 0"));
  for (std::int64_t b = 0; b < num_sequences; ++b) {
    if (cu_seqlens[b + 1] < cu_seqlens[b]) {
      fail_value(function, argument, rule,
                 concat(cu_seqlens[b + 1], " after ", cu_seqlens[b], " at index ", b + 1));
    }
  }
  if (cu_seqlens[num_sequences] != num_tokens) {
    fail_value(function, argument, rule, concat(cu_seqlens[num_sequences], " at the end"));
  }
}

void check_lengths(const char* function, const char* argument, const std::int64_t* lengths,
                   std::int64_t num_sequences, std::int64_t row_size) {
  for (std::int64_t b = 0; b < num_sequences; ++b) {
    if (lengths[b] < 0 || lengths[b] > row_size) {
      fail_value(function, argument, concat("be from 0 to ", row_size),
                 concat(lengths[b], " at index ", b));
    }
  }
}

void pivot_mask(const std::uint8_t* action_mask, const std::int64_t* turn_starts,
                const std::int64_t* pivot_turns, std::int64_t num_sequences, std::int64_t num_turns,
                TokenLayout layout, std::uint8_t* loss_mask) {
  check_pivots(turn_starts, pivot_turns, num_sequences, num_turns, layout);
  const auto first_token = [&](std::int64_t b) {
    return pivot_turns[b] > 0 ? turn_starts[b * num_turns + pivot_turns[b]] : 0;
  };
  mask_before(action_mask, first_token, num_sequences, layout, loss_mask);
}

void pivot_mask(const std::uint8_t* action_mask, const std::int64_t* pivot_tokens,
                std::int64_t num_sequences, TokenLayout layout, std::uint8_t* loss_mask) {
  check_pivot_tokens(pivot_tokens, num_sequences, layout);
  const auto first_token = [&](std::int64_t b) {
    return std::max<std::int64_t>(pivot_tokens[b], 0);
  };
  mask_before(action_mask, first_token, num_sequences, layout, loss_mask);
}

template <typename Token>
void divergence_points(const Token* base, TokenLayout base_layout, const Token* retry,
                       TokenLayout retry_layout, std::int64_t num_sequences, std::int32_t* points) {
  const std::int64_t bytes =
      num_tokens(base_layout, num_sequences) * static_cast<std::int64_t>(sizeof(Token));
  const std::int64_t grain = sequences_per_chunk(num_sequences, bytes);
  parallel_for(num_sequences, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t base_length = base_layout.length(b);
      const std::int64_t retry_length = retry_layout.length(b);
      const std::int64_t shorter = std::min(base_length, retry_length);
      const std::int64_t point =
          first_difference(base + base_layout.begin(b), retry + retry_layout.begin(b), shorter);
      const bool identical = point == shorter && base_length == retry_length;
      points[b] = identical ? -1 : static_cast<std::int32_t>(point);
    }
  });
}

template void divergence_points(const std::int32_t*, TokenLayout, const std::int32_t*, TokenLayout,
                                std::int64_t, std::int32_t*);
template void divergence_points(const std::int64_t*, TokenLayout, const std::int64_t*, TokenLayout,
                                std::int64_t, std::int32_t*);

}  // namespace fastrl
