// The environments of three folders through their tables: what Python cannot see. States made of
// damaged bytes are either refused or safe to step.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "envs/fault.h"
#include "envs/foreign.h"
#include "envs/options.h"
#include "envs/registry.h"

namespace fastrl {
namespace {

using Values = std::map<std::string, OptionValue>;

// One environment with everything that a step needs, in buffers without a byte to spare.
class Runner {
 public:
  Runner(const fastrl_environment* table, Values values)
      : table_(table), options_(table->id, std::move(values)), params_(nullptr, table->destroy) {
    params_.reset(created(*table, options_, "Runner"));
    options_.finish();
    description_ = described(*table, params_.get(), "Runner");
    state_.resize(table->state_size);
    for (int i = 0; i < description_.num_observations; ++i) {
      add(description_.observations[i], io_.observations, i);
    }
    for (int i = 0; i < description_.num_infos; ++i) add(description_.infos[i], io_.infos, i);
    action_.resize(bytes_of(description_.action));
    io_.run = &run_;
    io_.actions = action_.data();
    io_.elapsed_steps = &elapsed_;
    io_.rewards = &reward;
    io_.terminated = &terminated;
    io_.success = &success;
    io_.error = &error_;
    table->seed(&random_, 1, 0);
  }

  void reset(std::uint64_t seed) {
    RandomStream level;
    table_->seed_level(&level, seed, 0, 0);
    table_->reset(params_.get(), &level, nullptr, state_.data(), &error_);
    table_->observe(params_.get(), state_.data(), 0, 1, 1, &io_);
  }

  void step(std::int64_t action) {
    if (description_.action.space == FASTRL_DISCRETE) {
      std::memcpy(action_.data(), &action, sizeof(action));
    } else {
      for (std::size_t i = 0; i < action_.size(); i += sizeof(float)) {
        const float x = 3.0F * numbers_.uniform() - 1.5F;
        std::memcpy(&action_[i], &x, sizeof(x));
      }
    }
    table_->step(params_.get(), state_.data(), &random_, 0, 1, &io_);
  }

  void step_at_random() {
    step(numbers_.below(static_cast<std::uint32_t>(description_.action.high[0]) + 1));
  }

  bool valid(bool running) {
    return table_->valid(params_.get(), state_.data(), running, &error_) != 0;
  }

  void look() {
    if (table_->labels != nullptr) {
      CHECK(table_->labels(params_.get(), state_.data(), &error_) >> description_.num_labels == 0);
    }
    if (table_->cells != nullptr) {
      std::vector<char> cells(
          static_cast<std::size_t>(description_.grid_height * description_.grid_width));
      table_->cells(params_.get(), state_.data(), cells.data(), &error_);
      CHECK(std::count(cells.begin(), cells.end(), '\0') == 0);
    }
    if (table_->solve != nullptr) {
      fastrl_solution solution;
      table_->solve(params_.get(), state_.data(), &solution, &error_);
      CHECK((solution.distance > 0) == (solution.first_action >= 0));
      CHECK(solution.first_action <= description_.action.high[0]);
    }
  }

  // The cells of a level, or what is wrong with it.
  std::string parsed(const char* text) {
    CallError error;
    table_->parse_level(params_.get(), text, state_.data(), &error);
    if (error.failed()) return text_of(error);
    CHECK(valid(true));
    std::string cells(static_cast<std::size_t>(description_.grid_height * description_.grid_width),
                      ' ');
    if (table_->cells != nullptr)
      table_->cells(params_.get(), state_.data(), cells.data(), &error_);
    return cells;
  }

  std::vector<char>& state() { return state_; }
  RandomStream& numbers() { return numbers_; }

  double reward = 0.0;
  std::uint8_t terminated = 0;
  std::uint8_t success = 0;

 private:
  CallError error_;  // none of these fails
  static std::size_t bytes_of(const fastrl_field& field) {
    constexpr std::array kSizes = {1, 1, 1, 4, 8, 4, 8};
    auto size = static_cast<std::size_t>(kSizes[static_cast<std::size_t>(field.dtype)]);
    for (int i = 0; i < field.ndim; ++i) size *= static_cast<std::size_t>(field.shape[i]);
    return size;
  }

  void add(const fastrl_field& field, fastrl_rows& rows, int i) {
    buffers_.push_back(std::make_unique<char[]>(bytes_of(field)));
    rows.base[i] = buffers_.back().get();
    rows.stride[i] = static_cast<std::int64_t>(bytes_of(field));
  }

  const fastrl_environment* table_;
  GivenOptions options_;
  std::unique_ptr<void, void (*)(void*)> params_;
  fastrl_description description_{};
  std::vector<char> state_;
  std::vector<std::unique_ptr<char[]>> buffers_;
  std::vector<char> action_;
  RandomStream random_;
  RandomStream numbers_ = RandomStream::seeded(7, 7);
  std::uint8_t run_ = 1;
  std::int32_t elapsed_ = 0;
  fastrl_step io_{};
};

const fastrl_environment* table_of(const std::string& id) {
  for (const auto folder : {decisions(), goals(), grids()}) {
    for (const RegisteredEnvironment& known : folder) {
      if (known.exact->id == id) return known.exact;
    }
  }
  return nullptr;
}

struct Case {
  const char* id;
  Values options;
};

const std::vector<Case>& all_cases() {
  using S = std::string;
  using I = std::int64_t;
  static const std::vector<Case> cases = {
      {"BitFlip-v0", {{"num_bits", I{10}}}},
      {"BitFlip-v0", {{"num_bits", I{100}}, {"terminate_at_goal", false}}},
      {"PointReach-v0", {}},
      {"PointReach-v0", {{"dimensions", I{3}}, {"control", S("position")}, {"speed", 2.0}}},
      {"PointReach-v0", {{"terminate_at_goal", true}, {"threshold", 0.5}, {"reward", S("dense")}}},
      {"Maze-v0", {}},
      {"Maze-v0", {{"size", I{32}}, {"observation", S("full")}}},
      {"Maze-v0", {{"height", I{1}}, {"width", I{7}}, {"actions", S("turns")}}},
      {"Maze-v0", {{"size", I{31}}, {"layout", S("labyrinth")}, {"actions", S("turns")}}},
      {"Maze-v0", {{"size", I{5}}, {"reward", S("minigrid")}, {"view_size", I{15}}}},
      {"DarkRoom-v0", {}},
      {"DarkRoom-v0", {{"size", I{2}}, {"reward", S("sparse")}, {"terminate_at_goal", true}}},
      {"DarkKeyToDoor-v0", {{"size", I{3}}}},
      {"Bandit-v0", {{"num_arms", I{3}}}},
      {"Bandit-v0", {{"num_arms", I{64}}, {"distribution", S("gaussian")}}},
      {"TSP-v0", {{"num_cities", I{5}}}},
      {"TSP-v0", {{"num_cities", I{128}}}}};
  return cases;
}

TEST(states_stay_valid_from_reset_to_end) {
  for (const Case& one : all_cases()) {
    Runner runner(table_of(one.id), one.options);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      runner.reset(seed);
      CHECK(runner.valid(true));
      for (int t = 0; t < 60; ++t) {
        runner.look();
        runner.step_at_random();
        CHECK(runner.valid(runner.terminated == 0));
        if (runner.terminated != 0) break;
      }
    }
  }
}

// Bytes are set to what indexes overlook most easily: ends of ranges, small numbers, noise.
TEST(damaged_states_are_refused_or_safe) {
  int refused = 0;
  int taken = 0;
  for (const Case& one : all_cases()) {
    Runner runner(table_of(one.id), one.options);
    for (std::uint64_t round = 0; round < 2000; ++round) {
      if (round % 16 == 0) runner.reset(round);
      const std::vector<char> before = runner.state();
      RandomStream& numbers = runner.numbers();
      const std::uint32_t changes = 1 + numbers.below(3);
      for (std::uint32_t i = 0; i < changes; ++i) {
        const auto words = static_cast<std::uint32_t>(before.size() / 4);
        const std::size_t word = 4 * std::size_t{numbers.below(words)};
        const std::uint32_t noise = numbers.next_u32();
        const std::uint32_t value =
            std::array{noise,       noise & 0xffU, noise % 3, 0U - noise % 3,
                       0x3f800000U, 0x7fc00000U,   1U << 30}[numbers.below(7)];
        std::memcpy(&runner.state()[word], &value, sizeof(value));
      }
      if (runner.valid(true)) {
        ++taken;
        runner.look();
        for (int t = 0; t < 3; ++t) {
          runner.step_at_random();
          if (runner.terminated != 0) break;
          CHECK(runner.valid(true));
        }
      } else {
        ++refused;
      }
      runner.state() = before;
    }
  }
  CHECK(refused > 10000);
  CHECK(taken > 100);
}

TEST(levels_are_read_or_refused) {
  const Values two = {{"size", std::int64_t{2}}};
  const Values turns = {{"size", std::int64_t{2}}, {"actions", std::string("turns")}};
  const auto read = [](const char* id, const Values& options, const char* text) {
    return Runner(table_of(id), options).parsed(text);
  };
  CHECK(read("Maze-v0", two, "\nA#\nG.\n") == "A#G.");
  CHECK(read("Maze-v0", two, "<#\nG.") == "A#G.");
  CHECK(read("Maze-v0", turns, "A#\nG.") == ">#G.");
  CHECK(read("Maze-v0", turns, "^#\nG.") == "^#G.");
  CHECK(read("DarkRoom-v0", two, "A.\n.G") == "A..G");
  CHECK(read("DarkKeyToDoor-v0", two, "AK\n.D") == "AK.D");
  CHECK(read("Maze-v0", two, "A.\n..") == "parse_level: `text` must have 1 goal (G), got 0");
  CHECK(read("Maze-v0", two, "AG\n>.") ==
        "parse_level: `text` must have 1 agent (A, or one of > v < ^), got 2");
  CHECK(read("Maze-v0", two, "AG\n.?") ==
        "parse_level: `text` must be drawn with the characters #.GA>v<^, got '?' in row 1");
  CHECK(read("DarkRoom-v0", two, "AG") == "parse_level: `text` must have 2 rows, got 1");
  CHECK(read("DarkRoom-v0", two, "AG\nK.") ==
        "parse_level: `text` must be drawn with the characters .AG, got 'K' in row 1");
  CHECK(read("DarkKeyToDoor-v0", two, "AK\n..") ==
        "parse_level: `text` must have 1 door (D), got 0");
}

TEST(numbers_of_levels_are_read_or_refused) {
  const auto read = [](const char* id, Values options, const char* text) {
    return Runner(table_of(id), std::move(options)).parsed(text);
  };
  const auto arms = [](const char* distribution) {
    return Values{{"num_arms", std::int64_t{2}}, {"distribution", std::string(distribution)}};
  };
  const Values pair = {{"num_cities", std::int64_t{2}}};
  CHECK(read("Bandit-v0", arms("bernoulli"), " 0.5\n1e-3 ").empty());
  CHECK(read("Bandit-v0", arms("gaussian"), "-7 1e300").empty());
  CHECK(read("TSP-v0", pair, "0 0.25\n1 1\n").empty());
  const std::string hold = "parse_level: `text` must hold ";
  const std::string chances = hold + "2 probabilities from 0 to 1, got ";
  CHECK(read("Bandit-v0", arms("bernoulli"), "0.5") == chances + "1");
  CHECK(read("Bandit-v0", arms("bernoulli"), "0.5 1.5") == chances + "'1.5'");
  CHECK(read("Bandit-v0", arms("bernoulli"), "0 1 1") == chances + "more");
  CHECK(read("Bandit-v0", arms("gaussian"), "0 nan") == hold + "2 expected rewards, got 'nan'");
  CHECK(read("TSP-v0", pair, "0 0 1x 1") == hold + "2 pairs of numbers from 0 to 1, got '1x'");
}

}  // namespace
}  // namespace fastrl
