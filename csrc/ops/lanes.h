// SIMD as plain C++: vectors of W floats on GCC's vector extension.
//
// Everything here is inlined into an entry point of one instruction set (core/instruction_set.h),
// which decides what the operators become. Vectors are passed by reference: a 64-byte value in a
// signature would have another calling convention in every instruction set.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>
#include <utility>

#include "core/instruction_set.h"

// A few instructions are written out, because GCC 12 turns a loop over __builtin_fmaf into a vector
// instruction in some places and into scalars in others, and a maximum into two instructions.
// Clang refuses a wide register in code that is not yet inlined; it gets the plain operators.
#if defined(__x86_64__) && !defined(__clang__)
#define FASTRL_VECTOR_ASSEMBLY 1
#else
#define FASTRL_VECTOR_ASSEMBLY 0
#endif

namespace fastrl {

// Apart from Lanes, because GCC 12 cannot index a vector inside the template that declares it.
template <int W>
struct VectorsOf {
  using Floats [[gnu::vector_size(W * 4)]] = float;
  using Ints [[gnu::vector_size(W * 4)]] = std::int32_t;
  using Words [[gnu::vector_size(W * 4)]] = std::uint32_t;
  using Halves [[gnu::vector_size(W * 2)]] = std::uint16_t;
};

template <int W, bool kHasFma>
struct Lanes {
  static constexpr int kWidth = W;
  static constexpr bool kConvertsHalves = kHasFma;  // both came with x86-64-v3
  using Floats = typename VectorsOf<W>::Floats;
  using Ints = typename VectorsOf<W>::Ints;
  using Words = typename VectorsOf<W>::Words;
  using Halves = typename VectorsOf<W>::Halves;

  // c += a b.
  FASTRL_INLINE static void fma(const Floats& a, const Floats& b, Floats& c) {
#if FASTRL_VECTOR_ASSEMBLY
    if constexpr (kHasFma) {
      asm("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
      return;
    }
#endif
    c += a * b;
  }

  // r = r x + c: one step of Horner's rule.
  FASTRL_INLINE static void horner(const Floats& x, float c, Floats& r) {
    const Floats added = Floats{} + c;
#if FASTRL_VECTOR_ASSEMBLY
    if constexpr (kHasFma) {
      asm("vfmadd213ps %2, %1, %0" : "+v"(r) : "v"(x), "v"(added));
      return;
    }
#endif
    r = r * x + added;
  }

  // x = max(a, x), and x where either is NaN.
  FASTRL_INLINE static void raise(const Floats& a, Floats& x) {
#if FASTRL_VECTOR_ASSEMBLY
    if constexpr (kHasFma) {
      asm("vmaxps %0, %1, %0" : "+v"(x) : "v"(a));
      return;
    }
#endif
    x = a > x ? a : x;
  }

  // 2^x by a polynomial of degree 5 (relative error below 2^-22) or 6 (below 2^-23).
  // 2^0 is 1, NaN stays, and below -126.5 (-inf too) it is 0. `x` comes back as max(x, -127), so
  // that 0 times it is 0.
  template <int kDegree>
  FASTRL_INLINE static void exp2(Floats& x, Floats& result) {
    raise(Floats{} - 127.0f, x);
    // Adding 1.5 2^23 rounds to the nearest integer n and leaves n + 127 in the low bits: shifted
    // into the exponent they are 2^n, and 0 for n = -127.
    constexpr float kShift = 0x1.8p23f + 127.0f;
    const Floats shifted = x + kShift;
    const Floats f = x - (shifted - kShift);  // in [-0.5, 0.5]
    Floats r;
    if constexpr (kDegree == 5) {
      r = Floats{} + 0x1.5bba14p-10f;
      horner(f, 0x1.3cea88p-7f, r);
      horner(f, 0x1.c6b752p-5f, r);
      horner(f, 0x1.ebf9bcp-3f, r);
      horner(f, 0x1.62e42ap-1f, r);  // NOLINT(modernize-use-std-numbers): not quite ln 2
    } else {
      static_assert(kDegree == 6);
      r = Floats{} + 0x1.41fbbcp-13f;
      horner(f, 0x1.5f3e52p-10f, r);
      horner(f, 0x1.3b2d4cp-7f, r);
      horner(f, 0x1.c6aee8p-5f, r);
      horner(f, 0x1.ebfbdcp-3f, r);
      horner(f, std::numbers::ln2_v<float>, r);
    }
    horner(f, 1.0f, r);
    result = r * __builtin_bit_cast(Floats, __builtin_bit_cast(Ints, shifted) << 23);
  }

  // x = tanh x. Near 0 an odd polynomial, where 1 - 2 / (e^2x + 1) would cancel.
  FASTRL_INLINE static void tanh(Floats& x) {
    const Floats square = x * x;
    Floats near = Floats{} - 5.70498872745e-3f;
    horner(square, 2.06390887954e-2f, near);
    horner(square, -5.37397155531e-2f, near);
    horner(square, 1.33314422036e-1f, near);
    horner(square, -3.33332819422e-1f, near);
    near = x + x * square * near;
    const Ints sign = __builtin_bit_cast(Ints, x) & std::numeric_limits<std::int32_t>::min();
    auto magnitude = __builtin_bit_cast(Floats, __builtin_bit_cast(Ints, x) ^ sign);
    magnitude = magnitude > 20.0f ? Floats{} + 20.0f : magnitude;
    Floats twice = magnitude * 2.8853900817779268f;  // 2 log2 e
    Floats power;
    exp2<6>(twice, power);
    const Floats far = 1.0f - 2.0f / (power + 1.0f);
    x = square < 0.390625f ? near
                           : __builtin_bit_cast(Floats, __builtin_bit_cast(Ints, far) ^ sign);
  }

  // The largest of x; NaN may be passed over.
  FASTRL_INLINE static float max(const Floats& x) {
    Floats largest = x;
    fold_max<W / 2>(largest, std::make_integer_sequence<int, W>{});
    return largest[0];
  }

 private:
  template <int kStep, int... kLane>
  FASTRL_INLINE static void fold_max(Floats& x, std::integer_sequence<int, kLane...> lanes) {
    const Floats other = __builtin_shufflevector(x, x, ((kLane + kStep) & (W - 1))...);
    raise(other, x);
    if constexpr (kStep > 1) fold_max<kStep / 2>(x, lanes);
  }
};

using PortableLanes = Lanes<4, false>;
using X86V3Lanes = Lanes<8, true>;
using X86V4Lanes = Lanes<16, true>;

// How an element of a tensor is stored. load and store move 2 W elements at a time, as two vectors
// in an order of their own: two neighboring 16-bit numbers share a 32-bit word, so taking the even
// and the odd ones apart needs no shuffle. Element 0 is always first in the first vector.
struct Float32 {
  using Storage = float;
  static constexpr Storage kLowest = -std::numeric_limits<float>::infinity();

  template <class L>
  FASTRL_INLINE static void load(const Storage* from, typename L::Floats& a,
                                 typename L::Floats& b) {
    std::memcpy(&a, from, sizeof(a));
    std::memcpy(&b, from + L::kWidth, sizeof(b));
  }
  template <class L>
  FASTRL_INLINE static void store(const typename L::Floats& a, const typename L::Floats& b,
                                  Storage* to) {
    std::memcpy(to, &a, sizeof(a));
    std::memcpy(to + L::kWidth, &b, sizeof(b));
  }
};

struct BFloat16 {
  using Storage = std::uint16_t;
  static constexpr Storage kLowest = 0xff80;  // -inf

  template <class L>
  FASTRL_INLINE static void load(const Storage* from, typename L::Floats& even,
                                 typename L::Floats& odd) {
    typename L::Words words;
    std::memcpy(&words, from, sizeof(words));
    even = __builtin_bit_cast(typename L::Floats, words << 16);
    odd = __builtin_bit_cast(typename L::Floats, words & 0xffff0000u);
  }
  // To nearest, ties to even. A NaN must not carry payload in its low half, or it may become 0.
  template <class L>
  FASTRL_INLINE static void store(const typename L::Floats& even, const typename L::Floats& odd,
                                  Storage* to) {
    const auto low = __builtin_bit_cast(typename L::Words, even);
    const auto high = __builtin_bit_cast(typename L::Words, odd);
    const typename L::Words words = (low + 0x7fffu + ((low >> 16) & 1u)) >> 16 |
                                    ((high + 0x7fffu + ((high >> 16) & 1u)) & 0xffff0000u);
    std::memcpy(to, &words, sizeof(words));
  }
};

struct Float16 {
  using Storage = std::uint16_t;
  static constexpr Storage kLowest = 0xfc00;  // -inf

  // `high` holds the number in its upper 16 bits.
  template <class L>
  FASTRL_INLINE static void widen(const typename L::Ints& high, typename L::Floats& result) {
    // Exponent and mantissa move to where a float has them; the exponents' biases differ by 112.
    const typename L::Ints bits = (high >> 3) & static_cast<std::int32_t>(0x8fffe000u);
    const typename L::Floats scaled = __builtin_bit_cast(typename L::Floats, bits) * 0x1p112f;
    const auto special = (bits & 0x7fffffff) >= 0x0f800000;  // inf and NaN
    result = __builtin_bit_cast(
        typename L::Floats,
        special ? bits | 0x7f800000 : __builtin_bit_cast(typename L::Ints, scaled));
  }
  template <class L>
  FASTRL_INLINE static void load(const Storage* from, typename L::Floats& even,
                                 typename L::Floats& odd) {
#if FASTRL_VECTOR_ASSEMBLY
    if constexpr (L::kConvertsHalves) {
      typename L::Halves a, b;
      std::memcpy(&a, from, sizeof(a));
      std::memcpy(&b, from + L::kWidth, sizeof(b));
      asm("vcvtph2ps %1, %0" : "=v"(even) : "v"(a));
      asm("vcvtph2ps %1, %0" : "=v"(odd) : "v"(b));
      return;
    }
#endif
    typename L::Words words;
    std::memcpy(&words, from, sizeof(words));
    widen<L>(__builtin_bit_cast(typename L::Ints, words << 16), even);
    widen<L>(__builtin_bit_cast(typename L::Ints, words & 0xffff0000u), odd);
  }
  // To nearest, ties to even; the result is in the lower 16 bits.
  template <class L>
  FASTRL_INLINE static void narrow(const typename L::Floats& x, typename L::Words& result) {
    using Words = typename L::Words;
    const Words sign = __builtin_bit_cast(Words, x) & 0x80000000u;
    const Words bits = __builtin_bit_cast(Words, x) ^ sign;
    // Adding 0.5 puts the last bit of a float where the last bit of a subnormal half is.
    const Words subnormal =
        __builtin_bit_cast(Words, __builtin_bit_cast(typename L::Floats, bits) + 0.5f) -
        0x3f000000u;
    const Words normal = (bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1u)) >> 13;
    const Words infinite = bits > 0x7f800000u ? Words{} + 0x7e00u : Words{} + 0x7c00u;
    const Words finite = bits < 0x38800000u ? subnormal : normal;
    result = (bits >= 0x47800000u ? infinite : finite) | sign >> 16;
  }
  template <class L>
  FASTRL_INLINE static void store(const typename L::Floats& even, const typename L::Floats& odd,
                                  Storage* to) {
#if FASTRL_VECTOR_ASSEMBLY
    if constexpr (L::kConvertsHalves) {
      typename L::Halves a, b;
      asm("vcvtps2ph $0, %1, %0" : "=v"(a) : "v"(even));
      asm("vcvtps2ph $0, %1, %0" : "=v"(b) : "v"(odd));
      std::memcpy(to, &a, sizeof(a));
      std::memcpy(to + L::kWidth, &b, sizeof(b));
      return;
    }
#endif
    typename L::Words low, high;
    narrow<L>(even, low);
    narrow<L>(odd, high);
    const typename L::Words words = low | high << 16;
    std::memcpy(to, &words, sizeof(words));
  }
};

}  // namespace fastrl
