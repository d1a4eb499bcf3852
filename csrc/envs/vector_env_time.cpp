// Taking environments out of their batch, putting them back, and going back in time.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

// Copies of a hundred bytes, some 5 ns each: a chunk must outweigh the wait for another thread.
constexpr std::int64_t kCopyGrain = 512;

// A few words: a call of memcpy, whose size the compiler does not know, costs more than the copy.
void copy(std::byte* to, const std::byte* from, std::size_t size) {
  if (size % 8 != 0 || size > 128) {
    std::memcpy(to, from, size);
    return;
  }
  for (std::size_t i = 0; i < size; i += 8) std::memcpy(to + i, from + i, 8);
}

}  // namespace

void VectorEnv::get_state(std::int64_t i, std::byte* state) const {
  if (table_.lanes > 1) {
    table_.get(states_.data(), i, state);
  } else {
    copy(state, states_.data() + at(i) * table_.state_size, table_.state_size);
  }
}

void VectorEnv::put_state(std::int64_t i, const std::byte* state) {
  if (table_.lanes > 1) {
    table_.put(states_.data(), i, state);
  } else {
    copy(states_.data() + at(i) * table_.state_size, state, table_.state_size);
  }
}

void VectorEnv::read_slot(std::int64_t i, std::byte* slot) const {
  // Field by field: a header put together first and then copied whole would wait for its own
  // stores, for longer than all the rest takes.
  const auto put = [slot](std::size_t offset, const auto& value) {
    std::memcpy(slot + offset, &value, sizeof(value));
  };
  put(offsetof(SlotHeader, source), sources_[at(i)]);
  put(offsetof(SlotHeader, episode_return), returns_[at(i)]);
  put(offsetof(SlotHeader, level), level_indices_[at(i)]);
  put(offsetof(SlotHeader, elapsed_steps), elapsed_[at(i)]);
  put(offsetof(SlotHeader, phase), static_cast<std::uint32_t>(phases_[at(i)]));
  std::byte* stream = slot + sizeof(SlotHeader);
  copy(stream, random(i), table_.random_size);
  std::byte* state = stream + table_.random_size;
  get_state(i, state);
  if (wrappers_) std::memcpy(state + table_.state_size, record(i), wrappers_->record_size());
}

// The environment's sequence of levels stays unless all is restored.
void VectorEnv::write_slot(std::int64_t i, const std::byte* slot, RngMode rng) {
  SlotHeader header;
  std::memcpy(&header, slot, sizeof(header));
  const std::byte* stream = slot + sizeof(header);
  returns_[at(i)] = header.episode_return;
  elapsed_[at(i)] = header.elapsed_steps;
  phases_[at(i)] = static_cast<Phase>(header.phase);
  level_indices_[at(i)] = header.level;
  if (rng == RngMode::kRestore) {
    sources_[at(i)] = header.source;
    copy(random(i), stream, table_.random_size);
  } else if (rng == RngMode::kFork) {
    alignas(64) std::array<std::byte, 256> forked;
    std::memcpy(forked.data(), stream, table_.random_size);
    table_.fork(forked.data(), random(i), static_cast<std::uint64_t>(i));
    std::memcpy(random(i), forked.data(), table_.random_size);
  }
  const std::byte* state = state_in(slot);
  put_state(i, state);
  if (wrappers_) std::memcpy(record(i), state + table_.state_size, wrappers_->record_size());
}

// With which its state is to be read.
const void* VectorEnv::params_in(const std::byte* slot) const {
  if (num_contexts() == 0) return params_.get();
  std::int64_t context;  // the first number of a record
  std::memcpy(&context, state_in(slot) + table_.state_size, sizeof(context));
  return wrappers_->contexts()->params(context);
}

// May bytes from outside be used as a slot? A right checksum does not say what they hold.
bool VectorEnv::is_sound(const std::byte* slot) const {
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
  if (table_.valid(params, state.data(), phase == Phase::kRunning) == 0) return false;
  if (!wrappers_ || !wrappers_->attempts()) return true;
  const std::byte* again = wrappers_->first_state(record.data());
  const Bytes first_state(again, again + table_.state_size);
  return table_.valid(params, first_state.data(), 1) != 0;
}

void VectorEnv::check_states(const char* function, const Snapshot& snapshot) const {
  if (snapshot.trusted()) return;
  for (std::int64_t i = 0; i < snapshot.count(); ++i) {
    if (is_sound(snapshot.slots() + at(i) * slot_size_)) continue;
    fail_value(function, "snapshot", concat("hold states of ", kind_->id),
               concat("an impossible state at index ", i));
  }
}

Snapshot VectorEnv::snapshot(std::span<const std::int64_t> ids) const {
  check_ids("snapshot", "ids", ids);
  const auto n = static_cast<std::int64_t>(ids.size());
  Snapshot result(kind_, n);
  parallel(n, kCopyGrain, [&](std::int64_t begin, std::int64_t end) {
    for (auto k = begin; k < end; ++k) read_slot(ids[at(k)], result.slots() + at(k) * slot_size_);
  });
  return result;
}

void VectorEnv::restore(const Snapshot& snapshot, std::span<const std::int64_t> ids, RngMode rng) {
  check_kind("restore", snapshot);
  check_targets("restore", "ids", ids);
  const auto n = static_cast<std::int64_t>(ids.size());
  if (snapshot.count() != n) {
    fail_value("restore", "snapshot", concat("hold ", n, " environments"),
               concat(snapshot.count()));
  }
  check_states("restore", snapshot);
  parallel(n, kCopyGrain, [&](std::int64_t begin, std::int64_t end) {
    for (auto k = begin; k < end; ++k) {
      write_slot(ids[at(k)], snapshot.slots() + at(k) * slot_size_, rng);
      history_lengths_[at(ids[at(k)])] = 0;
    }
  });
  num_unset_ = std::ranges::count(phases_, Phase::kUnset);
}

void VectorEnv::branch(std::span<const std::int64_t> sources, std::span<const std::int64_t> targets,
                       RngMode rng) {
  check_ids("branch", "source_ids", sources);
  check_targets("branch", "target_ids", targets);
  if (sources.size() != 1 && sources.size() != targets.size()) {
    fail_value("branch", "source_ids", concat("hold 1 or ", targets.size(), " environments"),
               concat(sources.size()));
  }
  Bytes slots(sources.size() * slot_size_);
  for (std::size_t k = 0; k < sources.size(); ++k) {
    read_slot(sources[k], slots.data() + k * slot_size_);
  }
  const auto n = static_cast<std::int64_t>(targets.size());
  const std::size_t stride = sources.size() == 1 ? 0 : slot_size_;
  parallel(n, kCopyGrain, [&](std::int64_t begin, std::int64_t end) {
    for (auto k = begin; k < end; ++k) {
      write_slot(targets[at(k)], slots.data() + at(k) * stride, rng);
      history_lengths_[at(targets[at(k)])] = 0;
    }
  });
  num_unset_ = std::ranges::count(phases_, Phase::kUnset);
}

// Entries of all environments lie side by side: batches mostly go back together.
std::byte* VectorEnv::history_slot(std::int64_t i, std::uint64_t entry) {
  return history_.data() + (entry * at(num_envs()) + at(i)) * slot_size_;
}

void VectorEnv::record_history(std::int64_t i) {
  const auto capacity = static_cast<std::uint64_t>(options_.history);
  const std::uint64_t entry = history_ends_[at(i)]++ % capacity;
  read_slot(i, history_slot(i, entry));
  std::int32_t& length = history_lengths_[at(i)];
  length = std::min(length + 1, static_cast<std::int32_t>(capacity));
}

void VectorEnv::rewind(std::span<const std::int64_t> ids, std::int64_t steps, RngMode rng) {
  check_targets("rewind", "ids", ids);
  if (steps < 0 || steps > options_.history) {
    fail_value("rewind", "steps", concat("be from 0 to `history` = ", options_.history),
               concat(steps));
  }
  for (const std::int64_t id : ids) {
    if (history_lengths_[at(id)] < steps) {
      fail_value("rewind", "steps",
                 concat("be at most ", history_lengths_[at(id)],
                        ", the recorded steps of environment ", id),
                 concat(steps));
    }
  }
  if (steps == 0) return;
  const auto capacity = static_cast<std::uint64_t>(options_.history);
  parallel(static_cast<std::int64_t>(ids.size()), kCopyGrain,
           [&](std::int64_t begin, std::int64_t end) {
             for (auto k = begin; k < end; ++k) {
               const std::int64_t i = ids[at(k)];
               history_ends_[at(i)] -= static_cast<std::uint64_t>(steps);
               history_lengths_[at(i)] -= static_cast<std::int32_t>(steps);
               const std::uint64_t entry = history_ends_[at(i)] % capacity;
               write_slot(i, history_slot(i, entry), rng);
             }
           });
}

void VectorEnv::rewindable(std::int32_t* steps) const {
  std::ranges::copy(history_lengths_, steps);
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
    labels[k] = table_.labels(params(ids[k]), state.data());
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
      table_.solve(params_in(slot), state.data(), &found);
      solutions[i] = {found.distance, found.first_action};
    }
  });
}

void VectorEnv::episodes(std::int32_t* elapsed_steps, double* episode_returns) const {
  std::ranges::copy(elapsed_, elapsed_steps);
  std::ranges::copy(returns_, episode_returns);
}

}  // namespace fastrl
