// A reward machine: an automaton that reads what is true after each step and gives the reward.
//
// Step      every clock advances, up to one past the largest number it is compared with, beyond
//           which it makes no difference. The first transition of the state, in the order given,
//           whose guard holds on the labels and whose bounds hold on the clocks is taken: it gives
//           its reward and sets its clocks to 0. Without one the state stays and the reward is 0.
// Discount  1, but `discount` on entering an accepting state (eventual discounting).
// Source    Toro Icarte et al., "Reward Machines", 2022; timed reward machines; eventual
//           discounting: Voloshin et al., "Eventual Discounting Temporal Logic Counterfactual
//           Experience Replay", 2023.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fastrl {

class RewardMachine {
 public:
  // All labels of `with` are true and none of `without` is. A guard is true where a clause is.
  struct Clause {
    std::uint64_t with = 0;
    std::uint64_t without = 0;
  };
  struct Bound {
    std::int32_t clock = 0;
    std::int32_t low = 0;
    std::int32_t high = 0;
  };
  struct Transition {
    std::int32_t state = 0;
    std::int32_t next = 0;
    double reward = 0.0;
    std::vector<Clause> clauses{};
    std::vector<Bound> bounds{};
    std::uint64_t resets = 0;  // clocks, bit by bit
  };
  struct Result {
    double reward = 0.0;
    double discount = 1.0;
    std::int32_t next = 0;
    bool terminated = false;
  };

  static constexpr std::int32_t kMaxClocks = 8;

  // `caps`: where each clock stops. All indexes are in range: the caller has checked.
  RewardMachine(std::int32_t num_states, std::vector<std::string> labels,
                std::vector<std::int32_t> caps, const std::vector<Transition>& transitions,
                const std::vector<std::int32_t>& terminal,
                const std::vector<std::int32_t>& accepting, double discount);

  std::int32_t num_states() const { return static_cast<std::int32_t>(terminal_.size()); }
  std::int32_t num_clocks() const { return static_cast<std::int32_t>(caps_.size()); }
  std::int32_t cap(std::int32_t clock) const { return caps_[static_cast<std::size_t>(clock)]; }
  bool is_terminal(std::int32_t state) const {
    return terminal_[static_cast<std::size_t>(state)] != 0;
  }

  // Equal where machines are.
  std::uint64_t hash() const;

  // The same machine for label bits that stand for `names`. Throws std::invalid_argument for a
  // label that is not among them.
  RewardMachine over(std::span<const std::string> names, const char* function) const;

  // `clocks` are advanced by `elapsed` and reset in place. A terminal state is never left.
  Result step(std::int32_t state, std::int32_t* clocks, std::uint64_t labels,
              std::int32_t elapsed = 1) const {
    for (std::size_t c = 0; c < caps_.size(); ++c) {
      const std::int32_t room = caps_[c] - clocks[c];
      clocks[c] = elapsed < room ? clocks[c] + elapsed : caps_[c];
    }
    if (is_terminal(state)) return {.next = state, .terminated = true};
    const auto first = starts_[static_cast<std::size_t>(state)];
    const auto last = starts_[static_cast<std::size_t>(state) + 1];
    for (auto t = first; t < last; ++t) {
      const Transition& transition = transitions_[t];
      if (!holds(transition, clocks, labels)) continue;
      for (std::size_t c = 0; c < caps_.size(); ++c) {
        if ((transition.resets >> c & 1) != 0) clocks[c] = 0;
      }
      return arrive(transition.next, transition.reward);
    }
    return arrive(state, 0.0);
  }

 private:
  static bool holds(const Transition& transition, const std::int32_t* clocks,
                    std::uint64_t labels) {
    for (const Bound& bound : transition.bounds) {
      if (clocks[bound.clock] < bound.low || clocks[bound.clock] > bound.high) return false;
    }
    for (const Clause& clause : transition.clauses) {
      if ((labels & clause.with) == clause.with && (labels & clause.without) == 0) return true;
    }
    return false;
  }

  Result arrive(std::int32_t next, double reward) const {
    const auto n = static_cast<std::size_t>(next);
    return {.reward = reward,
            .discount = accepting_[n] != 0 ? discount_ : 1.0,
            .next = next,
            .terminated = terminal_[n] != 0};
  }

  std::vector<std::string> labels_;
  std::vector<std::int32_t> caps_;
  std::vector<Transition> transitions_;  // by state
  std::vector<std::size_t> starts_;      // [states + 1]
  std::vector<std::uint8_t> terminal_;
  std::vector<std::uint8_t> accepting_;
  double discount_;
};

// The machine's answer to each of `n` label sets from each state and clock valuation:
// [n, states, valuations], clocks [n, states, valuations, clocks].
void counterfactuals(const RewardMachine& machine, const std::uint64_t* labels, std::int64_t n,
                     const std::int32_t* valuations, std::int64_t num_valuations,
                     std::int32_t elapsed, std::int64_t* next_states, std::int32_t* next_clocks,
                     double* rewards, double* discounts, std::uint8_t* terminated);

}  // namespace fastrl
