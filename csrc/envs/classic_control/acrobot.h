// Acrobot: swing the free end of two links up by a torque at the joint between them.
//
// Observation [6]: cosine and sine of the first link's angle (0 hangs down), those of the second
// relative to the first, both angular velocities. Actions 0, 1, 2 are the torques -1, 0, 1. The
// reward is -1 a step and 0 for the last: the episode ends where the free end is higher than one
// link above the fixed one. A reset draws all four numbers between `low` and `high`. One step is
// one Runge-Kutta step of the fourth order over dt.
//
// Sutton, "Generalization in reinforcement learning", 1996, in the form of Gymnasium's Acrobot-v1
// (`book_or_nips`: the equations of Sutton and Barto's book or those of the paper). That one rounds
// what a reset draws to float32, takes float32 sines of it, and goes on in float64.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <type_traits>

#include "envs/body.h"
#include "envs/classic_control/numpy_float32.h"
#include "envs/trigonometry.h"

namespace fastrl {

struct Acrobot {
  static constexpr const char* kId = "Acrobot-v1";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kObservations = 6;
  using Action = int;

  // Products of what the equations take from the options.
  template <typename Scalar>
  struct Params {
    Scalar dt;
    Scalar max_velocity_1;
    Scalar max_velocity_2;
    Scalar mass_1_center_squared;  // m₁ c₁²
    Scalar mass_2;
    Scalar length_1_center_2_squared;  // l₁² + c₂²
    Scalar length_center;              // l₁ c₂
    Scalar twice_length_center;        // 2 l₁ c₂
    Scalar inertia;
    Scalar center_2_squared;
    Scalar weight_1;        // (m₁ c₁ + m₂ l₁) g
    Scalar weight_2;        // m₂ c₂ g
    Scalar coupling;        // m₂ l₁ c₂
    Scalar twice_coupling;  // 2 m₂ l₁ c₂
    Scalar inertia_2;       // m₂ c₂² + I
    bool nips;
  };

  template <typename Number>
  struct State {
    Number theta1;
    Number theta2;
    Number velocity1;
    Number velocity2;
  };
  struct ExactState : State<double> {
    std::uint64_t stepped;
  };

  template <typename Scalar>
  static Params<Scalar> parse(Options& options) {
    const auto scalar = [](double x) { return static_cast<Scalar>(x); };
    const auto squared = [](double x) {
      to_square<double>(x);
      return x;
    };
    const bool nips = options.choice("book_or_nips", "book", {"book", "nips"}) == 1;
    const double dt = positive(options, "dt", 0.2);
    const double g = constant(options, "gravity", 9.8);
    const double l1 = positive(options, "link_length_1", 1.0);
    const double m1 = positive(options, "link_mass_1", 1.0);
    const double m2 = positive(options, "link_mass_2", 1.0);
    const double c1 = positive(options, "link_com_pos_1", 0.5);
    const double c2 = positive(options, "link_com_pos_2", 0.5);
    const double inertia = positive(options, "link_moi", 1.0);
    return {.dt = scalar(dt),
            .max_velocity_1 = scalar(positive(options, "max_vel_1", 4.0 * std::numbers::pi)),
            .max_velocity_2 = scalar(positive(options, "max_vel_2", 9.0 * std::numbers::pi)),
            .mass_1_center_squared = scalar(m1 * squared(c1)),
            .mass_2 = scalar(m2),
            .length_1_center_2_squared = scalar(squared(l1) + squared(c2)),
            .length_center = scalar(l1 * c2),
            .twice_length_center = scalar(2.0 * l1 * c2),
            .inertia = scalar(inertia),
            .center_2_squared = scalar(squared(c2)),
            .weight_1 = scalar((m1 * c1 + m2 * l1) * g),
            .weight_2 = scalar(m2 * c2 * g),
            .coupling = scalar(m2 * l1 * c2),
            .twice_coupling = scalar(2.0 * m2 * l1 * c2),
            .inertia_2 = scalar(m2 * squared(c2) + inertia),
            .nips = nips};
  }

  template <typename Scalar>
  static void describe(const Params<Scalar>& params, Description& description) {
    const double v1{params.max_velocity_1};
    const double v2{params.max_velocity_2};
    description.add_observation(
        box<float>({6}, {-1.0, -1.0, -1.0, -1.0, -v1, -v2}, {1.0, 1.0, 1.0, 1.0, v1, v2}));
    description.set_action(discrete(3));
    description.max_episode_steps = 500;
    description.add_reset_option("low");
    description.add_reset_option("high");
    description.add_label("goal");
  }

  template <typename Number, typename Random>
  static State<Number> reset(Random& random, const double* options) {
    const double low = reset_option(options, 0, -0.1);
    const double high = reset_option(options, 1, 0.1);
    const auto drawn = four_uniform(random, low, high);
    const auto at = [&](std::size_t i) { return Number{static_cast<float>(drawn[i])}; };
    return {at(0), at(1), at(2), at(3)};
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void step(const Params<ScalarOf<Number>>& p,
                                                    State<Number>& s, const Number& action,
                                                    Outcome<Number>& outcome) {
    using Scalar = ScalarOf<Number>;
    const Number torque = action - Scalar{1};
    const Scalar half = p.dt / Scalar{2};
    State<Number> k1, k2, k3, k4, at;
    derivative(p, s, torque, k1);
    moved(s, half, k1, at);
    derivative(p, at, torque, k2);
    moved(s, half, k2, at);
    derivative(p, at, torque, k3);
    moved(s, p.dt, k3, at);
    derivative(p, at, torque, k4);
    const Scalar sixth = p.dt / Scalar{6};
    const Scalar two{2};
    s.theta1 = s.theta1 + sixth * (k1.theta1 + two * k2.theta1 + two * k3.theta1 + k4.theta1);
    s.theta2 = s.theta2 + sixth * (k1.theta2 + two * k2.theta2 + two * k3.theta2 + k4.theta2);
    s.velocity1 = s.velocity1 +
                  sixth * (k1.velocity1 + two * k2.velocity1 + two * k3.velocity1 + k4.velocity1);
    s.velocity2 = s.velocity2 +
                  sixth * (k1.velocity2 + two * k2.velocity2 + two * k3.velocity2 + k4.velocity2);
    wrap(s.theta1);
    wrap(s.theta2);
    clip(-p.max_velocity_1, p.max_velocity_1, s.velocity1);
    clip(-p.max_velocity_2, p.max_velocity_2, s.velocity2);
    up(s, outcome.terminated);
    outcome.reward = outcome.terminated - Scalar{1};
  }

  static void step(const Params<double>& p, ExactState& s, double action,
                   Outcome<double>& outcome) {
    step<double>(p, s, action, outcome);
    s.stepped = 1;
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void observe(const Params<ScalarOf<Number>>&,
                                                       const State<Number>& s,
                                                       Number (&to)[kObservations]) {
    sine_cosine(s.theta1, to[1], to[0]);
    sine_cosine(s.theta2, to[3], to[2]);
    to[4] = s.velocity1;
    to[5] = s.velocity2;
  }

  static void observe(const Params<double>& p, const ExactState& s, double (&to)[kObservations]) {
    observe<double>(p, s, to);
    if (s.stepped != 0) return;
    to[0] = numpy::cos(static_cast<float>(s.theta1));
    to[1] = numpy::sin(static_cast<float>(s.theta1));
    to[2] = numpy::cos(static_cast<float>(s.theta2));
    to[3] = numpy::sin(static_cast<float>(s.theta2));
  }

  template <typename Scalar>
  static std::uint64_t labels(const Params<Scalar>&, const State<Scalar>& s) {
    Scalar goal;
    up(s, goal);
    return goal > Scalar{0} ? 1U : 0U;
  }

 private:
  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void moved(const State<Number>& from, ScalarOf<Number> dt,
                                                     const State<Number>& rate, State<Number>& to) {
    to.theta1 = from.theta1 + dt * rate.theta1;
    to.theta2 = from.theta2 + dt * rate.theta2;
    to.velocity1 = from.velocity1 + dt * rate.velocity1;
    to.velocity2 = from.velocity2 + dt * rate.velocity2;
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void derivative(const Params<ScalarOf<Number>>& p,
                                                          const State<Number>& s,
                                                          const Number& torque,
                                                          State<Number>& rate) {
    Number sine2, cosine2, fall1, fall2;
    sine_cosine(s.theta2, sine2, cosine2);
    lever(s.theta1, fall1);
    lever(Number(s.theta1 + s.theta2), fall2);
    const Number d1 = p.mass_1_center_squared +
                      p.mass_2 * (p.length_1_center_2_squared + p.twice_length_center * cosine2) +
                      p.inertia + p.inertia;
    const Number d2 = p.mass_2 * (p.center_2_squared + p.length_center * cosine2) + p.inertia;
    Number square1 = s.velocity1;
    Number square2 = s.velocity2;
    Number d2_square = d2;
    to_square<Number>(square1);
    to_square<Number>(square2);
    to_square<Number>(d2_square);
    const Number phi2 = p.weight_2 * fall2;
    const Number phi1 = -p.coupling * square2 * sine2 -
                        p.twice_coupling * s.velocity2 * s.velocity1 * sine2 + p.weight_1 * fall1 +
                        phi2;
    Number push = torque + d2 / d1 * phi1;
    if (!p.nips) push = push - p.coupling * square1 * sine2;
    rate.theta1 = s.velocity1;
    rate.theta2 = s.velocity2;
    rate.velocity2 = (push - phi2) / (p.inertia_2 - d2_square / d1);
    rate.velocity1 = -(d2 * rate.velocity2 + phi1) / d1;
  }

  // cos(angle - π/2).
  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void lever(const Number& angle, Number& result) {
    if constexpr (std::is_same_v<Number, double>) {
      cosine(angle - std::numbers::pi / 2.0, result);
    } else {
      sine(angle, result);
    }
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void wrap(Number& angle) {
    if constexpr (std::is_same_v<Number, double>) {
      constexpr double kTurn = 2.0 * std::numbers::pi;
      if (std::fabs(angle) > 1e6) angle = std::remainder(angle, kTurn);  // or it takes for ever
      while (angle > std::numbers::pi) angle = angle - kTurn;
      while (angle < -std::numbers::pi) angle = angle + kTurn;
    } else {
      wrap_angle(angle);
    }
  }

  template <typename Number>
  FASTRL_INLINE FASTRL_HOST_DEVICE static void up(const State<Number>& s, Number& result) {
    Number cosine1, cosine_sum;
    cosine(s.theta1, cosine1);
    cosine(Number(s.theta2 + s.theta1), cosine_sum);
    const Number one = Number{} + ScalarOf<Number>{1};
    result = Number{};
    replace_where_less(one, Number(-cosine1 - cosine_sum), one, result);
  }
};

}  // namespace fastrl
