// What all chunks of a step share.
#pragma once

#include "envs/vector_env.h"

namespace fastrl {

struct VectorEnv::StepPlan {
  const std::int64_t* ids;
  std::span<const bool> active;
  const char* actions;
  const Outputs& out;  // large: a copy would cost what a step of one environment does
  FaultLog* log;
  ResetChoices choices{};
  bool defers_resets = false;

  bool chooses() const { return choices.levels != nullptr || choices.contexts != nullptr; }
  std::int64_t id(std::int64_t k) const { return ids != nullptr ? ids[k] : k; }
};

}  // namespace fastrl
