// PointReach: move a point in the box [-1, 1]^d to the goal.
//
// Observation   dict of observation, achieved_goal (both the point's position) and desired_goal,
//               float32 [d] each.
// Action        float32 [d], clipped to [-1, 1]. "velocity": the displacement in units of `speed`,
//               axis by axis. "position": the place to go to, in a straight line and at most
//               `speed` far. The point stays in the box.
// Reward        "sparse": 0 within `threshold` of the goal, else -1; "dense": minus the distance.
// End           truncated after 50 steps; terminated at the goal with `terminate_at_goal`.
// Level         start and goal, uniform over all pairs farther apart than `threshold`.
//
// The goal environments of Gymnasium-Robotics (Plappert et al., "Multi-Goal Reinforcement
// Learning", 2018) without their physics: rewards, limit and default of `terminate_at_goal` are
// theirs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "envs/environment.h"

namespace fastrl {

struct PointReach {
  static constexpr const char* kId = "PointReach-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kMaxDimensions = 8;

  using Action = const float*;

  struct Params {
    double threshold;
    double speed;
    int dimensions;
    bool dense;
    bool by_position;
    bool terminate_at_goal;
  };

  struct State {
    float position[kMaxDimensions];
    float goal[kMaxDimensions];
  };

  static Params parse(Options& options) {
    return {.threshold = options.number("threshold", 0.05, 0.001, 0.5),
            .speed = options.number("speed", 0.1, 0.001, 2.0),
            .dimensions = static_cast<int>(options.integer("dimensions", 2, 1, kMaxDimensions)),
            .dense = options.choice("reward", "sparse", {"sparse", "dense"}) == 1,
            .by_position = options.choice("control", "velocity", {"velocity", "position"}) == 1,
            .terminate_at_goal = options.boolean("terminate_at_goal", false)};
  }

  static void describe(const Params& params, Description& description) {
    for (const char* key : {"observation", "achieved_goal", "desired_goal"}) {
      description.add_observation(key, box<float>({params.dimensions}, -1.0, 1.0));
    }
    description.set_action(box<float>({params.dimensions}, -1.0, 1.0));
    description.max_episode_steps = 50;
    description.reports_success = 1;
    description.goal_size = params.dimensions;
    description.add_label("goal");
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{};
    draw(params, level, state.position);
    do {
      draw(params, level, state.goal);
    } while (at_goal(params, state));
    return state;
  }

  // In float64, rounded to float32 once.
  static StepResult step(const Params& params, State& state, const float* action) {
    double to_go[kMaxDimensions];
    double distance = 0.0;
    for (int i = 0; i < params.dimensions; ++i) {
      to_go[i] = clip(action[i]) - (params.by_position ? double{state.position[i]} : 0.0);
      distance += to_go[i] * to_go[i];
    }
    double scale = params.speed;
    if (params.by_position) scale = std::min(1.0, params.speed / std::sqrt(distance));
    for (int i = 0; i < params.dimensions; ++i) {
      state.position[i] = static_cast<float>(clip(double{state.position[i]} + scale * to_go[i]));
    }
    const bool success = at_goal(params, state);
    return {.reward = goal_reward(params, state.position, state.goal),
            .terminated = success && params.terminate_at_goal,
            .success = success};
  }

  static void observe(const Params& params, const State& state, const Rows& rows) {
    std::copy_n(state.position, params.dimensions, rows.at<float>(0));
    std::copy_n(state.position, params.dimensions, rows.at<float>(1));
    std::copy_n(state.goal, params.dimensions, rows.at<float>(2));
  }

  static double goal_reward(const Params& params, const float* achieved, const float* desired) {
    const double apart = distance(params, achieved, desired);
    if (params.dense) return -apart;
    return apart <= params.threshold ? 0.0 : -1.0;  // NaN is no success
  }

  static std::uint64_t labels(const Params& params, const State& state) {
    return at_goal(params, state) ? 1 : 0;
  }

  static bool valid(const Params& params, const State& state, bool running) {
    for (int i = 0; i < kMaxDimensions; ++i) {
      const bool used = i < params.dimensions;
      for (const float x : {state.position[i], state.goal[i]}) {
        if (used ? !(std::abs(x) <= 1.0F) : x != 0.0F) return false;
      }
    }
    return !(running && params.terminate_at_goal && at_goal(params, state));
  }

 private:
  static double clip(double x) { return std::clamp(x, -1.0, 1.0); }

  static void draw(const Params& params, RandomStream& level, float* to) {
    for (int i = 0; i < params.dimensions; ++i) to[i] = 2.0F * level.uniform() - 1.0F;
  }

  static double distance(const Params& params, const float* a, const float* b) {
    double sum = 0.0;
    for (int i = 0; i < params.dimensions; ++i) {
      const double difference = double{a[i]} - double{b[i]};
      sum += difference * difference;
    }
    return std::sqrt(sum);
  }

  static bool at_goal(const Params& params, const State& state) {
    return distance(params, state.position, state.goal) <= params.threshold;
  }
};

static_assert(Environment<PointReach>);

}  // namespace fastrl
