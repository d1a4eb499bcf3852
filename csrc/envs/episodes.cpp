#include "envs/episodes.h"

#include "core/instruction_set.h"

namespace fastrl {
namespace {

// One loop for each width of numbers, so that the vectorizer has nothing to convert but flags.
FASTRL_INLINE void count_steps(const std::uint8_t* __restrict run,
                               std::int32_t* __restrict elapsed_steps,
                               std::uint8_t* __restrict truncated, std::int64_t n,
                               std::int32_t limit) {
  for (std::int64_t k = 0; k < n; ++k) {
    const std::int32_t steps = elapsed_steps[k] + run[k];
    elapsed_steps[k] = steps;
    truncated[k] = static_cast<std::uint8_t>(run[k] & static_cast<unsigned>(steps >= limit));
  }
}

FASTRL_INLINE void sum_rewards(const std::uint8_t* __restrict run, double* __restrict rewards,
                               double* __restrict returns, std::int64_t n) {
  for (std::int64_t k = 0; k < n; ++k) {
    const double reward = run[k] != 0 ? rewards[k] : 0.0;
    rewards[k] = reward;
    returns[k] += reward;
  }
}

FASTRL_INLINE bool set_flags(const std::uint8_t* __restrict run,
                             const std::uint8_t* __restrict pending,
                             const std::uint8_t* __restrict truncated,
                             std::uint8_t* __restrict terminated, std::uint8_t* __restrict phases,
                             std::uint8_t* __restrict stepped, std::uint8_t* __restrict informed,
                             std::int64_t n) {
  std::uint8_t any_ended = 0;
  for (std::int64_t k = 0; k < n; ++k) {
    const auto ends = static_cast<std::uint8_t>(terminated[k] & run[k]);
    const auto ended = static_cast<std::uint8_t>(ends | truncated[k]);
    terminated[k] = ends;
    phases[k] = static_cast<std::uint8_t>(phases[k] + ended);
    stepped[k] = run[k];
    informed[k] = static_cast<std::uint8_t>(run[k] | pending[k]);
    any_ended = static_cast<std::uint8_t>(any_ended | ended);
  }
  return any_ended != 0;
}

FASTRL_INLINE bool keep(const Episodes& e, std::int64_t b, std::int64_t n, std::int32_t limit) {
  count_steps(e.run + b, e.elapsed_steps + b, e.truncated + b, n, limit);
  sum_rewards(e.run + b, e.rewards + b, e.returns + b, n);
  return set_flags(e.run + b, e.pending + b, e.truncated + b, e.terminated + b, e.phases + b,
                   e.stepped + b, e.informed + b, n);
}

}  // namespace

bool keep_episodes(const Episodes& episodes, std::int64_t begin, std::int64_t end,
                   std::int32_t limit) {
  return Compiled<&keep>::run(episodes, begin, end - begin, limit);
}

}  // namespace fastrl
