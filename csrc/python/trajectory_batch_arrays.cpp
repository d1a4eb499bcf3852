#include "python/trajectory_batch_arrays.h"

#include <nanobind/ndarray.h>

#include <vector>

namespace fastrl::python {

const TrajectoryOutput& TrajectoryBatchArrays::allocate(const TrajectoryBatchSize& size) {
  size_ = size;
  cut(nullptr);
  block_ = memory_.acquire(bytes_);
  cut(block_.data);
  return out_;
}

nb::tuple TrajectoryBatchArrays::arrays() {
  const nb::capsule owner = memory_.owner(block_);
  block_ = {};
  nb::list made;
  const auto add = [&](void* data, nb::dlpack::dtype dtype, std::vector<std::size_t> shape) {
    made.append(
        nb::cast(nb::ndarray<nb::numpy>(data, shape.size(), shape.data(), owner, nullptr, dtype)));
  };
  const auto count = static_cast<std::size_t>(size_.count);
  const auto tokens = [&](std::int32_t width) {
    std::vector<std::size_t> shape{static_cast<std::size_t>(size_.num_tokens)};
    if (padded_) shape = {count, static_cast<std::size_t>(size_.longest)};
    if (width > 0) shape.push_back(static_cast<std::size_t>(width));
    return shape;
  };
  if (with_tokens_) {
    add(out_.token_columns[0], nb::dtype<std::int32_t>(), tokens(0));
    for (std::size_t c = 1; c < out_.token_columns.size(); ++c) {
      add(out_.token_columns[c], nb::dtype<std::uint8_t>(), tokens(sizes_.token_widths[c]));
    }
    add(out_.action_mask, nb::dtype<bool>(), tokens(0));
  }
  add(out_.cu_seqlens, nb::dtype<std::int32_t>(), {count + 1});
  add(out_.handles, nb::dtype<std::int64_t>(), {count});
  add(out_.group_ids, nb::dtype<std::int64_t>(), {count});
  add(out_.policy_versions, nb::dtype<std::int64_t>(), {count});
  add(out_.created, nb::dtype<std::int64_t>(), {count});
  add(out_.rewards, nb::dtype<float>(), {count});
  add(out_.advantages, nb::dtype<float>(), {count});
  add(out_.use_counts, nb::dtype<std::int32_t>(), {count});
  add(out_.successes, nb::dtype<bool>(), {count});
  for (std::size_t c = 0; c < out_.columns.size(); ++c) {
    add(out_.columns[c], nb::dtype<std::uint8_t>(),
        {count, static_cast<std::size_t>(sizes_.widths[c])});
  }
  if (out_.cu_groups == nullptr) {
    made.append(nb::none());
  } else {
    add(out_.cu_groups, nb::dtype<std::int32_t>(),
        {static_cast<std::size_t>(size_.num_groups) + 1});
  }
  if (!size_.weighted) {
    made.append(nb::none());
  } else {
    add(out_.probabilities, nb::dtype<double>(), {count});
  }
  return nb::tuple(made);
}

void TrajectoryBatchArrays::cut(std::byte* memory) {
  std::size_t at = 0;
  const auto take = [&]<typename T>(T*& part, std::int64_t n) {
    part = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + at);
    at += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
  };
  const std::int64_t tokens = padded_ ? size_.count * size_.longest : size_.num_tokens;
  out_.row = padded_ ? size_.longest : 0;
  if (with_tokens_) {
    out_.token_columns.resize(sizes_.token_widths.size());
    for (std::size_t c = 0; c < sizes_.token_widths.size(); ++c) {
      take(out_.token_columns[c], tokens * sizes_.token_widths[c]);
    }
    take(out_.action_mask, tokens);
  }
  take(out_.cu_seqlens, size_.count + 1);
  take(out_.handles, size_.count);
  take(out_.group_ids, size_.count);
  take(out_.policy_versions, size_.count);
  take(out_.created, size_.count);
  take(out_.rewards, size_.count);
  take(out_.advantages, size_.count);
  take(out_.use_counts, size_.count);
  take(out_.successes, size_.count);
  out_.columns.resize(sizes_.widths.size());
  for (std::size_t c = 0; c < sizes_.widths.size(); ++c) {
    take(out_.columns[c], size_.count * sizes_.widths[c]);
  }
  if (size_.num_groups >= 0) take(out_.cu_groups, size_.num_groups + 1);
  if (size_.weighted) take(out_.probabilities, size_.count);
  bytes_ = at;
}

}  // namespace fastrl::python
