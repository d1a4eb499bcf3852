// Taking environments out of their batch, putting them back, and going back in time.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "envs/step_plan.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

// Copies of a hundred bytes, some 5 ns each: a chunk must outweigh the wait for another thread.
constexpr std::int64_t kCopyGrain = 512;

}  // namespace

// Slots of some of a selection's environments, from place `begin` to `end`.
template <typename Byte>
struct VectorEnv::Slots {
  static constexpr std::int64_t kBlock = 64;  // stay in the nearest cache from part to part

  const Selection& ids;
  Byte* slots;
  std::size_t stride;
  std::int64_t begin;
  std::int64_t end;

  template <typename Call>
  void each(Call&& call) const {
    for (auto k = begin; k < end; ++k) call(ids[k], slots + at(k) * stride);
  }

  template <typename Call>
  void in_blocks(Call&& call) const {
    for (auto k = begin; k < end; k += kBlock) {
      call(Slots{ids, slots, stride, k, std::min(end, k + kBlock)});
    }
  }
};

void VectorEnv::get_state(std::int64_t i, std::byte* state) const {
  if (table_.lanes > 1) {
    table_.get(states_.data(), i, state);
  } else {
    copy_bytes(state, states_.data() + at(i) * table_.state_size, table_.state_size);
  }
}

void VectorEnv::put_state(std::int64_t i, const std::byte* state) {
  if (table_.lanes > 1) {
    table_.put(states_.data(), i, state);
  } else {
    copy_bytes(states_.data() + at(i) * table_.state_size, state, table_.state_size);
  }
}

// Part by part: copies of a size that is known, from and to addresses that stay in registers. Field
// by field: a header put together first and then copied whole would wait for its own stores, for
// longer than all the rest takes.
void VectorEnv::read_slots(const Slots<std::byte>& to) const {
  to.each([sources = sources_.data(), returns = returns_.data(), levels = level_indices_.data(),
           elapsed = elapsed_.data(), phases = phases_.data()](std::int64_t i, std::byte* slot) {
    const auto put = [slot](std::size_t offset, const auto& value) {
      std::memcpy(slot + offset, &value, sizeof(value));
    };
    put(offsetof(SlotHeader, source), sources[i]);
    put(offsetof(SlotHeader, episode_return), returns[i]);
    put(offsetof(SlotHeader, level), levels[i]);
    put(offsetof(SlotHeader, elapsed_steps), elapsed[i]);
    put(offsetof(SlotHeader, phase), static_cast<std::uint32_t>(phases[i]));
  });
  with_known_size(table_.random_size, [&](auto size) {
    to.each([size, streams = randoms_.data()](std::int64_t i, std::byte* slot) {
      std::memcpy(slot + sizeof(SlotHeader), streams + at(i) * size, size);
    });
  });
  const std::size_t offset = sizeof(SlotHeader) + table_.random_size;
  if (table_.lanes > 1) {
    to.each([&](std::int64_t i, std::byte* slot) { table_.get(states_.data(), i, slot + offset); });
  } else {
    with_known_size(table_.state_size, [&](auto size) {
      to.each([size, offset, states = states_.data()](std::int64_t i, std::byte* slot) {
        std::memcpy(slot + offset, states + at(i) * size, size);
      });
    });
  }
  if (!wrappers_) return;
  to.each([&](std::int64_t i, std::byte* slot) {
    std::memcpy(slot + offset + table_.state_size, record(i), wrappers_->record_size());
  });
}

// A new stream of environment i, out of a recorded one and its own.
void VectorEnv::fork(std::int64_t i, const std::byte* stream) {
  alignas(64) std::array<std::byte, 256> own;
  copy_bytes(own.data(), random(i), table_.random_size);
  copy_bytes(random(i), stream, table_.random_size);
  table_.fork(random(i), own.data(), static_cast<std::uint64_t>(i));
  ++begun_[at(i)];
}

// The environment's sequence of levels stays unless all is restored. Returns how many more have
// been reset now.
std::int64_t VectorEnv::write_slots(const Slots<const std::byte>& from, RngMode rng) {
  std::int64_t num_set = 0;
  from.each([&num_set, returns = returns_.data(), levels = level_indices_.data(),
             begun = begun_.data(), elapsed = elapsed_.data(),
             phases = phases_.data()](std::int64_t i, const std::byte* slot) {
    const auto get = [slot](std::size_t offset, auto& value) {
      std::memcpy(&value, slot + offset, sizeof(value));
    };
    std::uint32_t phase;
    get(offsetof(SlotHeader, episode_return), returns[i]);
    get(offsetof(SlotHeader, level), levels[i]);
    ++begun[i];
    get(offsetof(SlotHeader, elapsed_steps), elapsed[i]);
    get(offsetof(SlotHeader, phase), phase);
    num_set += (phases[i] == Phase::kUnset) - (static_cast<Phase>(phase) == Phase::kUnset);
    phases[i] = static_cast<Phase>(phase);
  });
  if (rng == RngMode::kRestore) {
    from.each([sources = sources_.data()](std::int64_t i, const std::byte* slot) {
      std::memcpy(&sources[i], slot + offsetof(SlotHeader, source), sizeof(LevelSource));
    });
    with_known_size(table_.random_size, [&](auto size) {
      from.each([size, streams = randoms_.data()](std::int64_t i, const std::byte* slot) {
        std::memcpy(streams + at(i) * size, slot + sizeof(SlotHeader), size);
      });
    });
  } else if (rng == RngMode::kFork) {
    from.each([&](std::int64_t i, const std::byte* slot) { fork(i, slot + sizeof(SlotHeader)); });
  }
  const std::size_t offset = sizeof(SlotHeader) + table_.random_size;
  if (table_.lanes > 1) {
    from.each([&](std::int64_t i, const std::byte* slot) {
      table_.put(states_.data(), i, slot + offset);
    });
  } else {
    with_known_size(table_.state_size, [&](auto size) {
      from.each([size, offset, states = states_.data()](std::int64_t i, const std::byte* slot) {
        std::memcpy(states + at(i) * size, slot + offset, size);
      });
    });
  }
  if (wrappers_) {
    from.each([&](std::int64_t i, const std::byte* slot) {
      std::memcpy(record(i), slot + offset + table_.state_size, wrappers_->record_size());
    });
  }
  from.each([&](std::int64_t i, const std::byte*) { history_.forget(i); });
  return num_set;
}

// With which its state is to be read.
const void* VectorEnv::params_in(const std::byte* slot) const {
  if (num_contexts() == 0) return params_.get();
  std::int64_t context;  // the first number of a record
  std::memcpy(&context, state_in(slot) + table_.state_size, sizeof(context));
  return wrappers_->contexts()->params(context);
}

bool VectorEnv::is_valid(const char* function, const void* params, const std::byte* state,
                         bool running) const {
  CallError error;
  const bool valid = table_.valid(params, state, running ? 1 : 0, &error) != 0;
  error.check(function, table_.id);
  return valid;
}

// May bytes from outside be used as a slot? A right checksum does not say what they hold.
bool VectorEnv::is_sound(const char* function, const std::byte* slot) const {
  SlotHeader header;
  std::memcpy(&header, slot, sizeof(header));
  if (header.phase > static_cast<std::uint32_t>(Phase::kEnded)) return false;
  if (header.elapsed_steps < 0) return false;
  if (header.elapsed_steps == std::numeric_limits<std::int32_t>::max()) return false;
  if (header.level < -1) return false;
  const auto phase = static_cast<Phase>(header.phase);
  const std::byte* first = state_in(slot);
  const Bytes state(first, first + table_.state_size);
  const Bytes record(first + table_.state_size, slot + slot_size_);
  if (wrappers_ && !wrappers_->valid(record.data())) return false;
  if (phase == Phase::kUnset || table_.valid == nullptr) return true;
  const void* params = params_in(slot);
  if (!is_valid(function, params, state.data(), phase == Phase::kRunning)) return false;
  if (!wrappers_ || !wrappers_->attempts()) return true;
  const std::byte* again = wrappers_->first_state(record.data());
  const Bytes first_state(again, again + table_.state_size);
  return is_valid(function, params, first_state.data(), true);
}

void VectorEnv::check_states(const char* function, const Snapshot& snapshot) const {
  if (snapshot.trusted()) return;
  for (std::int64_t i = 0; i < snapshot.count(); ++i) {
    if (is_sound(function, snapshot.slots() + at(i) * slot_size_)) continue;
    fail_value(function, "snapshot", concat("hold states of ", kind_->id),
               concat("an impossible state at index ", i));
  }
}

Snapshot VectorEnv::snapshot(const Selection& ids) const {
  check_ids("snapshot", "ids", ids.ids());
  Snapshot result(kind_, ids.size());
  parallel(ids.size(), kCopyGrain, [&](std::int64_t begin, std::int64_t end) {
    const Slots<std::byte> all{ids, result.slots(), slot_size_, begin, end};
    all.in_blocks([&](const Slots<std::byte>& slots) { read_slots(slots); });
  });
  return result;
}

// The k-th slot goes to targets[k]; with a stride of 0 there is one slot for all.
void VectorEnv::put_slots(const Selection& targets, const std::byte* slots, std::size_t stride,
                          RngMode rng) {
  std::atomic<std::int64_t> num_set{0};
  parallel(targets.size(), kCopyGrain, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t set = 0;
    const Slots<const std::byte> all{targets, slots, stride, begin, end};
    all.in_blocks([&](const Slots<const std::byte>& block) { set += write_slots(block, rng); });
    if (set != 0) num_set.fetch_add(set, std::memory_order_relaxed);
  });
  num_unset_ -= num_set.load(std::memory_order_relaxed);
}

void VectorEnv::restore(const Snapshot& snapshot, const Selection& ids, RngMode rng) {
  check_kind("restore", snapshot);
  check_targets("restore", "ids", ids.ids());
  if (snapshot.count() != ids.size()) {
    fail_value("restore", "snapshot", concat("hold ", ids.size(), " environments"),
               concat(snapshot.count()));
  }
  check_states("restore", snapshot);
  put_slots(ids, snapshot.slots(), slot_size_, rng);
}

void VectorEnv::branch(const Selection& sources, const Selection& targets, RngMode rng) {
  check_ids("branch", "source_ids", sources.ids());
  check_targets("branch", "target_ids", targets.ids());
  if (sources.size() != 1 && sources.size() != targets.size()) {
    fail_value("branch", "source_ids", concat("hold 1 or ", targets.size(), " environments"),
               concat(sources.size()));
  }
  Bytes slots(at(sources.size()) * slot_size_);
  read_slots({sources, slots.data(), slot_size_, 0, sources.size()});
  put_slots(targets, slots.data(), sources.size() == 1 ? 0 : slot_size_, rng);
}

// Whoever takes part in the step at places begin, …, end - 1, neighbors together.
void VectorEnv::record_history(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  const auto takes_part = [&](std::int64_t k) { return (run_[at(k)] | pending_[at(k)]) != 0; };
  for (auto k = begin; k < end;) {
    const std::int64_t first = plan.id(k);
    const auto start = k++;
    if (!takes_part(start)) continue;
    while (k < end && takes_part(k) && plan.id(k) == first + (k - start)) ++k;
    const std::int64_t last = history_.alike_until(first, first + (k - start));
    k = start + (last - first);
    history_.record(first, last);
  }
}

void VectorEnv::check_rewind(const Selection& ids, std::int64_t steps) const {
  check_targets("rewind", "ids", ids.ids());
  if (steps < 0 || steps > options_.history) {
    fail_value("rewind", "steps", concat("be from 0 to `history` = ", options_.history),
               concat(steps));
  }
  const auto recorded = history_.lengths();
  const auto wanted = static_cast<std::int32_t>(steps);
  bool too_few = false;
  if (ids.is_all()) {
    for (const std::int32_t length : recorded) too_few |= length < wanted;
  } else {
    for (const std::int64_t i : ids.ids()) too_few |= recorded[at(i)] < wanted;
  }
  if (!too_few) return;
  for (std::int64_t k = 0; k < ids.size(); ++k) {
    if (recorded[at(ids[k])] >= steps) continue;
    fail_value(
        "rewind", "steps",
        concat("be at most ", recorded[at(ids[k])], ", the recorded steps of environment ", ids[k]),
        concat(steps));
  }
}

void VectorEnv::rewind(const Selection& ids, std::int64_t steps, RngMode rng) {
  check_rewind(ids, steps);
  if (steps == 0) return;
  parallel(ids.size(), kCopyGrain, [&](std::int64_t begin, std::int64_t end) {
    for (auto k = begin; k < end;) {
      const std::int64_t first = ids[k];
      const auto start = k;
      k = ids.is_all() ? end : k + 1;
      while (k < end && ids[k] == first + (k - start)) ++k;
      const std::int64_t last = history_.alike_until(first, first + (k - start));
      k = start + (last - first);
      const std::byte* streams = history_.rewind(first, last, steps, rng == RngMode::kRestore);
      if (rng != RngMode::kFork) continue;
      for (auto i = first; i < last; ++i) fork(i, streams + at(i) * table_.random_size);
    }
  });
  // A failed environment is back before its failure.
  if (num_unset_ > 0) num_unset_ = std::ranges::count(phases_, Phase::kUnset);
}

void VectorEnv::rewindable(std::int32_t* steps) const {
  std::ranges::copy(history_.lengths(), steps);
}

void VectorEnv::state_hash(std::span<const std::int64_t> ids, std::uint64_t* hashes) const {
  check_ids("state_hash", "ids", ids);
  parallel(static_cast<std::int64_t>(ids.size()), kCopyGrain,
           [&](std::int64_t begin, std::int64_t end) {
             Bytes state(table_.state_size);
             for (auto k = begin; k < end; ++k) {
               get_state(ids[at(k)], state.data());
               hashes[k] = hash_bytes(state.data(), state.size());
             }
           });
}

void VectorEnv::labels(std::span<const std::int64_t> ids, std::uint64_t* labels) const {
  check_ids("labels", "ids", ids);
  check_started("labels", ids);
  Bytes state(table_.state_size);
  for (std::size_t k = 0; k < ids.size(); ++k) {
    get_state(ids[k], state.data());
    CallError error;
    labels[k] = table_.labels(params(ids[k]), state.data(), &error);
    error.check("labels", table_.id);
  }
}

void VectorEnv::solve(const Snapshot& snapshot, Solution* solutions) const {
  check_kind("solve", snapshot);
  check_states("solve", snapshot);
  parallel(snapshot.count(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) {
      const std::byte* slot = snapshot.slots() + at(i) * slot_size_;
      SlotHeader header;
      std::memcpy(&header, slot, sizeof(header));
      solutions[i] = {kUnknown, -1};
      if (static_cast<Phase>(header.phase) == Phase::kUnset) continue;
      const Bytes state(state_in(slot), state_in(slot) + table_.state_size);
      fastrl_solution found{};
      CallError error;
      table_.solve(params_in(slot), state.data(), &found, &error);
      error.check("solve", table_.id);
      solutions[i] = {found.distance, found.first_action};
    }
  });
}

void VectorEnv::episodes(std::int32_t* elapsed_steps, double* episode_returns) const {
  std::ranges::copy(elapsed_, elapsed_steps);
  std::ranges::copy(returns_, episode_returns);
}

}  // namespace fastrl
