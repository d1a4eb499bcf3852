// A Python module of your own that hands over an environment in a capsule, with nanobind.
//
// The environment is the random walk of Sutton & Barto's example 6.2 with a say in the direction:
// start in the middle of a chain, end with reward 1 on the right or 0 on the left.
#include <fastrl/environment.h>
#include <nanobind/nanobind.h>

struct Walk {
  static constexpr const char* kId = "Walk-v0";
  static constexpr std::uint32_t kVersion = 1;

  struct Params {
    std::int64_t length;
    double success_rate;  // of going where the action wants to
  };
  struct State {
    std::int64_t position;
  };

  static Params parse(fastrl::Options& options) {
    return {options.integer("length", 5, 1, 1000), options.number("success_rate", 0.8, 0.0, 1.0)};
  }

  static void describe(const Params& params, fastrl::Description& description) {
    description.add_observation(fastrl::discrete(params.length + 2));
    description.set_action(fastrl::discrete(2));
  }

  static State reset(const Params& params, fastrl::RandomStream&) {
    return {(params.length + 1) / 2};
  }

  static fastrl::StepResult step(const Params& params, State& state, fastrl::RandomStream& random,
                                 int action) {
    const bool as_wanted = random.uniform() < params.success_rate;
    state.position += (action == 1) == as_wanted ? 1 : -1;
    const bool right = state.position == params.length + 1;
    return {.reward = right ? 1.0 : 0.0, .terminated = right || state.position == 0};
  }

  static void observe(const Params&, const State& state, const fastrl::Rows& rows) {
    *rows.at<std::int64_t>(0) = state.position;
  }
};

NB_MODULE(walk_env, module) {
  module.attr("__fastrl_environment__") =
      nanobind::capsule(fastrl::environment<Walk>(), FASTRL_CAPSULE_NAME);
}
