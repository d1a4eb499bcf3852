// Advantages of rollouts and of groups of trajectories, float32 or float64. The formulas are in
// python/fastrl/advantages.py. Outputs may overlap no input. Group ids are arbitrary numbers in
// any order; the grouping takes O(B) scratch memory and one pass.
#pragma once

#include <cstdint>

namespace fastrl {

enum class Baseline { kMean, kLeaveOneOut, kNone };
enum class RewardScale { kGroup, kBatch, kNone };

struct GroupAdvantageOptions {
  Baseline baseline = Baseline::kMean;
  RewardScale scale = RewardScale::kGroup;
  double eps = 1e-4;
  bool unbiased = true;
};

// Sums are in float64 over sorted rewards, so the order of the members changes no bit. A reward
// that is not finite is an error. O(B log B) time.
template <typename T>
void group_advantages(const T* rewards, const std::int64_t* group_ids, std::int64_t batch,
                      GroupAdvantageOptions options, T* advantages);

struct AmplificationOptions {
  double alpha = 3.0;
  double success_threshold = 1.0;  // not read when group ids are given
  bool success_is_alpha = true;    // alpha * max(1, advantage) rather than success_value
  double success_value = 0.0;
};

// With `group_ids` (else null) the best rewards of each group are the successes.
template <typename T>
void positive_amplification(const T* advantages, const T* rewards, const std::int64_t* group_ids,
                            std::int64_t batch, AmplificationOptions options, T* amplified);

// T steps of B environments, time-major [T, B] and contiguous. Flags are 0 or not 0.
template <typename Real>
struct GaeInputs {
  std::int64_t num_steps = 0;
  std::int64_t num_envs = 0;
  const Real* rewards = nullptr;
  const Real* values = nullptr;
  const Real* next_values = nullptr;  // not used where `terminated` is set
  const std::uint8_t* terminated = nullptr;
  const std::uint8_t* truncated = nullptr;
  const std::uint8_t* stepped = nullptr;  // null: every row is a step
};

// One sweep back in time, SIMD and threads over environments, in the precision of the inputs. The
// bits of an environment depend on its own rows alone. O(T B) time, no memory.
template <typename Real>
void gae(const GaeInputs<Real>& inputs, double gamma, double lambda, Real* advantages);

}  // namespace fastrl
