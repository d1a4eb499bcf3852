#include "replay/importance.h"

#include <algorithm>

#include "core/instruction_set.h"
#include "replay/power.h"

namespace fastrl {
namespace {

FASTRL_INLINE void to_weights(std::span<const double> probabilities, double numerator, double times,
                              double exponent, float* weights) {
  for (std::size_t k = 0; k < probabilities.size(); ++k) {
    weights[k] = static_cast<float>(power(numerator / (times * probabilities[k]), exponent));
  }
}

}  // namespace

void importance_weights(std::span<const double> probabilities, std::int64_t count, double exponent,
                        WeightNormalization normalization, double smallest_probability,
                        float* weights) {
  if (probabilities.empty()) return;
  double numerator = 1.0;
  auto times = static_cast<double>(count);
  if (normalization != WeightNormalization::kNone) {
    times = 1.0;
    numerator = normalization == WeightNormalization::kBuffer
                    ? smallest_probability
                    : *std::ranges::min_element(probabilities);
  }
  Compiled<&to_weights>::run(probabilities, numerator, times, exponent, weights);
}

}  // namespace fastrl
