// MountainCar: a car too weak to climb out of a valley has to swing up to the goal.
//
// Observation [2]: position and velocity. Actions 0, 1, 2 push left, not at all, right. The reward
// is -1 a step. The episode ends at the goal's position with at least the goal's velocity. A reset
// draws the position between `low` and `high`, at rest.
//
// Moore, "Efficient memory-based learning for robot control", 1990, in the form of Gymnasium's
// MountainCar-v0.
#pragma once

#include <cstdint>

#include "envs/body.h"
#include "envs/classic_control/valley.h"
#include "envs/trigonometry.h"

namespace fastrl {

struct MountainCar {
  static constexpr const char* kId = "MountainCar-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kObservations = 2;
  using Action = int;

  template <typename Scalar>
  struct Params {
    Valley<Scalar> valley;
    Scalar force;
    Scalar gravity;
  };

  template <typename Number>
  using State = CarState<Number>;
  using ExactState = State<double>;

  template <typename Scalar>
  static Params<Scalar> parse(Options& options) {
    return {.valley = Valley<Scalar>::parse(options, 0.5),
            .force = static_cast<Scalar>(constant(options, "force", 0.001)),
            .gravity = static_cast<Scalar>(constant(options, "gravity", 0.0025))};
  }

  template <typename Scalar>
  static void describe(const Params<Scalar>& params, Description& description) {
    params.valley.describe(description);
    description.set_action(discrete(3));
    description.max_episode_steps = 200;
  }

  template <typename Number, typename Random>
  static State<Number> reset(Random& random, const double* options) {
    return State<Number>::drawn(random, options);
  }

  template <typename Number>
  struct Waves {
    Number slope;
  };

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void waves(const State<Number>& s, Waves<Number>& of) {
    cosine(Number(ScalarOf<Number>{3} * s.position), of.slope);
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void step(const Params<ScalarOf<Number>>& p,
                                                    const Waves<Number>& of, State<Number>& s,
                                                    const Number& action,
                                                    Outcome<Number>& outcome) {
    using Scalar = ScalarOf<Number>;
    drive(p.valley, Number((action - Scalar{1}) * p.force + of.slope * -p.gravity), s,
          outcome.terminated);
    outcome.reward = Number{} - Scalar{1};
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void observe(const Params<ScalarOf<Number>>&,
                                                       const State<Number>& s,
                                                       Number (&to)[kObservations]) {
    to[0] = s.position;
    to[1] = s.velocity;
  }

  template <typename Scalar>
  static std::uint64_t labels(const Params<Scalar>& p, const State<Scalar>& s) {
    return p.valley.reached(s.position, s.velocity) ? 1U : 0U;
  }
};

}  // namespace fastrl
