#include <map>
#include <memory>
#include <string>
#include <vector>

#include "batch_arrays.h"
#include "check.h"
#include "core/thread_pool.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

// A machine with a clock that any environment can have: it ends after nine steps, or goes to and
// back where the environment's first label is true.
std::shared_ptr<const RewardMachine> machine_of(const VectorEnv& env) {
  const std::vector<std::string> labels = step_labels(env.description());
  using Transition = RewardMachine::Transition;
  std::vector<Transition> transitions = {
      {.state = 0, .next = 2, .reward = 1.0, .clauses = {{}}, .bounds = {{0, 9, 1 << 20}}}};
  if (!labels.empty()) {
    transitions.push_back({.state = 0, .next = 1, .reward = 0.5, .clauses = {{1, 0}}});
    transitions.push_back({.state = 1, .next = 0, .clauses = {{0, 1}}, .resets = 1});
  }
  return std::make_shared<RewardMachine>(3, labels, std::vector<std::int32_t>{9}, transitions,
                                         std::vector<std::int32_t>{2}, std::vector<std::int32_t>{1},
                                         0.9);
}

WrapperOptions everything(const VectorEnv& plain) {
  WrapperOptions options;
  options.action_repeat = 2;
  options.contexts = {.contexts = {{}, {}, {}}, .selector = ContextSelector::kUniform};
  const std::vector<std::string> labels = step_labels(plain.description());
  if (!labels.empty()) options.costs = {.weights = {{labels[0], 1.0}}, .limit = 3.0};
  if (plain.description().reports_success != 0) {
    options.attempts = {.max_attempts = 3, .until_success = true, .retries = true};
  } else {
    options.attempts = {.max_attempts = 3};
  }
  const Field& field = plain.description().observations[0];
  const bool row = plain.description().structure == FASTRL_SINGLE && field.space == FASTRL_BOX &&
                   field.ndim == 1 && field.dtype == FASTRL_FLOAT32;
  options.contexts.observed = row;
  options.machine = {.machine = machine_of(plain), .adds = true, .observed = row};
  return options;
}

template <typename Body>
void each_form(Body&& body) {
  for (const std::string& id : environment_ids()) {
    for (const bool fast : {false, true}) {
      if (fast && !has_fast_form(id)) continue;
      body(id, fast);
    }
  }
}

// Random play with every wrapper on every environment: all rows are written inside their arrays
// (ASan), threads do not race (TSan), and the bytes do not depend on the number of threads.
TEST(wrapped_rollouts_are_the_same_for_any_number_of_threads) {
  each_form([](const std::string& id, bool fast) {
    const auto plain = make_vector_env(id, fast, {}, {});
    for (const auto mode :
         {AutoresetMode::kNextStep, AutoresetMode::kSameStep, AutoresetMode::kDisabled}) {
      std::map<int, std::string> results;
      for (const int threads : {1, 3}) {
        set_num_threads(threads);
        const auto env = make_vector_env(id, fast,
                                         {.num_envs = 70,
                                          .group_size = 2,
                                          .max_episode_steps = 5,
                                          .autoreset_mode = mode,
                                          .history = 3,
                                          .wrappers = everything(*plain)},
                                         {});
        const auto ids = all_ids(*env);
        const Snapshot levels = env->make_levels(4, 9);
        env->set_levels(&levels, {});
        BatchArrays arrays(*env);
        env->seed(5, {});
        env->reset({}, {}, arrays.outputs);
        auto random = RandomStream::seeded(1, 0);
        Snapshot saved = env->snapshot(ids);
        std::string bytes;
        for (int t = 0; t < 24; ++t) {
          const auto actions = random_actions(*env, arrays.n, random);
          if (mode == AutoresetMode::kDisabled && t % 5 == 0) {
            env->reset({}, {}, arrays.outputs);
          }
          const std::string error =
              error_of([&] { env->step(actions.data(), {}, arrays.outputs); });
          CHECK(error.empty() || contains(error, "has ended"));
          if (t == 9) saved = env->snapshot(ids);
          if (t == 12) env->rewind(ids, mode == AutoresetMode::kDisabled ? 0 : 2, RngMode::kFork);
          if (t == 15) env->restore(saved, ids, RngMode::kFork);
          if (t == 17) env->branch(std::vector<std::int64_t>{3}, ids, RngMode::kFork);
          bytes += arrays.written();
        }
        results[threads] = bytes + env->snapshot(ids).to_bytes();
        const Snapshot back =
            Snapshot::from_bytes(std::as_bytes(std::span(results[threads]).subspan(bytes.size())));
        env->restore(back, ids, RngMode::kRestore);
      }
      CHECK(results[1] == results[3]);
    }
  });
  set_num_threads(2);
}

// Contexts that are all alike change nothing: environments are only stepped in other pieces.
TEST(equal_contexts_change_no_number) {
  each_form([](const std::string& id, bool fast) {
    std::vector<std::string> results;
    for (const bool varies : {false, true}) {
      WrapperOptions wrappers;
      if (varies) {
        wrappers.contexts = {.contexts = {{}, {}, {}}, .selector = ContextSelector::kUniform};
      }
      const auto env = make_vector_env(
          id, fast, {.num_envs = 70, .max_episode_steps = 4, .wrappers = wrappers}, {});
      BatchArrays arrays(*env);
      env->seed(5, {});
      env->reset({}, {}, arrays.outputs);
      auto random = RandomStream::seeded(1, 0);
      std::string bytes;
      for (int t = 0; t < 12; ++t) {
        const auto actions = random_actions(*env, arrays.n, random);
        env->step(actions.data(), {}, arrays.outputs);
        const Outputs& out = arrays.outputs;
        for (std::int32_t f = 0; f < env->description().num_observations; ++f) {
          bytes.append(out.observations.base[f],
                       arrays.n * static_cast<std::size_t>(out.observations.stride[f]));
        }
        bytes.append(reinterpret_cast<const char*>(out.rewards), 8 * arrays.n);
        bytes.append(reinterpret_cast<const char*>(out.terminated), arrays.n);
      }
      results.push_back(bytes);
    }
    CHECK(results[0] == results[1]);
  });
}

TEST(weights_are_kept_to) {
  const std::vector<double> weights = {0.0, 1.0, 0.0, 3.0, 0.0};
  const WeightedChoice choice(weights);
  std::map<std::int64_t, int> counts;
  for (std::uint64_t i = 0; i < 4000; ++i) ++counts[choice.draw(RandomStream::seeded(i, 0))];
  CHECK(counts.size() == 2);
  CHECK(counts[1] > 880 && counts[1] < 1120);
}

}  // namespace
}  // namespace fastrl
