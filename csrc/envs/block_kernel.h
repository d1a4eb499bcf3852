// From a body of arithmetic to a table whose step takes 16 environments at once in float32.
//
// States    blocks of 16 environments: field f of environment i is number 16 F (i / 16) + 16 f +
//           i mod 16 of the floats, F fields a state. Packed states are the body's State<float>.
// Paths     a block that lies wholly inside a range without ids is stepped in place; what does not
//           run there is put back. All else is gathered into a block of its own. Each lane is
//           computed alone, so no result depends on how a batch is split.
// Cost      CartPole: 66 bytes an environment step (state 16 in and 16 out, action 8, observation
//           16, reward 8, flags 2); with the engine's counters and sums 108, which at 140 GB/s is
//           0.8 ns. Up to some 10,000 environments that lies in the cache and arithmetic decides.
// Numerics  the same bits in every instruction set, and those of Single<B>: no fused multiply-add,
//           no approximate division.
#pragma once

#include <algorithm>
#include <bit>
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

static_assert(std::endian::native == std::endian::little);  // load_integers takes lower halves

// W numbers from as many 64-bit integers below 2^31.
template <int W, int... kLane>
FASTRL_INLINE void load_integers(const char* from, WideFloats<W>& numbers,
                                 std::integer_sequence<int, kLane...>) {
  const WideFloats<W> first = wide_at<W>(from).value;
  const WideFloats<W> second = wide_at<W>(from + W * 4).value;
  const WideFloats<W> lower = __builtin_shufflevector(first, second, (2 * kLane)...);
  numbers = __builtin_convertvector(__builtin_bit_cast(typename WideTypes<W>::Integers, lower),
                                    WideFloats<W>);
}

template <typename B>
struct BlockKernel {
  using One = Single<B>;
  using Scalar = Kernel<One>;
  using Params = typename One::Params;
  using State = typename One::State;
  static constexpr std::int64_t kLanes = 16;
  static constexpr std::int64_t kFields = One::kFields;
  static constexpr int kNumbers = B::kObservations;
  static constexpr bool kContinuous = std::is_pointer_v<typename B::Action>;
  static constexpr std::int64_t kActionSize = kContinuous ? 4 : 8;

  // One block's results, and one that lies apart.
  struct Buffer {
    alignas(64) float states[kFields * kLanes];
    alignas(64) float actions[kLanes];
    alignas(64) float observations[kLanes * kNumbers];
    alignas(64) double rewards[kLanes];
    std::uint8_t terminated[kLanes];
    std::uint8_t run[kLanes];
  };

  // Where a block's results go.
  struct Results {
    float* observations;
    double* rewards;
    std::uint8_t* terminated;
  };

  static std::int64_t first_number(std::int64_t i) {
    return i / kLanes * (kFields * kLanes) + i % kLanes;
  }

  static void get(const void* states, std::int64_t i, void* state) {
    const auto* from = static_cast<const float*>(states) + first_number(i);
    auto* to = static_cast<char*>(state);
    for (std::int64_t f = 0; f < kFields; ++f) std::memcpy(to + f * 4, from + f * kLanes, 4);
  }

  static void put(void* states, std::int64_t i, const void* state) {
    auto* to = static_cast<float*>(states) + first_number(i);
    const auto* from = static_cast<const char*>(state);
    for (std::int64_t f = 0; f < kFields; ++f) std::memcpy(to + f * kLanes, from + f * 4, 4);
  }

  // Steps one block. `actions` are rows of the action space, or floats in a buffer. Where kSome,
  // environments with run = 0 keep their states.
  template <int W, bool kIntegers, bool kSome>
  FASTRL_INLINE static void step_block(const Params& params, const char* actions,
                                       const std::uint8_t* run, float* states, const Results& to) {
    using V = WideFloats<W>;
    constexpr auto kAll = std::make_integer_sequence<int, W>{};
    using Integers = IntegersOf<V>;
    alignas(64) float rewards[kLanes];
    alignas(64) std::int32_t terminated[kLanes];
    alignas(64) std::int32_t keep[kLanes];
    if constexpr (kSome) {
      for (int lane = 0; lane < kLanes; ++lane) keep[lane] = run[lane] == 0 ? -1 : 0;
    }
    for (int first = 0; first < kLanes; first += W) {
      typename B::template State<V> state;
      auto* fields = reinterpret_cast<V*>(&state);
      for (std::int64_t f = 0; f < kFields; ++f) {
        fields[f] = wide_at<W>(states + f * kLanes + first).value;
      }
      V action;
      if constexpr (kIntegers) {
        load_integers<W>(actions + first * 8, action, kAll);
      } else {
        action = wide_at<W>(actions + first * 4).value;
      }
      Outcome<V> outcome;
      step_body<B>(params, state, action, outcome);
      wide_at<W>(rewards + first).value = outcome.reward;
      wide_at<W>(terminated + first).value =
          __builtin_bit_cast(V, __builtin_convertvector(outcome.terminated, Integers));
      V numbers[kNumbers];
      B::observe(params, state, numbers);
      store_rows(numbers, to.observations + first * kNumbers, kAll);
      for (std::int64_t f = 0; f < kFields; ++f) {
        auto& field = wide_at<W>(states + f * kLanes + first);
        if constexpr (kSome) {
          const V before = field.value;
          const V kept = wide_at<W>(keep + first).value;
          field.value = __builtin_bit_cast(Integers, kept) ? before : fields[f];
        } else {
          field.value = fields[f];
        }
      }
    }
    // Plain loops, which GCC turns into the widening and narrowing that its vectors lack.
    for (int lane = 0; lane < kLanes; ++lane) to.rewards[lane] = double{rewards[lane]};
    for (int lane = 0; lane < kLanes; ++lane) {
      to.terminated[lane] = static_cast<std::uint8_t>(terminated[lane]);
    }
  }

  // Hands the buffer's results to the places from k on that run.
  FASTRL_INLINE static void deliver(const fastrl_step& io, std::int64_t k, std::int64_t count,
                                    const Buffer& buffer) {
    for (std::int64_t lane = 0; lane < count; ++lane) {
      if (buffer.run[lane] == 0) continue;
      std::memcpy(Rows(io.observations, k + lane).at<char>(0),
                  buffer.observations + lane * kNumbers, kNumbers * 4);
      io.rewards[k + lane] = buffer.rewards[lane];
      io.terminated[k + lane] = buffer.terminated[lane];
    }
  }

  // Exchanges the rows of a block that do not run with those of a buffer.
  FASTRL_INLINE static void swap_resting(const std::uint8_t* run, const Results& rows,
                                         Buffer& buffer) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      if (run[lane] != 0) continue;
      std::swap_ranges(rows.observations + lane * kNumbers,
                       rows.observations + (lane + 1) * kNumbers,
                       buffer.observations + lane * kNumbers);
      std::swap(rows.rewards[lane], buffer.rewards[lane]);
      std::swap(rows.terminated[lane], buffer.terminated[lane]);
    }
  }

  template <int W>
  FASTRL_INLINE static void step_in_place(const Params& params, const fastrl_step& io,
                                          std::int64_t k, float* states, Buffer& buffer) {
    float* block = states + k * kFields;
    const char* actions = io.actions + k * kActionSize;
    const Results rows = {Rows(io.observations, k).at<float>(0), io.rewards + k, io.terminated + k};
    std::uint64_t run[2];
    std::memcpy(run, io.run + k, sizeof(run));
    constexpr std::uint64_t kAll = 0x0101010101010101;
    if (run[0] == kAll && run[1] == kAll) {
      step_block<W, !kContinuous, false>(params, actions, io.run + k, block, rows);
    } else if ((run[0] | run[1]) != 0) {
      // The few rows that are not to be written are kept and put back.
      swap_resting(io.run + k, rows, buffer);
      step_block<W, !kContinuous, true>(params, actions, io.run + k, block, rows);
      swap_resting(io.run + k, rows, buffer);
    }
  }

  // At most kLanes places, of any environments.
  template <int W>
  FASTRL_INLINE static void step_gathered(const Params& params, const fastrl_step& io,
                                          std::int64_t k, std::int64_t count, float* states,
                                          Buffer& buffer) {
    constexpr State kNothing{};
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      State state = kNothing;
      buffer.actions[lane] = 0.0f;
      buffer.run[lane] = lane < count && io.run[k + lane] != 0 ? 1 : 0;
      if (buffer.run[lane] != 0) {
        get(states, environment(io, k + lane), &state);
        const auto action = Scalar::action(io, k + lane);
        if constexpr (kContinuous) {
          buffer.actions[lane] = action[0];
        } else {
          buffer.actions[lane] = static_cast<float>(action);
        }
      }
      put(buffer.states, lane, &state);
    }
    step_block<W, false, false>(params, reinterpret_cast<const char*>(buffer.actions), buffer.run,
                                buffer.states,
                                {buffer.observations, buffer.rewards, buffer.terminated});
    for (std::int64_t lane = 0; lane < count; ++lane) {
      if (buffer.run[lane] == 0) continue;
      State state;
      get(buffer.states, lane, &state);
      put(states, environment(io, k + lane), &state);
    }
    deliver(io, k, count, buffer);
  }

  static std::int64_t environment(const fastrl_step& io, std::int64_t k) {
    return io.ids != nullptr ? io.ids[k] : k;
  }

  template <int W>
  FASTRL_INLINE static void step_range(const void* p, void* s, void*, std::int64_t begin,
                                       std::int64_t end, const fastrl_step* given) {
    const Params params = Scalar::params(p).own;
    const fastrl_step io = *given;
    auto* states = static_cast<float*>(s);
    const bool in_place = io.ids == nullptr && io.action_stride == kActionSize &&
                          io.observations.stride[0] == kNumbers * 4;
    Buffer buffer;
    for (std::int64_t k = begin; k < end;) {
      const std::int64_t next = std::min(end, (k / kLanes + 1) * kLanes);
      if (in_place && next - k == kLanes) {
        step_in_place<W>(params, io, k, states, buffer);
      } else {
        step_gathered<W>(params, io, k, next - k, states, buffer);
      }
      k = next;
    }
    if (io.success != nullptr) {
      for (std::int64_t k = begin; k < end; ++k) {
        if (io.run[k] != 0) io.success[k] = 0;
      }
    }
  }

  using Step = Compiled<&BlockKernel::step_range<4>, &BlockKernel::step_range<8>,
                        &BlockKernel::step_range<16>>;

  // The first numbers of 16 levels' streams; GCC vectorizes it over the lanes.
  FASTRL_INLINE static void draw_first(const fastrl_level (&levels)[kLanes],
                                       BegunStream (&streams)[kLanes]) {
    std::uint64_t seeds[kLanes], groups[kLanes], resets[kLanes], keys[kLanes], ids[kLanes];
    std::uint32_t numbers[4][kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      seeds[lane] = levels[lane].seed;
      groups[lane] = levels[lane].group;
      resets[lane] = levels[lane].reset;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto stream = RandomStream::of_level(seeds[lane], groups[lane], resets[lane]);
      const Philox4 drawn = philox4x32(stream.key, 0, stream.stream);
      keys[lane] = stream.key;
      ids[lane] = stream.stream;
      for (std::size_t k = 0; k < 4; ++k) numbers[k][lane] = drawn[k];
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      streams[lane] = {{numbers[0][lane], numbers[1][lane], numbers[2][lane], numbers[3][lane]},
                       {keys[lane], ids[lane], 0}};
    }
  }

  FASTRL_INLINE static void begin_some(const void* p, void* states, const fastrl_begin* given) {
    const Params& params = Scalar::params(p).own;
    const fastrl_begin io = *given;
    for (std::int64_t first = 0; first < io.count; first += kLanes) {
      const std::int64_t n = std::min(kLanes, io.count - first);
      fastrl_level levels[kLanes] = {};
      std::copy_n(io.levels + first, n, levels);
      BegunStream streams[kLanes];
      draw_first(levels, streams);
      for (std::int64_t lane = 0; lane < n; ++lane) {
        const State state{B::template reset<float>(streams[lane], io.options)};
        put(states, io.ids[first + lane], &state);
        One::observe(params, state, Rows(io.observations, io.places[first + lane]));
      }
    }
  }

  using Begin = Compiled<&BlockKernel::begin_some>;

  static void observe(const void* p, const void* states, std::int64_t begin, std::int64_t end,
                      std::int32_t, const fastrl_step* io) {
    for (std::int64_t k = begin; k < end; ++k) {
      if (io->run[k] == 0) continue;
      State state;
      get(states, environment(*io, k), &state);
      One::observe(Scalar::params(p).own, state, Rows(io->observations, k));
    }
  }

  static consteval fastrl_environment table() {
    fastrl_environment t = Scalar::table();
    t.lanes = kLanes;
    t.step = Step::run;
    t.observe = observe;
    t.begin = Begin::run;
    t.get = get;
    t.put = put;
    return t;
  }
};

template <typename B>
inline constexpr fastrl_environment kBlockTable = BlockKernel<B>::table();

}  // namespace detail

// The SIMD form of a body; it lives as long as the code.
template <typename B>
const fastrl_environment* block_environment() {
  return &detail::kBlockTable<B>;
}

}  // namespace fastrl
