#include <cmath>
#include <limits>
#include <numbers>

#include "ops/log_probs.h"
#include "ops/logit_rows.h"

namespace fastrl {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

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

// The pass that writes the gradient of a row.
struct Backward {
  const LogitsView& logits;
  const TokensView& tokens;
  const TokenGradientsView& gradients;
  void* gradient;
  const RowLayout& gradient_layout;

  template <class L, class Element, bool kCapped>
  FASTRL_INLINE void compute(std::int64_t r) const {
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
      differentiate_row<L, Element, kCapped, true>(row, logits.softcap, from, logits.vocab_size,
                                                   to);
    } else {
      differentiate<L, kCapped, false>(row, logits.softcap, a);
      differentiate_row<L, Element, kCapped, false>(row, logits.softcap, from, logits.vocab_size,
                                                    to);
    }
    if (kCapped || token_logit != -kInfinity) a = a + share;
    Storage out[2 * L::kWidth];
    Element::template store<L>(a, a, out);
    to[tokens.ids[r]] = out[0];
  }
};

}  // namespace

void token_log_probs_backward(const LogitsView& logits, TokensView tokens,
                              const TokenGradientsView& gradients, void* gradient,
                              RowLayout gradient_layout) {
  for_each_row(logits, Backward{logits, tokens, gradients, gradient, gradient_layout});
}

}  // namespace fastrl
