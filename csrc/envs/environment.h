// What an environment is in C++: plain bytes of state and pure functions over them.
//
// The engine (vector_env.h) owns seeding, time limits, resets, snapshots, wrappers and threads; an
// environment says only what happens in one step. Everything random in `reset` comes from the
// level's stream, so one level can be given to many environments; everything random in `step` comes
// from the environment's own stream. A step without chance does not take it.
//
// Any function may throw, but `parse` and `parse_level` alone should: the caller gets an error that
// names the environment, the function and what(), and that environment needs a reset. The others of
// the batch make their step.
//
// Beside what the concepts ask for, an environment may have
//   using Random = NumpyRandom;                         the generator; RandomStream if left out
//   using Action = const float*;                        a row of the action space; a number if left
//   out reset(params, random, const double* options)        with description.reset_options
//   inform(params, state, const Result*, const Rows&)   infos; no result after a reset
//   valid(params, state, bool running) -> bool          may bytes from outside be such a state?
//   solve(params, state) -> Solution
//   labels(params, state) -> std::uint64_t              what is true, bit by bit of the description
//   cells(params, state, char*)                         grid worlds: one character a cell
//   parse_level(params, std::string_view) -> State      throws std::invalid_argument
//   parse_action(params, std::string_view, row) -> bool
//   goal_reward(params, const float*, const float*)     of an achieved and a desired goal
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/random.h"
#include "envs/description.h"
#include "envs/options.h"
#include "envs/text.h"

namespace fastrl {

// What a step returns; an environment may derive its own, for `inform`.
struct StepResult {
  double reward = 0.0;
  bool terminated = false;
  bool success = false;
};

inline constexpr std::int32_t kUnsolvable = -1;
inline constexpr std::int32_t kUnknown = -2;  // the search gave up at its bound on states

// The fewest actions to success, and the first of them (-1 where there is none).
struct Solution {
  std::int32_t distance = kUnsolvable;
  std::int32_t first_action = -1;
};

namespace detail {

template <typename E>
struct RandomTypeOf {
  using Type = RandomStream;
};
template <typename E>
  requires requires { typename E::Random; }
struct RandomTypeOf<E> {
  using Type = typename E::Random;
};

// How `step` sees an action, and the row of the action space that `parse_action` writes.
template <typename E>
struct ActionTypeOf {
  using Type = int;
  using Row = std::int64_t*;
};
template <typename E>
  requires requires { typename E::Action; }
struct ActionTypeOf<E> {
  using Type = typename E::Action;
  using Row = std::remove_const_t<std::remove_pointer_t<Type>>*;
};

}  // namespace detail

template <typename E>
using RandomOf = typename detail::RandomTypeOf<E>::Type;
template <typename E>
using ActionOf = typename detail::ActionTypeOf<E>::Type;
template <typename E>
using ActionRowOf = typename detail::ActionTypeOf<E>::Row;

// Whose step takes no random stream.
template <typename E>
concept WithoutChance =
    requires(const typename E::Params& params, typename E::State& state, ActionOf<E> action) {
      { E::step(params, state, action) } -> std::derived_from<StepResult>;
    };

// Every kind of environment has these. States are copied, compared and hashed as bytes; padding
// between their fields is set to zeros after each step (kernel.h; compilers that cannot do so
// refuse it), which fields ordered by size save.
template <typename E>
concept Dynamics =
    std::is_trivially_copyable_v<typename E::State> &&
    std::is_trivially_copyable_v<typename E::Params> &&
    requires(Options& options) {
      { E::kId } -> std::convertible_to<const char*>;
      { E::kVersion } -> std::convertible_to<std::uint32_t>;  // of State; old snapshots are refused
      { E::parse(options) } -> std::same_as<typename E::Params>;
    } &&
    (WithoutChance<E> || requires(const typename E::Params& params, typename E::State& state,
                                  RandomOf<E>& random, ActionOf<E> action) {
      { E::step(params, state, random, action) } -> std::derived_from<StepResult>;
    }) &&
    (requires(const typename E::Params& params, RandomOf<E>& random) {
      { E::reset(params, random) } -> std::same_as<typename E::State>;
    } || requires(const typename E::Params& params, RandomOf<E>& random, const double* options) {
      { E::reset(params, random, options) } -> std::same_as<typename E::State>;
    });

// One whose observations are arrays.
template <typename E>
concept ArrayEnvironment =
    Dynamics<E> && requires(const typename E::Params& params, const typename E::State& state,
                            Description& description, const Rows& rows) {
      { E::describe(params, description) } -> std::same_as<void>;
      { E::observe(params, state, rows) } -> std::same_as<void>;
    };

// How a text observation is written: all there is to see, or the whole at the start of an episode
// and only what moves afterwards.
enum class ObservationForm { kGrid, kCompact };

// A malformed action reaches `step` of a text environment as this number, or as a row of padding:
// it moves nothing and costs the turn.
inline constexpr int kMalformedAction = -1;

// One whose observations are tokens of the shared vocabulary. `describe` is optional; it comes
// after the fields that follow from what is here, and says what a row of actions is where an action
// is no number.
template <typename E>
concept TextEnvironment =
    Dynamics<E> && requires(const typename E::Params& params, const typename E::State& state,
                            TokenWriter& writer, int i, ObservationForm form) {
      { E::kDefaultForm } -> std::convertible_to<ObservationForm>;
      { E::default_max_episode_steps(params) } -> std::same_as<std::int32_t>;
      { E::max_observation_tokens(params, form) } -> std::same_as<std::int32_t>;
      { E::observe(params, state, i, form, writer) } -> std::same_as<void>;  // i: elapsed steps
    } && (std::is_pointer_v<ActionOf<E>> || requires(const typename E::Params& params) {
      { E::num_actions(params) } -> std::same_as<int>;
    }) && (requires(const typename E::Params& params, int action) {
      { E::action_token(params, action) } -> std::same_as<std::int32_t>;
    } || requires(const typename E::Params& params, std::string_view text, ActionRowOf<E> row) {
      { E::parse_action(params, text, row) } -> std::same_as<bool>;
    });

template <typename E>
concept Environment = ArrayEnvironment<E> || TextEnvironment<E>;

}  // namespace fastrl
