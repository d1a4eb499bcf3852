// How Gymnasium's toy-text environments choose among outcomes.
#pragma once

#include <cstddef>

namespace fastrl {

// The first outcome whose running sum of probabilities is above u; the first of all where rounding
// left the whole sum below u.
template <std::size_t kOutcomes>
constexpr int categorical(const double (&probabilities)[kOutcomes], double u) {
  // Counted, not searched for: where chance decides, a branch is guessed wrong.
  double sum = 0.0;
  int not_above = 0;
  for (const double probability : probabilities) {
    sum += probability;
    not_above += sum <= u ? 1 : 0;
  }
  return not_above < static_cast<int>(kOutcomes) ? not_above : 0;
}

}  // namespace fastrl
