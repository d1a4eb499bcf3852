// Contexts: an environment's options vary from episode to episode, as in CARL (Benjamins et al.,
// "Contextualize Me", 2023). Each context has params of its own, so nothing derived is ever stale.
//
// Cost  environments whose neighbors have the same context are stepped together; where all differ,
//       that is one call an environment, and one a context and block of lanes for SIMD forms.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "envs/description.h"
#include "envs/levels.h"
#include "envs/options.h"

namespace fastrl {

using OptionValues = std::map<std::string, OptionValue>;

enum class ContextSelector { kRoundRobin, kUniform, kWeights };

struct ContextOptions {
  std::vector<OptionValues> contexts;  // each in place of the environment's options; empty: off
  ContextSelector selector = ContextSelector::kRoundRobin;
  std::vector<double> weights{};
  bool observed = false;

  bool on() const { return !contexts.empty(); }
};

class Contexts {
 public:
  using Params = std::unique_ptr<void, void (*)(void*)>;

  // `described` is the environment's own description; contexts that change its interface are
  // refused.
  Contexts(const fastrl_environment& table, const OptionValues& base, ContextOptions options,
           const Description& described, const char* function);

  std::int64_t count() const { return static_cast<std::int64_t>(params_.size()); }
  const void* params(std::int64_t context) const {
    return params_[static_cast<std::size_t>(context)].get();
  }
  std::int64_t draw(const LevelSource& source) const;

  // Where contexts are observed: their values of the varied options, in order of the names.
  std::int64_t num_observed() const { return options_.observed ? num_values_ : 0; }
  const double* values(std::int64_t context) const {
    return values_.data() + context * num_values_;
  }

  // Equal where the contexts are.
  std::uint64_t hash() const { return hash_; }

 private:
  ContextOptions options_;
  std::vector<Params> params_;
  WeightedChoice choice_;
  std::int64_t num_values_ = 0;
  std::vector<double> values_;
  std::uint64_t hash_ = 0;
};

}  // namespace fastrl
