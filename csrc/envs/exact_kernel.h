// From a body of arithmetic to a table whose step takes as many environments at once in double as
// one instruction does: 8, 4 or 2.
//
// States    packed, one after another, as Kernel<Exact<B>> has them; all but `step` is its own.
// Paths     W environments in a row without ids; what does not run among them is computed and not
//           written. All else goes one by one through Kernel<Exact<B>>.
// Cost      CartPole: 98 bytes an environment step (state 32 in and 32 out, action 8, observation
//           16, reward 8, flags 2). A call of the C library's sincos takes 8 ns, most of a step: it
//           reads the rounding mode, for which all arithmetic before it must be done. So the waves
//           of a group come before its arithmetic, and the library is asked for those alone that
//           are not certain without it (certain_trigonometry.h), a fifth.
// Numerics  the bits of Exact<B>: the same operations in the same order, none contracted, and the
//           library's sines and cosines.
// Limits    bodies with Waves whose ExactState is State<double> and whose action is an integer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
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
  using Waves = typename B::template Waves<double>;
  static constexpr int kWaves = sizeof(Waves) / sizeof(double);
  static constexpr std::int64_t kGroup = 64;  // environments whose waves are at hand

  static_assert(std::is_same_v<State, typename B::template State<double>>);
  static_assert(!std::is_pointer_v<typename B::Action>);

  struct WavesOfGroup {
    alignas(64) double of[kWaves][kGroup];
  };

  // Of W environments, or from the first of them on.
  struct Given {
    const double* states;
    const std::int64_t* actions;
    const std::uint8_t* run;
  };
  struct Results {
    double* states;
    float* observations;
    double* rewards;
    std::uint8_t* terminated;
  };

  template <int W>
  FASTRL_INLINE static int count_running(const std::uint8_t* run) {
    int running = 0;
    for (int lane = 0; lane < W; ++lane) running += run[lane];
    return running;
  }

  // One by one, of the environments at some places of a group.
  [[gnu::noinline]] static void ask_for_waves(const double* states, const std::uint8_t* places,
                                              std::int64_t count, WavesOfGroup& waves) {
    for (std::int64_t n = 0; n < count; ++n) {
      const int i = places[n];
      State state;
      std::memcpy(&state, states + i * kFields, sizeof(State));
      Waves found;
      B::waves(state, found);
      double numbers[kWaves];
      std::memcpy(numbers, &found, sizeof(found));
      for (int w = 0; w < kWaves; ++w) waves.of[w][i] = numbers[w];
    }
  }

  // Zeros where none of W environments runs.
  template <int W>
  FASTRL_INLINE static void find_waves(const double* states, const std::uint8_t* run,
                                       std::int64_t n, WavesOfGroup& waves) {
    using V = WideDoubles<W>;
    alignas(64) std::int64_t is_missing[kGroup];
    for (std::int64_t i = 0; i < n; i += W) {
      V found[kWaves] = {};
      if (count_running<W>(run + i) != 0) {
        V fields[kFields];
        load_rows(states + i * kFields, fields, std::make_integer_sequence<int, W>{});
        B::waves(reinterpret_cast<const typename B::template State<V>&>(fields),
                 reinterpret_cast<typename B::template Waves<V>&>(found));
      }
      IntegersOf<V> missing{};
      for (int w = 0; w < kWaves; ++w) {
        std::memcpy(waves.of[w] + i, &found[w], sizeof(V));
        // The sign of infinity's bits less a NaN's: GCC 12 compares 512 bits lane by lane.
        constexpr std::int64_t kInfinity = 0x7ff0000000000000;
        const auto bits = __builtin_bit_cast(IntegersOf<V>, found[w]);
        missing |= kInfinity - (bits & std::numeric_limits<std::int64_t>::max());
      }
      missing = (missing >> 63) & 1;
      std::memcpy(is_missing + i, &missing, sizeof(missing));
    }
    std::uint8_t places[kGroup];
    std::int64_t count = 0;
    for (int i = 0; i < static_cast<int>(n); ++i) {
      places[count] = static_cast<std::uint8_t>(i);
      count += is_missing[i];
    }
    if (count > 0) ask_for_waves(states, places, count, waves);
  }

  // `first` is their place in the group.
  template <int W>
  FASTRL_INLINE static void step_wide(const Params& params, const Given& given,
                                      const WavesOfGroup& waves, std::int64_t first,
                                      const Results& to) {
    using V = WideDoubles<W>;
    constexpr auto kAll = std::make_integer_sequence<int, W>{};
    V fields[kFields];
    load_rows(given.states, fields, kAll);
    V action{};
    for (int lane = 0; lane < W; ++lane) action[lane] = static_cast<double>(given.actions[lane]);
    auto& state = reinterpret_cast<typename B::template State<V>&>(fields);
    V found[kWaves];
    for (int w = 0; w < kWaves; ++w) std::memcpy(&found[w], waves.of[w] + first, sizeof(V));
    Outcome<V> outcome;
    B::step(params, reinterpret_cast<typename B::template Waves<V>&>(found), state, action,
            outcome);
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

  // The same for those of W environments that run. Who rests is nothing to be guessed: the others'
  // rows are written over with what is in them, without a branch.
  template <int W>
  FASTRL_INLINE static void step_some(const Params& params, const Given& given,
                                      const WavesOfGroup& waves, std::int64_t first,
                                      const Results& to) {
    alignas(64) double states[W * kFields];
    alignas(64) float observations[W * kNumbers];
    double rewards[W];
    std::uint8_t terminated[W];
    step_wide<W>(params, given, waves, first, {states, observations, rewards, terminated});
    for (std::int64_t lane = 0; lane < W; ++lane) {
      const bool runs = given.run[lane] != 0;
      const auto put = [&](const auto* found, auto* row, std::int64_t n) {
        const auto* from = runs ? found + lane * n : row + lane * n;
        std::memmove(row + lane * n, from, static_cast<std::size_t>(n) * sizeof(*row));
      };
      put(states, to.states, kFields);
      put(observations, to.observations, kNumbers);
      put(rewards, to.rewards, 1);
      put(terminated, to.terminated, 1);
    }
  }

  template <int W>
  FASTRL_INLINE static void step_range(const void* p, void* s, void* r, std::int64_t begin,
                                       std::int64_t end, const fastrl_step* io) {
    std::int64_t k = begin;
    if (io->ids == nullptr && io->success == nullptr && io->action_stride == 8 &&
        io->observations.stride[0] == kNumbers * 4) {
      const Params params = OneByOne::params(p).own;
      const Results rows = {static_cast<double*>(s), Rows(io->observations, 0).at<float>(0),
                            io->rewards, io->terminated};
      const Given all = {rows.states, reinterpret_cast<const std::int64_t*>(io->actions), io->run};
      WavesOfGroup waves;
      while (end - k >= W) {
        const std::int64_t n = std::min(kGroup, (end - k) / W * W);
        find_waves<W>(all.states + k * kFields, all.run + k, n, waves);
        for (std::int64_t first = 0; first < n; first += W, k += W) {
          const Given given = {all.states + k * kFields, all.actions + k, all.run + k};
          const Results to = {rows.states + k * kFields, rows.observations + k * kNumbers,
                              rows.rewards + k, rows.terminated + k};
          const int running = count_running<W>(given.run);
          if (running == W) {
            step_wide<W>(params, given, waves, first, to);
          } else if (running != 0) {
            step_some<W>(params, given, waves, first, to);
          }
        }
      }
    }
    if (k < end) OneByOne::step(p, s, r, k, end, io);
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
