#include "envs/block_kernel.h"
#include "envs/classic_control/acrobot.h"
#include "envs/classic_control/cart_pole.h"
#include "envs/classic_control/mountain_car.h"
#include "envs/classic_control/mountain_car_continuous.h"
#include "envs/classic_control/pendulum.h"
#include "envs/exact_kernel.h"
#include "envs/kernel.h"
#include "envs/registry.h"

namespace fastrl {
namespace {

template <typename B>
constexpr RegisteredEnvironment both() {
  return {environment<Exact<B>>(), block_environment<B>()};
}
template <typename B>
constexpr RegisteredEnvironment both_wide() {
  return {exact_environment<B>(), block_environment<B>()};
}

}  // namespace

std::span<const RegisteredEnvironment> classic_control() {
  static const RegisteredEnvironment all[] = {both_wide<CartPole>(), both_wide<MountainCar>(),
                                              both<MountainCarContinuous>(), both<Pendulum>(),
                                              both<Acrobot>()};
  return all;
}

}  // namespace fastrl
