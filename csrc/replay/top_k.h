// The k keys with the largest dot product with each query, by looking at all of them.
//
// Math      score(q, m) = Σ_d queries[q, d] keys[m, d] in float64: products of float32 are exact,
//           and sums run over eight lanes in a fixed order. Equal scores: the lower row first.
// Cost      M D / 8 multiplications and additions of eight a query; keys are read once for all
//           queries of a call, block by block.
// Numerics  the same bits in every instruction set and with any number of threads.
#pragma once

#include <cstdint>

namespace fastrl {

struct TopKInput {
  const float* queries = nullptr;  // [num_queries, dim]
  std::int64_t num_queries = 0;
  const float* keys = nullptr;  // [num_keys, dim]
  std::int64_t num_keys = 0;
  std::int64_t dim = 0;
  const std::uint8_t* valid = nullptr;  // [num_keys], 0: not to be found; null: all are
};

// rows, scores: [num_queries, k], best first; -1 and -infinity where there are no more keys.
void top_k(const TopKInput& input, std::int64_t k, std::int64_t* rows, double* scores);

}  // namespace fastrl
