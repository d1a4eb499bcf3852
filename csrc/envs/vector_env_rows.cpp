// Rows of a batch's outputs: where they lie, copied, blanked, kept when an episode ends.
#include <algorithm>
#include <cstring>

#include "envs/vector_env.h"

namespace fastrl {
namespace {

constexpr std::uint8_t* Outputs::* kFlags[] = {&Outputs::terminated, &Outputs::truncated,
                                               &Outputs::stepped,    &Outputs::informed,
                                               &Outputs::success,    &Outputs::action_valid};

}  // namespace

fastrl_step VectorEnv::io(const std::int64_t* ids, const std::uint8_t* run, const Outputs& outputs,
                          CallError& error) const {
  return {.ids = ids,
          .run = run,
          .actions = nullptr,
          .action_stride = action_size_,
          .elapsed_steps = elapsed_.data(),
          .observations = outputs.observations,
          .observation_lengths = outputs.observation_lengths,
          .infos = outputs.infos,
          .rewards = outputs.rewards,
          .terminated = outputs.terminated,
          .success = outputs.success,
          .error = &error};
}

Outputs VectorEnv::moved(const Outputs& outputs, std::int64_t places) const {
  Outputs to = outputs;
  const auto move_rows = [&](fastrl_rows& rows) {
    for (std::size_t f = 0; f < std::size(rows.base); ++f) {
      if (rows.base[f] != nullptr) rows.base[f] += places * rows.stride[f];
    }
  };
  const auto move = [&](auto*& base) {
    if (base != nullptr) base += places;
  };
  for (auto rows : {&Outputs::observations, &Outputs::infos, &Outputs::final_observations,
                    &Outputs::final_infos}) {
    move_rows(to.*rows);
  }
  move(to.observation_lengths);
  move(to.rewards);
  for (auto flags : kFlags) move(to.*flags);
  return to;
}

void VectorEnv::copy_rows(const Outputs& from, std::int64_t first, const Outputs& to,
                          std::int64_t place, std::int64_t n) const {
  if (n == 0) return;
  const Outputs a = moved(from, first);
  const Outputs b = moved(to, place);
  for (auto rows : {&Outputs::observations, &Outputs::infos, &Outputs::final_observations,
                    &Outputs::final_infos}) {
    for (std::size_t f = 0; f < FASTRL_MAX_FIELDS; ++f) {
      if ((a.*rows).base[f] == nullptr || (b.*rows).base[f] == nullptr) continue;
      std::memcpy((b.*rows).base[f], (a.*rows).base[f], at(n * (a.*rows).stride[f]));
    }
  }
  if (a.observation_lengths != nullptr) {
    std::copy_n(a.observation_lengths, n, b.observation_lengths);
  }
  std::copy_n(a.rewards, n, b.rewards);
  for (auto flags : kFlags) {
    if (a.*flags != nullptr && b.*flags != nullptr) std::copy_n(a.*flags, n, b.*flags);
  }
}

void VectorEnv::blank_row(const Outputs& out, std::int64_t k) const {
  for (std::int32_t f = 0; f < description_.num_infos; ++f) {
    if (out.infos.base[f] == nullptr) continue;
    std::memset(out.infos.base[f] + k * out.infos.stride[f], 0, at(info_sizes_[at(f)]));
  }
}

void VectorEnv::blank_observation(const Outputs& out, std::int64_t k) const {
  for (std::int32_t f = 0; f < description_.num_observations; ++f) {
    std::memset(out.observations.base[f] + k * out.observations.stride[f], 0,
                at(observation_sizes_[at(f)]));
  }
  if (out.observation_lengths != nullptr) out.observation_lengths[k] = 0;
}

// What an ended episode has to say, before the next one writes over it.
void VectorEnv::keep_final(const Outputs& out, std::int64_t k) const {
  for (std::int32_t f = 0; f < description_.num_observations; ++f) {
    if (out.final_observations.base[f] == nullptr) continue;
    std::memcpy(out.final_observations.base[f] + k * out.final_observations.stride[f],
                out.observations.base[f] + k * out.observations.stride[f],
                at(observation_sizes_[at(f)]));
  }
  for (std::int32_t f = 0; f < description_.num_infos; ++f) {
    if (out.final_infos.base[f] == nullptr) continue;
    std::memcpy(out.final_infos.base[f] + k * out.final_infos.stride[f],
                out.infos.base[f] + k * out.infos.stride[f], at(info_sizes_[at(f)]));
  }
}

}  // namespace fastrl
