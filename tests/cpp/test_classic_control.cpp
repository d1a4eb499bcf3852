// The two forms of the classic-control bodies against each other, and every path through a block.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "envs/block_kernel.h"
#include "envs/classic_control/acrobot.h"
#include "envs/classic_control/cart_pole.h"
#include "envs/classic_control/mountain_car.h"
#include "envs/classic_control/mountain_car_continuous.h"
#include "envs/classic_control/pendulum.h"
#include "envs/exact_kernel.h"
#include "envs/fault.h"
#include "envs/foreign.h"
#include "envs/options.h"

namespace fastrl {
namespace {

constexpr std::int64_t kCount = 83;  // five whole blocks and a part

using StepFunction = void (*)(const void*, void*, void*, std::int64_t, std::int64_t,
                              const fastrl_step*);

// What this processor has of a kernel's three forms.
template <typename Kernel>
std::vector<StepFunction> step_functions() {
  std::vector<StepFunction> all{Kernel::Step::portable};
  if (instruction_set() >= InstructionSet::kX86V3) all.push_back(Kernel::Step::v3);
  if (instruction_set() >= InstructionSet::kX86V4) all.push_back(Kernel::Step::v4);
  return all;
}

// Environments in blocks or one by one, with rows that a step writes.
struct Batch {
  const fastrl_environment* table;
  void* params;
  std::vector<char> states;
  std::vector<float> observations;
  std::vector<double> rewards;
  std::vector<std::uint8_t> terminated;
  std::int64_t numbers;
  CallError error;  // nothing here fails

  explicit Batch(const fastrl_environment* form) : table(form) {
    GivenOptions options(form->id, {});
    params = created(*form, options, "Batch");
    numbers = described(*form, params, "Batch").observations[0].shape[0];
    states.resize((kCount + 15) / 16 * 16 * form->state_size);
    observations.resize(static_cast<std::size_t>(kCount * numbers), -7.0f);
    rewards.resize(kCount, -7.0);
    terminated.resize(kCount, 7);
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  ~Batch() { table->destroy(params); }

  fastrl_step rows() {
    fastrl_step io{};
    io.observations.base[0] = reinterpret_cast<char*>(observations.data());
    io.observations.stride[0] = numbers * 4;
    io.rewards = rewards.data();
    io.terminated = terminated.data();
    io.error = &error;
    return io;
  }

  char* packed(std::int64_t i) {
    return states.data() + i * static_cast<std::int64_t>(table->state_size);
  }

  void put(std::int64_t i, const void* state) {
    if (table->put != nullptr) {
      table->put(states.data(), i, state);
    } else {
      std::memcpy(packed(i), state, table->state_size);
    }
  }

  void get(std::int64_t i, void* state) {
    if (table->get != nullptr) {
      table->get(states.data(), i, state);
    } else {
      std::memcpy(state, packed(i), table->state_size);
    }
  }

  bool equals(const Batch& other) const {
    return states == other.states && observations == other.observations &&
           rewards == other.rewards && terminated == other.terminated;
  }
};

// States as episodes meet them, and some that have just ended.
template <typename B, typename Scalar = float>
void draw_states(RandomStream& random, Batch& batch) {
  using State = typename B::template State<Scalar>;
  constexpr std::size_t kFields = sizeof(State) / sizeof(Scalar);
  for (std::int64_t i = 0; i < kCount; ++i) {
    Scalar fields[kFields];
    for (auto& field : fields) {
      field = (Scalar{2} * static_cast<Scalar>(random.uniform()) - Scalar{1}) * Scalar{0.3f};
    }
    if (std::string(B::kId).starts_with("Mountain")) {
      fields[0] = Scalar{-0.3f} + Scalar{3} * fields[0];
      fields[1] *= Scalar{0.2f};
    } else if (std::string(B::kId) != "CartPole-v1") {
      for (auto& field : fields) field *= Scalar{10};
    }
    batch.put(i, fields);
  }
}

struct Actions {
  std::vector<std::int64_t> whole;
  std::vector<float> real;

  template <typename B>
  void draw(RandomStream& random, fastrl_step& io) {
    whole.resize(kCount);
    real.resize(kCount);
    const std::uint32_t n = std::string(B::kId) == "CartPole-v1" ? 2 : 3;
    for (auto& action : whole) action = random.below(n);
    for (auto& action : real) action = 5.0f * random.uniform() - 2.5f;
    const bool is_real = std::is_pointer_v<typename B::Action>;
    io.actions = is_real ? reinterpret_cast<const char*>(real.data())
                         : reinterpret_cast<const char*>(whole.data());
    io.action_stride = is_real ? 4 : 8;
  }
};

// Every split of a batch, mask and instruction set gives the bits of one environment at a time.
template <typename B, typename Scalar>
void check_splits(const fastrl_environment* many, const std::vector<StepFunction>& steps) {
  RandomStream random = RandomStream::seeded(1, 2);
  const fastrl_environment* one_by_one = environment<BodyEnvironment<B, Scalar>>();
  std::vector<typename BodyEnvironment<B, Scalar>::Random> unused(kCount);
  for (const StepFunction step : steps) {
    for (int trial = 0; trial < 40; ++trial) {
      Batch whole(many);
      draw_states<B, Scalar>(random, whole);
      std::vector<std::uint8_t> run(kCount, 1);
      if (trial % 4 != 0) {
        for (auto& byte : run) byte = random.below(8) < static_cast<unsigned>(trial % 9) ? 0 : 1;
      }
      std::vector<std::int64_t> ids(kCount);
      for (std::int64_t k = 0; k < kCount; ++k) ids[static_cast<std::size_t>(k)] = k;
      for (std::size_t k = kCount - 1; k > 0; --k) {
        std::swap(ids[k], ids[random.below(static_cast<std::uint32_t>(k + 1))]);
      }

      Batch expected(one_by_one);
      Batch split(many);
      split.states = whole.states;
      std::vector<char> state(one_by_one->state_size);
      for (std::int64_t i = 0; i < kCount; ++i) {
        whole.get(i, state.data());
        expected.put(i, state.data());
      }
      fastrl_step io = whole.rows();
      Actions actions;
      actions.draw<B>(random, io);
      const auto stepped = [&](Batch& batch) {
        fastrl_step own = batch.rows();
        own.run = run.data();
        own.ids = trial % 2 == 0 ? nullptr : ids.data();
        own.actions = io.actions;
        own.action_stride = io.action_stride;
        return own;
      };
      const fastrl_step expected_io = stepped(expected);
      one_by_one->step(expected.params, expected.states.data(), unused.data(), 0, kCount,
                       &expected_io);
      const fastrl_step whole_io = stepped(whole);
      step(whole.params, whole.states.data(), unused.data(), 0, kCount, &whole_io);
      const fastrl_step split_io = stepped(split);
      for (std::int64_t begin = 0; begin < kCount;) {
        const std::int64_t end = std::min(kCount, begin + 1 + random.below(40));
        step(split.params, split.states.data(), unused.data(), begin, end, &split_io);
        begin = end;
      }
      CHECK(split.equals(whole));
      CHECK(whole.observations == expected.observations);
      CHECK(whole.rewards == expected.rewards);
      CHECK(whole.terminated == expected.terminated);
      for (std::int64_t i = 0; i < kCount; ++i) {
        whole.get(i, state.data());
        CHECK(std::memcmp(state.data(), expected.packed(i), state.size()) == 0);
      }

      Batch observed(many);
      observed.observations = whole.observations;
      const fastrl_step observed_io = stepped(observed);
      whole.table->observe(whole.params, whole.states.data(), 0, kCount, 0, &observed_io);
      CHECK(observed.observations == whole.observations);
    }
  }
}

template <typename B>
void check_fast_splits() {
  check_splits<B, float>(block_environment<B>(), step_functions<detail::BlockKernel<B>>());
}
template <typename B>
void check_exact_splits() {
  check_splits<B, double>(exact_environment<B>(), step_functions<detail::ExactKernel<B>>());
}

// One step from equal states: the float32 form is off by roundings alone.
template <typename B>
void check_against_exact(double tolerance, double reward_tolerance) {
  using ExactState = typename B::ExactState;
  using State = typename B::template State<float>;
  constexpr std::size_t kFields = sizeof(State) / sizeof(float);
  RandomStream random = RandomStream::seeded(3, 4);
  double worst = 0.0;
  double worst_reward = 0.0;
  int ends = 0;
  for (int trial = 0; trial < 40; ++trial) {
    Batch fast(block_environment<B>());
    Batch exact(environment<Exact<B>>());
    draw_states<B>(random, fast);
    for (std::int64_t i = 0; i < kCount; ++i) {
      float fields[kFields];
      fast.table->get(fast.states.data(), i, fields);
      ExactState state{};
      double numbers[kFields];
      std::copy(fields, fields + kFields, numbers);
      std::memcpy(&state, numbers, sizeof(numbers));
      exact.put(i, &state);
    }
    const std::vector<std::uint8_t> run(kCount, 1);
    fastrl_step io = fast.rows();
    io.run = run.data();
    Actions actions;
    actions.draw<B>(random, io);
    fast.table->step(fast.params, fast.states.data(), nullptr, 0, kCount, &io);
    fastrl_step exact_io = exact.rows();
    exact_io.run = run.data();
    exact_io.actions = io.actions;
    exact_io.action_stride = io.action_stride;
    std::vector<NumpyRandom> unused(kCount);
    exact.table->step(exact.params, exact.states.data(), unused.data(), 0, kCount, &exact_io);
    for (std::size_t i = 0; i < fast.observations.size(); ++i) {
      worst = std::max(
          worst, static_cast<double>(std::fabs(fast.observations[i] - exact.observations[i])));
    }
    for (std::size_t i = 0; i < kCount; ++i) {
      if (fast.terminated[i] != exact.terminated[i]) continue;  // a rounding away from the limit
      worst_reward = std::max(worst_reward, std::fabs(fast.rewards[i] - exact.rewards[i]));
      ends += fast.terminated[i];
    }
    const auto differing =
        std::inner_product(fast.terminated.begin(), fast.terminated.end(), exact.terminated.begin(),
                           0, std::plus<>(), [](int a, int b) { return a != b ? 1 : 0; });
    CHECK(differing <= 1);
  }

  CHECK(worst <= tolerance);
  CHECK(worst_reward <= reward_tolerance);
  CHECK(ends > 0 || std::string(B::kId) == "Pendulum-v1");
}

// Many episodes at once are those that begin one by one, with every instruction set.
template <typename B>
void check_beginnings() {
  using Begin = typename detail::BlockKernel<B>::Begin;
  std::vector<void (*)(const void*, void*, const fastrl_begin*)> forms{Begin::portable};
  if (instruction_set() >= InstructionSet::kX86V3) forms.push_back(Begin::v3);
  if (instruction_set() >= InstructionSet::kX86V4) forms.push_back(Begin::v4);
  constexpr std::int64_t kBegun = 37;
  std::vector<fastrl_level> levels;
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> places;
  for (std::int64_t j = 0; j < kBegun; ++j) {
    const auto n = static_cast<std::uint64_t>(j);
    levels.push_back({n % 3, n * 1000003, n * n});
    ids.push_back((j * 53) % kCount);
    places.push_back(kCount - 1 - j);
  }
  const double given[] = {0.25, 0.5};
  for (const double* options : {static_cast<const double*>(nullptr), given}) {
    Batch one(block_environment<B>());
    fastrl_step rows = one.rows();
    std::vector<std::uint8_t> all(kCount, 1);
    rows.run = all.data();
    std::vector<std::int64_t> at(kCount);
    rows.ids = at.data();
    for (std::size_t j = 0; j < levels.size(); ++j) {
      RandomStream stream;
      one.table->seed_level(&stream, levels[j].seed, levels[j].group, levels[j].reset);
      std::vector<std::byte> state(one.table->state_size);
      one.table->reset(one.params, &stream, options, state.data(), &one.error);
      one.put(ids[j], state.data());
      at[static_cast<std::size_t>(places[j])] = ids[j];
      one.table->observe(one.params, one.states.data(), places[j], places[j] + 1, 1, &rows);
    }
    for (const auto begin : forms) {
      Batch many(block_environment<B>());
      const fastrl_begin io = {.count = kBegun,
                               .levels = levels.data(),
                               .ids = ids.data(),
                               .places = places.data(),
                               .options = options,
                               .observations = many.rows().observations};
      begin(many.params, many.states.data(), &io);
      CHECK(many.equals(one));
    }
  }
}

TEST(episodes_begin_alike_one_by_one_and_many_at_a_time) {
  check_beginnings<CartPole>();
  check_beginnings<MountainCar>();
  check_beginnings<MountainCarContinuous>();
  check_beginnings<Pendulum>();
  check_beginnings<Acrobot>();
}

TEST(a_begun_stream_goes_on_as_the_stream_itself) {
  const RandomStream start = RandomStream::of_level(3, 4, 5);
  RandomStream own = start;
  BegunStream begun{philox4x32(start.key, 0, start.stream), start};
  CHECK(begun.next_four() == own.next_four());
  for (int n = 0; n < 3; ++n) CHECK(begun.next_u32() == own.next_u32());
  CHECK(begun.next_four() == own.next_four());
  RandomStream again = start;
  BegunStream odd{philox4x32(start.key, 0, start.stream), start};
  CHECK(odd.next_u32() == again.next_u32());
  CHECK(odd.next_four() == again.next_four());
  for (int n = 0; n < 9; ++n) CHECK(odd.next_u32() == again.next_u32());
}

TEST(fast_steps_are_the_same_however_a_batch_is_split) {
  check_fast_splits<CartPole>();
  check_fast_splits<MountainCar>();
  check_fast_splits<MountainCarContinuous>();
  check_fast_splits<Pendulum>();
  check_fast_splits<Acrobot>();
}
TEST(exact_steps_are_the_same_however_a_batch_is_split) {
  check_exact_splits<CartPole>();
  check_exact_splits<MountainCar>();
}

TEST(fast_steps_of_cart_pole_are_exact_but_for_roundings) {
  check_against_exact<CartPole>(1.3e-7, 0.0);
}
TEST(fast_steps_of_mountain_car_are_exact_but_for_roundings) {
  check_against_exact<MountainCar>(1.3e-7, 0.0);
}
TEST(fast_steps_of_mountain_car_continuous_are_exact_but_for_roundings) {
  check_against_exact<MountainCarContinuous>(1.3e-7, 8e-6);
}
TEST(fast_steps_of_pendulum_are_exact_but_for_roundings) {
  check_against_exact<Pendulum>(1.5e-6, 4e-6);
}
TEST(fast_steps_of_acrobot_are_exact_but_for_roundings) { check_against_exact<Acrobot>(1e-5, 0.0); }

}  // namespace
}  // namespace fastrl
