// Bandit: pull one of k arms, again and again.
//
// Observation   always 0: what is known of the arms is in the actions and rewards so far.
// Action        0, …, k - 1: the arm.
// Reward        "bernoulli": 1 with the arm's probability, else 0; "gaussian": normal around the
//               arm's mean, with standard deviation `noise`.
// End           truncated after 100 steps.
// Infos         regret: the best arm's expected reward minus that of the arm pulled.
// Level         the arms: probabilities uniform in [0, 1), means standard normal. A level can be
//               written as k numbers.
//
// Success is a pull of the best arm. Duan et al., "RL²: Fast Reinforcement Learning via Slow
// Reinforcement Learning", 2016, section 3.1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <string_view>

#include "envs/decisions/number_reader.h"
#include "envs/environment.h"

namespace fastrl {

struct Bandit {
  static constexpr const char* kId = "Bandit-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kMaxArms = 64;

  struct Params {
    double noise;
    int num_arms;
    bool gaussian;
  };

  struct State {
    double arms[kMaxArms];  // expected rewards
  };

  struct Result : StepResult {
    double regret = 0.0;
  };

  static Params parse(Options& options) {
    const auto num_arms = static_cast<int>(options.integer("num_arms", 10, 2, kMaxArms));
    const bool gaussian =
        options.choice("distribution", "bernoulli", {"bernoulli", "gaussian"}) == 1;
    const double noise = options.number("noise", 1.0, 0.0, 1e6);
    if (!gaussian) options.omit("noise");
    return {.noise = noise, .num_arms = num_arms, .gaussian = gaussian};
  }

  static void describe(const Params& params, Description& description) {
    description.add_observation(discrete(1));
    description.set_action(discrete(params.num_arms));
    description.add_info("regret", box<double>({}, 0.0, kInfinity), false);
    description.max_episode_steps = 100;
    description.reports_success = 1;
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{};
    for (int arm = 0; arm < params.num_arms; ++arm) {
      state.arms[arm] = params.gaussian ? normal(level) : double{level.uniform()};
    }
    return state;
  }

  static Result step(const Params& params, State& state, RandomStream& random, int action) {
    const double expected = state.arms[action];
    const double best = *std::max_element(state.arms, state.arms + params.num_arms);
    Result result;
    if (params.gaussian) {
      result.reward = expected + params.noise * normal(random);
    } else {
      result.reward = random.uniform() < expected ? 1.0 : 0.0;
    }
    result.regret = best - expected;
    result.success = expected == best;
    return result;
  }

  static void observe(const Params&, const State&, const Rows& rows) {
    *rows.at<std::int64_t>(0) = 0;
  }

  static void inform(const Params&, const State&, const Result* result, const Rows& rows) {
    if (result != nullptr) *rows.at<double>(0) = result->regret;
  }

  static Solution solve(const Params& params, const State& state) {
    const double* best = std::max_element(state.arms, state.arms + params.num_arms);
    return {.distance = 1, .first_action = static_cast<std::int32_t>(best - state.arms)};
  }

  static State parse_level(const Params& params, std::string_view text) {
    constexpr double kHuge = std::numeric_limits<double>::max();
    NumberReader numbers(
        text, concat(params.num_arms,
                     params.gaussian ? " expected rewards" : " probabilities from 0 to 1"));
    State state{};
    for (int arm = 0; arm < params.num_arms; ++arm) {
      state.arms[arm] = params.gaussian ? numbers.next(-kHuge, kHuge) : numbers.next(0.0, 1.0);
    }
    numbers.finish();
    return state;
  }

  static bool valid(const Params& params, const State& state, bool) {
    for (int arm = 0; arm < kMaxArms; ++arm) {
      const double expected = state.arms[arm];
      const bool possible =
          params.gaussian ? std::isfinite(expected) : expected >= 0.0 && expected <= 1.0;
      if (arm < params.num_arms ? !possible : expected != 0.0) return false;
    }
    return true;
  }

 private:
  // Box and Muller's method.
  static double normal(RandomStream& random) {
    const double u = 1.0 - double{random.uniform()};  // never 0
    const auto v = double{random.uniform()};
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
  }
};

static_assert(Environment<Bandit>);

}  // namespace fastrl
