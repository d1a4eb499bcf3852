// Importance weights of draws: what makes averages over a batch those of the whole buffer.
//
// Math      (N P)^−exponent with N drawable items, divided by their largest in the batch (then it
//           is (min P / P)^exponent, exactly 1 at most), by what the slot of the smallest
//           probability in the buffer would have, or by nothing.
#pragma once

#include <cstdint>
#include <span>

namespace fastrl {

enum class WeightNormalization { kNone, kBatch, kBuffer };

// `count` is read by kNone alone, `smallest_probability` by kBuffer alone.
void importance_weights(std::span<const double> probabilities, std::int64_t count, double exponent,
                        WeightNormalization normalization, double smallest_probability,
                        float* weights);

}  // namespace fastrl
