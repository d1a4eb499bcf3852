// One step of a batch, chunk by chunk: the environments move, then episodes are kept, then what has
// ended begins anew.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "envs/episodes.h"
#include "envs/step_plan.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

constexpr std::uint8_t* Outputs::* kFlags[] = {&Outputs::terminated, &Outputs::truncated,
                                               &Outputs::stepped,    &Outputs::informed,
                                               &Outputs::success,    &Outputs::action_valid};

std::string listed(const Field& action) {
  const auto low = static_cast<std::int64_t>(action.low[0]);
  return concat("be from ", low, " to ", static_cast<std::int64_t>(action.high[0]));
}

}  // namespace

// --- Checks ------------------------------------------------------------------------------------

void VectorEnv::fail_action(const char* function, std::span<const std::int64_t> ids,
                            const void* actions, std::span<const bool> active) const {
  const Field& field = description_.action;
  const std::int64_t count = action_size_ / size_of(field.dtype);
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
      const bool malformed = description_.is_text != 0 && count == 1 && value == kMalformedAction;
      if (malformed || (static_cast<double>(value) >= field.low[0] &&
                        static_cast<double>(value) <= field.high[0])) {
        continue;
      }
      const bool may_be_malformed = description_.is_text != 0 && count == 1;
      fail_value(function, "actions",
                 may_be_malformed
                     ? concat("be from -1 to ", static_cast<std::int64_t>(field.high[0]))
                     : listed(field),
                 concat(value, " for environment ", i));
    }
  }
  throw std::logic_error("no action is wrong");
}

namespace {

// Whether any element of the rows that count lies outside of [low, low + range].
template <typename T>
bool any_outside(const T* values, std::int64_t rows, std::int64_t columns,
                 std::span<const bool> active, std::int64_t low, std::uint64_t range) {
  bool wrong = false;
  const auto outside = [&](std::int64_t j) {
    // Wraps around, so that what lies below is far above.
    const auto value = static_cast<std::uint64_t>(static_cast<std::int64_t>(values[j]));
    return value - static_cast<std::uint64_t>(low) > range;
  };
  if (active.empty()) {
    for (std::int64_t j = 0; j < rows * columns; ++j) wrong |= outside(j);
    return wrong;
  }
  for (std::int64_t k = 0; k < rows; ++k) {
    if (!active[static_cast<std::size_t>(k)]) continue;
    for (std::int64_t c = 0; c < columns; ++c) wrong |= outside(k * columns + c);
  }
  return wrong;
}

bool any_infinite(const float* values, std::int64_t rows, std::int64_t columns,
                  std::span<const bool> active) {
  bool wrong = false;
  for (std::int64_t k = 0; k < rows; ++k) {
    if (!active.empty() && !active[static_cast<std::size_t>(k)]) continue;
    for (std::int64_t c = 0; c < columns; ++c) {
      // Not a number less than infinity: infinities and NaN.
      wrong |= !(std::fabs(values[k * columns + c]) <= std::numeric_limits<float>::max());
    }
  }
  return wrong;
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
  const Field& field = description_.action;
  const std::int64_t columns = action_size_ / size_of(field.dtype);
  bool wrong = false;
  if (field.space == FASTRL_BOX) {
    wrong = any_infinite(static_cast<const float*>(actions), n, columns, active);
  } else {
    auto low = static_cast<std::int64_t>(field.low[0]);
    const auto high = static_cast<std::int64_t>(field.high[0]);
    if (description_.is_text != 0 && columns == 1) low = kMalformedAction;
    const auto range = static_cast<std::uint64_t>(high - low);
    wrong = field.dtype == FASTRL_INT64 ? any_outside(static_cast<const std::int64_t*>(actions), n,
                                                      columns, active, low, range)
                                        : any_outside(static_cast<const std::int32_t*>(actions), n,
                                                      columns, active, low, range);
  }
  if (wrong) fail_action(function, ids, actions, active);
}

// --- Rows --------------------------------------------------------------------------------------

fastrl_step VectorEnv::io(const std::int64_t* ids, const std::uint8_t* run,
                          const Outputs& outputs) const {
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
          .success = outputs.success};
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

// --- A chunk -----------------------------------------------------------------------------------

namespace {

// Who is stepped and who begins anew.
void sort_phases(const Phase* __restrict phases, bool rests, std::uint8_t* __restrict run,
                 std::uint8_t* __restrict pending, std::int64_t n) {
  for (std::int64_t k = 0; k < n; ++k) {
    run[k] = phases[k] == Phase::kRunning;
    pending[k] = !rests & (phases[k] == Phase::kEnded);
  }
}

// Calls visit(k) where flags[k] is 1; the others are 0, and cost little where they are many.
template <typename Visit>
void for_each_set(const std::uint8_t* flags, std::int64_t begin, std::int64_t end, Visit&& visit) {
  static_assert(std::endian::native == std::endian::little);
  auto k = begin;
  for (; end - k >= 8; k += 8) {
    std::uint64_t word;
    std::memcpy(&word, flags + k, 8);
    for (; word != 0; word &= word - 1) visit(k + std::countr_zero(word) / 8);
  }
  for (; k < end; ++k) {
    if (flags[k] != 0) visit(k);
  }
}

}  // namespace

void VectorEnv::begin_chunk(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  const bool rests = options_.autoreset_mode == AutoresetMode::kDisabled;
  // In same-step mode an ended episode can only come from a snapshot; it is reset like in next-step
  // mode.
  if (plan.ids == nullptr && plan.active.empty()) {
    sort_phases(phases_.data() + begin, rests, run_.data() + begin, pending_.data() + begin,
                end - begin);
  } else {
    for (auto k = begin; k < end; ++k) {
      const Phase phase = phases_[at(plan.id(k))];
      const bool active = selected(plan.active, k);
      run_[at(k)] = active && phase == Phase::kRunning;
      pending_[at(k)] = active && phase == Phase::kEnded && !rests;
    }
  }
  if (options_.history == 0) return;
  for (auto k = begin; k < end; ++k) {
    if (run_[at(k)] != 0 || pending_[at(k)] != 0) record_history(plan.id(k));
  }
}

// Counts steps and returns, sets flags; `pending` is set where an episode is to begin. Returns how
// many ended here and now, in same-step mode.
std::int64_t VectorEnv::end_chunk(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  const Outputs& out = plan.out;
  if (out.action_valid != nullptr) {
    const bool is_row = description_.action.space != FASTRL_DISCRETE;
    for (auto k = begin; k < end; ++k) {
      const char* action = plan.actions + k * action_size_;
      const bool valid = is_row
                             ? *reinterpret_cast<const std::int32_t*>(action) != kPadToken
                             : *reinterpret_cast<const std::int64_t*>(action) != kMalformedAction;
      out.action_valid[k] = run_[at(k)] != 0 && valid;
      if (run_[at(k)] != 0 && !valid) out.rewards[k] -= options_.invalid_penalty;
    }
  }
  if (out.success != nullptr) {
    for (auto k = begin; k < end; ++k) out.success[k] = run_[at(k)] != 0 && out.success[k] != 0;
  }
  const std::int32_t limit =
      options_.max_episode_steps > 0
          ? static_cast<std::int32_t>(std::min<std::int64_t>(
                options_.max_episode_steps, std::numeric_limits<std::int32_t>::max()))
          : std::numeric_limits<std::int32_t>::max();
  static_assert(static_cast<int>(Phase::kRunning) + 1 == static_cast<int>(Phase::kEnded));
  auto* phases = reinterpret_cast<std::uint8_t*>(phases_.data());
  bool any_ended = false;
  if (plan.ids == nullptr) {
    any_ended = keep_episodes({.run = run_.data(),
                               .pending = pending_.data(),
                               .phases = phases,
                               .elapsed_steps = elapsed_.data(),
                               .returns = returns_.data(),
                               .rewards = out.rewards,
                               .terminated = out.terminated,
                               .truncated = out.truncated,
                               .stepped = out.stepped,
                               .informed = out.informed},
                              begin, end, limit);
  } else {
    // Environments at any places: one at a time.
    for (auto k = begin; k < end; ++k) {
      const std::int64_t i = plan.ids[k];
      any_ended |= keep_episodes({.run = run_.data() + k,
                                  .pending = pending_.data() + k,
                                  .phases = phases + i,
                                  .elapsed_steps = elapsed_.data() + i,
                                  .returns = returns_.data() + i,
                                  .rewards = out.rewards + k,
                                  .terminated = out.terminated + k,
                                  .truncated = out.truncated + k,
                                  .stepped = out.stepped + k,
                                  .informed = out.informed + k},
                                 0, 1, limit);
    }
  }
  if (wraps() && end_wrapped(plan, begin, end)) any_ended = true;
  if (!any_ended || options_.autoreset_mode != AutoresetMode::kSameStep) return 0;
  std::int64_t count = 0;
  for (auto k = begin; k < end; ++k) {
    if ((out.terminated[k] | out.truncated[k]) == 0) continue;
    keep_final(out, k);
    pending_[at(k)] = 1;
    ++count;
  }
  return count;
}

void VectorEnv::begin_episode(std::int64_t i, const ResetChoices& choices) {
  if (num_contexts() > 0) {
    const std::int64_t chosen = choices.contexts != nullptr ? choices.contexts[i] : -1;
    const std::int64_t drawn = chosen >= 0 ? chosen : wrappers_->contexts()->draw(sources_[at(i)]);
    wrappers_->set_context(record(i), drawn);
  }
  if (table_.lanes == 1) {
    make_state(i, choices, states_.data() + at(i) * table_.state_size);
  } else {
    alignas(64) std::array<std::byte, 1024> state;
    make_state(i, choices, state.data());
    put_state(i, state.data());
  }
  start(i);
}

// A copy of the episode that `origin` has just begun.
void VectorEnv::share_episode(std::int64_t i, std::int64_t origin) {
  std::memcpy(states_.data() + at(i) * table_.state_size,
              states_.data() + at(origin) * table_.state_size, table_.state_size);
  level_indices_[at(i)] = level_indices_[at(origin)];
  if (num_contexts() > 0) wrappers_->set_context(record(i), context(origin));
  start(i);
}

void VectorEnv::start(std::int64_t i) {
  ++sources_[at(i)].num_resets;
  elapsed_[at(i)] = 0;
  returns_[at(i)] = 0.0;
  phases_[at(i)] = Phase::kRunning;
  if (wrappers_) begin_record(i);
}

// Begins an episode wherever `pending` is set, unless that waits for the whole batch, and writes
// what was not stepped.
void VectorEnv::reset_pending(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  const std::uint8_t* run = run_.data();
  const std::uint8_t* pending = pending_.data();
  std::uint8_t any_pending = 0;
  std::uint8_t all_shown = 1;
  for (auto k = begin; k < end; ++k) {
    any_pending = static_cast<std::uint8_t>(any_pending | pending[k]);
    all_shown = static_cast<std::uint8_t>(all_shown & (run[k] | pending[k]));
  }
  if (any_pending != 0 && !plan.defers_resets) {
    const fastrl_step rows = io(plan.ids, pending, plan.out);
    for_each_set(pending, begin, end, [&](std::int64_t k) {
      begin_episode(plan.id(k), plan.choices);
      blank_row(plan.out, k);
      if (wraps()) inform(plan.out, k, plan.id(k));
      show(rows, k, k + 1, true);
    });
  }
  if (all_shown != 0) return;
  // From here on `run` says who is shown as it stands.
  for (auto k = begin; k < end; ++k) {
    const bool rests = (run_[at(k)] | pending_[at(k)]) == 0;
    const bool unset = phases_[at(plan.id(k))] == Phase::kUnset;
    run_[at(k)] = rests && !unset;
    if (!rests) continue;
    blank_row(plan.out, k);
    if (!unset) continue;
    for (std::int32_t f = 0; f < description_.num_observations; ++f) {
      const auto& rows = plan.out.observations;
      std::memset(rows.base[f] + k * rows.stride[f], 0, at(observation_sizes_[at(f)]));
    }
    if (plan.out.observation_lengths != nullptr) plan.out.observation_lengths[k] = 0;
  }
  show(io(plan.ids, run_.data(), plan.out), begin, end, false);
}

std::int64_t VectorEnv::step_chunk(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  begin_chunk(plan, begin, end);
  fastrl_step step = io(plan.ids, run_.data(), plan.out);
  step.actions = plan.actions;
  if (wrappers_) {
    step_wrapped(plan, step, begin, end);
  } else {
    table_.step(params_.get(), states_.data(), randoms_.data(), begin, end, &step);
  }
  const std::int64_t num_ended = end_chunk(plan, begin, end);
  reset_pending(plan, begin, end);
  return num_ended;
}

// --- The batch ---------------------------------------------------------------------------------

// Begins an episode at each pending place. Neighbors that share a level share the work, and the
// work is shared among threads one level at a time.
void VectorEnv::begin_heavy_episodes(const StepPlan& plan, std::int64_t n) {
  to_reset_.clear();
  for (std::int64_t k = 0; k < n; ++k) {
    if (pending_[at(k)] != 0) to_reset_.push_back(k);
  }
  if (to_reset_.empty()) return;
  leaders_.clear();
  for (std::size_t j = 0; j < to_reset_.size(); ++j) {
    const bool shares =
        j > 0 && options_.group_size > 1 &&
        sources_[at(plan.id(to_reset_[j]))] == sources_[at(plan.id(to_reset_[j - 1]))] &&
        !plan.chooses();
    if (!shares) leaders_.push_back(j);
  }
  const auto num_leaders = static_cast<std::int64_t>(leaders_.size());
  leaders_.push_back(to_reset_.size());
  parallel(num_leaders, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto leader = begin; leader < end; ++leader) {
      const std::size_t first = leaders_[at(leader)];
      const std::size_t last = leaders_[at(leader) + 1];
      const std::int64_t origin = plan.id(to_reset_[first]);
      begin_episode(origin, plan.choices);
      for (std::size_t j = first + 1; j < last; ++j) {
        share_episode(plan.id(to_reset_[j]), origin);
      }
      for (std::size_t j = first; j < last; ++j) {
        blank_row(plan.out, to_reset_[j]);
        if (wraps()) inform(plan.out, to_reset_[j], plan.id(to_reset_[j]));
      }
    }
  });
  const fastrl_step rows = io(plan.ids, pending_.data(), plan.out);
  parallel(n, grain_, [&](std::int64_t begin, std::int64_t end) { show(rows, begin, end, true); });
}

std::int64_t VectorEnv::run_step(StepPlan plan, std::int64_t n) {
  plan.defers_resets = description_.heavy_reset != 0 && table_.lanes == 1;
  std::atomic<std::int64_t> num_ended{0};
  parallel(n, grain_, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t ended = step_chunk(plan, begin, end);
    if (ended > 0) num_ended.fetch_add(ended, std::memory_order_relaxed);
  });
  if (plan.defers_resets) begin_heavy_episodes(plan, n);
  return num_ended.load(std::memory_order_relaxed);
}

std::int64_t VectorEnv::step(const void* actions, std::span<const bool> active,
                             const Outputs& outputs, const char* function) {
  check_step(function, {}, actions, active);
  return run_step({.ids = nullptr,
                   .active = active,
                   .actions = static_cast<const char*>(actions),
                   .out = outputs},
                  num_envs());
}

std::int64_t VectorEnv::step_some(std::span<const std::int64_t> ids, const void* actions,
                                  const Outputs& outputs) {
  return run_step({.ids = ids.data(),
                   .active = {},
                   .actions = static_cast<const char*>(actions),
                   .out = outputs},
                  static_cast<std::int64_t>(ids.size()));
}

void VectorEnv::reset(std::span<const bool> mask, const ResetChoices& choices,
                      const Outputs& outputs) {
  const StepPlan plan{.ids = nullptr,
                      .active = {},
                      .actions = nullptr,
                      .out = outputs,
                      .choices = choices,
                      .defers_resets = description_.heavy_reset != 0 && table_.lanes == 1};
  for (std::int64_t i = 0; i < num_envs(); ++i) {
    run_[at(i)] = 0;
    pending_[at(i)] = selected(mask, i);
    outputs.informed[i] = pending_[at(i)];
  }
  parallel(num_envs(), grain_,
           [&](std::int64_t begin, std::int64_t end) { reset_pending(plan, begin, end); });
  if (plan.defers_resets) begin_heavy_episodes(plan, num_envs());
  num_unset_ = std::ranges::count(phases_, Phase::kUnset);
}

void VectorEnv::draw_actions(std::uint64_t seed, std::int64_t step, std::int64_t begin,
                             std::int64_t end, char* rows) const {
  const Field& field = description_.action;
  const std::int64_t columns = action_size_ / size_of(field.dtype);
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

void VectorEnv::unroll(std::int64_t steps, void* actions, const std::uint64_t* policy_seed,
                       const Outputs& outputs) {
  if (num_unset_ > 0) {
    for (std::int64_t i = 0; i < num_envs(); ++i) {
      if (phases_[at(i)] == Phase::kUnset) throw_not_reset("unroll", i);
    }
  }
  auto* rows = static_cast<char*>(actions);
  const std::int64_t row = num_envs() * action_size_;
  if (policy_seed == nullptr) {
    for (std::int64_t t = 0; t < steps; ++t) check_actions("unroll", {}, rows + t * row, {});
  }
  const std::int64_t b = num_envs();
  parallel(b, grain_, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < steps; ++t) {
      if (policy_seed != nullptr) draw_actions(*policy_seed, t, begin, end, rows + t * row);
      const StepPlan plan{
          .ids = nullptr, .active = {}, .actions = rows + t * row, .out = moved(outputs, t * b)};
      step_chunk(plan, begin, end);
    }
  });
}

// --- Views of the present ----------------------------------------------------------------------

void VectorEnv::observe(std::span<const std::int64_t> ids, const Outputs& outputs) const {
  check_ids("observe", "ids", ids);
  check_started("observe", ids);
  const auto n = static_cast<std::int64_t>(ids.size());
  const std::vector<std::uint8_t> all(ids.size(), 1);
  const fastrl_step rows = io(ids.data(), all.data(), outputs);
  parallel(n, grain_, [&](std::int64_t begin, std::int64_t end) { show(rows, begin, end, false); });
}

void VectorEnv::render(std::span<const std::int64_t> ids, std::int32_t* tokens,
                       std::int32_t* lengths) const {
  check_ids("render_text", "ids", ids);
  check_started("render_text", ids);
  Bytes state(table_.state_size);
  const std::int64_t width = description_.render_tokens;
  for (std::size_t k = 0; k < ids.size(); ++k) {
    std::int32_t* row = tokens + static_cast<std::int64_t>(k) * width;
    get_state(ids[k], state.data());
    lengths[k] = table_.render(params(ids[k]), state.data(), elapsed_[at(ids[k])], row);
    std::fill(row + lengths[k], row + width, static_cast<std::int32_t>(kPadToken));
  }
}

void VectorEnv::cells(std::span<const std::int64_t> ids, char* cells) const {
  check_ids("render", "ids", ids);
  check_started("render", ids);
  Bytes state(table_.state_size);
  const std::int64_t size =
      std::int64_t{description_.grid_height} * std::int64_t{description_.grid_width};
  for (std::size_t k = 0; k < ids.size(); ++k) {
    get_state(ids[k], state.data());
    table_.cells(params(ids[k]), state.data(), cells + static_cast<std::int64_t>(k) * size);
  }
}

}  // namespace fastrl
