#include "envs/reward_machine.h"

#include <algorithm>
#include <array>
#include <bit>

#include "core/check.h"
#include "core/random.h"
#include "core/thread_pool.h"

namespace fastrl {

RewardMachine::RewardMachine(std::int32_t num_states, std::vector<std::string> labels,
                             std::vector<std::int32_t> caps,
                             const std::vector<Transition>& transitions,
                             const std::vector<std::int32_t>& terminal,
                             const std::vector<std::int32_t>& accepting, double discount)
    : labels_(std::move(labels)),
      caps_(std::move(caps)),
      transitions_(transitions.size()),
      starts_(static_cast<std::size_t>(num_states) + 1),
      terminal_(static_cast<std::size_t>(num_states)),
      accepting_(static_cast<std::size_t>(num_states)),
      discount_(discount) {
  for (const Transition& transition : transitions) {
    ++starts_[static_cast<std::size_t>(transition.state) + 1];
  }
  for (std::size_t u = 1; u < starts_.size(); ++u) starts_[u] += starts_[u - 1];
  // By state; among a state's transitions the order given decides.
  std::vector<std::size_t> next(starts_.begin(), starts_.end());
  for (const Transition& transition : transitions) {
    transitions_[next[static_cast<std::size_t>(transition.state)]++] = transition;
  }
  for (const std::int32_t state : terminal) terminal_[static_cast<std::size_t>(state)] = 1;
  for (const std::int32_t state : accepting) accepting_[static_cast<std::size_t>(state)] = 1;
}

std::uint64_t RewardMachine::hash() const {
  std::uint64_t hash = mix64(static_cast<std::uint64_t>(num_states()));
  const auto add = [&](auto value) { hash = mix64(hash ^ static_cast<std::uint64_t>(value)); };
  for (const std::int32_t cap : caps_) add(cap);
  for (const std::uint8_t flag : terminal_) add(flag);
  for (const std::uint8_t flag : accepting_) add(flag);
  add(std::bit_cast<std::uint64_t>(discount_));
  for (const Transition& transition : transitions_) {
    add(transition.state);
    add(transition.next);
    add(std::bit_cast<std::uint64_t>(transition.reward));
    add(transition.resets);
    for (const Clause& clause : transition.clauses) add(mix64(clause.with) ^ clause.without);
    for (const Bound& bound : transition.bounds) {
      add(bound.clock);
      add(bound.low);
      add(bound.high);
    }
  }
  return hash;
}

RewardMachine RewardMachine::over(std::span<const std::string> names, const char* function) const {
  std::vector<int> bits;
  for (const std::string& label : labels_) {
    const auto found = std::ranges::find(names, label);
    if (found == names.end()) {
      std::string listed;
      for (const std::string& name : names) listed += concat(listed.empty() ? "" : ", ", name);
      fail_value(function, "reward_machine", concat("read labels out of ", listed), label);
    }
    bits.push_back(static_cast<int>(found - names.begin()));
  }
  const auto moved = [&](std::uint64_t mask) {
    std::uint64_t to = 0;
    for (std::size_t b = 0; b < bits.size(); ++b) to |= (mask >> b & 1) << bits[b];
    return to;
  };
  RewardMachine made = *this;
  made.labels_.assign(names.begin(), names.end());
  for (Transition& transition : made.transitions_) {
    for (Clause& clause : transition.clauses) {
      clause = {.with = moved(clause.with), .without = moved(clause.without)};
    }
  }
  return made;
}

void counterfactuals(const RewardMachine& machine, const std::uint64_t* labels, std::int64_t n,
                     const std::int32_t* valuations, std::int64_t num_valuations,
                     std::int32_t elapsed, std::int64_t* next_states, std::int32_t* next_clocks,
                     double* rewards, double* discounts, std::uint8_t* terminated) {
  const std::int64_t num_clocks = machine.num_clocks();
  const std::int64_t per_labels = machine.num_states() * num_valuations;
  parallel_for(n, 256, [&](std::int64_t begin, std::int64_t end) {
    std::array<std::int32_t, RewardMachine::kMaxClocks> clocks{};
    for (auto k = begin * per_labels; k < end * per_labels; ++k) {
      const std::int64_t v = k % num_valuations;
      const auto state = static_cast<std::int32_t>(k / num_valuations % machine.num_states());
      std::copy_n(valuations + v * num_clocks, num_clocks, clocks.data());
      const auto result = machine.step(state, clocks.data(), labels[k / per_labels], elapsed);
      next_states[k] = result.next;
      rewards[k] = result.reward;
      discounts[k] = result.discount;
      terminated[k] = result.terminated;
      std::copy_n(clocks.data(), num_clocks, next_clocks + k * num_clocks);
    }
  });
}

}  // namespace fastrl
