#include "ops/policy_losses.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/exponential.h"
#include "core/instruction_set.h"
#include "core/thread_pool.h"
#include "ops/policy_loss_terms.h"

namespace fastrl {
namespace {

// --- One block of tokens: gathered, evaluated and summed up while it is in the L1 cache. ---

constexpr std::int64_t kBlock = 256;
constexpr std::int64_t kChunk = 64 * kBlock;
constexpr std::int64_t kLanes = 16;
constexpr auto kNum = static_cast<std::size_t>(kNumPolicyLossStatistics);

// Plain arrays: GCC 12 does not vectorize over std::array members.
using Row = float[kBlock];

struct Block {
  alignas(64) Row keep;  // 1 where the token counts, else 0; the rows below are 0 there
  Row weight;
  Row log_prob;
  Row log_ratio;      // to the old policy
  Row ref_log_ratio;  // to the KL reference
  Row advantage;
  Row entropy;
  Row gradient;
  Row terms[kNum];
};

// One accumulator per lane: the order of the sum is fixed, and it vectorizes.
struct alignas(64) Sums {
  double lanes[kNum][kLanes] = {};
};

FASTRL_INLINE void load(const float* x, const Row& keep, std::int64_t count, Row& out) {
  for (std::int64_t k = 0; k < count; ++k) {
    const float value = x[k];
    out[k] = keep[k] != 0.0f ? value : 0.0f;
  }
  std::fill(out + count, out + kBlock, 0.0f);
}

// log π − log of the other policy, 0 where there is none.
FASTRL_INLINE void load_log_ratio(const float* x, const Block& block, std::int64_t count,
                                  Row& out) {
  if (x == nullptr) {
    std::fill_n(out, kBlock, 0.0f);
    return;
  }
  load(x, block.keep, count, out);
  for (std::int64_t k = 0; k < kBlock; ++k) out[k] = block.log_prob[k] - out[k];
}

// Tokens [begin, begin + count). Values that the caller has already spread over the block (weights
// and advantages that belong to sequences) are only masked.
FASTRL_INLINE void load_block(const PolicyLossInputs& in, std::int64_t begin, std::int64_t count,
                              Block& block) {
  for (std::int64_t k = 0; k < count; ++k) block.keep[k] = in.mask[begin + k] != 0 ? 1.0f : 0.0f;
  std::fill(block.keep + count, block.keep + kBlock, 0.0f);
  const auto at = [begin](const float* x) { return x == nullptr ? nullptr : x + begin; };
  load(at(in.log_probs), block.keep, count, block.log_prob);
  if (in.old_log_probs == nullptr) {  // π itself: 0, or NaN where log π is not finite
    for (std::int64_t k = 0; k < kBlock; ++k) {
      block.log_ratio[k] = block.log_prob[k] - block.log_prob[k];
    }
  } else {
    load_log_ratio(at(in.old_log_probs), block, count, block.log_ratio);
  }
  load_log_ratio(at(in.ref_log_probs), block, count, block.ref_log_ratio);
  load(in.advantages_per_token ? at(in.advantages) : block.advantage, block.keep, count,
       block.advantage);
  load(block.weight, block.keep, count, block.weight);
  if (in.entropies == nullptr) {
    std::fill_n(block.entropy, kBlock, 0.0f);
  } else {
    load(at(in.entropies), block.keep, count, block.entropy);
  }
  Row& behavior = block.terms[kKlToBehavior];
  load_log_ratio(at(in.behavior_log_probs), block, count, behavior);
  if (in.behavior_log_probs != nullptr) {
    for (float& d : behavior) d = exponential(d).minus_one - d;
  }
}

template <std::size_t R, std::size_t S, std::size_t K>
FASTRL_INLINE void evaluate_block(Block& block, const PolicyLossParameters& options) {
  const PolicyLossParameters parameters = options;  // a copy, which no store can change
  for (std::int64_t k = 0; k < kBlock; ++k) {
    const float keep = block.keep[k];
    const float weight = block.weight[k];
    const Exponential ratio = exponential(block.log_ratio[k]);
    const float log_prob = block.log_prob[k];
    const float one = 1.0f + (log_prob - log_prob);  // NaN where log π is not finite
    const Token token{log_prob, kRatios[R].importance ? ratio.value : one, block.advantage[k]};
    const SurrogateTerm surrogate = kSurrogates[S].term(token, parameters);
    const KlTerm kl = kKlEstimators[K].term(block.ref_log_ratio[k]);
    const float total =
        surrogate.loss + parameters.kl_coef * kl.value - parameters.entropy_coef * block.entropy[k];
    const float gradient = weight * (surrogate.gradient + parameters.kl_coef * kl.gradient);
    block.gradient[k] = keep != 0.0f ? gradient : 0.0f;
    block.terms[kLoss][k] = weight * total;
    block.terms[kPolicyLoss][k] = weight * surrogate.loss;
    block.terms[kTokens][k] = keep;
    block.terms[kAdvantage][k] = token.advantage;
    block.terms[kRatio][k] = keep * ratio.value;
    block.terms[kClippedLow][k] = keep * surrogate.clipped_low;
    block.terms[kClippedHigh][k] = keep * surrogate.clipped_high;
    block.terms[kKlToOld][k] = ratio.minus_one - block.log_ratio[k];
    block.terms[kKlToRef][k] = kl.value;
    block.terms[kEntropy][k] = block.entropy[k];
  }
}

FASTRL_INLINE void add_block(const Block& block, Sums& sums) {
  for (std::size_t i = 0; i < kNum; ++i) {
    for (std::int64_t k = 0; k < kBlock; k += kLanes) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        sums.lanes[i][lane] += static_cast<double>(block.terms[i][k + lane]);
      }
    }
  }
}

using Evaluate = void (*)(Block&, const PolicyLossParameters&);

// The product of the three tables: row (r · |surrogates| + s) · |estimators| + k.
template <std::size_t... I>
Evaluate evaluate_row(std::size_t row, std::index_sequence<I...>) {
  constexpr std::size_t kS = kSurrogates.size();
  constexpr std::size_t kK = kKlEstimators.size();
  static const std::array<Evaluate, sizeof...(I)> product = {
      Compiled<&evaluate_block<I / kK / kS, I / kK % kS, I % kK>>::for_this_processor()...};
  return product[row];
}

template <typename Table>
std::size_t find(const Table& table, const char* argument, std::string_view name) {
  std::string names;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i].name == name) return i;
    names += concat(i == 0 ? "'" : ", '", table[i].name, "'");
  }
  fail_value("policy_loss", argument, "be one of " + names, concat("'", name, "'"));
}

Evaluate find_evaluate(const PolicyLossOptions& options) {
  const std::size_t r = find(kRatios, "ratio", options.ratio);
  const std::size_t s = find(kSurrogates, "surrogate", options.surrogate);
  const std::size_t k = find(kKlEstimators, "kl", options.kl);
  constexpr std::size_t kRows = kRatios.size() * kSurrogates.size() * kKlEstimators.size();
  return evaluate_row((r * kSurrogates.size() + s) * kKlEstimators.size() + k,
                      std::make_index_sequence<kRows>{});
}

// --- Sequences: where they begin, and what belongs to a whole one. ---

class Sequences {
 public:
  explicit Sequences(const PolicyLossInputs& in)
      : cu_seqlens_(in.cu_seqlens),
        num_tokens_(in.num_tokens),
        size_(in.num_sequences),
        length_(in.num_sequences == 0 ? 0 : in.num_tokens / in.num_sequences) {
    if (cu_seqlens_ != nullptr) check_partition();
  }

  std::int64_t begin(std::int64_t i) const {
    return cu_seqlens_ != nullptr ? cu_seqlens_[i] : i * length_;
  }

  // The sequence that holds token t.
  std::int64_t of(std::int64_t t) const {
    if (cu_seqlens_ == nullptr) return t / length_;
    return std::upper_bound(cu_seqlens_, cu_seqlens_ + size_ + 1, t) - cu_seqlens_ - 1;
  }

 private:
  void check_partition() const {
    const char* rule = "start at 0, never decrease and end at N = ";
    const auto fail = [&](const auto&... actual) {
      fail_value("policy_loss", "cu_seqlens", concat(rule, num_tokens_), concat(actual...));
    };
    if (cu_seqlens_[0] != 0) fail(cu_seqlens_[0], " at its start");
    for (std::int64_t i = 0; i < size_; ++i) {
      if (cu_seqlens_[i + 1] < cu_seqlens_[i]) {
        fail(cu_seqlens_[i + 1], " after ", cu_seqlens_[i], " at index ", i + 1);
      }
    }
    if (cu_seqlens_[size_] != num_tokens_) fail(cu_seqlens_[size_], " at its end");
  }

  const std::int32_t* cu_seqlens_;
  std::int64_t num_tokens_;
  std::int64_t size_;
  std::int64_t length_;
};

std::vector<float> inverse_token_counts(const PolicyLossInputs& in, const Sequences& sequences) {
  std::vector<float> inverse(static_cast<std::size_t>(in.num_sequences));
  const std::int64_t mean_length = in.num_tokens / std::max<std::int64_t>(in.num_sequences, 1);
  const std::int64_t grain = std::max<std::int64_t>(1, kChunk / (mean_length + 1));
  parallel_for(in.num_sequences, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::uint8_t* first = in.mask + sequences.begin(i);
      const std::uint8_t* last = in.mask + sequences.begin(i + 1);
      const auto count = (last - first) - std::count(first, last, std::uint8_t{0});
      inverse[static_cast<std::size_t>(i)] =
          static_cast<float>(1.0 / static_cast<double>(std::max<std::int64_t>(count, 1)));
    }
  });
  return inverse;
}

// Spreads per-sequence advantages and weights over a block, token by token.
void spread(const PolicyLossInputs& in, const Sequences& sequences,
            const std::vector<float>& inverse_counts, std::int64_t begin, std::int64_t count,
            Block& block) {
  if (inverse_counts.empty()) std::fill_n(block.weight, kBlock, 1.0f);
  if (inverse_counts.empty() && in.advantages_per_token) return;
  const std::int64_t end = begin + count;
  std::int64_t i = sequences.of(begin);
  for (std::int64_t t = begin; t < end; ++i) {
    const std::int64_t stop = std::min(end, sequences.begin(i + 1));
    const auto fill = [&](Row& row, float value) {
      std::fill(row + (t - begin), row + (stop - begin), value);
    };
    if (!in.advantages_per_token) fill(block.advantage, in.advantages[i]);
    if (!inverse_counts.empty()) fill(block.weight, inverse_counts[static_cast<std::size_t>(i)]);
    t = stop;
  }
}

void finish(const std::vector<Sums>& chunks, const PolicyLossOptions& options,
            const PolicyLossOutputs& outputs) {
  std::array<double, kNum> sums{};
  for (const Sums& chunk : chunks) {
    for (std::size_t i = 0; i < kNum; ++i) {
      for (const double lane : chunk.lanes[i]) sums[i] += lane;
    }
  }
  const double tokens = sums[kTokens];
  const double denominator = options.denominator * (options.count_tokens ? tokens : 1.0);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool valid = denominator > 0.0 && denominator < kInfinity;
  double scale = valid ? 1.0 / denominator : std::numeric_limits<double>::quiet_NaN();
  if (tokens == 0.0) scale = 0.0;
  *outputs.scale = static_cast<float>(scale);
  for (std::size_t i = 0; i < kNum; ++i) {
    const double mean = sums[i] / std::max(tokens, 1.0);
    const bool weighted = i == kLoss || i == kPolicyLoss;
    outputs.statistics[i] = static_cast<float>(weighted ? sums[i] * scale : mean);
  }
  outputs.statistics[kTokens] = static_cast<float>(tokens);
  *outputs.loss = outputs.statistics[kLoss];
}

template <typename Table>
std::vector<std::string_view> names(const Table& table) {
  std::vector<std::string_view> all;
  all.reserve(table.size());
  for (const auto& row : table) all.push_back(row.name);
  return all;
}

}  // namespace

void policy_loss(const PolicyLossInputs& inputs, const PolicyLossOptions& options,
                 const PolicyLossOutputs& outputs) {
  const Evaluate evaluate = find_evaluate(options);
  static const auto load_tokens = Compiled<&load_block>::for_this_processor();
  static const auto add_tokens = Compiled<&add_block>::for_this_processor();
  const Sequences sequences(inputs);
  const std::vector<float> inverse_counts =
      options.mean_over_sequence ? inverse_token_counts(inputs, sequences) : std::vector<float>{};
  const PolicyLossParameters& parameters = options.parameters;
  std::vector<Sums> chunks(static_cast<std::size_t>((inputs.num_tokens + kChunk - 1) / kChunk));
  parallel_for(inputs.num_tokens, kChunk, [&](std::int64_t chunk_begin, std::int64_t chunk_end) {
    Block block;
    Sums& sums = chunks[static_cast<std::size_t>(chunk_begin / kChunk)];
    for (std::int64_t begin = chunk_begin; begin < chunk_end; begin += kBlock) {
      const std::int64_t count = std::min(kBlock, chunk_end - begin);
      spread(inputs, sequences, inverse_counts, begin, count, block);
      load_tokens(inputs, begin, count, block);
      evaluate(block, parameters);
      add_tokens(block, sums);
      if (outputs.log_prob_gradients != nullptr) {
        std::copy_n(block.gradient, count, outputs.log_prob_gradients + begin);
      }
      if (outputs.entropy_gradients != nullptr) {
        for (std::int64_t k = 0; k < count; ++k) {
          outputs.entropy_gradients[begin + k] = -parameters.entropy_coef * block.weight[k];
        }
      }
    }
  });
  finish(chunks, options, outputs);
}

std::vector<std::string_view> policy_loss_ratios() { return names(kRatios); }
std::vector<std::string_view> policy_loss_surrogates() { return names(kSurrogates); }
std::vector<std::string_view> policy_loss_kl_estimators() { return names(kKlEstimators); }

}  // namespace fastrl
