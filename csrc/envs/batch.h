// The engine: a batch of one kind of environment, stepped on the thread pool.
//
// Every environment is one slot of plain bytes (episode, then state), so taking it out and putting
// it back is a copy. Work is cut into chunks that do not depend on the number of threads, and no
// slot reads another: the numbers are the same for any number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "core/check.h"
#include "core/thread_pool.h"
#include "envs/vector_env.h"

namespace fastrl {

template <Environment E>
class Batch final : public VectorEnv {
 public:
  using State = typename E::State;
  using Params = typename E::Params;

  Batch(const VectorOptions& vector_options, Options& options)
      : VectorEnv(vector_options), params_(E::parse(options)) {
    const char* fallback = E::kDefaultForm == ObservationForm::kGrid ? "grid" : "compact";
    form_ =
        static_cast<ObservationForm>(options.choice("observation", fallback, {"grid", "compact"}));
    options.finish();
    if (options_.max_episode_steps == 0) {
      options_.max_episode_steps = E::default_max_episode_steps(params_);
    }
    max_observation_tokens_ = E::max_observation_tokens(params_, form_);
    for (int action = 0; action < E::num_actions(params_); ++action) {
      action_tokens_.push_back(E::action_token(params_, action));
      action_names_.push_back(spelling(action_tokens_.back()));
    }
    kind_ = std::make_shared<SnapshotKind>(SnapshotKind{.id = E::kId,
                                                        .version = E::kVersion,
                                                        .slot_size = sizeof(Slot),
                                                        .layout = Slot::layout(),
                                                        .options = options.canonical()});
    const auto n = static_cast<std::size_t>(num_envs());
    slots_.resize(n);
    pending_.resize(n);
    to_reset_.reserve(n);
    leaders_.reserve(n + 1);
    prepare_levels();
  }

  void seed(std::uint64_t seed, std::span<const bool> mask) override {
    for (std::int64_t i = 0; i < num_envs(); ++i) {
      if (!selected(mask, i)) continue;
      Episode& episode = slot(i).episode;
      episode.seed_levels(seed, static_cast<std::uint64_t>(i / options_.group_size));
      episode.seed_steps(seed, static_cast<std::uint64_t>(i));
    }
  }

  void seed_each(std::span<const std::uint64_t> seeds, std::span<const bool> mask) override {
    for (std::int64_t i = 0; i < num_envs(); ++i) {
      if (!selected(mask, i)) continue;
      const std::int64_t member = i % options_.group_size;
      Episode& episode = slot(i).episode;
      episode.seed_levels(seeds[static_cast<std::size_t>(i - member)], 0);
      episode.seed_steps(seeds[static_cast<std::size_t>(i)], static_cast<std::uint64_t>(member));
    }
  }

  void reset(std::span<const bool> mask, std::int32_t* observations,
             std::int32_t* observation_lengths) override {
    to_reset_.clear();
    for (std::int64_t i = 0; i < num_envs(); ++i) {
      if (selected(mask, i)) to_reset_.push_back(i);
    }
    begin_episodes();
    parallel_for(num_envs(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = begin; i < end; ++i) {
        write_row(slot(i), observations + i * max_observation_tokens_, observation_lengths + i);
      }
    });
  }

  std::int64_t step(std::span<const std::int64_t> actions, std::span<const bool> active,
                    const StepOutputs& out) override {
    check_step(actions, active);
    std::atomic<bool> any_pending{false};
    parallel_for(num_envs(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      bool pending = false;
      for (auto i = begin; i < end; ++i) pending |= step_slot(i, actions, selected(active, i), out);
      if (pending) any_pending.store(true, std::memory_order_relaxed);
    });
    if (!any_pending.load(std::memory_order_relaxed)) return 0;
    to_reset_.clear();
    for (std::int64_t i = 0; i < num_envs(); ++i) {
      if (pending_[static_cast<std::size_t>(i)] != 0) to_reset_.push_back(i);
    }
    begin_episodes();
    const auto n = static_cast<std::int64_t>(to_reset_.size());
    parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (auto k = begin; k < end; ++k) {
        const std::int64_t i = to_reset_[static_cast<std::size_t>(k)];
        write_row(slot(i), out.observations + i * max_observation_tokens_,
                  out.observation_lengths + i);
      }
    });
    return options_.autoreset_mode == AutoresetMode::kSameStep ? n : 0;
  }

  void observe(std::span<const std::int64_t> ids, bool whole, std::int32_t* observations,
               std::int32_t* observation_lengths) const override {
    const char* function = whole ? "render_text" : "observe";
    check_ids(function, "ids", ids);
    const std::int32_t length = whole ? whole_observation_tokens() : max_observation_tokens_;
    const ObservationForm form = whole ? ObservationForm::kGrid : form_;
    each(ids, [&](std::size_t i, const Slot& slot) {
      if (slot.episode.phase == Phase::kUnset) throw_not_reset(function, ids[i]);
      TokenWriter writer(observations + static_cast<std::int64_t>(i) * length);
      E::observe(params_, slot.state, slot.episode.elapsed_steps, form, writer);
      observation_lengths[i] = writer.size();
      writer.pad(length);
    });
  }

  std::int32_t whole_observation_tokens() const override {
    return E::max_observation_tokens(params_, ObservationForm::kGrid);
  }

  Snapshot snapshot(std::span<const std::int64_t> ids) const override {
    check_ids("snapshot", "ids", ids);
    Snapshot result(kind_, static_cast<std::int64_t>(ids.size()));
    each(ids, [&](std::size_t i, const Slot& slot) {
      std::memcpy(result.slots() + i * sizeof(Slot), &slot, sizeof(Slot));
    });
    return result;
  }

  void restore(const Snapshot& snapshot, std::span<const std::int64_t> ids, RngMode rng) override {
    check_kind("restore", snapshot);
    check_targets("restore", "ids", ids);
    if (snapshot.count() != static_cast<std::int64_t>(ids.size())) {
      fail_value("restore", "snapshot", concat("hold ", ids.size(), " environments"),
                 concat(snapshot.count()));
    }
    check_states("restore", snapshot);
    put(ids, rng, [&](std::size_t i) { return snapshot.slots() + i * sizeof(Slot); });
  }

  void branch(std::span<const std::int64_t> sources, std::span<const std::int64_t> targets,
              RngMode rng) override {
    check_ids("branch", "source_ids", sources);
    check_targets("branch", "target_ids", targets);
    if (sources.size() == 1) {
      const Slot source = slot(sources[0]);
      put(targets, rng, [&](std::size_t) { return reinterpret_cast<const std::byte*>(&source); });
      return;
    }
    if (sources.size() != targets.size()) {
      fail_value("branch", "source_ids", concat("hold 1 or ", targets.size(), " environments"),
                 concat(sources.size()));
    }
    const Snapshot copies = snapshot(sources);
    put(targets, rng, [&](std::size_t i) { return copies.slots() + i * sizeof(Slot); });
  }

  void state_hash(std::span<const std::int64_t> ids, std::uint64_t* hashes) const override {
    check_ids("state_hash", "ids", ids);
    each(ids, [&](std::size_t i, const Slot& slot) {
      hashes[i] = hash_bytes(&slot.state, sizeof(State));
    });
  }

  void solve(const Snapshot& snapshot, Solution* solutions) const override {
    check_kind("solve", snapshot);
    check_states("solve", snapshot);
    parallel_for(snapshot.count(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = begin; i < end; ++i) {
        Slot slot;
        std::memcpy(&slot, snapshot.slots() + static_cast<std::size_t>(i) * sizeof(Slot),
                    sizeof(Slot));
        solutions[i] = slot.episode.phase == Phase::kUnset ? Solution{kUnknown, -1}
                                                           : E::solve(params_, slot.state);
      }
    });
  }

  void episodes(std::int32_t* elapsed_steps, double* episode_returns) const override {
    for (std::int64_t i = 0; i < num_envs(); ++i) {
      elapsed_steps[i] = slot(i).episode.elapsed_steps;
      episode_returns[i] = slot(i).episode.episode_return;
    }
  }

 private:
  using Slot = fastrl::Slot<E>;
  static_assert(std::is_trivially_copyable_v<Slot>);

  // So many fixed levels are made once and kept; more are made anew at each reset.
  static constexpr std::int64_t kMaxKeptLevels = 4096;

  static bool selected(std::span<const bool> mask, std::int64_t i) {
    return mask.empty() || mask[static_cast<std::size_t>(i)];
  }

  [[noreturn]] static void throw_not_reset(const char* function, std::int64_t id) {
    throw std::runtime_error(
        concat(function, ": environment ", id, " has never been reset; call reset first"));
  }

  Slot& slot(std::int64_t i) { return slots_[static_cast<std::size_t>(i)]; }
  const Slot& slot(std::int64_t i) const { return slots_[static_cast<std::size_t>(i)]; }

  template <typename Visit>
  void each(std::span<const std::int64_t> ids, Visit&& visit) const {
    // Copies of a hundred bytes: fewer, larger chunks.
    parallel_for(static_cast<std::int64_t>(ids.size()), 4 * kGrain,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (auto i = begin; i < end; ++i) {
                     const auto k = static_cast<std::size_t>(i);
                     visit(k, slot(ids[k]));
                   }
                 });
  }

  // --- Episodes -------------------------------------------------------------------------------

  void prepare_levels() {
    if (options_.num_levels == 0 || options_.num_levels > kMaxKeptLevels) return;
    levels_.resize(static_cast<std::size_t>(options_.num_levels));
    parallel_for(options_.num_levels, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = begin; i < end; ++i) levels_[static_cast<std::size_t>(i)] = fixed_level(i);
    });
  }

  State fixed_level(std::int64_t index) const {
    auto stream =
        RandomStream::seeded(options_.level_seed, static_cast<std::uint64_t>(index)).forked(1);
    return E::reset(params_, stream);
  }

  State first_state(const Episode& episode) const {
    RandomStream stream = episode.level_stream();
    if (options_.num_levels == 0) return E::reset(params_, stream);
    const auto index = stream.below(static_cast<std::uint32_t>(options_.num_levels));
    return levels_.empty() ? fixed_level(index) : levels_[index];
  }

  // Starts an episode in each of `to_reset_`. Neighbors that share a level share the work.
  void begin_episodes() {
    leaders_.clear();
    for (std::size_t k = 0; k < to_reset_.size(); ++k) {
      if (k == 0 || !slot(to_reset_[k]).episode.has_next_level_of(slot(to_reset_[k - 1]).episode)) {
        leaders_.push_back(k);
      }
    }
    const auto num_leaders = static_cast<std::int64_t>(leaders_.size());
    leaders_.push_back(to_reset_.size());
    parallel_for(num_leaders, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto leader = begin; leader < end; ++leader) {
        const std::size_t first = leaders_[static_cast<std::size_t>(leader)];
        const std::size_t last = leaders_[static_cast<std::size_t>(leader) + 1];
        const State state = first_state(slot(to_reset_[first]).episode);
        for (std::size_t k = first; k < last; ++k) {
          Slot& started = slot(to_reset_[k]);
          started.state = state;
          started.episode.start();
        }
      }
    });
  }

  // --- Steps ----------------------------------------------------------------------------------

  void check_step(std::span<const std::int64_t> actions, std::span<const bool> active) const {
    const auto num_actions = static_cast<std::int64_t>(action_tokens_.size());
    for (std::int64_t i = 0; i < num_envs(); ++i) {
      if (!selected(active, i)) continue;
      const std::int64_t action = actions[static_cast<std::size_t>(i)];
      const Phase phase = slot(i).episode.phase;
      if (phase == Phase::kUnset) throw_not_reset("step", i);
      if (phase == Phase::kEnded && options_.autoreset_mode == AutoresetMode::kDisabled) {
        throw std::runtime_error(concat("step: the episode of environment ", i,
                                        " has ended; reset it or leave it out with `active`"));
      }
      if (action < kMalformedAction || action >= num_actions) {
        fail_value("step", "actions", concat("be from -1 to ", num_actions - 1),
                   concat(action, " for environment ", i));
      }
    }
  }

  // True if the environment is to be reset before the step returns.
  bool step_slot(std::int64_t i, std::span<const std::int64_t> actions, bool active,
                 const StepOutputs& out) {
    Slot& current = slot(i);
    Episode& episode = current.episode;
    std::int32_t* row = out.observations + i * max_observation_tokens_;
    std::uint8_t& pending = pending_[static_cast<std::size_t>(i)];
    // In same-step mode an ended episode can only come from a snapshot; it is reset like in
    // next-step mode.
    pending = active && episode.phase == Phase::kEnded;
    const bool stepped = active && pending == 0;
    out.rewards[i] = 0.0;
    out.terminated[i] = out.truncated[i] = out.success[i] = out.action_valid[i] = false;
    out.stepped[i] = stepped;
    if (stepped) {
      const auto action = static_cast<int>(actions[static_cast<std::size_t>(i)]);
      const StepResult result = E::step(params_, current.state, episode.random, action);
      const bool valid = action != kMalformedAction;
      ++episode.elapsed_steps;
      out.action_valid[i] = valid;
      out.rewards[i] = valid ? result.reward : result.reward - options_.invalid_penalty;
      out.terminated[i] = result.terminated;
      out.truncated[i] = episode.elapsed_steps >= options_.max_episode_steps;
      out.success[i] = result.success;
      episode.episode_return += out.rewards[i];
      if (out.terminated[i] || out.truncated[i]) {
        episode.phase = Phase::kEnded;
        pending = options_.autoreset_mode == AutoresetMode::kSameStep;
      }
    }
    if (episode.phase == Phase::kUnset) {
      std::fill_n(row, max_observation_tokens_, kPadToken);
      out.observation_lengths[i] = 0;
      return false;
    }
    if (pending != 0 && !stepped) return true;
    write_row(current, row, out.observation_lengths + i);
    if (pending != 0) {
      std::copy_n(row, max_observation_tokens_,
                  out.final_observations + i * max_observation_tokens_);
    }
    return pending != 0;
  }

  void write_row(const Slot& from, std::int32_t* row, std::int32_t* length) const {
    TokenWriter writer(row);
    if (from.episode.phase != Phase::kUnset) {
      E::observe(params_, from.state, from.episode.elapsed_steps, form_, writer);
    }
    *length = writer.size();
    writer.pad(max_observation_tokens_);
  }

  // --- Time -----------------------------------------------------------------------------------

  void check_states(const char* function, const Snapshot& snapshot) const {
    if (snapshot.trusted()) return;
    for (std::int64_t i = 0; i < snapshot.count(); ++i) {
      if (Slot::sound(params_, snapshot.slots() + static_cast<std::size_t>(i) * sizeof(Slot))) {
        continue;
      }
      fail_value(function, "snapshot", concat("hold states of ", E::kId),
                 concat("an impossible state at index ", i));
    }
  }

  template <typename Source>
  void put(std::span<const std::int64_t> ids, RngMode rng, Source&& source) {
    each(ids, [&](std::size_t i, const Slot&) {
      Slot& target = slot(ids[i]);
      const Episode before = target.episode;
      std::memcpy(&target, source(i), sizeof(Slot));
      target.episode.take_over(before, rng, ids[i]);
    });
  }

  Params params_;
  ObservationForm form_ = ObservationForm::kGrid;
  std::vector<Slot, CacheLineAllocator<Slot>> slots_;
  std::vector<State> levels_;
  // Scratch, sized once.
  std::vector<std::uint8_t> pending_;
  std::vector<std::int64_t> to_reset_;
  std::vector<std::size_t> leaders_;
};

}  // namespace fastrl
