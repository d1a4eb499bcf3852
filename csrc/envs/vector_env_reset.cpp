// Episodes of a batch begin: one by one where the last has ended, or all that a reset names.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "envs/step_plan.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

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

void VectorEnv::begin_episode(std::int64_t i, const ResetChoices& choices, CallError& error) {
  if (num_contexts() > 0) {
    const std::int64_t chosen = choices.contexts != nullptr ? choices.contexts[i] : -1;
    const std::int64_t drawn = chosen >= 0 ? chosen : wrappers_->contexts()->draw(sources_[at(i)]);
    wrappers_->set_context(record(i), drawn);
  }
  if (table_.lanes == 1) {
    make_state(i, choices, states_.data() + at(i) * table_.state_size, error);
  } else {
    alignas(64) std::array<std::byte, 1024> state;
    make_state(i, choices, state.data(), error);
    if (!error.failed()) put_state(i, state.data());
  }
  if (!error.failed()) start(i);
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
  ++begun_[at(i)];
  elapsed_[at(i)] = 0;
  returns_[at(i)] = 0.0;
  phases_[at(i)] = Phase::kRunning;
  if (wrappers_) begin_record(i);
}

// Whether episodes are nothing but the environment's own, which it can begin many at a time.
bool VectorEnv::begins_at_once(const StepPlan& plan) const {
  return table_.begin != nullptr && !wraps() && options_.num_levels == 0 && !plan.chooses();
}

void VectorEnv::begin_episodes(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  constexpr std::size_t kMost = 64;
  std::array<fastrl_level, kMost> levels;
  std::array<std::int64_t, kMost> ids;
  std::array<std::int64_t, kMost> places;
  std::size_t count = 0;
  const auto flush = [&] {
    const fastrl_begin some = {.count = static_cast<std::int64_t>(count),
                               .levels = levels.data(),
                               .ids = ids.data(),
                               .places = places.data(),
                               .options = plan.choices.options,
                               .observations = plan.out.observations};
    table_.begin(params_.get(), states_.data(), &some);
    count = 0;
  };
  for_each_set(pending_.data(), begin, end, [&](std::int64_t k) {
    const std::int64_t i = plan.id(k);
    const LevelSource& source = sources_[at(i)];
    levels[count] = {source.seed, source.group, source.num_resets};
    ids[count] = i;
    places[count] = k;
    start(i);
    blank_row(plan.out, k);
    if (++count == kMost) flush();
  });
  if (count > 0) flush();
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
  if (any_pending != 0 && begins_at_once(plan)) {
    begin_episodes(plan, begin, end);
  } else if (any_pending != 0 && !plan.defers_resets) {
    CallError error;
    Faults faults;
    const fastrl_step rows = io(plan.ids, pending, plan.out, error);
    for_each_set(pending, begin, end, [&](std::int64_t k) {
      begin_episode(plan.id(k), plan.choices, error);
      if (error.failed()) {
        faults.push_back({k, plan.id(k), text_of(error)});
        error.clear();
        return;
      }
      blank_row(plan.out, k);
      if (wraps()) inform(plan.out, k, plan.id(k));
      show(rows, k, k + 1, true, faults);
    });
    if (!faults.empty()) {
      retire(plan, faults);
      all_shown = 0;
    }
  }
  if (all_shown != 0) return;
  // From here on `run` says who is shown as it stands.
  for (auto k = begin; k < end; ++k) {
    const bool rests = (run_[at(k)] | pending_[at(k)]) == 0;
    const bool unset = phases_[at(plan.id(k))] == Phase::kUnset;
    run_[at(k)] = rests && !unset;
    if (!rests) continue;
    blank_row(plan.out, k);
    if (unset) blank_observation(plan.out, k);
  }
  show(plan, run_.data(), begin, end, false);
}

// Leaves out what has failed, until it is reset.
void VectorEnv::retire(const StepPlan& plan, const Faults& faults) {
  for (const Fault& fault : faults) {
    phases_[at(fault.environment)] = Phase::kUnset;
    run_[at(fault.place)] = 0;
    pending_[at(fault.place)] = 0;
    if (!moving_.empty()) moving_[at(fault.place)] = 0;
    blank_row(plan.out, fault.place);
    blank_observation(plan.out, fault.place);
  }
  plan.log->add(faults);
}

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
      CallError error;
      begin_episode(origin, plan.choices, error);
      if (error.failed()) {
        Faults faults;
        for (std::size_t j = first; j < last; ++j) {
          faults.push_back({to_reset_[j], plan.id(to_reset_[j]), text_of(error)});
        }
        retire(plan, faults);
        continue;
      }
      for (std::size_t j = first + 1; j < last; ++j) {
        share_episode(plan.id(to_reset_[j]), origin);
      }
      for (std::size_t j = first; j < last; ++j) {
        blank_row(plan.out, to_reset_[j]);
        if (wraps()) inform(plan.out, to_reset_[j], plan.id(to_reset_[j]));
      }
    }
  });
  parallel(n, grain_, [&](std::int64_t begin, std::int64_t end) {
    show(plan, pending_.data(), begin, end, true);
  });
}

void VectorEnv::reset(std::span<const bool> mask, const ResetChoices& choices,
                      const Outputs& outputs) {
  FaultLog log;
  const StepPlan plan{.ids = nullptr,
                      .active = {},
                      .actions = nullptr,
                      .out = outputs,
                      .log = &log,
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
  log.check("reset", table_.id, kNeedsReset);
}

}  // namespace fastrl
