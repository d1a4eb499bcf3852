// How an environment says what it is: spaces, infos, limits. Filled in by E::describe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "envs/environment_table.h"

namespace fastrl {

using Field = fastrl_field;

template <typename T>
consteval std::int32_t dtype_of() {
  if constexpr (std::is_same_v<T, bool>) return FASTRL_BOOL;
  if constexpr (std::is_same_v<T, std::int8_t>) return FASTRL_INT8;
  if constexpr (std::is_same_v<T, std::uint8_t>) return FASTRL_UINT8;
  if constexpr (std::is_same_v<T, std::int32_t>) return FASTRL_INT32;
  if constexpr (std::is_same_v<T, std::int64_t>) return FASTRL_INT64;
  if constexpr (std::is_same_v<T, float>) return FASTRL_FLOAT32;
  if constexpr (std::is_same_v<T, double>) return FASTRL_FLOAT64;
}

namespace detail {

inline Field field(std::int32_t dtype, std::int32_t space, std::span<const std::int64_t> shape,
                   std::span<const double> low, std::span<const double> high) {
  Field made{};
  if (shape.size() > std::size(made.shape) || low.size() != high.size() || low.empty() ||
      low.size() > FASTRL_MAX_BOUNDS) {
    throw std::logic_error("an environment's field has too many dimensions or bounds");
  }
  made.dtype = dtype;
  made.space = space;
  made.ndim = static_cast<std::int32_t>(shape.size());
  std::ranges::copy(shape, made.shape);
  made.num_bounds = static_cast<std::int32_t>(low.size());
  std::ranges::copy(low, made.low);
  std::ranges::copy(high, made.high);
  return made;
}

inline void write_name(char* to, std::string_view name) {
  if (name.size() >= FASTRL_NAME_SIZE) {
    throw std::logic_error("a name of an environment's field is too long");
  }
  std::fill_n(to, FASTRL_NAME_SIZE, '\0');
  std::ranges::copy(name, to);
}

}  // namespace detail

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Numbers between bounds that all elements share.
template <typename T>
Field box(std::initializer_list<std::int64_t> shape, double low, double high) {
  return detail::field(dtype_of<T>(), FASTRL_BOX, {shape.begin(), shape.size()}, {&low, 1},
                       {&high, 1});
}

// Numbers with bounds of their own, at most 16.
template <typename T>
Field box(std::initializer_list<std::int64_t> shape, std::initializer_list<double> low,
          std::initializer_list<double> high) {
  return detail::field(dtype_of<T>(), FASTRL_BOX, {shape.begin(), shape.size()},
                       {low.begin(), low.size()}, {high.begin(), high.size()});
}

// start, …, start + n - 1.
inline Field discrete(std::int64_t n, std::int64_t start = 0) {
  const auto low = static_cast<double>(start);
  const auto high = static_cast<double>(start + n - 1);
  return detail::field(FASTRL_INT64, FASTRL_DISCRETE, {}, {&low, 1}, {&high, 1});
}

// 0, …, n - 1 in each element.
template <typename T>
Field multi_discrete(std::initializer_list<std::int64_t> shape, std::int64_t n) {
  const double low = 0.0;
  const auto high = static_cast<double>(n - 1);
  return detail::field(dtype_of<T>(), FASTRL_MULTI_DISCRETE, {shape.begin(), shape.size()},
                       {&low, 1}, {&high, 1});
}

inline Field multi_binary(std::int64_t n) {
  const double low = 0.0;
  const double high = 1.0;
  return detail::field(FASTRL_INT8, FASTRL_MULTI_BINARY, {&n, 1}, {&low, 1}, {&high, 1});
}

class Description : public fastrl_description {
 public:
  Description() : fastrl_description{} {}

  // The only array of an observation, one entry of a dict, or one of a tuple.
  void add_observation(const Field& field) { add("", field, FASTRL_SINGLE); }
  void add_observation(std::string_view key, const Field& field) { add(key, field, FASTRL_DICT); }
  void add_tuple_observation(const Field& field) { add("", field, FASTRL_TUPLE); }

  void set_action(const Field& field) { action = field; }

  // Written by E::inform. `whole_at_reset`: see fastrl_field.
  void add_info(std::string_view name, const Field& field, bool at_reset,
                bool whole_at_reset = false) {
    check_room(num_infos);
    Field& info = infos[num_infos++];
    info = field;
    detail::write_name(info.name, name);
    info.at_reset = at_reset ? 1 : 0;
    info.whole_at_reset = whole_at_reset ? 1 : 0;
  }

  void add_reset_option(std::string_view name) {
    check_room(num_reset_options);
    detail::write_name(reset_options[num_reset_options++], name);
  }

  // The next bit of E::labels.
  void add_label(std::string_view name) {
    if (num_labels == FASTRL_MAX_LABELS) throw std::logic_error("an environment has 32 labels");
    detail::write_name(labels[num_labels++], name);
  }

 private:
  static void check_room(std::int32_t used) {
    if (used == FASTRL_MAX_FIELDS) throw std::logic_error("an environment has 8 fields of a kind");
  }

  void add(std::string_view name, const Field& field, std::int32_t as) {
    check_room(num_observations);
    structure = as;
    Field& observation = observations[num_observations++];
    observation = field;
    detail::write_name(observation.name, name);
  }
};

// One environment's row of each array.
class Rows {
 public:
  Rows(const fastrl_rows& rows, std::int64_t k) : rows_(rows), k_(k) {}

  template <typename T>
  T* at(int field) const {
    return reinterpret_cast<T*>(rows_.base[field] + k_ * rows_.stride[field]);
  }

 private:
  const fastrl_rows& rows_;
  std::int64_t k_;
};

}  // namespace fastrl
