// A channel of costs beside the rewards, for constrained learning: weights of what is true after a
// step, summed over the episode. The episode is truncated when the sum exceeds a limit.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"

namespace fastrl {

struct CostOptions {
  std::map<std::string, double> weights;  // of labels; empty: the wrapper is off
  double limit = std::numeric_limits<double>::infinity();

  bool on() const { return !weights.empty(); }
};

class Costs {
 public:
  // `names`: the labels, bit by bit.
  Costs(const CostOptions& options, std::span<const std::string> names)
      : limit_(options.limit), weights_(names.size()) {
    std::string listed;
    for (const std::string& name : names) listed += concat(listed.empty() ? "" : ", ", name);
    for (const auto& [name, weight] : options.weights) {
      bool found = false;
      for (std::size_t b = 0; b < names.size(); ++b) {
        if (names[b] != name) continue;
        weights_[b] = weight;
        found = true;
      }
      if (!found) fail_value("make_vec", "costs", concat("name labels out of ", listed), name);
    }
  }

  double of(std::uint64_t labels) const {
    double cost = 0.0;
    for (; labels != 0; labels &= labels - 1) {
      cost += weights_[static_cast<std::size_t>(std::countr_zero(labels))];
    }
    return cost;
  }
  bool exceeds(double episode_cost) const { return episode_cost > limit_; }

 private:
  double limit_;
  std::vector<double> weights_;
};

}  // namespace fastrl
