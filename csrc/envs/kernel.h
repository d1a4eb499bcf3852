// From an environment in C++ to its table: the loops over a range of a batch, with the step
// inlined. What its functions throw ends here and goes on as a fastrl_error.
#pragma once

#include <array>
#include <bit>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "envs/environment.h"
#include "envs/environment_table.h"

namespace fastrl {
namespace detail {

// For a handler: says what `function` has just thrown.
inline void report(fastrl_error* error, const char* function) {
  error->status = FASTRL_FAILED;
  try {
    throw;
  } catch (const std::exception& thrown) {
    std::snprintf(error->message, sizeof(error->message), "`%s` threw: %s", function,
                  thrown.what());
  } catch (...) {
    std::snprintf(error->message, sizeof(error->message), "`%s` threw what is no std::exception",
                  function);
  }
}

inline void refuse(fastrl_error* error, const std::invalid_argument& thrown) {
  error->status = FASTRL_REFUSED;
  std::snprintf(error->message, sizeof(error->message), "%s", thrown.what());
}

// What a call returns, or `otherwise` if it throws.
template <typename Result, typename Call>
Result guarded(fastrl_error* error, const char* function, Result otherwise, Call&& call) {
  try {
    return call();
  } catch (...) {
    report(error, function);
    return otherwise;
  }
}

template <typename Call>
void guarded(fastrl_error* error, const char* function, Call&& call) {
  try {
    call();
  } catch (...) {
    report(error, function);
  }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
#define FASTRL_CLEARS_PADDING
#endif
#endif

#ifndef FASTRL_CLEARS_PADDING
// Whether every byte of a T{} has a value: reading one of padding is no constant expression.
template <typename T>
constexpr bool reads_all_bytes() {
  unsigned sum = 0;
  for (const unsigned char byte : std::bit_cast<std::array<unsigned char, sizeof(T)>>(T{})) {
    sum += byte;
  }
  return sum + 1 != 0;
}
template <typename T>
concept Unpadded = std::has_unique_object_representations_v<T> || requires {
  typename std::bool_constant<(static_cast<void>(reads_all_bytes<T>()), true)>;
};
#endif

// Equal states are equal bytes: snapshots are compared and hashed as such. Nothing is left to do
// where a state has no padding.
template <typename State>
void clear_padding([[maybe_unused]] State& state) {
#ifdef FASTRL_CLEARS_PADDING
  __builtin_clear_padding(&state);
#else
  static_assert(Unpadded<State>,
                "State must have no padding bytes with this compiler: order its fields by size");
#endif
}

template <Environment E>
struct Kernel {
  using State = typename E::State;
  using Random = RandomOf<E>;
  using Action = ActionOf<E>;
  using ActionRow = ActionRowOf<E>;
  static constexpr bool kIsText = TextEnvironment<E>;
  static constexpr bool kHasNumpyRandom = requires { requires Random::kFollowsNumpy; };

  struct Params {
    typename E::Params own;
    ObservationForm form = ObservationForm::kGrid;
  };

  static auto step_one(const Params& p, State& state, Random* random, Action action) {
    if constexpr (WithoutChance<E>) {
      return E::step(p.own, state, action);
    } else {
      return E::step(p.own, state, *random, action);
    }
  }

  static const Params& params(const void* p) { return *static_cast<const Params*>(p); }

  static void* create(void* given, fastrl_error* error) {
    try {
      auto& options = *static_cast<Options*>(given);
      Params made{E::parse(options)};
      if constexpr (kIsText) {
        const char* fallback = E::kDefaultForm == ObservationForm::kGrid ? "grid" : "compact";
        made.form = static_cast<ObservationForm>(
            options.choice("observation", fallback, {"grid", "compact"}));
      }
      return new Params(made);
    } catch (const std::invalid_argument& thrown) {
      refuse(error, thrown);
    } catch (...) {
      report(error, "parse");
    }
    return nullptr;
  }

  static void destroy(void* p) { delete static_cast<Params*>(p); }

  static void describe(const void* p, fastrl_description* to, fastrl_error* error) {
    guarded(error, "describe", [&] { *to = description(params(p)); });
  }

  static Description description(const Params& params) {
    const auto& [own, form] = params;
    Description description;
    if constexpr (kIsText) {
      description.is_text = 1;
      description.reports_success = 1;
      description.heavy_reset = 1;
      description.add_observation(
          multi_discrete<std::int32_t>({E::max_observation_tokens(own, form)}, kVocabularySize));
      description.render_tokens = E::max_observation_tokens(own, ObservationForm::kGrid);
      if constexpr (!std::is_pointer_v<Action>) {
        description.set_action(discrete(E::num_actions(own)));
      }
      description.max_episode_steps = E::default_max_episode_steps(own);
    }
    if constexpr (requires { E::describe(own, description); }) E::describe(own, description);
    return description;
  }

  static void seed(void* random, std::uint64_t seed, std::uint64_t stream) {
    *static_cast<Random*>(random) = Random::of_steps(seed, stream);
  }

  static void seed_level(void* random, std::uint64_t seed, std::uint64_t group,
                         std::uint64_t reset) {
    *static_cast<Random*>(random) = Random::of_level(seed, group, reset);
  }

  static void fork(void* random, const void* own, std::uint64_t place) {
    auto& stream = *static_cast<Random*>(random);
    stream = Random::fork_of(stream, *static_cast<const Random*>(own), place);
  }

  static void reset(const void* p, void* random, const double* options, void* state,
                    fastrl_error* error) {
    const auto& own = params(p).own;
    auto& stream = *static_cast<Random*>(random);
    auto& made = *static_cast<State*>(state);
    guarded(error, "reset", [&] {
      if constexpr (requires { E::reset(own, stream, options); }) {
        made = E::reset(own, stream, options);
      } else {
        made = E::reset(own, stream);
      }
      clear_padding(made);
    });
  }

  static auto action(const fastrl_step& io, std::int64_t k) {
    const char* row = io.actions + k * io.action_stride;
    if constexpr (std::is_pointer_v<Action>) {
      return reinterpret_cast<Action>(row);
    } else {
      return static_cast<int>(*reinterpret_cast<const std::int64_t*>(row));
    }
  }

  static void observe_one(const Params& p, const State& state, const fastrl_step& io,
                          std::int64_t k, int elapsed) {
    if constexpr (kIsText) {
      auto* row = Rows(io.observations, k).at<std::int32_t>(0);
      TokenWriter writer(row);
      E::observe(p.own, state, elapsed, p.form, writer);
      io.observation_lengths[k] = writer.size();
      writer.pad(E::max_observation_tokens(p.own, p.form));
    } else {
      E::observe(p.own, state, Rows(io.observations, k));
    }
  }

  static void step(const void* p, void* s, void* r, std::int64_t begin, std::int64_t end,
                   const fastrl_step* given) {
    // A copy that nothing else can change, where it is small: then its fields stay in registers.
    using Copied = std::conditional_t<sizeof(Params) <= 512, const Params, const Params&>;
    Copied own = params(p);
    const fastrl_step io = *given;
    auto* states = static_cast<State*>(s);
    auto* randoms = static_cast<Random*>(r);
    std::int64_t k = begin;
    const char* function = "step";
    try {
      for (; k < end; ++k) {
        if (io.run[k] == 0) continue;
        const std::int64_t i = io.ids != nullptr ? io.ids[k] : k;
        function = "step";
        const auto result = step_one(own, states[i], randoms + i, action(io, k));
        clear_padding(states[i]);
        io.rewards[k] = result.reward;
        io.terminated[k] = result.terminated;
        if (io.success != nullptr) io.success[k] = result.success;
        function = "observe";
        observe_one(own, states[i], io, k, kIsText ? io.elapsed_steps[i] + 1 : 0);
        if constexpr (requires { E::inform(own.own, states[i], &result, Rows(io.infos, k)); }) {
          function = "inform";
          E::inform(own.own, states[i], &result, Rows(io.infos, k));
        }
      }
    } catch (...) {
      report(io.error, function);
      io.error->place = k;
    }
  }

  static void observe(const void* p, const void* s, std::int64_t begin, std::int64_t end,
                      std::int32_t at_reset, const fastrl_step* given) {
    const Params& own = params(p);
    const fastrl_step& io = *given;
    const auto* states = static_cast<const State*>(s);
    std::int64_t k = begin;
    const char* function = "observe";
    try {
      for (; k < end; ++k) {
        if (io.run[k] == 0) continue;
        const std::int64_t i = io.ids != nullptr ? io.ids[k] : k;
        function = "observe";
        observe_one(own, states[i], io, k, kIsText ? io.elapsed_steps[i] : 0);
        if constexpr (requires(const Rows& rows) {
                        E::inform(own.own, states[i], nullptr, rows);
                      }) {
          function = "inform";
          if (at_reset != 0) E::inform(own.own, states[i], nullptr, Rows(io.infos, k));
        }
      }
    } catch (...) {
      report(io.error, function);
      io.error->place = k;
    }
  }

  static const State& packed(const void* state) { return *static_cast<const State*>(state); }

  static consteval fastrl_environment table() {
    fastrl_environment t{};
    t.abi_version = FASTRL_ABI_VERSION;
    t.version = E::kVersion;
    t.id = E::kId;
    t.state_size = sizeof(State);
    t.random_size = sizeof(Random);
    t.lanes = 1;
    t.numpy_random = kHasNumpyRandom ? 1 : 0;
    t.draws_nothing = WithoutChance<E> ? 1 : 0;
    t.create = create;
    t.destroy = destroy;
    t.describe = describe;
    t.seed = seed;
    t.seed_level = seed_level;
    t.fork = fork;
    t.reset = reset;
    t.step = step;
    t.observe = observe;
    add_optional(t);
    return t;
  }

  static consteval void add_optional(fastrl_environment& t) {
    if constexpr (requires(const State& state) { E::valid(some_params(), state, true); }) {
      t.valid = [](const void* p, const void* state, std::int32_t running,
                   fastrl_error* error) -> std::int32_t {
        return guarded(error, "valid", false,
                       [&] { return E::valid(params(p).own, packed(state), running != 0); });
      };
    }
    if constexpr (requires(const State& state) { E::solve(some_params(), state); }) {
      t.solve = [](const void* p, const void* state, fastrl_solution* solution,
                   fastrl_error* error) {
        guarded(error, "solve", [&] {
          const Solution found = E::solve(params(p).own, packed(state));
          *solution = {found.distance, found.first_action};
        });
      };
    }
    if constexpr (requires(const State& state) { E::labels(some_params(), state); }) {
      t.labels = [](const void* p, const void* state, fastrl_error* error) -> std::uint64_t {
        return guarded(error, "labels", std::uint64_t{0},
                       [&] { return E::labels(params(p).own, packed(state)); });
      };
    }
    if constexpr (requires(const State& state, char* to) { E::cells(some_params(), state, to); }) {
      t.cells = [](const void* p, const void* state, char* to, fastrl_error* error) {
        guarded(error, "cells", [&] { E::cells(params(p).own, packed(state), to); });
      };
    }
    if constexpr (kIsText) {
      t.render = [](const void* p, const void* state, std::int32_t elapsed, std::int32_t* tokens,
                    fastrl_error* error) -> std::int32_t {
        return guarded(error, "observe", std::int32_t{0}, [&] {
          TokenWriter writer(tokens);
          E::observe(params(p).own, packed(state), elapsed, ObservationForm::kGrid, writer);
          return writer.size();
        });
      };
    }
    if constexpr (requires { E::parse_level(some_params(), std::string_view()); }) {
      t.parse_level = [](const void* p, const char* text, void* state, fastrl_error* error) {
        try {
          auto& made = *static_cast<State*>(state);
          made = E::parse_level(params(p).own, text);
          clear_padding(made);
        } catch (const std::invalid_argument& thrown) {
          refuse(error, thrown);
        } catch (...) {
          report(error, "parse_level");
        }
      };
    }
    if constexpr (requires(ActionRow row) {
                    E::parse_action(some_params(), std::string_view(), row);
                  }) {
      t.parse_action = [](const void* p, const char* text, std::size_t size, void* row,
                          fastrl_error* error) -> std::int32_t {
        return guarded(error, "parse_action", false, [&] {
          return E::parse_action(params(p).own, {text, size}, static_cast<ActionRow>(row));
        });
      };
    }
    if constexpr (requires { E::action_token(some_params(), 0); }) {
      t.action_token = [](const void* p, std::int32_t i, fastrl_error* error) -> std::int32_t {
        return guarded(error, "action_token", std::int32_t{0},
                       [&] { return E::action_token(params(p).own, i); });
      };
    }
    if constexpr (requires(const float* goal) { E::goal_reward(some_params(), goal, goal); }) {
      t.goal_reward = [](const void* p, const float* achieved, const float* desired,
                         fastrl_error* error) -> double {
        return guarded(error, "goal_reward", 0.0,
                       [&] { return E::goal_reward(params(p).own, achieved, desired); });
      };
    }
  }

 private:
  static const typename E::Params& some_params();  // for requires-expressions only
};

template <Environment E>
inline constexpr fastrl_environment kTable = Kernel<E>::table();

}  // namespace detail

// The table of an environment; it lives as long as the code.
template <Environment E>
const fastrl_environment* environment() {
  return &detail::kTable<E>;
}

}  // namespace fastrl
