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

void to_weights_portable(std::span<const double> probabilities, double numerator, double times,
                         double exponent, float* weights) {
  to_weights(probabilities, numerator, times, exponent, weights);
}

FASTRL_TARGET_V3 void to_weights_v3(std::span<const double> probabilities, double numerator,
                                    double times, double exponent, float* weights) {
  to_weights(probabilities, numerator, times, exponent, weights);
}

FASTRL_TARGET_V4 void to_weights_v4(std::span<const double> probabilities, double numerator,
                                    double times, double exponent, float* weights) {
  to_weights(probabilities, numerator, times, exponent, weights);
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
  switch (instruction_set()) {
    case InstructionSet::kX86V4:
      return to_weights_v4(probabilities, numerator, times, exponent, weights);
    case InstructionSet::kX86V3:
      return to_weights_v3(probabilities, numerator, times, exponent, weights);
    case InstructionSet::kPortable:
      return to_weights_portable(probabilities, numerator, times, exponent, weights);
  }
}

}  // namespace fastrl
