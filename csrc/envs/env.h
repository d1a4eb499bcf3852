// What an environment is: plain bytes of state and pure functions over them.
//
// The engine (vector_env.h) owns seeding, time limits, resets, snapshots and threads; an
// environment says only what happens in one step. Everything random in `reset` comes from the
// level's stream, so one level can be given to many environments; everything random in `step` comes
// from the environment's own stream.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include "core/random.h"
#include "envs/options.h"
#include "envs/text.h"

namespace fastrl {

struct StepResult {
  double reward = 0.0;
  bool terminated = false;
  bool success = false;
};

// How an observation is written: all there is to see, or the whole at the start of an episode and
// only what moves afterwards.
enum class ObservationForm { kGrid, kCompact };

inline constexpr std::int32_t kUnsolvable = -1;
inline constexpr std::int32_t kUnknown = -2;  // the search gave up at its bound on states

// The fewest actions to success, and the first of them (-1 where there is none).
struct Solution {
  std::int32_t distance = kUnsolvable;
  std::int32_t first_action = -1;
};

// A malformed action reaches `step` as this number: it moves nothing and costs the turn.
inline constexpr int kMalformedAction = -1;

template <typename E>
concept Environment =
    std::is_trivially_copyable_v<typename E::State> &&
    std::is_trivially_copyable_v<typename E::Params> &&
    // No padding: equal states have equal bytes, so they can be hashed and saved as bytes.
    std::has_unique_object_representations_v<typename E::State> &&
    requires(const typename E::Params& params, typename E::State& state,
             const typename E::State& fixed, RandomStream& random, TokenWriter& writer, int i,
             bool flag, ObservationForm form, Options& options) {
      { E::kId } -> std::convertible_to<const char*>;
      { E::kVersion } -> std::convertible_to<std::uint32_t>;  // of State; old snapshots are refused
      { E::kDefaultForm } -> std::convertible_to<ObservationForm>;
      { E::parse(options) } -> std::same_as<typename E::Params>;
      { E::num_actions(params) } -> std::same_as<int>;
      { E::action_token(params, i) } -> std::same_as<std::int32_t>;
      { E::default_max_episode_steps(params) } -> std::same_as<std::int32_t>;
      { E::max_observation_tokens(params, form) } -> std::same_as<std::int32_t>;
      { E::reset(params, random) } -> std::same_as<typename E::State>;
      { E::step(params, state, random, i) } -> std::same_as<StepResult>;
      { E::observe(params, fixed, i, form, writer) } -> std::same_as<void>;  // i: elapsed steps
      { E::solve(params, fixed) } -> std::same_as<Solution>;
      // For states that came as bytes: may this be stepped (flag set) or at least looked at?
      { E::valid(params, fixed, flag) } -> std::same_as<bool>;
    };

}  // namespace fastrl
