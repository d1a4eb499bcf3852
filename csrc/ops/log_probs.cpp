#include "ops/log_probs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "ops/logit_rows.h"

namespace fastrl {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Columns that are summed in float32 before they join the row's float64 sums.
constexpr std::int64_t kBlock = 2048;

// How far, in powers of 2, a block's logits may be above the origin of its row's sums before it is
// looked at again. More would cost the entropy digits: it is a difference of larger numbers then.
constexpr float kHeadroom = 3.0f;

// Logit i after the softcap, by the same operations as in a full vector.
template <class L, class Element, bool kCapped>
FASTRL_INLINE float capped_logit(const typename Element::Storage* logits, std::int64_t i,
                                 float softcap) {
  const Tail<L, Element> one(logits + i, 1);
  typename L::Floats a, b;
  Element::template load<L>(one.elements, a, b);
  if constexpr (kCapped) cap<L>(softcap, a, nullptr);
  return a[0];
}

// The largest of the first logits, after the softcap.
template <class L, class Element, bool kCapped>
FASTRL_INLINE float largest_of(const typename Element::Storage* logits, std::int64_t count,
                               float softcap) {
  constexpr std::int64_t kPack = std::int64_t{2} * L::kWidth;
  typename L::Floats largest = typename L::Floats{} - kInfinity;
  for (std::int64_t i = 0; i < count; i += kPack) {
    const std::int64_t left = count - i;
    typename L::Floats a, b;
    if (left >= kPack) {
      Element::template load<L>(logits + i, a, b);
    } else {
      Element::template load<L>(Tail<L, Element>(logits + i, left).elements, a, b);
    }
    L::raise(a, largest);
    L::raise(b, largest);
  }
  float y = L::max(largest);
  if constexpr (kCapped) {
    typename L::Floats all = typename L::Floats{} + y;
    cap<L>(softcap, all, nullptr);
    y = all[0];
  }
  return y;
}

// The sums of one row in base 2, d = (y - origin) log2(e) / T. The origin is a logit near the
// largest one: moving it for every new maximum would cost a pass over the block.
template <class L>
struct RowSums {
  float origin;
  float scale;
  bool settled;                     // false until the origin is a logit of this row
  double sum[L::kWidth] = {};       // Σ 2^d
  double weighted[L::kWidth] = {};  // Σ 2^d d
  double plain[L::kWidth] = {};     // Σ (y - origin)
  std::int64_t columns = 0;

  FASTRL_INLINE void move_origin(float to) {
    const double shift = (static_cast<double>(origin) - to) * scale;
    const double factor = std::exp2(shift);
    for (int i = 0; i < L::kWidth; ++i) {
      // Not for empty lanes: where the old origin was -inf, 0 would be multiplied by infinity.
      weighted[i] = sum[i] == 0.0 ? weighted[i] : (weighted[i] + sum[i] * shift) * factor;
      sum[i] = sum[i] == 0.0 ? sum[i] : sum[i] * factor;
    }
    plain[0] += (static_cast<double>(origin) - to) * static_cast<double>(columns);
    origin = to;
    settled = true;
  }
};

// The same sums over one block.
template <class L>
struct BlockSums {
  using Floats = typename L::Floats;
  Floats largest{};
  Floats sum{};
  Floats weighted{};
  Floats plain{};

  template <bool kEntropy, bool kPlain>
  FASTRL_INLINE void add(const Floats& y, float origin, float scale) {
    L::raise(y, largest);
    Floats d = y - origin;
    if constexpr (kPlain) plain += d;
    d = d * scale;
    Floats power;
    L::template exp2<6>(d, power);
    sum += power;
    if constexpr (kEntropy) L::fma(power, d, weighted);
  }
};

// Columns [0, count) of `logits`. Gives false, and leaves the row's sums alone, where the origin
// has to move to `origin` first, because the sums could overflow or vanish.
template <class L, class Element, bool kCapped, bool kEntropy, bool kPlain>
FASTRL_INLINE bool add_block(const typename Element::Storage* logits, std::int64_t count,
                             float softcap, RowSums<L>& row, float& origin) {
  constexpr std::int64_t kPack = std::int64_t{2} * L::kWidth;
  using Floats = typename L::Floats;
  BlockSums<L> even, odd;
  even.largest = odd.largest = Floats{} - kInfinity;
  Floats a, b;
  std::int64_t i = 0;
  for (; i + kPack <= count; i += kPack) {
    Element::template load<L>(logits + i, a, b);
    if constexpr (kCapped) {
      cap<L>(softcap, a, nullptr);
      cap<L>(softcap, b, nullptr);
    }
    even.template add<kEntropy, kPlain>(a, row.origin, row.scale);
    odd.template add<kEntropy, kPlain>(b, row.origin, row.scale);
  }
  double plain_tail = 0.0;
  if (i < count) {
    const Tail<L, Element> tail(logits + i, count - i);
    Element::template load<L>(tail.elements, a, b);
    if constexpr (kCapped) {
      cap<L>(softcap, a, nullptr);
      cap<L>(softcap, b, nullptr);
      // The softcap made the -inf behind the last element finite.
      const typename Element::Storage zeros[2 * L::kWidth] = {};
      const Tail<L, Element> padding(zeros, count - i);
      Floats padding_a, padding_b;
      Element::template load<L>(padding.elements, padding_a, padding_b);
      a += padding_a;
      b += padding_b;
    }
    even.template add<kEntropy, false>(a, row.origin, row.scale);
    odd.template add<kEntropy, false>(b, row.origin, row.scale);
    if constexpr (kPlain) {
      for (; i < count; ++i) {
        plain_tail += capped_logit<L, Element, kCapped>(logits, i, softcap) - row.origin;
      }
    }
  }
  L::raise(odd.largest, even.largest);
  origin = L::max(even.largest);
  if ((origin - row.origin) * row.scale > kHeadroom) return false;
  if (!row.settled && origin != -kInfinity) return false;
  for (int lane = 0; lane < L::kWidth; ++lane) {
    row.sum[lane] += static_cast<double>(even.sum[lane]) + odd.sum[lane];
    if constexpr (kEntropy) {
      row.weighted[lane] += static_cast<double>(even.weighted[lane]) + odd.weighted[lane];
    }
    if constexpr (kPlain)
      row.plain[lane] += static_cast<double>(even.plain[lane]) + odd.plain[lane];
  }
  row.plain[0] += plain_tail;
  row.columns += count;
  if (origin > row.origin) row.move_origin(origin);
  return true;
}

template <class L, class Element, bool kCapped, bool kEntropy, bool kPlain>
FASTRL_INLINE void add_row(const typename Element::Storage* logits, std::int64_t size,
                           float softcap, RowSums<L>& row) {
  for (std::int64_t column = 0; column < size; column += kBlock) {
    const std::int64_t count = std::min(kBlock, size - column);
    float origin;
    while (!add_block<L, Element, kCapped, kEntropy, kPlain>(logits + column, count, softcap, row,
                                                             origin)) {
      row.move_origin(origin);
    }
  }
}

// The pass that writes the statistics of a row.
struct Forward {
  const LogitsView& logits;
  const TokensView& tokens;
  const TokenStatsView& stats;

  template <class L, class Element, bool kCapped>
  FASTRL_INLINE void compute(std::int64_t r) const {
    if (tokens.mask != nullptr && tokens.mask[r] == 0) {
      stats.log_probs[r] = stats.origins[r] = stats.sums[r] = 0.0f;
      if (stats.entropies != nullptr) stats.entropies[r] = 0.0f;
      if (stats.self_certainties != nullptr) stats.self_certainties[r] = 0.0f;
      return;
    }
    const auto* start =
        static_cast<const typename Element::Storage*>(logits.data) + logits.layout.start(r);
    const float softcap = logits.softcap;
    const std::int64_t size = logits.vocab_size;
    const float y_token = capped_logit<L, Element, kCapped>(start, tokens.ids[r], softcap);
    const float first = largest_of<L, Element, kCapped>(start, std::min(kBlock, size), softcap);
    RowSums<L> row{first == -kInfinity ? 0.0f : first,
                   std::numbers::log2e_v<float> / logits.temperature, first != -kInfinity};
    if (stats.self_certainties != nullptr) {
      add_row<L, Element, kCapped, true, true>(start, size, softcap, row);
    } else if (stats.entropies != nullptr) {
      add_row<L, Element, kCapped, true, false>(start, size, softcap, row);
    } else {
      add_row<L, Element, kCapped, false, false>(start, size, softcap, row);
    }

    double sum = 0.0, weighted = 0.0, plain = 0.0;
    for (int i = 0; i < L::kWidth; ++i) {
      sum += row.sum[i];
      weighted += row.weighted[i];
      plain += row.plain[i];
    }
    // Without any finite logit, or with +inf or NaN, there is no distribution.
    if (!(sum > 0.0)) sum = kNaN;
    const double log_sum = std::log(sum);
    stats.origins[r] = row.origin;
    stats.sums[r] = static_cast<float>(sum);
    stats.log_probs[r] = static_cast<float>(
        (static_cast<double>(y_token) - row.origin) / logits.temperature - log_sum);
    if (stats.entropies != nullptr) {
      stats.entropies[r] = static_cast<float>(log_sum - weighted / sum * std::numbers::ln2);
    }
    if (stats.self_certainties != nullptr) {
      const auto v = static_cast<double>(size);
      stats.self_certainties[r] =
          static_cast<float>(std::log(sum / v) - plain / (v * logits.temperature));
    }
  }
};

}  // namespace

std::int64_t first_token_outside(TokensView tokens, std::int64_t rows, std::int64_t vocab_size) {
  for (std::int64_t r = 0; r < rows; ++r) {
    if (tokens.mask != nullptr && tokens.mask[r] == 0) continue;
    if (tokens.ids[r] < 0 || tokens.ids[r] >= vocab_size) return r;
  }
  return -1;
}

void token_log_probs(const LogitsView& logits, TokensView tokens, const TokenStatsView& stats) {
  for_each_row(logits, Forward{logits, tokens, stats});
}

}  // namespace fastrl
