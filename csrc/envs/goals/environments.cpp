#include "envs/goals/bit_flip.h"
#include "envs/goals/point_reach.h"
#include "envs/kernel.h"
#include "envs/registry.h"

namespace fastrl {

std::span<const RegisteredEnvironment> goals() {
  static const RegisteredEnvironment all[] = {{environment<BitFlip>()},
                                              {environment<PointReach>()}};
  return all;
}

}  // namespace fastrl
