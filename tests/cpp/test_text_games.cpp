// What the tables of the text games offer beside stepping: levels drawn by hand, labels, cells, and
// the guard against foreign bytes.
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "envs/environment_table.h"
#include "envs/fault.h"
#include "envs/foreign.h"
#include "envs/options.h"
#include "envs/registry.h"
#include "envs/text.h"

namespace fastrl {
namespace {

using Given = std::map<std::string, OptionValue>;

// One game, with one state.
class Game {
 public:
  Game(const std::string& id, const Given& given) {
    for (const RegisteredEnvironment& known : text_games()) {
      if (id == known.exact->id) table_ = known.exact;
    }
    if (table_ == nullptr) throw std::invalid_argument(id);
    GivenOptions options(id, given);
    params_ = {created(*table_, options, "Game"), table_->destroy};
    description_ = described(*table_, params_.get(), "Game");
    state_.resize(table_->state_size);
    random_.resize(table_->random_size);
  }

  const fastrl_environment& table() const { return *table_; }
  const fastrl_description& description() const { return description_; }
  std::vector<char>& state() { return state_; }

  void reset(std::uint64_t seed) {
    table_->seed(random_.data(), seed, 0);
    std::vector<char> level(random_.size());
    table_->seed_level(level.data(), seed, 0, 0);
    table_->reset(params_.get(), level.data(), nullptr, state_.data(), &error_);
  }

  // "" or what is wrong with the level.
  std::string draw(const char* text) {
    CallError error;
    table_->parse_level(params_.get(), text, state_.data(), &error);
    return error.failed() ? text_of(error) : "";
  }

  bool terminated = false;
  double reward = 0.0;

  void step(const void* action) {
    const std::uint8_t run = 1;
    const std::int32_t elapsed = 0;
    std::int32_t length = 0;
    std::uint8_t ended = 0;
    std::uint8_t success = 0;
    const auto width = static_cast<std::size_t>(description_.observations[0].shape[0]);
    std::vector<std::int32_t> tokens(width);
    fastrl_step io{};
    io.run = &run;
    io.actions = static_cast<const char*>(action);
    io.elapsed_steps = &elapsed;
    io.observations.base[0] = reinterpret_cast<char*>(tokens.data());
    io.observation_lengths = &length;
    io.rewards = &reward;
    io.terminated = &ended;
    io.success = &success;
    io.error = &error_;
    table_->step(params_.get(), state_.data(), random_.data(), 0, 1, &io);
    terminated = ended != 0;
    CHECK(length >= 0 && static_cast<std::size_t>(length) <= width);
  }
  void play(std::int64_t action) { step(&action); }
  void say(const std::string& text) {
    std::vector<char> row(512);
    CHECK(table_->parse_action(params_.get(), text.data(), text.size(), row.data(), &error_) == 1);
    step(row.data());
  }

  std::string text() const {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(description_.render_tokens));
    const auto size = table_->render(params_.get(), state_.data(), 0, tokens.data(), &error_);
    return detokenize(std::span(tokens).first(static_cast<std::size_t>(size)));
  }

  std::string cells() const {
    const int width = description_.grid_width;
    std::string drawn(static_cast<std::size_t>(description_.grid_height * width), '\0');
    table_->cells(params_.get(), state_.data(), drawn.data(), &error_);
    std::string rows;
    for (int row = 0; row < description_.grid_height; ++row) {
      const auto begin = static_cast<std::size_t>(row) * static_cast<std::size_t>(width);
      if (row > 0) rows += '\n';
      rows.append(drawn, begin, static_cast<std::size_t>(width));
    }
    return rows;
  }

  std::string labels() const {
    const std::uint64_t bits = table_->labels(params_.get(), state_.data(), &error_);
    std::string names;
    for (int i = 0; i < description_.num_labels; ++i) {
      if ((bits >> i & 1) == 0) continue;
      if (!names.empty()) names += ' ';
      names += name(i);
    }
    return names;
  }

  std::int32_t distance() const {
    fastrl_solution solution{};
    table_->solve(params_.get(), state_.data(), &solution, &error_);
    return solution.distance;
  }

  bool valid(const std::vector<char>& state, bool running) const {
    return table_->valid(params_.get(), state.data(), running ? 1 : 0, &error_) != 0;
  }

 private:
  mutable CallError error_;  // none of these fails
  const char* name(int i) const { return description_.labels[i]; }

  const fastrl_environment* table_ = nullptr;
  std::unique_ptr<void, void (*)(void*)> params_{nullptr, nullptr};
  fastrl_description description_{};
  std::vector<char> state_;
  std::vector<char> random_;
};

TEST(sokoban_levels_are_drawn_by_hand) {
  Game game("Sokoban-v0", {{"height", std::int64_t{3}}, {"width", std::int64_t{7}}});
  CHECK(game.draw("#######\n#_PX_O#\n#######\n").empty());
  CHECK(game.cells() == "#######\n#_PX_O#\n#######");
  CHECK(game.text() == game.cells() && game.distance() == 2 && game.labels().empty());
  game.play(3);
  game.play(3);
  CHECK(game.cells() == "#######\n#___P*#\n#######");
  CHECK(game.labels() == "box_on_target goal" && game.terminated);

  CHECK(contains(game.draw("#######\n#_PX_O#"), "parse_level: `text` must have 3 rows, got 2"));
  CHECK(contains(game.draw("#######\n#_PX_O\n#######"), "have 7 characters in row 1, got 6"));
  CHECK(contains(game.draw("#######\n#_pX_O#\n#######"), "be drawn with the characters #_OX*PS"));
  CHECK(
      contains(game.draw("#######\n#PPX_O#\n#######"), "have 1 player (P, on a target S), got 2"));
  CHECK(contains(game.draw("#######\n#_P__O#\n#######"), "have 1 boxes (X, on a target *), got 0"));
  CHECK(contains(game.draw("#######\n#_PX__#\n#######"), "targets (O, under a box *"));
  CHECK(contains(game.draw("#_#####\n#_PX_O#\n#######"), "have a wall (#) all around"));
  CHECK(contains(game.draw("#######\n#_P__*#\n#######"), "have a box off its target"));
  CHECK(contains(game.draw("#######\n#X_P_O#\n#######"), "have a solution, got none"));
}

TEST(sokoban_says_when_a_box_is_stuck) {
  Game game("Sokoban-v0", {{"height", std::int64_t{4}}, {"width", std::int64_t{7}}});
  CHECK(game.draw("#######\n#__X_O#\n#__P__#\n#######").empty());
  CHECK(game.labels().empty());
  CHECK(game.draw("#######\n#O__X_#\n#___P_#\n#######").empty());
  game.play(0);  // the wall stops it
  CHECK(game.labels().empty());
  game.play(2);
  game.play(0);
  game.play(3);  // into the corner
  CHECK(game.labels() == "stuck" && game.distance() == -1);
}

TEST(frozen_lakes_and_codes_are_drawn_by_hand) {
  Game lake("FrozenLakeText-v0", {{"size", std::int64_t{3}}});
  CHECK(lake.draw("P_O\n__G\nO__").empty() && lake.distance() == 3);
  CHECK(lake.cells() == "P_O\n__G\nO__" && lake.labels().empty());
  lake.play(2);
  lake.play(2);
  CHECK(lake.labels() == "hole" && lake.cells() == "__X\n__G\nO__" && lake.terminated);
  CHECK(contains(lake.draw("P_O\n_OG\nO__"), "have a way to the goal, got none"));
  CHECK(contains(lake.draw("P_O\n_PG\nO__"), "have 1 player (P), got 2"));
  CHECK(contains(lake.draw("P_O\n___\nO__"), "have 1 goal (G), got 0"));

  Game lock("CodeLock-v0", {{"length", std::int64_t{2}}, {"num_choices", std::int64_t{3}}});
  CHECK(lock.draw("21").empty() && lock.labels().empty());
  lock.play(2);
  lock.play(1);
  CHECK(lock.labels() == "goal" && lock.reward == 1.0);
  CHECK(lock.draw("21").empty());
  lock.play(0);
  CHECK(lock.labels() == "wrong_digit");
  CHECK(contains(lock.draw("23"), "be drawn with the characters 012, got '3'"));
}

TEST(minefields_are_drawn_by_hand) {
  Game game(
      "Minesweeper-v0",
      {{"height", std::int64_t{2}}, {"width", std::int64_t{4}}, {"num_mines", std::int64_t{1}}});
  CHECK(game.draw("*1??\n????").empty() && game.cells() == "?1??\n????" && game.distance() == 2);
  game.say("(1, 4)");
  CHECK(game.cells() == "?1..\n?1.." && game.reward == 2.0);
  CHECK(game.text() == "Row 1: ? 1 . .\nRow 2: ? 1 . .");
  game.say("(2, 1)");
  CHECK(game.labels() == "goal" && game.reward == 10.0 && game.terminated);
  CHECK(game.draw("*1??\n????").empty());
  game.say("(1, 1)");
  CHECK(game.labels() == "mine" && game.cells() == "*1??\n????" && game.reward == -0.1);
  CHECK(contains(game.draw("*2??\n????"), "have '1' in row 0, column 1, got '2'"));
  CHECK(contains(game.draw("*1?*\n????"), "have 1 mines (*), got 2"));
  CHECK(contains(game.draw("*1..\n11.."), "have a closed cell (?), got none"));
}

TEST(boards_words_and_sums_are_given_by_hand) {
  Game board("TicTacToe-v0", {{"opponent", std::string("optimal")}});
  CHECK(board.draw("XX.\nOO.\n...").empty() && board.distance() == 1);
  CHECK(board.cells() == "XX.\nOO.\n..." && board.labels().empty());
  board.say("[2]");
  CHECK(board.labels() == "win" && board.reward == 1.0);
  CHECK(board.draw("XX.\nOO.\nX.O").empty());
  board.say("[7]");  // misses the win and the block
  CHECK(board.labels() == "loss" && board.reward == 0.0 && board.distance() == -1);
  CHECK(board.draw("XOX\nXOO\n.XO").empty());
  board.say("[6]");
  CHECK(board.labels() == "win");
  CHECK(contains(board.draw("XX.\n...\n..."), "be a game in which it is the turn of X"));
  CHECK(contains(board.draw("OOO\nXX.\n..X"), "be a game in which it is the turn of X"));

  Game wordle("Wordle-v0", {});
  CHECK(wordle.draw("Apple").empty());
  wordle.say("[paper]");
  CHECK(wordle.text() == "Letters: 5, guesses left: 5\npaper YYGYX");
  wordle.say("[apple]");
  CHECK(wordle.labels() == "goal" && wordle.terminated);
  CHECK(contains(wordle.draw("xxxxx"), "parse_level: `text` must be a word of the list"));

  Game sum("Countdown-v0", {{"num_numbers", std::int64_t{3}}});
  CHECK(sum.draw("24: 2 10 2").empty() && sum.distance() == 1);
  CHECK(sum.text() == "Target: 24, nums: [2, 10, 2]");
  sum.say("<answer>(10 + 2) * 2</answer>");
  CHECK(sum.labels() == "goal right_numbers" && sum.reward == 1.0 && sum.distance() == 0);
  CHECK(sum.draw("Target: 24, nums: [2, 10, 2]").empty());
  sum.say("10 + 2 + 2");
  CHECK(sum.labels() == "right_numbers" && sum.reward == 0.1 && sum.distance() == -1);
  CHECK(sum.text() == "Target: 24, nums: [2, 10, 2]\n= 14");
  CHECK(sum.draw("24: 2 10 2").empty());
  sum.say("10 / (2 - 2)");
  CHECK(contains(sum.text(), "division by zero") && sum.reward == 0.1);
  CHECK(contains(sum.draw("24: 2 10"), "name the target and 3 to 3 numbers"));
  CHECK(contains(sum.draw("24: 2 10 2 1 1 1 1 1"), "name the target and 3 to 3 numbers"));
  CHECK(contains(sum.draw("24: 2 100 2"), "numbers from 1 to 99"));
  CHECK(contains(sum.draw("99: 1 1 1"), "have a solution"));
}

TEST(form_fill_says_what_is_true_of_the_form) {
  Game game("FormFill-v0", {{"num_fields", std::int64_t{2}}});
  game.reset(1);
  CHECK(game.distance() == 3 && game.labels().empty());
  game.say("guest = Ada");
  game.say("guest = Ben");
  CHECK(game.labels().empty() || game.labels() == "mistake");
  const bool ben = game.labels().empty();
  game.say("arrival = 1 Jan");  // never: arrivals begin later
  CHECK(game.labels() == "complete mistake" && game.distance() == (ben ? 2 : 3));
  game.say("submit");
  CHECK(game.labels() == "complete mistake submitted" && game.terminated);
  CHECK(game.reward == (ben ? 0.5 : 0.0) && game.distance() == -1);
}

// Whatever bytes `valid` lets through can be observed, solved, labeled and stepped (ASan, UBSan).
TEST(foreign_bytes_that_pass_do_no_harm) {
  auto noise = RandomStream::seeded(5, 0);
  const std::map<std::string, Given> games = {
      {"CodeLock-v0", {}},
      {"Countdown-v0", {{"attempts", std::int64_t{3}}}},
      {"FormFill-v0", {{"num_fields", std::int64_t{6}}}},
      {"FrozenLakeText-v0", {}},
      {"Minesweeper-v0", {{"height", std::int64_t{4}}, {"width", std::int64_t{9}}}},
      {"Sokoban-v0", {}},
      {"TicTacToe-v0", {}},
      {"Wordle-v0", {}}};
  for (const auto& [id, given] : games) {
    Game game(id, given);
    const bool tokens = game.description().action.space != FASTRL_DISCRETE;
    int passed = 0;
    for (std::uint64_t i = 0; i < 1500; ++i) {
      game.reset(i % 20);
      CHECK(game.valid(game.state(), true));
      std::vector<char> bytes = game.state();
      for (std::uint32_t flips = 1 + noise.below(3); flips > 0; --flips) {
        const std::uint32_t bit = noise.below(static_cast<std::uint32_t>(8 * bytes.size()));
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      }
      if (!game.valid(bytes, true)) continue;
      ++passed;
      game.state() = bytes;
      game.text();
      game.distance();
      game.labels();
      if (game.description().grid_height > 0) game.cells();
      if (tokens) {
        std::vector<std::int32_t> row(64);
        for (auto& token : row) token = static_cast<std::int32_t>(noise.below(kVocabularySize));
        game.step(row.data());
      } else {
        const auto high = static_cast<std::uint32_t>(game.description().action.high[0]);
        game.play(static_cast<std::int64_t>(noise.below(high + 2)) - 1);
      }
      game.text();
      game.distance();
      CHECK(game.valid(game.state(), !game.terminated));
    }
    CHECK(passed > 0 && passed < 1500);
  }
}

}  // namespace
}  // namespace fastrl
