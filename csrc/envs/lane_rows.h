// Between rows of F numbers in memory, one after another, and F vectors of W lanes: number n of the
// rows is lane n / F of field n % F. Shuffles alone, chosen when the code is compiled: F log F of
// them by four patterns where F is a power of two, since fields of even and of odd numbers are
// taken apart by halves; F² where F is odd.
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

// The W numbers at even or odd places of two parts.
template <int kOdd, typename V, int... kLane>
FASTRL_INLINE void take_every_second(const V& first, const V& second, V& taken,
                                     std::integer_sequence<int, kLane...>) {
  taken = __builtin_shufflevector(first, second, (2 * kLane + kOdd)...);
}

// The lower or upper half of two parts' numbers in turn.
template <int kUpper, typename V, int... kLane>
FASTRL_INLINE void take_in_turn(const V& even, const V& odd, V& part,
                                std::integer_sequence<int, kLane...>) {
  constexpr int kWidth = sizeof...(kLane);
  part =
      __builtin_shufflevector(even, odd, ((kLane % 2) * kWidth + (kUpper * kWidth + kLane) / 2)...);
}

template <int kPart = 0, typename V, int F, int... kLane>
FASTRL_INLINE void join_fields(const V (&fields)[F], V (&parts)[F],
                               std::integer_sequence<int, kLane...> lanes) {
  constexpr int kWidth = sizeof...(kLane);
  if constexpr (F == 1) {
    parts[0] = fields[0];
  } else if constexpr (F % 2 == 0) {
    V halves[2][F / 2];
    V joined[2][F / 2];
    for (int f = 0; f < F; ++f) halves[f % 2][f / 2] = fields[f];
    join_fields(halves[0], joined[0], lanes);
    join_fields(halves[1], joined[1], lanes);
    for (int p = 0; p < F / 2; ++p) {
      take_in_turn<0>(joined[0][p], joined[1][p], parts[2 * p], lanes);
      take_in_turn<1>(joined[0][p], joined[1][p], parts[2 * p + 1], lanes);
    }
  } else {
    parts[kPart] = __builtin_shufflevector(fields[0], fields[0], ((kPart * kWidth + kLane) / F)...);
    merge_fields<kPart, 1>(fields, parts[kPart], lanes);
    if constexpr (kPart + 1 < F) join_fields<kPart + 1>(fields, parts, lanes);
  }
}

template <int kField = 0, typename V, int F, int... kLane>
FASTRL_INLINE void part_fields(const V (&parts)[F], V (&fields)[F],
                               std::integer_sequence<int, kLane...> lanes) {
  constexpr int kWidth = sizeof...(kLane);
  if constexpr (F == 1) {
    fields[0] = parts[0];
  } else if constexpr (F % 2 == 0) {
    V halves[2][F / 2];
    V parted[2][F / 2];
    for (int p = 0; p < F / 2; ++p) {
      take_every_second<0>(parts[2 * p], parts[2 * p + 1], halves[0][p], lanes);
      take_every_second<1>(parts[2 * p], parts[2 * p + 1], halves[1][p], lanes);
    }
    part_fields(halves[0], parted[0], lanes);
    part_fields(halves[1], parted[1], lanes);
    for (int f = 0; f < F; ++f) fields[f] = parted[f % 2][f / 2];
  } else {
    fields[kField] =
        __builtin_shufflevector(parts[0], parts[0], ((kLane * F + kField) % kWidth)...);
    merge_parts<1, kField>(parts, fields[kField], lanes);
    if constexpr (kField + 1 < F) part_fields<kField + 1>(parts, fields, lanes);
  }
}

}  // namespace detail

// `lanes` counts from 0 to W - 1.
template <typename V, int F, int... kLane>
FASTRL_INLINE void store_rows(const V (&fields)[F], ScalarOf<V>* to,
                              std::integer_sequence<int, kLane...> lanes) {
  V parts[F];
  detail::join_fields(fields, parts, lanes);
  for (int p = 0; p < F; ++p) {
    reinterpret_cast<WideStorage<V>*>(to + p * static_cast<int>(sizeof...(kLane)))->value =
        parts[p];
  }
}

template <typename V, int F, int... kLane>
FASTRL_INLINE void load_rows(const ScalarOf<V>* from, V (&fields)[F],
                             std::integer_sequence<int, kLane...> lanes) {
  V parts[F];
  for (int p = 0; p < F; ++p) {
    parts[p] =
        reinterpret_cast<const WideStorage<V>*>(from + p * static_cast<int>(sizeof...(kLane)))
            ->value;
  }
  detail::part_fields(parts, fields, lanes);
}

}  // namespace fastrl
