#include "ops/advantages.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <type_traits>
#include <vector>

#include "core/check.h"
#include "core/instruction_set.h"
#include "core/random.h"
#include "core/thread_pool.h"

namespace fastrl {
namespace {

template <typename T>
void check_finite(const char* function, const char* argument, std::span<const T> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      fail_value(function, argument, "be finite", concat(values[i], " at index ", i));
    }
  }
}

// Arbitrary ids renamed to 0, 1, … in order of first appearance, by a hash table with open
// addressing at half load.
class Groups {
 public:
  explicit Groups(std::span<const std::int64_t> ids) : of_member_(ids.size()) {
    const std::size_t slots = std::bit_ceil(2 * ids.size() + 1);
    std::vector<std::size_t> group_in_slot(slots, kFree);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (i > 0 && ids[i] == ids[i - 1]) {
        of_member_[i] = of_member_[i - 1];
      } else {
        of_member_[i] = find_or_insert(ids[i], group_in_slot);
      }
    }
  }

  std::size_t count() const { return ids_.size(); }
  std::size_t of_member(std::size_t i) const { return of_member_[i]; }

 private:
  static constexpr std::size_t kFree = std::numeric_limits<std::size_t>::max();

  std::size_t find_or_insert(std::int64_t id, std::vector<std::size_t>& group_in_slot) {
    const std::size_t last = group_in_slot.size() - 1;
    std::size_t slot = mix64(static_cast<std::uint64_t>(id)) & last;
    while (group_in_slot[slot] != kFree) {
      if (ids_[group_in_slot[slot]] == id) return group_in_slot[slot];
      slot = (slot + 1) & last;
    }
    group_in_slot[slot] = ids_.size();
    ids_.push_back(id);
    return group_in_slot[slot];
  }

  std::vector<std::size_t> of_member_;
  std::vector<std::int64_t> ids_;
};

struct Statistics {
  double size = 0;
  double sum = 0;
  double deviation = 0;  // 0 where there is no spread, so that nobody divides by it
  bool has_spread = false;
};

// Sorts `values`: the sums then see the same order whatever order the members came in.
Statistics statistics(std::span<double> values, bool unbiased) {
  std::ranges::sort(values);
  Statistics result;
  result.size = static_cast<double>(values.size());
  result.sum = std::accumulate(values.begin(), values.end(), 0.0);
  result.has_spread = !values.empty() && values.front() != values.back();
  if (result.has_spread) {
    const double mean = result.sum / result.size;
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    result.deviation = std::sqrt(squares / (result.size - (unbiased ? 1.0 : 0.0)));
  }
  return result;
}

// Each group's rewards side by side, then each group's statistics.
template <typename T>
std::vector<Statistics> group_statistics(std::span<const T> rewards, const Groups& groups,
                                         bool unbiased) {
  std::vector<std::size_t> ends(groups.count() + 1);
  for (std::size_t i = 0; i < rewards.size(); ++i) ++ends[groups.of_member(i) + 1];
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<double> values(rewards.size());
  std::vector<std::size_t> next(ends.begin(), ends.end() - 1);
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    values[next[groups.of_member(i)]++] = static_cast<double>(rewards[i]);
  }
  std::vector<Statistics> result(groups.count());
  for (std::size_t g = 0; g < result.size(); ++g) {
    result[g] = statistics(std::span(values).subspan(ends[g], ends[g + 1] - ends[g]), unbiased);
  }
  return result;
}

// `x` where `keep` is set, else 0. A select would be a branch, which GCC 12 does not vectorize, and
// a product would not drop NaN.
template <typename Real>
FASTRL_INLINE Real keep_if(bool keep, Real x) {
  using Bits = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<Real>(std::bit_cast<Bits>(x) & -static_cast<Bits>(keep));
}

constexpr std::int64_t kGaeBlock = 64;  // environments whose A_{t+1} stays in registers or cache

// One step back in time for `count` neighbors; `tail` is A_{t+1} and becomes A_t. Pointers stand at
// the row's first environment.
template <bool kEveryRowIsAStep, typename Real>
FASTRL_INLINE void gae_row(const Real* __restrict rewards, const Real* __restrict values,
                           const Real* __restrict next_values,
                           const std::uint8_t* __restrict terminated,
                           const std::uint8_t* __restrict truncated,
                           const std::uint8_t* __restrict stepped, std::int64_t count, Real gamma,
                           Real decay, Real* __restrict tail, Real* __restrict advantages) {
  for (std::int64_t b = 0; b < count; ++b) {
    const Real next_value = keep_if(terminated[b] == 0, next_values[b]);
    const Real next_advantage = keep_if((terminated[b] | truncated[b]) == 0, tail[b]);
    const Real td_error = rewards[b] + gamma * next_value - values[b];
    const Real advantage = td_error + decay * next_advantage;
    if constexpr (kEveryRowIsAStep) {
      tail[b] = advantages[b] = advantage;
    } else {
      const bool step = stepped[b] != 0;
      advantages[b] = keep_if(step, advantage);
      tail[b] = advantages[b] + keep_if(!step, tail[b]);
    }
  }
}

// All steps of the environments [begin, end).
template <typename Real>
FASTRL_INLINE void gae_sweep(const GaeInputs<Real>& in, double gamma, double lambda,
                             std::int64_t begin, std::int64_t end, Real* advantages) {
  const auto rounded_gamma = static_cast<Real>(gamma);
  const auto decay = static_cast<Real>(gamma * lambda);
  for (std::int64_t first = begin; first < end; first += kGaeBlock) {
    const std::int64_t count = std::min(kGaeBlock, end - first);
    Real tail[kGaeBlock] = {};
    for (std::int64_t t = in.num_steps - 1; t >= 0; --t) {
      const std::int64_t i = t * in.num_envs + first;
      if (in.stepped == nullptr) {
        gae_row<true>(in.rewards + i, in.values + i, in.next_values + i, in.terminated + i,
                      in.truncated + i, in.stepped, count, rounded_gamma, decay, tail,
                      advantages + i);
      } else {
        gae_row<false>(in.rewards + i, in.values + i, in.next_values + i, in.terminated + i,
                       in.truncated + i, in.stepped + i, count, rounded_gamma, decay, tail,
                       advantages + i);
      }
    }
  }
}

double centered(double reward, const Statistics& group, Baseline baseline) {
  const bool alone = group.size < 2;
  if (baseline == Baseline::kNone || (baseline == Baseline::kLeaveOneOut && alone)) return reward;
  if (!group.has_spread) return 0.0;  // exactly, whatever the sum was rounded to
  if (baseline == Baseline::kLeaveOneOut) {
    return reward - (group.sum - reward) / (group.size - 1);
  }
  return reward - group.sum / group.size;
}

}  // namespace

template <typename T>
void group_advantages(const T* rewards, const std::int64_t* group_ids, std::int64_t batch,
                      GroupAdvantageOptions options, T* advantages) {
  const std::span<const T> all(rewards, static_cast<std::size_t>(batch));
  check_finite("group_advantages", "rewards", all);
  const Groups groups({group_ids, all.size()});
  const std::vector<Statistics> per_group = group_statistics(all, groups, options.unbiased);
  Statistics whole;
  if (options.scale == RewardScale::kBatch) {
    std::vector<double> values(all.begin(), all.end());
    whole = statistics(values, options.unbiased);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Statistics& group = per_group[groups.of_member(i)];
    const Statistics& scale = options.scale == RewardScale::kBatch ? whole : group;
    const double advantage = centered(static_cast<double>(all[i]), group, options.baseline);
    const bool divide = options.scale != RewardScale::kNone && scale.deviation > 0;
    advantages[i] =
        static_cast<T>(divide ? advantage / (scale.deviation + options.eps) : advantage);
  }
}

template <typename T>
void positive_amplification(const T* advantages, const T* rewards, const std::int64_t* group_ids,
                            std::int64_t batch, AmplificationOptions options, T* amplified) {
  const auto size = static_cast<std::size_t>(batch);
  check_finite("positive_amplification", "advantages", std::span(advantages, size));
  check_finite("positive_amplification", "rewards", std::span(rewards, size));
  const Groups groups(group_ids == nullptr ? std::span<const std::int64_t>()
                                           : std::span(group_ids, size));
  std::vector<double> best(groups.count(), -std::numeric_limits<double>::infinity());
  if (group_ids != nullptr) {
    for (std::size_t i = 0; i < size; ++i) {
      double& group_best = best[groups.of_member(i)];
      group_best = std::max(group_best, static_cast<double>(rewards[i]));
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    const auto advantage = static_cast<double>(advantages[i]);
    const double bar = group_ids == nullptr ? options.success_threshold : best[groups.of_member(i)];
    double value = advantage >= 0 ? options.alpha * advantage : advantage;
    if (static_cast<double>(rewards[i]) >= bar) {
      value = options.success_is_alpha ? options.alpha * std::max(1.0, advantage)
                                       : options.success_value;
    }
    amplified[i] = static_cast<T>(value);
  }
}

template <typename Real>
void gae(const GaeInputs<Real>& inputs, double gamma, double lambda, Real* advantages) {
  // Each environment is on its own, so the cut may follow the number of threads: few wide pieces,
  // and one piece where waking a thread would cost more than the work.
  constexpr std::int64_t kWorthAThread = 32768;
  const std::int64_t rows = std::max<std::int64_t>(inputs.num_steps, 1);
  const std::int64_t per_thread = (inputs.num_envs + num_threads() - 1) / num_threads();
  const std::int64_t least = std::max(per_thread, kWorthAThread / rows);
  const std::int64_t blocks = std::max<std::int64_t>((least + kGaeBlock - 1) / kGaeBlock, 1);
  const auto sweep = Compiled<&gae_sweep<Real>>::for_this_processor();
  parallel_for(inputs.num_envs, blocks * kGaeBlock, [&](std::int64_t begin, std::int64_t end) {
    sweep(inputs, gamma, lambda, begin, end, advantages);
  });
}

template void group_advantages(const float*, const std::int64_t*, std::int64_t,
                               GroupAdvantageOptions, float*);
template void group_advantages(const double*, const std::int64_t*, std::int64_t,
                               GroupAdvantageOptions, double*);
template void positive_amplification(const float*, const float*, const std::int64_t*, std::int64_t,
                                     AmplificationOptions, float*);
template void positive_amplification(const double*, const double*, const std::int64_t*,
                                     std::int64_t, AmplificationOptions, double*);
template void gae(const GaeInputs<float>&, double, double, float*);
template void gae(const GaeInputs<double>&, double, double, double*);

}  // namespace fastrl
