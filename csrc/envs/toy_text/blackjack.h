// Blackjack: draw cards to come closer to 21 than the dealer, but not above. Bit for bit
// Gymnasium's Blackjack-v1; Sutton and Barto, example 5.1.
//
// Cards come from an infinite deck; an ace counts 11 where that does not exceed 21. The dealer
// draws up to 17. With `sab` a natural (an ace and a ten at once) wins against all but another, as
// in the book; else, with `natural`, it wins 1.5 where it wins.
//
// Observation  (sum of the player, 0 to 31; the dealer's first card; whether the player's ace
//              counts 11)
// Action       0 stick, 1 hit
// Reward       1, 0 or -1 at the end; 1.5 by a natural
// End          stick, or a sum above 21; no limit of steps
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/numpy_random.h"
#include "envs/environment.h"

namespace fastrl {

struct Blackjack {
  using Random = NumpyRandom;

  static constexpr const char* kId = "Blackjack-v1";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::int32_t kMaxCards = 22;
  static constexpr std::int32_t kMaxTotal = 31;  // 21 and a ten

  struct Params {
    bool natural;
    bool sab;
  };

  struct Hand {
    std::int32_t total;  // an ace counts 1
    std::int32_t has_ace;
    std::int32_t num_cards;

    bool usable_ace() const { return has_ace != 0 && total + 10 <= 21; }
    int sum() const { return usable_ace() ? total + 10 : total; }
    bool bust() const { return sum() > 21; }
    int score() const { return bust() ? 0 : sum(); }
    bool natural() const { return num_cards == 2 && has_ace != 0 && total == 11; }
  };

  struct State {
    Hand player;
    Hand dealer;
    std::int32_t dealer_card;
  };

  static Params parse(Options& options) {
    const bool natural = options.boolean("natural", false);
    const bool sab = options.boolean("sab", true);
    if (sab) options.omit("natural");
    return {.natural = natural, .sab = sab};
  }

  static void describe(const Params&, Description& description) {
    description.add_tuple_observation(discrete(32));
    description.add_tuple_observation(discrete(11));
    description.add_tuple_observation(discrete(2));
    description.set_action(discrete(2));
    description.add_label("bust");
    description.add_label("natural");
    description.add_label("usable_ace");
  }

  static State reset(const Params&, NumpyRandom& random) {
    State state{};
    state.dealer_card = draw(state.dealer, random);
    draw(state.dealer, random);
    draw(state.player, random);
    draw(state.player, random);
    // What the dealer's card looks like: its suit, and which of the pictures.
    random.below(4);
    if (state.dealer_card == 10) random.below(3);
    return state;
  }

  static StepResult step(const Params& params, State& state, NumpyRandom& random, int action) {
    if (action == 1) {
      draw(state.player, random);
      const bool bust = state.player.bust();
      return {.reward = bust ? -1.0 : 0.0, .terminated = bust};
    }
    while (state.dealer.sum() < 17) draw(state.dealer, random);
    return {.reward = stick_reward(params, state), .terminated = true};
  }

  static void observe(const Params&, const State& state, const Rows& rows) {
    *rows.at<std::int64_t>(0) = state.player.sum();
    *rows.at<std::int64_t>(1) = state.dealer_card;
    *rows.at<std::int64_t>(2) = state.player.usable_ace() ? 1 : 0;
  }

  static bool valid(const Params&, const State& state, bool running) {
    if (state.dealer_card < 1 || state.dealer_card > 10) return false;
    if (!possible(state.player) || !possible(state.dealer)) return false;
    if (state.dealer_card == 1 && state.dealer.has_ace == 0) return false;
    return !running || (!state.player.bust() && state.dealer.num_cards == 2);
  }

  static std::uint64_t labels(const Params&, const State& state) {
    return (state.player.bust() ? 1u : 0u) | (state.player.natural() ? 2u : 0u) |
           (state.player.usable_ace() ? 4u : 0u);
  }

 private:
  // 1, …, 9 and four kinds of 10.
  static std::int32_t draw(Hand& hand, NumpyRandom& random) {
    const auto kind = static_cast<std::int32_t>(random.below(13));
    const std::int32_t card = kind < 9 ? kind + 1 : 10;
    hand.total += card;
    if (card == 1) hand.has_ace = 1;
    ++hand.num_cards;
    return card;
  }

  static double stick_reward(const Params& params, const State& state) {
    const int player = state.player.score();
    const int dealer = state.dealer.score();
    if (params.sab && state.player.natural() && !state.dealer.natural()) return 1.0;
    if (player == dealer) return 0.0;
    if (player < dealer) return -1.0;
    return !params.sab && params.natural && state.player.natural() ? 1.5 : 1.0;
  }

  static bool possible(const Hand& hand) {
    const std::int32_t n = hand.num_cards;
    const std::int32_t ace = hand.has_ace;
    if (n < 2 || n > kMaxCards || (ace != 0 && ace != 1)) return false;
    const std::int32_t least = ace != 0 ? n : 2 * n;
    const std::int32_t most = ace != 0 ? 10 * n - 9 : 10 * n;
    return hand.total >= least && hand.total <= std::min(most, kMaxTotal);
  }
};

static_assert(Environment<Blackjack>);

}  // namespace fastrl
