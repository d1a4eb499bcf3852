// Log-probability, entropy and self-certainty of every row of a logits matrix, and their gradient.
//
// Math      python/fastrl/log_probs/token_stats.py.
// Cost      forward one read of the logits, backward one read and one write. A row whose mask is 0,
//           or whose gradients are all 0, is not read.
// Numerics  float32 lanes, joined in float64 every 2048 columns. A row is computed by one thread:
//           results do not depend on the number of threads; they may differ in the last bits
//           between instruction sets.
// Limits    parallel over rows: fewer rows than threads leave threads idle.
#pragma once

#include <cstdint>

namespace fastrl {

enum class FloatType : std::uint8_t { kFloat32, kBFloat16, kFloat16 };

// Rows of V neighbouring elements. Row r starts at
// (r / rows_inner) * stride_outer + (r % rows_inner) * stride_inner, counted in elements.
struct RowLayout {
  std::int64_t rows_inner;
  std::int64_t stride_outer;
  std::int64_t stride_inner;

  std::int64_t start(std::int64_t row) const {
    return row / rows_inner * stride_outer + row % rows_inner * stride_inner;
  }
};

struct LogitsView {
  const void* data;
  FloatType type;
  std::int64_t rows;
  std::int64_t vocab_size;
  RowLayout layout;
  float temperature;
  float softcap;  // 0 for none
};

// `mask` may be null for "every row". Token ids of masked rows are not looked at.
struct TokensView {
  const std::int64_t* ids;
  const std::uint8_t* mask;
};

// The first row whose token id is outside [0, vocab_size), or -1.
std::int64_t first_token_outside(TokensView tokens, std::int64_t rows, std::int64_t vocab_size);

// Per-row outputs. `origins` and `sums` (of the exponentials below the maximum) are what the
// backward pass needs; `entropies` and `self_certainties` may be null.
struct TokenStatsView {
  float* log_probs;
  float* entropies;
  float* self_certainties;
  float* origins;
  float* sums;
};

// Token ids must be inside the vocabulary.
void token_log_probs(const LogitsView& logits, TokensView tokens, const TokenStatsView& stats);

// Gradients of a loss with respect to the three outputs; null for "all 0". `entropies` is read
// where there is a gradient of the entropies.
struct TokenGradientsView {
  const float* log_probs;
  const float* entropies_gradient;
  const float* self_certainties;
  const float* entropies;
  const float* origins;
  const float* sums;
};

// Writes the gradient of the logits, of their type. `gradient` may be the logits themselves.
void token_log_probs_backward(const LogitsView& logits, TokensView tokens,
                              const TokenGradientsView& gradients, void* gradient,
                              RowLayout gradient_layout);

}  // namespace fastrl
