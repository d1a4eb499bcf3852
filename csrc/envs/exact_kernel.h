// From a body of arithmetic to a table whose step takes as many environments at once in double as
// one instruction does: 8, 4 or 2.
//
// States    packed, one after another, as Kernel<Exact<B>> has them; all but `step` is its own.
// Paths     W environments in a row without ids; what does not run among them is computed and not
//           written. All else goes one by one through Kernel<Exact<B>>.
// Cost      CartPole: 98 bytes an environment step (state 32 in and 32 out, action 8, observation
//           16, reward 8, flags 2). One call of the C library's sincos, about 8 ns, takes most of
//           the time; four divisions take what one takes.
// Numerics  the bits of Exact<B>: the same operations in the same order, none contracted, sines
//           and cosines by the same library.
// Limits    bodies whose ExactState is State<double> and whose action is an integer.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/instruction_set.h"
#include "envs/body.h"
#include "envs/kernel.h"
#include "envs/lane_rows.h"
#include "envs/number.h"

namespace fastrl {
namespace detail {

template <typename B>
struct ExactKernel {
  using One = Exact<B>;
  using OneByOne = Kernel<One>;
  using Params = typename One::Params;
  using State = typename One::State;
  static constexpr std::int64_t kFields = One::kFields;
  static constexpr int kNumbers = B::kObservations;
  static_assert(std::is_same_v<State, typename B::template State<double>>);
  static_assert(!std::is_pointer_v<typename B::Action>);

  // Where the results of W environments go.
  struct Results {
    double* states;
    float* observations;
    double* rewards;
    std::uint8_t* terminated;
  };

  template <int W>
  FASTRL_INLINE static void step_wide(const Params& params, const std::int64_t* actions,
                                      const double* states, const Results& to) {
    using V = WideDoubles<W>;
    constexpr auto kAll = std::make_integer_sequence<int, W>{};
    V fields[kFields];
    load_rows(states, fields, kAll);
    V action{};
    for (int lane = 0; lane < W; ++lane) action[lane] = static_cast<double>(actions[lane]);
    auto& state = reinterpret_cast<typename B::template State<V>&>(fields);
    Outcome<V> outcome;
    B::step(params, state, action, outcome);
    V numbers[kNumbers];
    B::observe(params, state, numbers);
    WideFloats<W> rounded[kNumbers];
    for (int n = 0; n < kNumbers; ++n) {
      rounded[n] = __builtin_convertvector(numbers[n], WideFloats<W>);
    }
    store_rows(rounded, to.observations, kAll);
    store_rows(fields, to.states, kAll);
    for (int lane = 0; lane < W; ++lane) {
      to.rewards[lane] = outcome.reward[lane];
      to.terminated[lane] = outcome.terminated[lane] != 0.0;
    }
  }

  // The same for those of W environments that run.
  template <int W>
  FASTRL_INLINE static void step_some(const Params& params, const std::int64_t* actions,
                                      const std::uint8_t* run, const Results& to) {
    alignas(64) double states[W * kFields];
    alignas(64) float observations[W * kNumbers];
    double rewards[W];
    std::uint8_t terminated[W];
    step_wide<W>(params, actions, to.states, {states, observations, rewards, terminated});
    for (std::int64_t lane = 0; lane < W; ++lane) {
      if (run[lane] == 0) continue;
      std::memcpy(to.states + lane * kFields, states + lane * kFields, sizeof(State));
      std::memcpy(to.observations + lane * kNumbers, observations + lane * kNumbers, kNumbers * 4);
      to.rewards[lane] = rewards[lane];
      to.terminated[lane] = terminated[lane];
    }
  }

  template <int W>
  FASTRL_INLINE static void step_range(const void* p, void* s, void* r, std::int64_t begin,
                                       std::int64_t end, const fastrl_step* given) {
    const fastrl_step io = *given;
    std::int64_t k = begin;
    if (io.ids == nullptr && io.success == nullptr && io.action_stride == 8 &&
        io.observations.stride[0] == kNumbers * 4) {
      const Params params = OneByOne::params(p).own;
      for (; end - k >= W; k += W) {
        const auto* actions = reinterpret_cast<const std::int64_t*>(io.actions) + k;
        const Results rows = {static_cast<double*>(s) + k * kFields,
                              Rows(io.observations, k).at<float>(0), io.rewards + k,
                              io.terminated + k};
        std::int64_t running = 0;
        for (int lane = 0; lane < W; ++lane) running += io.run[k + lane];
        if (running == W) {
          step_wide<W>(params, actions, rows.states, rows);
        } else if (running != 0) {
          step_some<W>(params, actions, io.run + k, rows);
        }
      }
    }
    OneByOne::step(p, s, r, k, end, given);
  }

  using Step = Compiled<&ExactKernel::step_range<2>, &ExactKernel::step_range<4>,
                        &ExactKernel::step_range<8>>;

  static consteval fastrl_environment table() {
    fastrl_environment t = OneByOne::table();
    t.step = Step::run;
    return t;
  }
};

template <typename B>
inline constexpr fastrl_environment kExactTable = ExactKernel<B>::table();

}  // namespace detail

// The exact form of a body, several environments at once; it lives as long as the code.
template <typename B>
const fastrl_environment* exact_environment() {
  return &detail::kExactTable<B>;
}

}  // namespace fastrl
