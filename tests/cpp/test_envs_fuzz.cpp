// Random calls with good and bad arguments on every environment. A call that fails throws and
// leaves the bytes of all environments as they were; what is accepted can be stepped. Under ASan,
// UBSan and TSan this also says that nothing else was touched.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "batch_arrays.h"
#include "check.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "envs/asynchronous.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

constexpr std::int64_t kEnvs = 70;  // more than one chunk of a text environment
constexpr int kCalls = 120;

// Bytes as another process could have written them: changed, with a right checksum. The layout is
// that of snapshot.cpp.
std::string signed_anew(std::string bytes) {
  constexpr std::size_t kHeader = 80;
  constexpr std::size_t kChecksum = 72;
  std::memset(bytes.data() + kChecksum, 0, 8);
  const std::uint64_t checksum = mix64(hash_bytes(bytes.data(), kHeader) ^
                                       hash_bytes(bytes.data() + kHeader, bytes.size() - kHeader));
  std::memcpy(bytes.data() + kChecksum, &checksum, 8);
  return bytes;
}

Snapshot read_back(const std::string& bytes) {
  return Snapshot::from_bytes({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
}

class Fuzzer {
 public:
  Fuzzer(const std::string& id, bool fast, std::uint64_t seed)
      : id_(id),
        random_(RandomStream::seeded(seed, 0)),
        env_(make_vector_env(id, fast, random_options(), {})),
        arrays_(*env_),
        ids_(all_ids(*env_)) {}

  void run() {
    env_->seed(7, {});
    if (below(4) != 0) env_->reset({}, {}, arrays_.outputs);
    for (int call = 0; call < kCalls; ++call) {
      const std::string before = bytes();
      bool failed = false;
      try {
        call_something();
      } catch (const std::invalid_argument&) {
        failed = true;
      } catch (const std::out_of_range&) {
        failed = true;
      } catch (const std::runtime_error&) {
        failed = true;
      }
      num_failed_ += failed ? 1 : 0;
      if (failed) CHECK(bytes() == before);
    }
    CHECK(num_failed_ > kCalls / 20 && num_failed_ < kCalls);
  }

 private:
  std::int64_t below(std::int64_t n) { return random_.below(static_cast<std::uint32_t>(n)); }

  VectorOptions random_options() {
    VectorOptions options{.num_envs = kEnvs, .max_episode_steps = 1 + below(9), .history = 3};
    options.autoreset_mode = static_cast<AutoresetMode>(below(3));
    // Half of the time levels are made anew, which shows the levels' code.
    if (below(2) == 0) options.num_levels = 1 + below(5);
    if (below(2) == 0) options.group_size = 7;
    return options;
  }

  // All that a snapshot can show, of states, streams and episodes.
  std::string bytes() const { return env_->snapshot(ids_).to_bytes(); }

  // Rows of the action space, some of them not in it.
  std::vector<char> some_actions(std::size_t n) {
    auto actions = random_actions(*env_, n, random_);
    if (below(3) != 0) return actions;
    const Field& field = env_->description().action;
    const auto size = static_cast<std::size_t>(size_of(field.dtype));
    const std::size_t cells = actions.size() / size;
    if (cells == 0) return actions;
    char* cell =
        actions.data() + size * static_cast<std::size_t>(below(static_cast<std::int64_t>(cells)));
    if (field.dtype == FASTRL_FLOAT32) {
      const float wrong[] = {std::numeric_limits<float>::quiet_NaN(),
                             std::numeric_limits<float>::infinity(),
                             std::numeric_limits<float>::max(), -3.0e38f};
      *reinterpret_cast<float*>(cell) = wrong[below(4)];
    } else {
      const std::int64_t wrong[] = {-1,
                                    -2,
                                    static_cast<std::int64_t>(field.high[0]) + 1,
                                    std::numeric_limits<std::int64_t>::max(),
                                    std::numeric_limits<std::int64_t>::min(),
                                    std::int64_t{1} << 32};
      const std::int64_t value = wrong[below(6)];
      std::memcpy(cell, &value, size);
    }
    return actions;
  }

  // Some environments; now and then one twice, or one that is none.
  std::vector<std::int64_t> some_ids() {
    std::vector<std::int64_t> ids = ids_;
    for (std::size_t i = ids.size(); i > 1; --i) {
      std::swap(ids[i - 1], ids[static_cast<std::size_t>(below(static_cast<std::int64_t>(i)))]);
    }
    ids.resize(static_cast<std::size_t>(below(kEnvs + 1)));
    if (ids.empty() || below(4) != 0) return ids;
    const std::int64_t wrong[] = {-1, kEnvs, std::numeric_limits<std::int64_t>::max(),
                                  std::numeric_limits<std::int64_t>::min(), ids[0]};
    ids.back() = wrong[below(5)];
    return ids;
  }

  std::span<const bool> some_mask() {
    if (below(3) == 0) return {};
    for (std::int64_t i = 0; i < kEnvs; ++i) mask_[static_cast<std::size_t>(i)] = below(2) == 0;
    return {mask_.get(), static_cast<std::size_t>(kEnvs)};
  }

  RngMode some_rng() { return static_cast<RngMode>(below(3)); }

  // A snapshot that may not be of these environments, or hold states that cannot be.
  Snapshot some_snapshot() {
    if (below(4) == 0) {
      const std::string id = id_ == "CodeLock-v0" ? "FrozenLakeText-v0" : "CodeLock-v0";
      return make_vector_env(id, false, {.num_envs = kEnvs}, {})->snapshot(ids_);
    }
    std::string changed = bytes();
    const auto slots = static_cast<std::int64_t>(changed.size()) - env_->slot_size() * kEnvs;
    if (below(8) == 0) return read_back(changed.substr(0, changed.size() - 1));
    const std::int64_t num_changes = below(4);
    for (std::int64_t i = 0; i < num_changes; ++i) {
      // Mostly in the states, sometimes in the header.
      const std::int64_t at =
          below(10) == 0 ? below(slots) : slots + below(env_->slot_size() * kEnvs);
      changed[static_cast<std::size_t>(at)] = static_cast<char>(below(256));
    }
    return read_back(below(8) == 0 ? changed : signed_anew(changed));
  }

  void step_once(const std::vector<char>& actions, std::span<const bool> mask) {
    env_->step(actions.data(), mask, arrays_.outputs);
    for (std::size_t k = 0; k < arrays_.n; ++k) {
      const int stepped = arrays_.outputs.stepped[k];
      CHECK(stepped <= 1 && arrays_.outputs.informed[k] <= 1);
      CHECK(arrays_.outputs.terminated[k] <= stepped && arrays_.outputs.truncated[k] <= stepped);
    }
  }

  void step_some() {
    const auto ids = some_ids();
    const auto actions = some_actions(ids.size());
    if (ids.empty()) return;  // no ids mean all
    env_->check_targets("step", "ids", ids);
    env_->check_step("step", ids, actions.data(), {});
    BatchArrays rows(*env_, static_cast<std::int64_t>(ids.size()));
    env_->step_some(ids, actions.data(), rows.outputs);
  }

  void send_and_receive() {
    BatchArrays waiting(*env_);
    Asynchronous asynchronous(*env_, waiting.outputs);
    const auto ids = some_ids();
    if (ids.empty()) return;
    const auto actions = some_actions(ids.size());
    asynchronous.send(ids, actions.data());
    const auto n = static_cast<std::int64_t>(ids.size());
    CHECK(!error_of([&] { asynchronous.send(std::span(ids).first(1), actions.data()); }).empty());
    std::vector<std::int64_t> received(arrays_.n);
    CHECK(!error_of([&] {
             asynchronous.receive(n + 1, -1.0, arrays_.outputs, received.data());
           }).empty());
    CHECK(asynchronous.receive(n, -1.0, arrays_.outputs, received.data()));
    received.resize(ids.size());
    CHECK(received == ids);
  }

  void unroll() {
    constexpr std::int64_t kSteps = 3;
    BatchArrays all(*env_, kSteps * kEnvs);
    auto actions = some_actions(static_cast<std::size_t>(kSteps * kEnvs));
    const std::uint64_t seed = 5;
    env_->unroll(kSteps, actions.data(), below(2) == 0 ? &seed : nullptr, all.outputs);
  }

  void seed() {
    if (below(2) == 0) {
      env_->seed(static_cast<std::uint64_t>(below(1 << 30)), some_mask());
      return;
    }
    std::vector<std::uint64_t> seeds(arrays_.n);
    for (auto& one : seeds) one = static_cast<std::uint64_t>(below(5));
    env_->seed_each(seeds, some_mask());
  }

  void restore() {
    const Snapshot given = some_snapshot();
    if (below(3) == 0) {
      auto indices = some_ids();
      if (given.count() < kEnvs) return;
      env_->restore(given.select(indices), some_ids(), some_rng());
      return;
    }
    env_->restore(given, below(2) == 0 ? ids_ : some_ids(), some_rng());
  }

  void branch() {
    const auto sources = some_ids();
    const auto targets = some_ids();
    if (below(2) == 0 && !sources.empty()) {
      env_->branch(std::span(sources).first(1), targets, some_rng());
    } else {
      env_->branch(sources, below(2) == 0 ? sources : targets, some_rng());
    }
  }

  void look() {
    const auto ids = some_ids();
    const Description& description = env_->description();
    std::vector<std::uint64_t> words(ids.size());
    env_->state_hash(ids, words.data());
    BatchArrays rows(*env_, std::max<std::int64_t>(1, static_cast<std::int64_t>(ids.size())));
    env_->observe(ids, rows.outputs);
    if (description.num_labels > 0) env_->labels(ids, words.data());
    if (description.grid_height > 0) {
      std::vector<char> cells(
          ids.size() * static_cast<std::size_t>(description.grid_height * description.grid_width));
      env_->cells(ids, cells.data());
      CHECK(std::ranges::all_of(cells, [](char c) { return c >= ' ' && c <= '~'; }));
    }
    if (description.is_text != 0) {
      std::vector<std::int32_t> tokens(ids.size() *
                                       static_cast<std::size_t>(description.render_tokens));
      std::vector<std::int32_t> lengths(ids.size());
      env_->render(ids, tokens.data(), lengths.data());
    }
  }

  void solve() {
    if (!env_->can_solve()) return;
    const Snapshot given = some_snapshot();
    if (given.count() == 0) return;
    const Snapshot one = given.select(std::vector<std::int64_t>{below(given.count())});
    std::vector<Solution> solutions(1);
    env_->solve(one, solutions.data());
  }

  void parse() {
    if (env_->description().is_text == 0) return;
    std::string text;
    std::vector<std::int32_t> tokens;
    const char* pieces[] = {"<answer>", "</answer>", "Up", " ", "0", "1 2", "\xff", "<", "<end>"};
    for (std::int64_t i = below(9); i > 0; --i) {
      text += pieces[below(9)];
      tokens.push_back(static_cast<std::int32_t>(below(kVocabularySize + 2)) - 1);
    }
    std::vector<char> row(static_cast<std::size_t>(row_size(env_->description().action)));
    env_->parse_action(text, row.data());
    env_->parse_action_tokens(tokens, row.data());
  }

  void call_something() {
    switch (below(14)) {
      case 0:
        return seed();
      case 1:
        return env_->reset(some_mask(), {}, arrays_.outputs);
      case 2:
        return step_some();
      case 3:
        return send_and_receive();
      case 4:
        return unroll();
      case 5:
        return restore();
      case 6:
        return branch();
      case 7: {
        const auto ids = some_ids();
        return env_->rewind(ids, below(6) - 1, some_rng());
      }
      case 8:
        return look();
      case 9:
        return solve();
      case 10:
        return parse();
      default:
        return step_once(some_actions(arrays_.n), some_mask());
    }
  }

  std::string id_;
  RandomStream random_;
  std::unique_ptr<VectorEnv> env_;
  BatchArrays arrays_;
  std::vector<std::int64_t> ids_;
  std::unique_ptr<bool[]> mask_{new bool[static_cast<std::size_t>(kEnvs)]};
  int num_failed_ = 0;
};

TEST(random_calls_throw_or_work_and_never_harm) {
  set_num_threads(3);
  for (const std::string& id : environment_ids()) {
    for (const bool fast : {false, true}) {
      if (fast && !has_fast_form(id)) continue;
      for (std::uint64_t seed = 0; seed < 6; ++seed) Fuzzer(id, fast, seed).run();
    }
  }
  set_num_threads(2);
}

// What make_vec passes on is checked by each environment: a value is taken or refused by name.
TEST(random_options_are_taken_or_refused) {
  const char* names[] = {
      "size",       "height",        "width",        "num_boxes",          "length",
      "slippery",   "is_slippery",   "observation",  "map_name",           "desc",
      "num_colors", "natural",       "success_rate", "is_rainy",           "sab",
      "g",          "goal_velocity", "gravity",      "sutton_barto_reward"};
  auto random = RandomStream::seeded(9, 0);
  const auto below = [&](std::uint32_t n) { return random.below(n); };
  int num_taken = 0;
  int num_refused = 0;
  for (const std::string& id : environment_ids()) {
    for (int i = 0; i < 60; ++i) {
      const OptionValue values[] = {true,
                                    false,
                                    static_cast<std::int64_t>(below(20)),
                                    std::int64_t{-1},
                                    std::numeric_limits<std::int64_t>::max(),
                                    0.5,
                                    std::numeric_limits<double>::quiet_NaN(),
                                    -std::numeric_limits<double>::infinity(),
                                    std::string("grid"),
                                    std::string("SF\nHG"),
                                    std::string("\xff")};
      std::map<std::string, OptionValue> options;
      for (std::uint32_t n = 1 + below(2); n > 0; --n) {
        options[names[below(std::size(names))]] = values[below(std::size(values))];
      }
      try {
        const auto env = make_vector_env(id, false, {.num_envs = 2}, options);
        BatchArrays arrays(*env);
        env->reset({}, {}, arrays.outputs);
        env->step(random_actions(*env, 2, random).data(), {}, arrays.outputs);
        ++num_taken;
      } catch (const std::invalid_argument& error) {
        CHECK(std::string(error.what()).starts_with("make_vec: "));
        ++num_refused;
      }
    }
  }
  CHECK(num_taken > 0 && num_refused > 0);
}

}  // namespace
}  // namespace fastrl
