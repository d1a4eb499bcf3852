// Pendulum: swing a pendulum up and hold it there with a torque too weak to lift it at once.
//
// Observation [3]: cosine and sine of the angle (0 is upright), and the angular velocity. Action
// [1]: the torque, cut off at ±max_torque. The reward is -(θ² + 0.1 θ̇² + 0.001 torque²) of the
// state before the step, θ in [-π, π]. No state ends an episode. A reset draws the angle between
// ±x_init and the velocity between ±y_init.
//
// Gymnasium's Pendulum-v1. It computes the torque's part in float32; it lets the angle grow, which
// float32 could not afford: the other forms keep it in [-π, π], which no observation shows.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <type_traits>

#include "envs/body.h"
#include "envs/trigonometry.h"

namespace fastrl {

struct Pendulum {
  static constexpr const char* kId = "Pendulum-v1";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kObservations = 3;
  using Action = const float*;

  template <typename Scalar>
  struct Params {
    Scalar max_speed;
    Scalar dt;
    Scalar weight;  // 3 g / (2 l)
    float max_torque;
    float torque_gain;  // 3 / (m l²)
  };

  template <typename Number>
  struct State {
    Number theta;
    Number theta_dot;
  };
  using ExactState = State<double>;

  template <typename Scalar>
  static Params<Scalar> parse(Options& options) {
    const double g = constant(options, "g", 10.0);
    const double m = positive(options, "m", 1.0);
    const double l = positive(options, "l", 1.0);
    double l_square = l;
    to_square<double>(l_square);
    return {.max_speed = static_cast<Scalar>(positive(options, "max_speed", 8.0)),
            .dt = static_cast<Scalar>(positive(options, "dt", 0.05)),
            .weight = static_cast<Scalar>(3.0 * g / (2.0 * l)),
            .max_torque = static_cast<float>(positive(options, "max_torque", 2.0)),
            .torque_gain = static_cast<float>(3.0 / (m * l_square))};
  }

  template <typename Scalar>
  static void describe(const Params<Scalar>& params, Description& description) {
    const double speed{params.max_speed};
    description.add_observation(box<float>({3}, {-1.0, -1.0, -speed}, {1.0, 1.0, speed}));
    description.set_action(box<float>({1}, -double{params.max_torque}, double{params.max_torque}));
    description.max_episode_steps = 200;
    description.add_reset_option("x_init");
    description.add_reset_option("y_init");
  }

  template <typename Number, typename Random>
  static State<Number> reset(Random& random, const double* options) {
    const double angle = reset_option(options, 0, std::numbers::pi);
    const double velocity = reset_option(options, 1, 1.0);
    const double theta = uniform(random, -angle, angle);
    const double theta_dot = uniform(random, -velocity, velocity);
    if constexpr (std::is_same_v<Number, double>) {
      return {theta, theta_dot};
    } else {
      return {static_cast<Number>(std::remainder(theta, 2.0 * std::numbers::pi)),
              static_cast<Number>(theta_dot)};
    }
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void step(const Params<ScalarOf<Number>>& p,
                                                    State<Number>& s,
                                                    const SingleOf<Number>& action,
                                                    Outcome<Number>& outcome) {
    using Scalar = ScalarOf<Number>;
    SingleOf<Number> torque = action;
    clip(-p.max_torque, p.max_torque, torque);
    Number sine_theta;
    sine(s.theta, sine_theta);
    Number angle = s.theta;
    if constexpr (std::is_same_v<Number, double>) {
      angle = modulo(angle + std::numbers::pi, 2.0 * std::numbers::pi) - std::numbers::pi;
    } else {
      wrap_angle(angle);
      s.theta = angle;
    }
    Number speed_cost = s.theta_dot;
    SingleOf<Number> torque_cost = torque;
    to_square<Number>(angle);
    to_square<Number>(speed_cost);
    to_square<Number>(torque_cost);
    outcome.reward = -(angle + static_cast<Scalar>(0.1) * speed_cost + 0.001f * torque_cost);
    outcome.terminated = Number{};
    s.theta_dot = s.theta_dot + (p.weight * sine_theta + p.torque_gain * torque) * p.dt;
    clip(-p.max_speed, p.max_speed, s.theta_dot);
    s.theta = s.theta + s.theta_dot * p.dt;
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void observe(const Params<ScalarOf<Number>>&,
                                                       const State<Number>& s,
                                                       Number (&to)[kObservations]) {
    sine_cosine(s.theta, to[1], to[0]);
    to[2] = s.theta_dot;
  }

 private:
  // Python's x % y for y > 0.
  static double modulo(double x, double y) {
    const double rest = std::fmod(x, y);
    return rest < 0.0 ? rest + y : rest;
  }
};

}  // namespace fastrl
