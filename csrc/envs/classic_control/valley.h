// Where both mountain cars drive: the bounds, the wall on the left, the goal on the right.
#pragma once

#include "core/check.h"
#include "envs/body.h"

namespace fastrl {

template <typename Number>
struct CarState {
  Number position;
  Number velocity;

  template <typename Random>
  static CarState drawn(Random& random, const double* options) {
    const double low = reset_option(options, 0, -0.6);
    const double high = reset_option(options, 1, -0.4);
    return {static_cast<Number>(uniform(random, low, high)), Number{0}};
  }
};

template <typename Scalar>
struct Valley {
  Scalar min_position;
  Scalar max_position;
  Scalar max_speed;
  Scalar goal_position;
  Scalar goal_velocity;

  static Valley parse(Options& options, double goal_position) {
    const double left = constant(options, "min_position", -1.2);
    const double right = constant(options, "max_position", 0.6);
    if (!(left < right)) {
      fail_value("make_vec", "max_position", concat("be greater than `min_position` (", left, ")"),
                 concat(right));
    }
    return {.min_position = static_cast<Scalar>(left),
            .max_position = static_cast<Scalar>(right),
            .max_speed = static_cast<Scalar>(positive(options, "max_speed", 0.07)),
            .goal_position = static_cast<Scalar>(constant(options, "goal_position", goal_position)),
            .goal_velocity = static_cast<Scalar>(constant(options, "goal_velocity", 0.0))};
  }

  void describe(Description& description) const {
    const double speed{max_speed};
    description.add_observation(
        box<float>({2}, {double{min_position}, -speed}, {double{max_position}, speed}));
    description.add_reset_option("low");
    description.add_reset_option("high");
    description.add_label("goal");
  }

  bool reached(Scalar position, Scalar velocity) const {
    return position >= goal_position && velocity >= goal_velocity;
  }
};

// One step under an acceleration; the wall on the left takes all speed. The limits are rounded to
// the car's numbers first, as NumPy rounds a Python number that meets a float32.
template <typename Number, typename Scalar>
FASTRL_INLINE FASTRL_HOST_DEVICE void drive(const Valley<Scalar>& valley,
                                            const Number& acceleration, CarState<Number>& car,
                                            Number& at_goal) {
  using Limit = ScalarOf<Number>;
  const auto max_speed = static_cast<Limit>(valley.max_speed);
  const auto min_position = static_cast<Limit>(valley.min_position);
  car.velocity = car.velocity + acceleration;
  clip(-max_speed, max_speed, car.velocity);
  car.position = car.position + car.velocity;
  clip(min_position, static_cast<Limit>(valley.max_position), car.position);
  Number not_left = car.velocity;
  replace_where_less(car.velocity, Number{}, Number{}, not_left);
  replace_where_less(Number(Number{} + min_position), car.position, car.velocity, not_left);
  car.velocity = not_left;
  at_goal = Number{} + Limit{1};
  const Number goal_position = Number{} + static_cast<Limit>(valley.goal_position);
  const Number goal_velocity = Number{} + static_cast<Limit>(valley.goal_velocity);
  replace_where_less(car.position, goal_position, Number{}, at_goal);
  replace_where_less(car.velocity, goal_velocity, Number{}, at_goal);
}

}  // namespace fastrl
