#include "envs/vector_env.h"

#include <algorithm>
#include <functional>

#include "core/check.h"

namespace fastrl {

void VectorEnv::check_ids(const char* function, const char* argument,
                          std::span<const std::int64_t> ids) const {
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= num_envs()) {
      fail_index(function, argument, concat("be from 0 to ", num_envs() - 1), concat(id));
    }
  }
}

void VectorEnv::check_targets(const char* function, const char* argument,
                              std::span<const std::int64_t> ids) const {
  check_ids(function, argument, ids);
  // The common case costs one comparison each.
  if (std::ranges::adjacent_find(ids, std::greater_equal<>()) == ids.end()) return;
  std::vector<bool> seen(static_cast<std::size_t>(num_envs()));
  for (const std::int64_t id : ids) {
    if (seen[static_cast<std::size_t>(id)]) {
      fail_value(function, argument, "name each environment once", concat(id, " twice"));
    }
    seen[static_cast<std::size_t>(id)] = true;
  }
}

void VectorEnv::check_kind(const char* function, const Snapshot& snapshot) const {
  const SnapshotKind& given = snapshot.kind();
  if (given == *kind_) return;
  if (given.id != kind_->id)
    fail_value(function, "snapshot", concat("be of ", kind_->id), given.id);
  if (given.options != kind_->options) {
    fail_value(function, "snapshot", concat("have the options ", kind_->options), given.options);
  }
  fail_value(function, "snapshot",
             concat("have the layout of ", kind_->id, " version ", kind_->version),
             concat("version ", given.version, " or a layout that differs"));
}

}  // namespace fastrl
