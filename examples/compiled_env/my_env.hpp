// Thermostat: keep a room at 20 °C through a winter day of 288 steps of five minutes.
//
// Observation  indoor and outdoor temperature in °C, share of the day that has passed
// Actions      0 off, 1 half, 2 full power
// Reward       minus the distance from 20 °C, minus a tenth of the power
// Option       insulation, from 0 (open windows) to 1 (none gets out)
#include <fastrl/environment.h>

#include <cmath>
#include <numbers>

struct Thermostat {
  static constexpr const char* kId = "Thermostat-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr double kStepsPerDay = 288.0;

  struct Params {
    double loss;  // share of the difference that gets out in a step
  };
  struct State {
    double indoor, outdoor, coldest, step;
  };

  static Params parse(fastrl::Options& options) {
    return {0.2 * (1.0 - options.number("insulation", 0.8, 0.0, 1.0))};
  }

  static void describe(const Params&, fastrl::Description& description) {
    description.add_observation(fastrl::box<float>({3}, {-50, -50, 0}, {60, 60, 1}));
    description.set_action(fastrl::discrete(3));
    description.max_episode_steps = 288;
  }

  static State reset(const Params&, fastrl::RandomStream& level) {
    const double coldest = -10.0 + 10.0 * level.uniform();
    return {15.0 + 5.0 * level.uniform(), coldest, coldest, 0.0};
  }

  static fastrl::StepResult step(const Params& params, State& state, fastrl::RandomStream& random,
                                 int action) {
    const double power = action / 2.0;
    const double gust = random.uniform() - 0.5;
    state.indoor += power + params.loss * (state.outdoor - state.indoor);
    state.step += 1.0;
    const double day = std::sin(std::numbers::pi * state.step / kStepsPerDay);
    state.outdoor = state.coldest + 12.0 * day + gust;
    return {.reward = -std::abs(state.indoor - 20.0) - 0.1 * power};
  }

  static void observe(const Params&, const State& state, const fastrl::Rows& rows) {
    auto* row = rows.at<float>(0);
    row[0] = static_cast<float>(state.indoor);
    row[1] = static_cast<float>(state.outdoor);
    row[2] = static_cast<float>(state.step / kStepsPerDay);
  }
};

FASTRL_ENVIRONMENT(Thermostat);
