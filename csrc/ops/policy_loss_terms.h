// The choices of which a policy loss is the product: surrogates, KL estimators and ratios, token by
// token. A choice is one function and one row of its table; nothing else knows its name.
#pragma once

#include <array>
#include <string_view>

#include "core/exponential.h"
#include "core/instruction_set.h"
#include "ops/policy_losses.h"

namespace fastrl {

struct Token {
  float log_prob;
  float ratio;  // π / π_old, or 1
  float advantage;
};

struct SurrogateTerm {
  float loss;
  float gradient;            // in log_prob, the ratio's own derivative included
  float clipped_low = 0.0f;  // 1 where a clip acted
  float clipped_high = 0.0f;
};

// 1 where both hold, else 0. GCC 12 does not vectorize a loop that combines bools.
FASTRL_INLINE float both(bool a, bool b) {
  const float first = a ? 1.0f : 0.0f;
  return b ? first : 0.0f;
}

FASTRL_INLINE SurrogateTerm surrogate_reinforce(Token token, const PolicyLossParameters&) {
  const float gradient = -token.ratio * token.advantage;
  return {gradient * token.log_prob, gradient};
}

FASTRL_INLINE SurrogateTerm surrogate_opmd(Token token, const PolicyLossParameters& parameters) {
  const float gradient = -token.ratio * token.advantage / (1.0f + parameters.opmd_tau);
  return {gradient * token.log_prob, gradient};
}

FASTRL_INLINE SurrogateTerm surrogate_ppo(Token token, const PolicyLossParameters& parameters) {
  const float low = 1.0f - parameters.clip_low;
  const float high = 1.0f + parameters.clip_high;
  const float above = token.ratio < low ? low : token.ratio;
  const float clipped = above > high ? high : above;
  const float free_gain = token.ratio * token.advantage;
  const float clipped_gain = clipped * token.advantage;
  const float clipped_low = both(token.advantage < 0.0f, token.ratio < low);
  const float clipped_high = both(token.advantage > 0.0f, token.ratio > high);
  return {clipped_gain < free_gain ? -clipped_gain : -free_gain,
          clipped_low + clipped_high > 0.0f ? 0.0f : -free_gain, clipped_low, clipped_high};
}

FASTRL_INLINE SurrogateTerm surrogate_cispo(Token token, const PolicyLossParameters& parameters) {
  const float high = 1.0f + parameters.clip_high;
  const float weight = token.ratio > high ? high : token.ratio;
  const float gradient = -weight * token.advantage;
  return {gradient * token.log_prob, gradient, 0.0f, token.ratio > high ? 1.0f : 0.0f};
}

struct Surrogate {
  std::string_view name;
  SurrogateTerm (*term)(Token, const PolicyLossParameters&);
};

inline constexpr auto kSurrogates = std::to_array<Surrogate>({
    {"reinforce", surrogate_reinforce},
    {"opmd", surrogate_opmd},
    {"ppo", surrogate_ppo},
    {"cispo", surrogate_cispo},
});

struct KlTerm {
  float value;
  float gradient;  // in d = log π − log π_ref
};

FASTRL_INLINE KlTerm kl_none(float) { return {0.0f, 0.0f}; }

FASTRL_INLINE KlTerm kl_k1(float d) { return {d, 1.0f}; }

FASTRL_INLINE KlTerm kl_k2(float d) { return {0.5f * d * d, d}; }

FASTRL_INLINE KlTerm kl_k3(float d) {
  const float minus_one = exponential(-d).minus_one;
  return {minus_one + d, -minus_one};
}

struct KlEstimator {
  std::string_view name;
  KlTerm (*term)(float);
};

inline constexpr auto kKlEstimators = std::to_array<KlEstimator>({
    {"none", kl_none},
    {"k1", kl_k1},
    {"k2", kl_k2},
    {"k3", kl_k3},
});

struct Ratio {
  std::string_view name;
  bool importance;  // the surrogate sees π / π_old rather than 1
};

inline constexpr auto kRatios = std::to_array<Ratio>({
    {"none", false},
    {"token", true},
});

}  // namespace fastrl
