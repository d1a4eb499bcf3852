// How Gymnasium's toy-text environments choose among outcomes.
#pragma once

#include <cstddef>

namespace fastrl {

// The first outcome whose running sum of probabilities is above u; the first of all where rounding
// left the whole sum below u.
template <std::size_t kOutcomes>
constexpr int categorical(const double (&probabilities)[kOutcomes], double u) {
  double sum = 0.0;
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    sum += probabilities[i];
    if (sum > u) return static_cast<int>(i);
  }
  return 0;
}

}  // namespace fastrl
