// Memory that a batch writes into, exactly as large as it must be, so that ASan sees one byte more.
#pragma once

#include <cstdint>
#include <deque>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "envs/vector_env.h"

namespace fastrl {

class BatchArrays {
 public:
  // `rows` places; those of the environment if 0.
  explicit BatchArrays(const VectorEnv& env, std::int64_t rows = 0)
      : n(static_cast<std::size_t>(rows == 0 ? env.num_envs() : rows)) {
    const Description& d = env.description();
    outputs.observations = fields(d.observations, d.num_observations);
    outputs.final_observations = fields(d.observations, d.num_observations);
    outputs.infos = fields(d.infos, d.num_infos);
    outputs.final_infos = fields(d.infos, d.num_infos);
    outputs.rewards = reinterpret_cast<double*>(bytes(8 * n));
    for (auto flag : {&Outputs::terminated, &Outputs::truncated, &Outputs::stepped,
                      &Outputs::informed, &Outputs::success, &Outputs::action_valid}) {
      outputs.*flag = reinterpret_cast<std::uint8_t*>(bytes(n));
    }
    if (d.is_text == 0) outputs.action_valid = nullptr;
    if (d.reports_success == 0) outputs.success = nullptr;
    if (d.is_text != 0) {
      outputs.observation_lengths = reinterpret_cast<std::int32_t*>(bytes(4 * n));
    }
  }

  // All that the last step has said.
  std::string written() const {
    std::string all;
    for (const auto& block : blocks_) all.append(block.data(), block.size());
    return all;
  }

  std::size_t n;
  Outputs outputs;

 private:
  char* bytes(std::size_t size) { return blocks_.emplace_back(size).data(); }

  fastrl_rows fields(const Field* first, std::int32_t count) {
    fastrl_rows rows{};
    for (std::int32_t f = 0; f < count; ++f) {
      rows.stride[f] = row_size(first[f]);
      rows.base[f] = bytes(n * static_cast<std::size_t>(rows.stride[f]));
    }
    return rows;
  }

  std::deque<std::vector<char>> blocks_;
};

inline std::vector<std::int64_t> all_ids(const VectorEnv& env) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(env.num_envs()));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// Uniform over the action space, where it is bounded; else from -1 to 1.
inline std::vector<char> random_actions(const VectorEnv& env, std::size_t n, RandomStream& random) {
  const Field& field = env.description().action;
  const auto size = static_cast<std::size_t>(size_of(field.dtype));
  std::vector<char> rows(n * static_cast<std::size_t>(row_size(field)));
  for (std::size_t at = 0; at < rows.size(); at += size) {
    const auto span = static_cast<std::uint32_t>(
        field.space == FASTRL_BOX ? 1.0 : field.high[0] - field.low[0] + 1.0);
    const auto whole = static_cast<std::int64_t>(field.low[0]) + random.below(span);
    if (field.dtype == FASTRL_FLOAT32) {
      *reinterpret_cast<float*>(&rows[at]) = 2.0f * random.uniform() - 1.0f;
    } else if (field.dtype == FASTRL_INT64) {
      *reinterpret_cast<std::int64_t*>(&rows[at]) = whole;
    } else {
      *reinterpret_cast<std::int32_t*>(&rows[at]) = static_cast<std::int32_t>(whole);
    }
  }
  return rows;
}

}  // namespace fastrl
