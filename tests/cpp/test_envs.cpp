#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "batch_arrays.h"
#include "check.h"
#include "core/thread_pool.h"
#include "envs/asynchronous.h"
#include "envs/bitboard.h"
#include "envs/grid.h"
#include "envs/text.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

TEST(bitboards_and_grids) {
  Bitboard board;
  for (const int cell : {0, 63, 64, 127}) board.set(cell);
  CHECK(board.count() == 4 && board.test(64) && !board.test(65));
  std::vector<int> cells;
  board.for_each([&](int cell) { cells.push_back(cell); });
  CHECK((cells == std::vector<int>{0, 63, 64, 127}));
  Bitboard part;
  part.set(127);
  CHECK(part.within(board) && !board.within(part) && part.intersects(board));
  board.clear(127);
  CHECK(!part.intersects(board) && !part.within(board));

  const Grid grid{3, 4};
  CHECK(grid.neighbor(5, kUp) == 1 && grid.neighbor(5, kDown) == 9);
  CHECK(grid.neighbor(5, kLeft) == 4 && grid.neighbor(5, kRight) == 6);
  CHECK(grid.neighbor(0, kUp) == -1 && grid.neighbor(0, kLeft) == -1);
  CHECK(grid.neighbor(11, kDown) == -1 && grid.neighbor(11, kRight) == -1);
}

TEST(text_round_trips_and_actions_are_found) {
  const std::string text = "try <answer>Up</answer> at turn 3\n instead of </answer Down";
  CHECK(detokenize(tokenize(text)) == text);
  const std::vector<std::string_view> names = {"Up", "Down"};
  CHECK(parse_action(text, names) == 0);
  CHECK(parse_action("", names) == kMalformedAction);
  CHECK(parse_action(std::string(1000, '<'), names) == kMalformedAction);
  CHECK(spoken_text(tokenize(text)) == text);
  CHECK(spoken_text({}) == "");
  CHECK(!spoken_text(std::vector<std::int32_t>{kVocabularySize}));
}

// Random play over every environment: all rows are written inside their arrays (ASan), threads do
// not race (TSan), and the bytes do not depend on the number of threads.
TEST(rollouts_with_every_call_are_the_same_for_any_number_of_threads) {
  for (const std::string& id : environment_ids()) {
    for (const auto mode :
         {AutoresetMode::kNextStep, AutoresetMode::kSameStep, AutoresetMode::kDisabled}) {
      std::map<int, std::string> results;
      for (const int threads : {1, 3}) {
        set_num_threads(threads);
        const auto env = make_vector_env(id, false,
                                         {.num_envs = 200,
                                          .group_size = 2,
                                          .max_episode_steps = 7,
                                          .autoreset_mode = mode,
                                          .history = 3},
                                         {});
        const auto ids = all_ids(*env);
        BatchArrays arrays(*env);
        env->seed(5, {});
        env->reset({}, {}, arrays.outputs);
        auto random = RandomStream::seeded(1, 0);
        const std::unique_ptr<bool[]> mask(new bool[arrays.n]);
        Snapshot saved = env->snapshot(ids);
        std::vector<std::uint64_t> hashes(arrays.n);
        std::string bytes;
        for (int t = 0; t < 25; ++t) {
          const auto actions = random_actions(*env, arrays.n, random);
          for (std::size_t i = 0; i < arrays.n; ++i) {
            mask[i] = mode != AutoresetMode::kDisabled || t % 7 != 0;
          }
          if (mode == AutoresetMode::kDisabled && t % 7 == 0) env->reset({}, {}, arrays.outputs);
          const std::string error =
              error_of([&] { env->step(actions.data(), {mask.get(), arrays.n}, arrays.outputs); });
          CHECK(error.empty() || contains(error, "has ended"));
          if (t == 9) saved = env->snapshot(ids);
          if (t == 12) env->rewind(ids, mode == AutoresetMode::kDisabled ? 0 : 2, RngMode::kFork);
          if (t == 15) env->restore(saved, ids, RngMode::kFork);
          if (t == 17) env->branch(std::vector<std::int64_t>{3}, ids, RngMode::kFork);
          if (t == 19) {
            const std::vector<std::int64_t> reversed(ids.rbegin(), ids.rend());
            env->branch(reversed, ids, RngMode::kKeep);
          }
          env->state_hash(ids, hashes.data());
          bytes.append(reinterpret_cast<const char*>(hashes.data()), 8 * arrays.n);
          bytes += arrays.written();
        }
        if (env->can_solve()) {
          std::vector<Solution> solutions(arrays.n);
          env->solve(env->snapshot(ids), solutions.data());
          for (const Solution& solution : solutions) {
            // Where actions are rows of tokens a solution has no first one.
            CHECK(solution.distance > 0 || solution.first_action == -1);
          }
        }
        results[threads] = bytes;
      }
      CHECK(results[1] == results[3]);
    }
  }
  set_num_threads(2);
}

// Stepping, sending in pieces and unrolling are one thing.
TEST(asynchronous_and_unrolled_steps_are_steps) {
  for (const std::string& id : environment_ids()) {
    constexpr std::int64_t kEnvs = 70;
    constexpr std::int64_t kSteps = 12;
    std::vector<std::string> results;
    for (const int way : {0, 1, 2}) {
      const auto env = make_vector_env(id, false, {.num_envs = kEnvs, .max_episode_steps = 5}, {});
      const auto ids = all_ids(*env);
      BatchArrays arrays(*env);
      env->seed(5, {});
      env->reset({}, {}, arrays.outputs);
      auto random = RandomStream::seeded(1, 0);
      const std::int64_t size = row_size(env->description().action);
      const auto actions = random_actions(*env, kEnvs * kSteps, random);
      if (way == 0) {
        for (std::int64_t t = 0; t < kSteps; ++t) {
          env->step(actions.data() + t * kEnvs * size, {}, arrays.outputs);
        }
      } else if (way == 1) {
        BatchArrays rows(*env);
        Asynchronous asynchronous(*env, rows.outputs);
        std::vector<std::int64_t> received(kEnvs);
        for (std::int64_t t = 0; t < kSteps; ++t) {
          for (std::int64_t k = 0; k < kEnvs; k += 14) {
            asynchronous.send(std::span(ids).subspan(static_cast<std::size_t>(k), 14),
                              actions.data() + (t * kEnvs + k) * size);
          }
          for (const std::int64_t n : {40, 30}) {
            CHECK(asynchronous.receive(n, -1.0, arrays.outputs, received.data()));
          }
          CHECK(received[0] == 40 && received[29] == 69);
        }
      } else {
        BatchArrays all(*env, kEnvs * kSteps);
        auto read = actions;
        env->unroll(kSteps, read.data(), nullptr, all.outputs);
      }
      results.push_back(env->snapshot(ids).to_bytes());
    }
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
  }
}

// Neighbors go back together where their rings stand alike, blocks of lanes as a whole.
TEST(parts_of_a_batch_go_back) {
  set_num_threads(3);
  for (const auto& [id, fast] : {std::pair("Pendulum-v1", true), std::pair("CartPole-v1", true),
                                 std::pair("CodeLock-v0", false)}) {
    const auto env = make_vector_env(id, fast, {.num_envs = 1037, .history = 3}, {});
    BatchArrays arrays(*env);
    env->seed(1, {});
    env->reset({}, {}, arrays.outputs);
    auto random = RandomStream::seeded(1, 0);
    const auto all = Selection::all(env->num_envs());
    const auto step = [&] {
      env->step(random_actions(*env, arrays.n, random).data(), {}, arrays.outputs);
    };
    std::vector<Snapshot> past;
    for (int t = 0; t < 5; ++t) {
      past.push_back(env->snapshot(all));
      step();
    }
    std::vector<std::int64_t> some(700);
    std::iota(some.begin(), some.end(), 21);
    env->rewind(some, 2, RngMode::kRestore);
    CHECK(env->snapshot(some).to_bytes() == past[3].select(some).to_bytes());
    step();
    env->rewind(some, 2, RngMode::kFork);
    env->rewind(std::vector<std::int64_t>{1036, 0, 20, 721, 16}, 3, RngMode::kKeep);
    CHECK(error_of([&] { env->rewind(all, 1, RngMode::kRestore); }).find("environment 0") !=
          std::string::npos);
    past.clear();
    for (int t = 0; t < 5; ++t) {
      past.push_back(env->snapshot(all));
      step();
    }
    env->rewind(all, 3, RngMode::kRestore);
    CHECK(env->snapshot(all).to_bytes() == past[2].to_bytes());
  }
  set_num_threads(2);
}

TEST(snapshots_survive_as_bytes_and_damage_is_found) {
  const auto env = make_vector_env("Sokoban-v0", false, {.num_envs = 20}, {});
  BatchArrays arrays(*env);
  env->seed(1, {});
  env->reset({}, {}, arrays.outputs);
  const auto ids = all_ids(*env);
  const std::string bytes = env->snapshot(ids).to_bytes();
  const auto view = [](const std::string& data) {
    return std::span(reinterpret_cast<const std::byte*>(data.data()), data.size());
  };
  const Snapshot back = Snapshot::from_bytes(view(bytes));
  CHECK(back.to_bytes() == bytes);
  env->restore(back, ids, RngMode::kRestore);
  CHECK(env->snapshot(ids).to_bytes() == bytes);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    CHECK(!error_of([&] { Snapshot::from_bytes(view(cut)); }).empty());
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    CHECK(!error_of([&] { Snapshot::from_bytes(view(damaged)); }).empty());
  }
}

TEST(a_failed_step_writes_nothing) {
  const auto env = make_vector_env("CodeLock-v0", false, {.num_envs = 3}, {});
  BatchArrays arrays(*env);
  const std::vector<std::int64_t> good = {0, 0, 0};
  const std::vector<std::int64_t> bad = {0, 0, 4};
  CHECK(error_of([&] { env->step(good.data(), {}, arrays.outputs); }).find("never been reset") !=
        std::string::npos);
  env->reset({}, {}, arrays.outputs);
  const auto ids = all_ids(*env);
  const std::string before = env->snapshot(ids).to_bytes();
  CHECK(error_of([&] { env->step(bad.data(), {}, arrays.outputs); }) ==
        "step: `actions` must be from -1 to 3, got 4 for environment 2");
  CHECK(env->snapshot(ids).to_bytes() == before);
}

TEST(sokoban_levels_of_all_sizes_are_never_unsolvable) {
  for (const std::int64_t size : {5, 6, 9, 13}) {
    for (const std::int64_t boxes : {1, 2, 3}) {
      const auto env = make_vector_env("Sokoban-v0", false, {.num_envs = 10},
                                       {{"size", size}, {"num_boxes", boxes}});
      BatchArrays arrays(*env);
      env->seed(2, {});
      env->reset({}, {}, arrays.outputs);
      std::vector<Solution> solutions(arrays.n);
      env->solve(env->snapshot(all_ids(*env)), solutions.data());
      for (const Solution& solution : solutions) CHECK(solution.distance > 0);
    }
  }
}

}  // namespace
}  // namespace fastrl
