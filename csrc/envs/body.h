// Environments whose step is arithmetic alone, written once for every number type (number.h).
//
// A body B has
//   State<N>, Params<S>, Action            numbers only; int or const float* (one number)
//   ExactState                             State<double>, perhaps with more
//   kObservations                          numbers in an observation
//   parse<S>(options), describe(params, description)
//   reset<N>(random, options)              -> State<N>
//   step(params, state, action, outcome)   State<N>, N or SingleOf<N>, Outcome<N>, by reference
//   observe(params, state, numbers)        State<N>, N[kObservations]
//   Waves<N>, waves(state, waves)          optional: the sines and cosines that a step needs, which
//                                          it takes behind params; of vectors of doubles NaN where
//                                          one double alone has to be asked for
//   labels(params, state)                  optional, of one environment
// and its step draws nothing at random. Exact<B> computes in double, as Gymnasium does; Single<B>
// in float, with the bits of one lane of BlockKernel<B> (block_kernel.h). Where Gymnasium mixes
// precisions, ExactState remembers what is due and overloads of step and observe take it.
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/numpy_random.h"
#include "core/random.h"
#include "envs/environment.h"
#include "envs/number.h"

namespace fastrl {

// A stream whose first four numbers have been drawn already, as many streams' can be at once.
struct BegunStream {
  Philox4 first;
  RandomStream rest;  // at its start

  FASTRL_HOST_DEVICE constexpr std::uint32_t next_u32() {
    const std::uint64_t n = rest.position;
    if (n >= first.size()) return rest.next_u32();
    ++rest.position;
    return first[n];
  }

  FASTRL_HOST_DEVICE constexpr Philox4 next_four() {
    if (rest.position == 0) {
      rest.position = first.size();
      return first;
    }
    return {next_u32(), next_u32(), next_u32(), next_u32()};
  }
};

template <typename Stream>
concept CounterStream = std::same_as<Stream, RandomStream> || std::same_as<Stream, BegunStream>;

template <typename Number>
struct Outcome {
  Number reward;
  Number terminated;  // 1 or 0
};

// x = x². Python's `**` and NumPy's on one number call the C library's pow, which rounds otherwise;
// compilers that see the exponent multiply.
template <typename Number, typename X>
FASTRL_INLINE FASTRL_HOST_DEVICE void to_square(X& x) {
  if constexpr (std::is_same_v<Number, double>) {
    const volatile X two = 2;
    x = std::pow(x, two);
  } else {
    x = x * x;
  }
}

// Uniform between low and high.
inline double uniform(NumpyRandom& random, double low, double high) {
  return random.uniform(low, high);
}
FASTRL_HOST_DEVICE inline double uniform(CounterStream auto& random, double low, double high) {
  return low + (high - low) * static_cast<double>(RandomStream::unit(random.next_u32()));
}

// Four of them.
inline std::array<double, 4> four_uniform(NumpyRandom& random, double low, double high) {
  const auto draw = [&] { return uniform(random, low, high); };
  return {draw(), draw(), draw(), draw()};
}
FASTRL_HOST_DEVICE inline std::array<double, 4> four_uniform(CounterStream auto& random, double low,
                                                             double high) {
  const Philox4 numbers = random.next_four();
  const auto at = [&](std::size_t i) {
    return low + (high - low) * static_cast<double>(RandomStream::unit(numbers[i]));
  };
  return {at(0), at(1), at(2), at(3)};
}

// What a reset was given for its option number i.
inline double reset_option(const double* options, int i, double fallback) {
  return options == nullptr || std::isnan(options[i]) ? fallback : options[i];
}

// Options that are physical constants: any sensible number, or one above 0.
inline double constant(Options& options, const char* name, double fallback) {
  return options.number(name, fallback, -1e6, 1e6);
}
inline double positive(Options& options, const char* name, double fallback) {
  return options.number(name, fallback, 1e-6, 1e6);
}

namespace detail {

template <typename B, typename Scalar>
struct StateOf {
  using Type = typename B::template State<Scalar>;
};
template <typename B>
struct StateOf<B, double> {
  using Type = typename B::ExactState;
};

template <typename Scalar>
struct RandomFor {
  using Type = RandomStream;
};
template <>
struct RandomFor<double> {
  using Type = NumpyRandom;
};

}  // namespace detail

// A step of a body, whether it has Waves or not.
template <typename B, typename Number, typename Action>
FASTRL_INLINE FASTRL_HOST_DEVICE void step_body(
    const typename B::template Params<ScalarOf<Number>>& params, auto& state, const Action& action,
    Outcome<Number>& outcome) {
  if constexpr (requires { typename B::template Waves<Number>; }) {
    typename B::template Waves<Number> waves;
    B::waves(state, waves);
    B::step(params, waves, state, action, outcome);
  } else {
    B::step(params, state, action, outcome);
  }
}

template <typename B, typename Scalar>
struct BodyEnvironment {
  using Numbers = typename B::template State<Scalar>;
  using Params = typename B::template Params<Scalar>;
  using State = typename detail::StateOf<B, Scalar>::Type;
  using Random = typename detail::RandomFor<Scalar>::Type;
  using Action = typename B::Action;
  static constexpr const char* kId = B::kId;
  static constexpr std::uint32_t kVersion = B::kVersion;
  static constexpr std::size_t kFields = sizeof(Numbers) / sizeof(Scalar);

  static Params parse(Options& options) { return B::template parse<Scalar>(options); }

  static void describe(const Params& params, Description& description) {
    B::describe(params, description);
  }

  static State reset(const Params&, Random& random, const double* options) {
    State state{};
    static_cast<Numbers&>(state) = B::template reset<Scalar>(random, options);
    return state;
  }

  static StepResult step(const Params& params, State& state, Action action) {
    Outcome<Scalar> outcome;
    if constexpr (std::is_pointer_v<Action>) {
      step_body<B>(params, state, action[0], outcome);
    } else {
      step_body<B>(params, state, static_cast<Scalar>(action), outcome);
    }
    return {.reward = outcome.reward, .terminated = outcome.terminated != Scalar{0}};
  }

  static void observe(const Params& params, const State& state, const Rows& rows) {
    Scalar numbers[B::kObservations];
    B::observe(params, state, numbers);
    auto* row = rows.at<float>(0);
    for (int i = 0; i < B::kObservations; ++i) row[i] = static_cast<float>(numbers[i]);
  }

  static bool valid(const Params&, const State& state, bool) {
    std::array<Scalar, kFields> numbers;
    std::memcpy(numbers.data(), &state, sizeof(numbers));
    for (const Scalar number : numbers) {
      if (!std::isfinite(number)) return false;
    }
    if constexpr (requires { state.stepped; }) return state.stepped <= 1;
    return true;
  }

  static std::uint64_t labels(const Params& params, const State& state)
    requires requires { B::labels(params, state); }
  {
    return B::labels(params, state);
  }
};

template <typename B>
using Exact = BodyEnvironment<B, double>;
template <typename B>
using Single = BodyEnvironment<B, float>;

}  // namespace fastrl
