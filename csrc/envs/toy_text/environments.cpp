#include "envs/kernel.h"
#include "envs/registry.h"
#include "envs/toy_text/blackjack.h"
#include "envs/toy_text/cliff_walking.h"
#include "envs/toy_text/frozen_lake.h"
#include "envs/toy_text/taxi.h"

namespace fastrl {

std::span<const RegisteredEnvironment> toy_text() {
  static const RegisteredEnvironment all[] = {{environment<Blackjack>()},
                                              {environment<CliffWalking>()},
                                              {environment<CliffWalkingSlippery>()},
                                              {environment<FrozenLake>()},
                                              {environment<FrozenLake8x8>()},
                                              {environment<TaxiV3>()},
                                              {environment<Taxi>()}};
  return all;
}

}  // namespace fastrl
