// One step of a batch, chunk by chunk: the environments move, then episodes are kept, then what has
// ended begins anew.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>

#include "envs/episodes.h"
#include "envs/step_plan.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

// Who is stepped and who begins anew.
void sort_phases(const Phase* __restrict phases, bool rests, std::uint8_t* __restrict run,
                 std::uint8_t* __restrict pending, std::int64_t n) {
  for (std::int64_t k = 0; k < n; ++k) {
    run[k] = phases[k] == Phase::kRunning;
    pending[k] = !rests & (phases[k] == Phase::kEnded);
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
  if (history_.is_on()) record_history(plan, begin, end);
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

void VectorEnv::call_step(const StepPlan& plan, const void* params, const fastrl_step& step,
                          std::int64_t begin, std::int64_t end) {
  Faults faults;
  each_sound(step, begin, end, faults, [&](std::int64_t first) {
    table_.step(params, states_.data(), randoms_.data(), first, end, &step);
  });
  if (!faults.empty()) retire(plan, faults);
}

std::int64_t VectorEnv::step_chunk(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  begin_chunk(plan, begin, end);
  CallError error;
  fastrl_step step = io(plan.ids, run_.data(), plan.out, error);
  step.actions = plan.actions;
  if (wrappers_) {
    step_wrapped(plan, step, begin, end);
  } else {
    call_step(plan, params_.get(), step, begin, end);
  }
  const std::int64_t num_ended = end_chunk(plan, begin, end);
  reset_pending(plan, begin, end);
  return num_ended;
}

std::int64_t VectorEnv::run_step(StepPlan plan, std::int64_t n) {
  plan.defers_resets = description_.heavy_reset != 0 && table_.lanes == 1;
  std::atomic<std::int64_t> num_ended{0};
  parallel(n, grain_, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t ended = step_chunk(plan, begin, end);
    if (ended > 0) num_ended.fetch_add(ended, std::memory_order_relaxed);
  });
  if (plan.defers_resets) begin_heavy_episodes(plan, n);
  if (!plan.log->empty()) num_unset_ = std::ranges::count(phases_, Phase::kUnset);
  return num_ended.load(std::memory_order_relaxed);
}

std::int64_t VectorEnv::step(const void* actions, std::span<const bool> active,
                             const Outputs& outputs, const char* function) {
  check_step(function, {}, actions, active);
  FaultLog log;
  const std::int64_t num_ended = run_step({.ids = nullptr,
                                           .active = active,
                                           .actions = static_cast<const char*>(actions),
                                           .out = outputs,
                                           .log = &log},
                                          num_envs());
  log.check(function, table_.id, kNeedsReset);
  return num_ended;
}

Faults VectorEnv::step_some(std::span<const std::int64_t> ids, const void* actions,
                            const Outputs& outputs) {
  FaultLog log;
  run_step({.ids = ids.data(),
            .active = {},
            .actions = static_cast<const char*>(actions),
            .out = outputs,
            .log = &log},
           static_cast<std::int64_t>(ids.size()));
  return log.take();
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
  FaultLog log;
  parallel(b, grain_, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < steps; ++t) {
      if (policy_seed != nullptr) draw_actions(*policy_seed, t, begin, end, rows + t * row);
      const Outputs out = moved(outputs, t * b);
      const StepPlan plan{
          .ids = nullptr, .active = {}, .actions = rows + t * row, .out = out, .log = &log};
      step_chunk(plan, begin, end);
    }
  });
  if (log.empty()) return;
  num_unset_ = std::ranges::count(phases_, Phase::kUnset);
  log.check("unroll", table_.id, kNeedsReset);
}

}  // namespace fastrl
