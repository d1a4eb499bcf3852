// A batch of environments of any kind: one virtual call for the whole batch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "envs/env.h"
#include "envs/slot.h"
#include "envs/snapshot.h"

namespace fastrl {

enum class AutoresetMode { kNextStep, kSameStep, kDisabled };

struct VectorOptions {
  std::int64_t num_envs = 1;
  std::int64_t group_size = 1;         // so many neighbors share a level, not their randomness
  std::int64_t num_levels = 0;         // 0: a new level at every reset
  std::uint64_t level_seed = 0;        // of these levels
  std::int32_t max_episode_steps = 0;  // 0: the environment's own
  AutoresetMode autoreset_mode = AutoresetMode::kNextStep;
  double invalid_penalty = 0.0;  // taken from the reward of a malformed action
};

// Where a step writes. All are [B], observations [B, max_observation_tokens()].
struct StepOutputs {
  std::int32_t* observations = nullptr;
  std::int32_t* observation_lengths = nullptr;
  double* rewards = nullptr;
  bool* terminated = nullptr;
  bool* truncated = nullptr;
  bool* action_valid = nullptr;
  bool* success = nullptr;
  bool* stepped = nullptr;                     // false where an environment was reset or inactive
  std::int32_t* final_observations = nullptr;  // same-step mode: rows of environments that ended
};

class VectorEnv {
 public:
  virtual ~VectorEnv() = default;

  const VectorOptions& options() const { return options_; }
  std::int64_t num_envs() const { return options_.num_envs; }
  std::int32_t max_observation_tokens() const { return max_observation_tokens_; }
  const std::vector<std::int32_t>& action_tokens() const { return action_tokens_; }
  const std::vector<std::string_view>& action_names() const { return action_names_; }
  const std::shared_ptr<const SnapshotKind>& kind() const { return kind_; }

  // One seed for the batch: neighbors get streams of their own.
  virtual void seed(std::uint64_t seed, std::span<const bool> mask) = 0;
  // A seed for each, independent of the place in the batch; members of a group take its first
  // member's level.
  virtual void seed_each(std::span<const std::uint64_t> seeds, std::span<const bool> mask) = 0;

  // Starts new episodes where `mask` is set (everywhere if empty); writes all observations.
  virtual void reset(std::span<const bool> mask, std::int32_t* observations,
                     std::int32_t* observation_lengths) = 0;

  // One step where `active` is set (everywhere if empty). Everything is checked before the first
  // write. Returns how many environments ended and were reset at once (same-step mode).
  virtual std::int64_t step(std::span<const std::int64_t> actions, std::span<const bool> active,
                            const StepOutputs& outputs) = 0;

  // The current observation; in the full form if `whole`.
  virtual void observe(std::span<const std::int64_t> ids, bool whole, std::int32_t* observations,
                       std::int32_t* observation_lengths) const = 0;
  virtual std::int32_t whole_observation_tokens() const = 0;

  virtual Snapshot snapshot(std::span<const std::int64_t> ids) const = 0;
  virtual void restore(const Snapshot& snapshot, std::span<const std::int64_t> ids,
                       RngMode rng) = 0;
  // Puts a copy of sources[i] into targets[i]; all are read before the first is written.
  virtual void branch(std::span<const std::int64_t> sources, std::span<const std::int64_t> targets,
                      RngMode rng) = 0;

  // Equal states (without streams and step counts) have equal hashes.
  virtual void state_hash(std::span<const std::int64_t> ids, std::uint64_t* hashes) const = 0;
  virtual void solve(const Snapshot& snapshot, Solution* solutions) const = 0;
  virtual void episodes(std::int32_t* elapsed_steps, double* episode_returns) const = 0;

 protected:
  explicit VectorEnv(const VectorOptions& options) : options_(options) {}

  // Environments per chunk of work: a few µs of stepping. Never a function of the thread count.
  static constexpr std::int64_t kGrain = 64;

  void check_ids(const char* function, const char* argument,
                 std::span<const std::int64_t> ids) const;
  // Each at most once.
  void check_targets(const char* function, const char* argument,
                     std::span<const std::int64_t> ids) const;
  void check_kind(const char* function, const Snapshot& snapshot) const;

  VectorOptions options_;
  std::int32_t max_observation_tokens_ = 0;
  std::vector<std::int32_t> action_tokens_;
  std::vector<std::string_view> action_names_;
  std::shared_ptr<const SnapshotKind> kind_;
};

// The ids that make_vector_env knows.
std::vector<std::string> environment_ids();

// Throws std::invalid_argument for an unknown id or option.
std::unique_ptr<VectorEnv> make_vector_env(const std::string& id, const VectorOptions& options,
                                           std::map<std::string, OptionValue> environment_options);

}  // namespace fastrl
