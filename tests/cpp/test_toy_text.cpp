// What parity with Gymnasium does not reach: states from outside, labels, pictures.
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "check.h"
#include "core/numpy_random.h"
#include "envs/options.h"
#include "envs/toy_text/blackjack.h"
#include "envs/toy_text/categorical.h"
#include "envs/toy_text/cliff_walking.h"
#include "envs/toy_text/frozen_lake.h"
#include "envs/toy_text/taxi.h"

namespace fastrl {
namespace {

static_assert(std::has_unique_object_representations_v<FrozenLake::State>);
static_assert(std::has_unique_object_representations_v<CliffWalking::State>);
static_assert(std::has_unique_object_representations_v<Taxi::State>);
static_assert(std::has_unique_object_representations_v<Blackjack::State>);

template <typename E>
typename E::Params parsed(std::map<std::string, OptionValue> values = {}) {
  GivenOptions options(E::kId, std::move(values));
  return E::parse(options);
}

TEST(categorical_takes_the_first_where_rounding_leaves_no_other) {
  constexpr double kRates[] = {0.25, 0.5, 0.125};
  CHECK(categorical(kRates, 0.0) == 0);
  CHECK(categorical(kRates, 0.25) == 1);
  CHECK(categorical(kRates, 0.75) == 2);
  CHECK(categorical(kRates, 0.875) == 0);
}

TEST(lakes_know_their_states) {
  const auto params = parsed<FrozenLake>();
  for (const FrozenLake::State& state :
       {FrozenLake::State{-1, 0}, FrozenLake::State{4, 0}, FrozenLake::State{0, -1},
        FrozenLake::State{0, 4}, FrozenLake::State{INT32_MIN, INT32_MAX}}) {
    CHECK(!FrozenLake::valid(params, state, false));
  }
  CHECK(FrozenLake::valid(params, {3, 2}, true));
  CHECK(!FrozenLake::valid(params, {1, 1}, true) && FrozenLake::valid(params, {1, 1}, false));
  CHECK(FrozenLake::labels(params, {0, 0}) == 0);
  CHECK(FrozenLake::labels(params, {3, 3}) == 1);
  CHECK(FrozenLake::labels(params, {1, 1}) == 2);
  std::string picture(16, '?');
  FrozenLake::cells(params, {1, 1}, picture.data());
  CHECK(picture == "_____X_O___OO__G");
}

TEST(lakes_are_set_from_their_pictures) {
  const auto params = parsed<FrozenLake>();
  const FrozenLake::State set = FrozenLake::parse_level(params, "____\n_O_O\n_P_O\nO__G");
  CHECK(set.row == 2 && set.column == 1);
  for (const char* wrong : {"", "____\n_O_O\n___O\nO__G", "P___\n_O_O\nP__O\nO__G",
                            "____\n_P_O\n___O\nO__G", "P___\n____\n___O\nO__G", "P__"}) {
    bool refused = false;
    try {
      FrozenLake::parse_level(params, wrong);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    CHECK(refused);
  }
}

TEST(a_lake_starts_anywhere_it_may) {
  const auto params = parsed<FrozenLake>({{"desc", std::string("FSF\nSFS\nHFG")}});
  int starts[3][3]{};
  NumpyRandom random = NumpyRandom::seeded(0);
  for (int i = 0; i < 3000; ++i) {
    const FrozenLake::State state = FrozenLake::reset(params, random);
    ++starts[state.row][state.column];
  }
  CHECK(starts[0][1] > 900 && starts[1][0] > 900 && starts[1][2] > 900);
  CHECK(starts[0][1] + starts[1][0] + starts[1][2] == 3000);
}

TEST(cliffs_know_their_states) {
  const CliffWalking::Params params = parsed<CliffWalking>();
  CHECK(CliffWalking::valid(params, {36, 1}, true) && CliffWalking::valid(params, {35, 0}, true));
  CHECK(!CliffWalking::valid(params, {35, 1}, true) && !CliffWalking::valid(params, {36, 2}, true));
  CHECK(!CliffWalking::valid(params, {37, 0}, false) &&
        !CliffWalking::valid(params, {-1, 0}, true));
  CHECK(!CliffWalking::valid(params, {47, 0}, true) && CliffWalking::valid(params, {47, 0}, false));
  CHECK(!CliffWalking::valid(params, {48, 0}, false));
  CliffWalking::State state{36, 0};
  NumpyRandom random = NumpyRandom::seeded(0);
  CHECK(CliffWalking::step(params, state, random, 1).reward == -100.0);
  CHECK(CliffWalking::labels(params, state) == 2);
  CliffWalking::step(params, state, random, 0);
  CHECK(state.player == 24 && CliffWalking::labels(params, state) == 0);
  CHECK(CliffWalking::labels(params, {47, 0}) == 1);
}

TEST(taxis_know_their_states) {
  const auto params = parsed<Taxi>();
  const auto fickle = parsed<Taxi>({{"fickle_passenger", true}});
  CHECK(Taxi::valid(params, {{4, 4}, 4, 3, 0}, true));
  CHECK(Taxi::valid(fickle, {{4, 4}, 4, 3, 1}, true));
  for (const Taxi::State& state :
       {Taxi::State{{5, 0}, 0, 1, 0}, Taxi::State{{0, 5}, 0, 1, 0}, Taxi::State{{-1, 0}, 0, 1, 0},
        Taxi::State{{0, -1}, 0, 1, 0}, Taxi::State{{0, 0}, 5, 1, 0}, Taxi::State{{0, 0}, -1, 1, 0},
        Taxi::State{{0, 0}, 0, 4, 0}, Taxi::State{{0, 0}, 0, -1, 0},
        Taxi::State{{0, 0}, 0, 1, 1}}) {
    CHECK(!Taxi::valid(params, state, false));
  }
  CHECK(Taxi::labels(params, {{0, 0}, 0, 1, 0}) == 1);
  CHECK(Taxi::labels(params, {{4, 3}, 4, 3, 0}) == (2 | 4));
  CHECK(Taxi::labels(params, {{4, 3}, 3, 3, 0}) == (1 | 4 | 8));
  std::string picture(7 * 11 + 1, '!');
  Taxi::cells(params, {{1, 2}, 3, 0, 0}, picture.data());
  CHECK(picture ==
        "############d  #    G##   #A    ##         ## #   #   ##Y#   #p  ############!");
}

TEST(blackjack_knows_its_states) {
  const auto params = parsed<Blackjack>();
  const Blackjack::Hand ace_ten{11, 1, 2};
  const Blackjack::Hand tens{20, 0, 2};
  CHECK(Blackjack::valid(params, {ace_ten, tens, 10}, true));
  CHECK(!Blackjack::valid(params, {ace_ten, tens, 1}, true));
  CHECK(!Blackjack::valid(params, {ace_ten, tens, 0}, true));
  CHECK(!Blackjack::valid(params, {ace_ten, tens, 11}, true));
  CHECK(!Blackjack::valid(params, {{21, 0, 2}, tens, 10}, true));
  CHECK(!Blackjack::valid(params, {{3, 0, 2}, tens, 10}, true));
  CHECK(!Blackjack::valid(params, {{2, 2, 2}, tens, 10}, true));
  CHECK(!Blackjack::valid(params, {{12, 0, 1}, tens, 10}, true));
  CHECK(!Blackjack::valid(params, {{32, 0, 4}, tens, 10}, false));
  CHECK(!Blackjack::valid(params, {{25, 0, 3}, tens, 10}, true));
  CHECK(Blackjack::valid(params, {{25, 0, 3}, tens, 10}, false));
  CHECK(!Blackjack::valid(params, {ace_ten, {20, 0, 3}, 10}, true));
  CHECK(Blackjack::labels(params, {{25, 0, 3}, tens, 10}) == 1);
  CHECK(Blackjack::labels(params, {ace_ten, tens, 10}) == (2 | 4));
}

}  // namespace
}  // namespace fastrl
