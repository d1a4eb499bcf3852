// What a body of arithmetic may be written in: a double, a float, or a vector of either on GCC's
// vector extension. `+ - * /`, comparisons and `c ? a : b` mean the same for all of them, and every
// lane of a vector gets the bits that one number would (nothing here contracts a product and a
// sum).
//
// A body is a template over its number type, always inlined into the code of one instruction set
// (core/instruction_set.h). Vectors are passed by reference: a 64-byte value in a signature would
// have another calling convention in every instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/instruction_set.h"
#include "core/random.h"

namespace fastrl {

// Apart from its users, because GCC 12 cannot index a vector inside the template that declares it.
template <int W>
struct WideTypes {
  using Floats [[gnu::vector_size(W * 4)]] = float;
  using Integers [[gnu::vector_size(W * 4)]] = std::int32_t;
  using Doubles [[gnu::vector_size(W * 8)]] = double;
};
template <int W>
using WideFloats = typename WideTypes<W>::Floats;
template <int W>
using WideDoubles = typename WideTypes<W>::Doubles;

// A vector somewhere in memory. GCC 12 splits a memcpy of 32 bytes in two, and a load that follows
// waits for both.
template <typename V>
struct [[gnu::packed, gnu::may_alias]] WideStorage {
  V value;
};
template <int W>
FASTRL_INLINE auto& wide_at(void* at) {
  return *static_cast<WideStorage<WideFloats<W>>*>(at);
}
template <int W>
FASTRL_INLINE const auto& wide_at(const void* at) {
  return *static_cast<const WideStorage<WideFloats<W>>*>(at);
}

namespace detail {

template <typename V>
struct NumberTraits {
  using Scalar = std::remove_cvref_t<decltype(std::declval<const V&>()[0])>;
  using Single = V;
  using Integers = decltype(std::declval<const V&>() < std::declval<const V&>());
};
template <>
struct NumberTraits<float> {
  using Scalar = float;
  using Single = float;
  using Integers = std::int32_t;
};
template <>
struct NumberTraits<double> {
  using Scalar = double;
  using Single = float;
};

}  // namespace detail

// One lane; the same in float32; as many integers of 32 bits.
template <typename Number>
using ScalarOf = typename detail::NumberTraits<Number>::Scalar;
template <typename Number>
using SingleOf = typename detail::NumberTraits<Number>::Single;
template <typename Number>
using IntegersOf = typename detail::NumberTraits<Number>::Integers;

// Hides from the compiler where x comes from.
template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void hide(Number& x) {
#if defined(__x86_64__) && !defined(__clang__) && !defined(__CUDA_ARCH__)
  asm("" : "+v"(x));
#else
  static_cast<void>(x);
#endif
}

// x = chosen where a < b. GCC 12 joins comparisons that it sees together into a mask, and takes
// masks of 512 bits apart into lanes.
template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void replace_where_less(const Number& a, const Number& b,
                                                         const Number& chosen, Number& x) {
  x = a < b ? chosen : x;
  hide(x);
}

// x = min(max(x, low), high); NaN stays.
template <typename Number>
FASTRL_INLINE FASTRL_HOST_DEVICE void clip(ScalarOf<Number> low, ScalarOf<Number> high, Number& x) {
  const Number lowest = Number{} + low;
  const Number highest = Number{} + high;
  x = x < lowest ? lowest : x;
  x = x > highest ? highest : x;
}

}  // namespace fastrl
