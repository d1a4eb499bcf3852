// Policy losses over tokens: ratio × surrogate × KL estimator, with closed-form gradients.
//
// Specification: python/fastrl/reference/policy_losses.py. A batch is N tokens in B sequences. The
// loss is Σ_t weight_t (surrogate_t + kl_coef kl_t − entropy_coef entropy_t) / denominator.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace fastrl {

// Null where an input is absent. Masked tokens may hold anything, even NaN.
struct PolicyLossInputs {
  const float* log_probs;           // [N]
  const float* advantages;          // [N] if advantages_per_token, else [B]
  const std::uint8_t* mask;         // [N], 0 for tokens that do not count
  const float* old_log_probs;       // [N]
  const float* behavior_log_probs;  // [N]
  const float* ref_log_probs;       // [N]
  const float* entropies;           // [N]
  const std::int32_t* cu_seqlens;   // [B + 1], or null: every sequence has N / B tokens
  std::int64_t num_tokens;
  std::int64_t num_sequences;
  bool advantages_per_token;
};

struct PolicyLossParameters {
  float clip_low;
  float clip_high;
  float opmd_tau;
  float kl_coef;
  float entropy_coef;
};

struct PolicyLossOptions {
  std::string_view ratio;      // one of policy_loss_ratios()
  std::string_view surrogate;  // one of policy_loss_surrogates()
  std::string_view kl;         // one of policy_loss_kl_estimators()
  PolicyLossParameters parameters;
  bool mean_over_sequence;  // weight_t is 1 / (tokens of its sequence), else 1
  bool count_tokens;        // the denominator is also multiplied by the number of tokens
  double denominator;
};

// What one pass sums up: the first two weighted, the others over unmasked tokens. The results are
// divided by the denominator and by the number of tokens; that number itself stays as it is.
enum PolicyLossStatistic : int {
  kLoss,
  kPolicyLoss,  // the surrogate's part of the loss
  kTokens,
  kAdvantage,
  kRatio,
  kClippedLow,
  kClippedHigh,
  kKlToOld,
  kKlToBehavior,
  kKlToRef,
  kEntropy,
  kNumPolicyLossStatistics,
};

struct PolicyLossOutputs {
  float* loss;                // [1]
  float* statistics;          // [kNumPolicyLossStatistics]
  float* scale;               // [1], 1 / denominator; 0 without tokens, NaN for 1 / 0, 1 / ∞, …
  float* log_prob_gradients;  // [N] or null; times `scale` they are the loss's gradients
  float* entropy_gradients;   // [N] or null, likewise
};

// O(N) time; bitwise the same for any number of threads. Throws if the options name no row of the
// tables or if cu_seqlens does not cut the N tokens into B sequences.
void policy_loss(const PolicyLossInputs& inputs, const PolicyLossOptions& options,
                 const PolicyLossOutputs& outputs);

std::vector<std::string_view> policy_loss_ratios();
std::vector<std::string_view> policy_loss_surrogates();
std::vector<std::string_view> policy_loss_kl_estimators();

}  // namespace fastrl
