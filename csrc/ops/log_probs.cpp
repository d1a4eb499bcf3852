#include "ops/log_probs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/instruction_set.h"
#include "core/thread_pool.h"
#include "ops/lanes.h"

namespace fastrl {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Columns that are summed in float32 before they join the row's float64 sums.
constexpr std::int64_t kBlock = 2048;

// How far, in powers of 2, a block's logits may be above the origin of its row's sums before it is
// looked at again. More would cost the entropy digits: it is a difference of larger numbers then.
constexpr float kHeadroom = 3.0f;

// About 100 µs of work for a thread to take at a time.
std::int64_t rows_per_chunk(std::int64_t vocab_size) {
  return std::max<std::int64_t>(1, (std::int64_t{1} << 18) / vocab_size);
}

// y = softcap tanh(x / softcap). Gives the slope dy/dx too where it is asked for.
template <class L>
FASTRL_INLINE void cap(float softcap, typename L::Floats& y, typename L::Floats* slope) {
  y = y * (1.0f / softcap);
  L::tanh(y);
  if (slope != nullptr) *slope = 1.0f - y * y;
  y = y * softcap;
}

// The elements past the last full pack of 2 W, followed by -inf.
template <class L, class Element>
struct Tail {
  typename Element::Storage elements[2 * L::kWidth];

  FASTRL_INLINE Tail(const typename Element::Storage* from, std::int64_t count) {
    for (auto& element : elements) element = Element::kLowest;
    std::memcpy(elements, from, static_cast<std::size_t>(count) * sizeof(*elements));
  }
};

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

template <class L, class Element, bool kCapped>
FASTRL_INLINE void forward_row(const LogitsView& logits, TokensView tokens,
                               const TokenStatsView& stats, std::int64_t r) {
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

// The gradient of one row is 2^d (constant + slope d) - uniform, times the softcap's slope; the
// token's own element gets its log-prob's share on top.
struct RowGradient {
  float origin;
  float scale;
  float constant;
  float slope;
  float uniform;
  float blocked;  // the gradient where a logit is -inf: 0, or NaN in a row without a distribution
};

template <class L, bool kCapped, bool kUniform>
FASTRL_INLINE void differentiate(const RowGradient& row, float softcap, typename L::Floats& x) {
  using Floats = typename L::Floats;
  const Floats logits = x;
  Floats chain;
  if constexpr (kCapped) cap<L>(softcap, x, &chain);
  x = (x - row.origin) * row.scale;
  Floats power;
  L::template exp2<5>(x, power);
  Floats factor = Floats{} + row.constant;
  L::fma(Floats{} + row.slope, x, factor);
  x = power * factor;
  if constexpr (kUniform) {
    x = x - row.uniform;
    x = logits == -kInfinity ? Floats{} + row.blocked : x;
  }
  if constexpr (kCapped) x = x * chain;
}

template <class L, class Element, bool kCapped, bool kUniform>
FASTRL_INLINE void differentiate_row(const RowGradient& row, float softcap,
                                     const typename Element::Storage* from, std::int64_t size,
                                     typename Element::Storage* to) {
  constexpr std::int64_t kPack = std::int64_t{2} * L::kWidth;
  typename L::Floats a, b;
  std::int64_t i = 0;
  for (; i + kPack <= size; i += kPack) {
    Element::template load<L>(from + i, a, b);
    differentiate<L, kCapped, kUniform>(row, softcap, a);
    differentiate<L, kCapped, kUniform>(row, softcap, b);
    Element::template store<L>(a, b, to + i);
  }
  if (i < size) {
    Tail<L, Element> tail(from + i, size - i);
    Element::template load<L>(tail.elements, a, b);
    differentiate<L, kCapped, kUniform>(row, softcap, a);
    differentiate<L, kCapped, kUniform>(row, softcap, b);
    Element::template store<L>(a, b, tail.elements);
    std::memcpy(to + i, tail.elements, static_cast<std::size_t>(size - i) * sizeof(*to));
  }
}

// Every NaN as the one without payload, which BFloat16::store relies on.
float plain(double x) { return x == x ? static_cast<float>(x) : kNaN; }

template <class L, class Element, bool kCapped>
FASTRL_INLINE void backward_row(const LogitsView& logits, TokensView tokens,
                                const TokenGradientsView& gradients, void* gradient,
                                RowLayout gradient_layout, std::int64_t r) {
  using Storage = typename Element::Storage;
  using Floats = typename L::Floats;
  auto* to = static_cast<Storage*>(gradient) + gradient_layout.start(r);
  double g = gradients.log_probs != nullptr ? gradients.log_probs[r] : 0.0;
  double h = gradients.entropies_gradient != nullptr ? gradients.entropies_gradient[r] : 0.0;
  double s = gradients.self_certainties != nullptr ? gradients.self_certainties[r] : 0.0;
  const bool masked = tokens.mask != nullptr && tokens.mask[r] == 0;
  if (masked || (g == 0.0 && h == 0.0 && s == 0.0)) {  // NaN goes on into the gradient
    std::memset(to, 0, static_cast<std::size_t>(logits.vocab_size) * sizeof(Storage));
    return;
  }
  if (logits.vocab_size == 1) {
    // The only token is certain: rounding must not claim otherwise.
    g *= 0.0;
    h *= 0.0;
    s *= 0.0;
  }
  const auto* from = static_cast<const Storage*>(logits.data) + logits.layout.start(r);
  const double sum = gradients.sums[r];
  const double temperature = logits.temperature;
  const double each = 1.0 / (sum * temperature);
  const double below = h != 0.0 ? std::log(sum) - gradients.entropies[r] : 0.0;
  const RowGradient row{
      gradients.origins[r],
      std::numbers::log2e_v<float> / logits.temperature,
      plain((s - g + h * below) * each),
      plain(-h * std::numbers::ln2 * each),
      plain(s / (static_cast<double>(logits.vocab_size) * temperature)),
      plain(0.0 * sum),
  };

  // The token's element is computed apart, before its logit may be overwritten.
  const Tail<L, Element> token(from + tokens.ids[r], 1);
  Floats a, b;
  Element::template load<L>(token.elements, a, b);
  const float token_logit = a[0];
  float share = plain(g / temperature);
  if constexpr (kCapped) {
    Floats chain;
    Floats y = a;
    cap<L>(logits.softcap, y, &chain);
    share *= chain[0];
  }
  if (row.uniform != 0.0f) {  // true for NaN
    differentiate<L, kCapped, true>(row, logits.softcap, a);
    differentiate_row<L, Element, kCapped, true>(row, logits.softcap, from, logits.vocab_size, to);
  } else {
    differentiate<L, kCapped, false>(row, logits.softcap, a);
    differentiate_row<L, Element, kCapped, false>(row, logits.softcap, from, logits.vocab_size, to);
  }
  if (kCapped || token_logit != -kInfinity) a = a + share;
  Storage out[2 * L::kWidth];
  Element::template store<L>(a, a, out);
  to[tokens.ids[r]] = out[0];
}

// The rows of one chunk, for one instruction set.
struct Work {
  const LogitsView& logits;
  TokensView tokens;
  const TokenStatsView* stats;  // null in the backward pass
  const TokenGradientsView* gradients;
  void* gradient;
  RowLayout gradient_layout;
  std::int64_t begin;
  std::int64_t end;
};

template <class L, class Element, bool kCapped>
FASTRL_INLINE void run_rows(const Work& work) {
  for (std::int64_t r = work.begin; r < work.end; ++r) {
    if (work.stats != nullptr) {
      forward_row<L, Element, kCapped>(work.logits, work.tokens, *work.stats, r);
    } else {
      backward_row<L, Element, kCapped>(work.logits, work.tokens, *work.gradients, work.gradient,
                                        work.gradient_layout, r);
    }
  }
}

using Entry = void (*)(const Work&);

template <class Element, bool kCapped>
Entry entry_for_this_processor() {
  return Compiled<&run_rows<PortableLanes, Element, kCapped>,
                  &run_rows<X86V3Lanes, Element, kCapped>,
                  &run_rows<X86V4Lanes, Element, kCapped>>::for_this_processor();
}

template <class Element>
Entry entry_for(const LogitsView& logits) {
  return logits.softcap != 0.0f ? entry_for_this_processor<Element, true>()
                                : entry_for_this_processor<Element, false>();
}

void run(const LogitsView& logits, TokensView tokens, const TokenStatsView* stats,
         const TokenGradientsView* gradients, void* gradient, RowLayout gradient_layout) {
  Entry entry = nullptr;
  switch (logits.type) {
    case FloatType::kFloat32:
      entry = entry_for<Float32>(logits);
      break;
    case FloatType::kBFloat16:
      entry = entry_for<BFloat16>(logits);
      break;
    case FloatType::kFloat16:
      entry = entry_for<Float16>(logits);
      break;
  }
  parallel_for(logits.rows, rows_per_chunk(logits.vocab_size),
               [&](std::int64_t begin, std::int64_t end) {
                 entry({logits, tokens, stats, gradients, gradient, gradient_layout, begin, end});
               });
}

}  // namespace

std::int64_t first_token_outside(TokensView tokens, std::int64_t rows, std::int64_t vocab_size) {
  for (std::int64_t r = 0; r < rows; ++r) {
    if (tokens.mask != nullptr && tokens.mask[r] == 0) continue;
    if (tokens.ids[r] < 0 || tokens.ids[r] >= vocab_size) return r;
  }
  return -1;
}

void token_log_probs(const LogitsView& logits, TokensView tokens, const TokenStatsView& stats) {
  run(logits, tokens, &stats, nullptr, nullptr, {});
}

void token_log_probs_backward(const LogitsView& logits, TokensView tokens,
                              const TokenGradientsView& gradients, void* gradient,
                              RowLayout gradient_layout) {
  run(logits, tokens, nullptr, &gradients, gradient, gradient_layout);
}

}  // namespace fastrl
