#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "core/thread_pool.h"
#include "envs/bitboard.h"
#include "envs/grid.h"
#include "envs/text.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

struct Arrays {
  explicit Arrays(const VectorEnv& env)
      : n(static_cast<std::size_t>(env.num_envs())),
        observations(n * static_cast<std::size_t>(env.max_observation_tokens())),
        final_observations(observations.size()),
        lengths(n),
        rewards(n),
        flags(5 * n) {}

  StepOutputs outputs() {
    auto* flag = reinterpret_cast<bool*>(flags.data());
    return {
        observations.data(), lengths.data(), rewards.data(),           flag, flag + n, flag + 2 * n,
        flag + 3 * n,        flag + 4 * n,   final_observations.data()};
  }

  std::size_t n;
  std::vector<std::int32_t> observations, final_observations, lengths;
  std::vector<double> rewards;
  std::vector<char> flags;
};

std::vector<std::int64_t> all_ids(const VectorEnv& env) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(env.num_envs()));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

template <typename Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

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
  CHECK(parse_action_tokens(tokenize(text), names) == 0);
  CHECK(parse_action_tokens({}, names) == kMalformedAction);
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
        const auto env = make_vector_env(
            id, {.num_envs = 200, .group_size = 2, .max_episode_steps = 7, .autoreset_mode = mode},
            {{"observation", std::string(threads == 1 ? "grid" : "compact")}});
        const auto ids = all_ids(*env);
        Arrays arrays(*env);
        env->seed(5, {});
        env->reset({}, arrays.observations.data(), arrays.lengths.data());
        auto random = RandomStream::seeded(1, 0);
        std::vector<std::int64_t> actions(arrays.n);
        std::unique_ptr<bool[]> mask(new bool[arrays.n]);
        Snapshot saved = env->snapshot(ids);
        std::vector<std::uint64_t> hashes(arrays.n);
        std::string bytes;
        for (int t = 0; t < 25; ++t) {
          for (std::size_t i = 0; i < arrays.n; ++i) {
            actions[i] = static_cast<std::int64_t>(random.below(5)) - 1;
            mask[i] = mode != AutoresetMode::kDisabled || t % 7 != 0;
          }
          if (mode == AutoresetMode::kDisabled && t % 7 == 0) {
            env->reset({}, arrays.observations.data(), arrays.lengths.data());
          }
          const std::string error =
              error_of([&] { env->step(actions, {mask.get(), arrays.n}, arrays.outputs()); });
          CHECK(error.empty() || error.find("has ended") != std::string::npos);
          if (t == 9) saved = env->snapshot(ids);
          if (t == 15) env->restore(saved, ids, RngMode::kFork);
          if (t == 17) env->branch(std::vector<std::int64_t>{3}, ids, RngMode::kFork);
          if (t == 19) {
            const std::vector<std::int64_t> reversed(ids.rbegin(), ids.rend());
            env->branch(reversed, ids, RngMode::kKeep);
          }
          env->state_hash(ids, hashes.data());
          bytes.append(reinterpret_cast<const char*>(hashes.data()), 8 * arrays.n);
          bytes.append(reinterpret_cast<const char*>(arrays.rewards.data()), 8 * arrays.n);
          bytes.append(arrays.flags.data(), arrays.flags.size());
        }
        std::vector<Solution> solutions(arrays.n);
        env->solve(env->snapshot(ids), solutions.data());
        for (const Solution& solution : solutions) {
          CHECK((solution.distance > 0) == (solution.first_action >= 0));
        }
        // The two forms of observation differ, so their texts stay out of the snapshot's bytes.
        results[threads] = bytes;
      }
      CHECK(results[1] == results[3]);
    }
  }
  set_num_threads(2);
}

TEST(snapshots_survive_as_bytes_and_damage_is_found) {
  const auto env = make_vector_env("Sokoban-v0", {.num_envs = 20}, {});
  Arrays arrays(*env);
  env->seed(1, {});
  env->reset({}, arrays.observations.data(), arrays.lengths.data());
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
  const auto env = make_vector_env("CodeLock-v0", {.num_envs = 3}, {});
  Arrays arrays(*env);
  const std::vector<std::int64_t> good = {0, 0, 0};
  const std::vector<std::int64_t> bad = {0, 0, 4};
  CHECK(error_of([&] { env->step(good, {}, arrays.outputs()); }).find("never been reset") !=
        std::string::npos);
  env->reset({}, arrays.observations.data(), arrays.lengths.data());
  const auto ids = all_ids(*env);
  const std::string before = env->snapshot(ids).to_bytes();
  CHECK(error_of([&] { env->step(bad, {}, arrays.outputs()); }) ==
        "step: `actions` must be from -1 to 3, got 4 for environment 2");
  CHECK(env->snapshot(ids).to_bytes() == before);
}

TEST(sokoban_levels_of_all_sizes_are_never_unsolvable) {
  for (const std::int64_t size : {5, 6, 9, 13}) {
    for (const std::int64_t boxes : {1, 2, 3}) {
      const auto env =
          make_vector_env("Sokoban-v0", {.num_envs = 10}, {{"size", size}, {"num_boxes", boxes}});
      Arrays arrays(*env);
      env->seed(2, {});
      env->reset({}, arrays.observations.data(), arrays.lengths.data());
      std::vector<Solution> solutions(arrays.n);
      env->solve(env->snapshot(all_ids(*env)), solutions.data());
      for (const Solution& solution : solutions) CHECK(solution.distance > 0);
    }
  }
}

}  // namespace
}  // namespace fastrl
