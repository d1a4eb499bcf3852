// Between rows of F numbers in memory, one after another, and F vectors of W lanes: number n of the
// rows is lane n / F of field n % F. Shuffles alone, chosen when the code is compiled.
#pragma once

#include <utility>

#include "core/instruction_set.h"
#include "envs/number.h"

namespace fastrl {
namespace detail {

// Part kPart of W numbers has those of the first kField fields in place already.
template <int kPart, int kField, typename V, int F, int... kLane>
FASTRL_INLINE void merge_fields(const V (&fields)[F], V& part,
                                std::integer_sequence<int, kLane...> lanes) {
  constexpr int kWidth = sizeof...(kLane);
  part = __builtin_shufflevector(
      part, fields[kField],
      ((kPart * kWidth + kLane) % F == kField ? kWidth + (kPart * kWidth + kLane) / F : kLane)...);
  if constexpr (kField + 1 < F) merge_fields<kPart, kField + 1>(fields, part, lanes);
}

// Field kField has the numbers of the first kPart parts in place already.
template <int kPart, int kField, typename V, int F, int... kLane>
FASTRL_INLINE void merge_parts(const V (&parts)[F], V& field,
                               std::integer_sequence<int, kLane...> lanes) {
  constexpr int kWidth = sizeof...(kLane);
  field = __builtin_shufflevector(
      field, parts[kPart],
      ((kLane * F + kField) / kWidth == kPart ? kWidth + (kLane * F + kField) % kWidth : kLane)...);
  if constexpr (kPart + 1 < F) merge_parts<kPart + 1, kField>(parts, field, lanes);
}

}  // namespace detail

// `lanes` counts from 0 to W - 1.
template <int kPart = 0, typename V, int F, int... kLane>
FASTRL_INLINE void store_rows(const V (&fields)[F], ScalarOf<V>* to,
                              std::integer_sequence<int, kLane...> lanes) {
  constexpr int kWidth = sizeof...(kLane);
  V part = __builtin_shufflevector(fields[0], fields[0], ((kPart * kWidth + kLane) / F)...);
  detail::merge_fields<kPart, 1>(fields, part, lanes);
  reinterpret_cast<WideStorage<V>*>(to + kPart * kWidth)->value = part;
  if constexpr (kPart + 1 < F) store_rows<kPart + 1>(fields, to, lanes);
}

template <int kField = 0, typename V, int F, int... kLane>
FASTRL_INLINE void load_rows(const ScalarOf<V>* from, V (&fields)[F],
                             std::integer_sequence<int, kLane...> lanes) {
  constexpr int kWidth = sizeof...(kLane);
  V parts[F];
  for (int part = 0; part < F; ++part) {
    parts[part] = reinterpret_cast<const WideStorage<V>*>(from + part * kWidth)->value;
  }
  V field = __builtin_shufflevector(parts[0], parts[0], ((kLane * F + kField) % kWidth)...);
  detail::merge_parts<1, kField>(parts, field, lanes);
  fields[kField] = field;
  if constexpr (kField + 1 < F) load_rows<kField + 1>(from, fields, lanes);
}

}  // namespace fastrl
