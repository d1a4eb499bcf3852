#include "envs/decisions/bandit.h"
#include "envs/decisions/tsp.h"
#include "envs/kernel.h"
#include "envs/registry.h"

namespace fastrl {

std::span<const RegisteredEnvironment> decisions() {
  static const RegisteredEnvironment all[] = {{environment<Bandit>()}, {environment<TSP>()}};
  return all;
}

}  // namespace fastrl
