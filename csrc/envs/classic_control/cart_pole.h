// CartPole: push a cart left or right so that the pole on it stays up.
//
// Observation [4]: the cart's position and velocity, the pole's angle and angular velocity. Action
// 0 pushes left, 1 right. The reward is 1 a step; with `sutton_barto_reward` 0, and -1 for the step
// that ends the episode. It ends where the cart leaves ±x_threshold or the pole
// ±theta_threshold_radians. A reset draws all four numbers between `low` and `high`.
//
// Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult learning
// control problems", 1983, in the form of Gymnasium's CartPole-v1.
#pragma once

#include <cstdint>
#include <numbers>

#include "envs/body.h"
#include "envs/trigonometry.h"

namespace fastrl {

struct CartPole {
  static constexpr const char* kId = "CartPole-v1";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kObservations = 4;
  using Action = int;

  template <typename Scalar>
  struct Params {
    Scalar gravity;
    Scalar masspole;
    Scalar length;  // half of the pole's
    Scalar force_mag;
    Scalar tau;  // seconds a step
    Scalar x_threshold;
    Scalar theta_threshold;
    Scalar total_mass;
    Scalar polemass_length;
    Scalar step_reward;
    Scalar last_reward;  // on top of it
    bool semi_implicit;
  };

  template <typename Number>
  struct State {
    Number x;
    Number x_dot;
    Number theta;
    Number theta_dot;
  };
  using ExactState = State<double>;

  template <typename Scalar>
  static Params<Scalar> parse(Options& options) {
    const bool sutton_barto = options.boolean("sutton_barto_reward", false);
    const bool semi_implicit =
        options.choice("kinematics_integrator", "euler", {"euler", "semi-implicit euler"}) == 1;
    const double gravity = constant(options, "gravity", 9.8);
    const double masscart = positive(options, "masscart", 1.0);
    const double masspole = positive(options, "masspole", 0.1);
    const double length = positive(options, "length", 0.5);
    return {.gravity = static_cast<Scalar>(gravity),
            .masspole = static_cast<Scalar>(masspole),
            .length = static_cast<Scalar>(length),
            .force_mag = static_cast<Scalar>(constant(options, "force_mag", 10.0)),
            .tau = static_cast<Scalar>(positive(options, "tau", 0.02)),
            .x_threshold = static_cast<Scalar>(positive(options, "x_threshold", 2.4)),
            .theta_threshold = static_cast<Scalar>(
                positive(options, "theta_threshold_radians", 24.0 * std::numbers::pi / 360.0)),
            .total_mass = static_cast<Scalar>(masspole + masscart),
            .polemass_length = static_cast<Scalar>(masspole * length),
            .step_reward = sutton_barto ? Scalar{0} : Scalar{1},
            .last_reward = sutton_barto ? Scalar{-1} : Scalar{0},
            .semi_implicit = semi_implicit};
  }

  template <typename Scalar>
  static void describe(const Params<Scalar>& params, Description& description) {
    const double x = 2.0 * static_cast<double>(params.x_threshold);
    const double theta = 2.0 * static_cast<double>(params.theta_threshold);
    description.add_observation(
        box<float>({4}, {-x, -kInfinity, -theta, -kInfinity}, {x, kInfinity, theta, kInfinity}));
    description.set_action(discrete(2));
    description.max_episode_steps = 500;
    description.add_reset_option("low");
    description.add_reset_option("high");
    description.add_label("off_track");
    description.add_label("fallen");
  }

  template <typename Number, typename Random>
  static State<Number> reset(Random& random, const double* options) {
    const double low = reset_option(options, 0, -0.05);
    const double high = reset_option(options, 1, 0.05);
    const auto drawn = four_uniform(random, low, high);
    const auto at = [&](std::size_t i) { return static_cast<Number>(drawn[i]); };
    return {at(0), at(1), at(2), at(3)};
  }

  template <typename Number>
  struct Waves {
    Number sine;
    Number cosine;
  };

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void waves(const State<Number>& s, Waves<Number>& of) {
    sine_cosine_or_nan(s.theta, of.sine, of.cosine);
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void step(const Params<ScalarOf<Number>>& p,
                                                    const Waves<Number>& pole, State<Number>& s,
                                                    const Number& action,
                                                    Outcome<Number>& outcome) {
    using Scalar = ScalarOf<Number>;
    const Number force = action == Scalar{1} ? Number{} + p.force_mag : Number{} - p.force_mag;
    const Number sine = pole.sine;
    const Number cosine = pole.cosine;
    const Number push =
        (force + p.polemass_length * (s.theta_dot * s.theta_dot) * sine) / p.total_mass;
    const Number theta_acceleration =
        (p.gravity * sine - cosine * push) /
        (p.length * (Scalar{4} / Scalar{3} - p.masspole * (cosine * cosine) / p.total_mass));
    const Number x_acceleration =
        push - p.polemass_length * theta_acceleration * cosine / p.total_mass;
    if (p.semi_implicit) {
      s.x_dot = s.x_dot + p.tau * x_acceleration;
      s.x = s.x + p.tau * s.x_dot;
      s.theta_dot = s.theta_dot + p.tau * theta_acceleration;
      s.theta = s.theta + p.tau * s.theta_dot;
    } else {
      s.x = s.x + p.tau * s.x_dot;
      s.x_dot = s.x_dot + p.tau * x_acceleration;
      s.theta = s.theta + p.tau * s.theta_dot;
      s.theta_dot = s.theta_dot + p.tau * theta_acceleration;
    }
    const Number one = Number{} + Scalar{1};
    const Number x_limit = Number{} + p.x_threshold;
    const Number theta_limit = Number{} + p.theta_threshold;
    outcome.terminated = Number{};
    replace_where_less(x_limit, s.x, one, outcome.terminated);
    replace_where_less(s.x, Number(-x_limit), one, outcome.terminated);
    replace_where_less(theta_limit, s.theta, one, outcome.terminated);
    replace_where_less(s.theta, Number(-theta_limit), one, outcome.terminated);
    outcome.reward = p.step_reward + outcome.terminated * p.last_reward;
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void observe(const Params<ScalarOf<Number>>&,
                                                       const State<Number>& s,
                                                       Number (&to)[kObservations]) {
    to[0] = s.x;
    to[1] = s.x_dot;
    to[2] = s.theta;
    to[3] = s.theta_dot;
  }

  template <typename Scalar>
  static std::uint64_t labels(const Params<Scalar>& p, const State<Scalar>& s) {
    const bool off_track = s.x < -p.x_threshold || s.x > p.x_threshold;
    const bool fallen = s.theta < -p.theta_threshold || s.theta > p.theta_threshold;
    return (off_track ? 1U : 0U) | (fallen ? 2U : 0U);
  }
};

}  // namespace fastrl
