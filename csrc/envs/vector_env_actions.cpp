// Actions of a batch: checked before the first write, or drawn.
#include <cmath>

#include "core/check.h"
#include "envs/action_range.h"
#include "envs/vector_env.h"

namespace fastrl {
void VectorEnv::fail_action(const char* function, std::span<const std::int64_t> ids,
                            const void* actions, std::span<const bool> active) const {
  const Field& field = description_.action;
  const std::int64_t count = action_columns_;
  const auto n = ids.empty() ? num_envs() : static_cast<std::int64_t>(ids.size());
  for (std::int64_t k = 0; k < n; ++k) {
    if (!selected(active, k)) continue;
    const std::int64_t i = ids.empty() ? k : ids[at(k)];
    for (std::int64_t j = 0; j < count; ++j) {
      if (field.space == FASTRL_BOX) {
        const float value = static_cast<const float*>(actions)[k * count + j];
        if (!std::isfinite(value)) {
          fail_value(function, "actions", "be finite", concat(value, " for environment ", i));
        }
        continue;
      }
      const std::int64_t value = field.dtype == FASTRL_INT64
                                     ? static_cast<const std::int64_t*>(actions)[k * count + j]
                                     : static_cast<const std::int32_t*>(actions)[k * count + j];
      if (static_cast<std::uint64_t>(value) - static_cast<std::uint64_t>(lowest_action_) <=
          action_range_) {
        continue;
      }
      fail_value(
          function, "actions",
          concat("be from ", lowest_action_, " to ", static_cast<std::int64_t>(field.high[0])),
          concat(value, " for environment ", i));
    }
  }
  throw std::logic_error("no action is wrong");
}

namespace {

// Calls `wrong(first, count)` on the runs of values whose rows count, until one is.
template <typename Wrong>
bool any_wrong(std::int64_t rows, std::int64_t columns, std::span<const bool> active,
               Wrong&& wrong) {
  if (active.empty()) return wrong(0, rows * columns);
  for (std::int64_t k = 0; k < rows; ++k) {
    if (active[static_cast<std::size_t>(k)] && wrong(k * columns, columns)) return true;
  }
  return false;
}

}  // namespace

void VectorEnv::check_step(const char* function, std::span<const std::int64_t> ids,
                           const void* actions, std::span<const bool> active) const {
  const auto n = ids.empty() ? num_envs() : static_cast<std::int64_t>(ids.size());
  const bool rests = options_.autoreset_mode == AutoresetMode::kDisabled;
  if (num_unset_ > 0 || rests) {
    for (std::int64_t k = 0; k < n; ++k) {
      if (!selected(active, k)) continue;
      const std::int64_t i = ids.empty() ? k : ids[at(k)];
      if (phases_[at(i)] == Phase::kUnset) throw_not_reset(function, i);
      if (phases_[at(i)] == Phase::kEnded && rests) {
        throw std::runtime_error(concat(function, ": the episode of environment ", i,
                                        " has ended; reset it or leave it out with `active`"));
      }
    }
  }
  check_actions(function, ids, actions, active);
}

void VectorEnv::check_actions(const char* function, std::span<const std::int64_t> ids,
                              const void* actions, std::span<const bool> active) const {
  const auto n = ids.empty() ? num_envs() : static_cast<std::int64_t>(ids.size());
  bool wrong = false;
  if (description_.action.space == FASTRL_BOX) {
    const auto* values = static_cast<const float*>(actions);
    wrong = any_wrong(n, action_columns_, active, [&](std::int64_t first, std::int64_t count) {
      return any_infinite(values + first, count);
    });
  } else {
    const auto outside = [&](const auto* values) {
      return any_wrong(n, action_columns_, active, [&](std::int64_t first, std::int64_t count) {
        return any_outside(values + first, count, lowest_action_, action_range_);
      });
    };
    wrong = description_.action.dtype == FASTRL_INT64
                ? outside(static_cast<const std::int64_t*>(actions))
                : outside(static_cast<const std::int32_t*>(actions));
  }
  if (wrong) fail_action(function, ids, actions, active);
}

void VectorEnv::draw_actions(std::uint64_t seed, std::int64_t step, std::int64_t begin,
                             std::int64_t end, char* rows) const {
  const Field& field = description_.action;
  const std::int64_t columns = action_columns_;
  for (auto k = begin; k < end; ++k) {
    auto stream = RandomStream::of_level(seed, static_cast<std::uint64_t>(k),
                                         static_cast<std::uint64_t>(step));
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::size_t bound = field.num_bounds == 1 ? 0 : at(c);
      const double low = field.low[bound];
      const double high = field.high[bound];
      char* cell = rows + k * action_size_ + c * size_of(field.dtype);
      if (field.space == FASTRL_BOX) {
        *reinterpret_cast<float*>(cell) =
            static_cast<float>(low + (high - low) * static_cast<double>(stream.uniform()));
        continue;
      }
      const auto value = static_cast<std::int64_t>(low) +
                         stream.below(static_cast<std::uint32_t>(high - low + 1.0));
      if (field.dtype == FASTRL_INT64) {
        *reinterpret_cast<std::int64_t*>(cell) = value;
      } else {
        *reinterpret_cast<std::int32_t*>(cell) = static_cast<std::int32_t>(value);
      }
    }
  }
}

}  // namespace fastrl
