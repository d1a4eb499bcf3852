// MountainCarContinuous: as MountainCar, with a push of any strength between -1 and 1.
//
// Observation [2]: position and velocity. Action [1]: the push; beyond its bounds it moves no more
// but costs more. The reward is -0.1 action², and 100 more at the goal, which ends the episode. A
// reset draws the position between `low` and `high`, at rest.
//
// Moore, "Efficient memory-based learning for robot control", 1990, in the form of Gymnasium's
// MountainCarContinuous-v0. That one draws float64 numbers, rounds them to float32 after the first
// step, and from then on computes in float32, save for the slope and for a push at its bounds.
#pragma once

#include <cmath>
#include <cstdint>

#include "envs/body.h"
#include "envs/classic_control/valley.h"
#include "envs/trigonometry.h"

namespace fastrl {

struct MountainCarContinuous {
  static constexpr const char* kId = "MountainCarContinuous-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kObservations = 2;
  using Action = const float*;

  template <typename Scalar>
  struct Params {
    Valley<Scalar> valley;
    Scalar power;
    Scalar gravity;
  };

  template <typename Number>
  using State = CarState<Number>;
  struct ExactState : State<double> {
    std::uint64_t stepped;
  };

  template <typename Scalar>
  static Params<Scalar> parse(Options& options) {
    return {.valley = Valley<Scalar>::parse(options, 0.45),
            .power = static_cast<Scalar>(constant(options, "power", 0.0015)),
            .gravity = static_cast<Scalar>(constant(options, "gravity", 0.0025))};
  }

  template <typename Scalar>
  static void describe(const Params<Scalar>& params, Description& description) {
    params.valley.describe(description);
    description.set_action(box<float>({1}, -1.0, 1.0));
    description.max_episode_steps = 999;
  }

  template <typename Number, typename Random>
  static State<Number> reset(Random& random, const double* options) {
    return State<Number>::drawn(random, options);
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void step(const Params<float>& p, State<Number>& s,
                                                    const Number& action,
                                                    Outcome<Number>& outcome) {
    Number slope;
    cosine(Number(3.0f * s.position), slope);
    Number push = action;
    clip(-1.0f, 1.0f, push);
    drive(p.valley, Number(push * p.power - p.gravity * slope), s, outcome.terminated);
    outcome.reward = 100.0f * outcome.terminated - action * action * 0.1f;
  }

  static void step(const Params<double>& p, ExactState& s, float action, Outcome<double>& outcome) {
    if (s.stepped == 0) {
      drive(p.valley, acceleration(p, s.position, action), s, outcome.terminated);
    } else {
      CarState<float> car{static_cast<float>(s.position), static_cast<float>(s.velocity)};
      const auto change = static_cast<float>(acceleration(p, car.position, action));
      float at_goal;
      drive(p.valley, change, car, at_goal);
      outcome.terminated = at_goal;
      s.position = car.position;
      s.velocity = car.velocity;
    }
    s.position = static_cast<float>(s.position);
    s.velocity = static_cast<float>(s.velocity);
    s.stepped = 1;
    outcome.reward = 100.0 * outcome.terminated - double{action} * double{action} * 0.1;
  }

  template <typename Scalar, typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void observe(const Params<Scalar>&,
                                                       const State<Number>& s,
                                                       Number (&to)[kObservations]) {
    to[0] = s.position;
    to[1] = s.velocity;
  }

  template <typename Scalar>
  static std::uint64_t labels(const Params<Scalar>& p, const State<Scalar>& s) {
    return p.valley.reached(s.position, s.velocity) ? 1U : 0U;
  }

 private:
  // A push within its bounds is a float32 and makes the sum one; at its bounds it is a float64.
  template <typename Number>
  static double acceleration(const Params<double>& p, Number position, float action) {
    const double slope = p.gravity * std::cos(double{Number{3} * position});
    if (action < -1.0f) return -1.0 * p.power - slope;
    if (action > 1.0f) return 1.0 * p.power - slope;
    return action * static_cast<float>(p.power) - static_cast<float>(slope);
  }
};

}  // namespace fastrl
