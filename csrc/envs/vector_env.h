// The engine: a batch of environments of one kind, stepped on the thread pool.
//
// It knows an environment as a table of functions over bytes (environment_table.h) and adds all
// that is the same for every kind: seeds, episodes, time limits, resets, levels, wrappers, time
// travel. Work is cut into chunks that do not depend on the number of threads, and no environment
// reads another: the numbers are the same for any number of threads.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "envs/bytes.h"
#include "envs/environment.h"
#include "envs/environment_table.h"
#include "envs/fault.h"
#include "envs/history.h"
#include "envs/levels.h"
#include "envs/selection.h"
#include "envs/snapshot.h"
#include "envs/wrappers.h"

namespace fastrl {

enum class AutoresetMode { kNextStep, kSameStep, kDisabled };

// What becomes of the random stream when a state is put into an environment: the snapshot's, the
// environment's own, or a new one that depends on both and on the place.
enum class RngMode { kRestore, kKeep, kFork };

enum class Phase : std::uint8_t { kUnset, kRunning, kEnded };

struct VectorOptions {
  std::int64_t num_envs = 1;
  std::int64_t group_size = 1;         // so many neighbors share a level, not their randomness
  std::int64_t num_levels = 0;         // 0: a new level at every reset
  std::uint64_t level_seed = 0;        // of these levels
  std::int64_t max_episode_steps = 0;  // 0: the environment's own
  AutoresetMode autoreset_mode = AutoresetMode::kNextStep;
  double invalid_penalty = 0.0;  // taken from the reward of a malformed action
  std::int64_t num_threads = 0;  // at most; 0: all of the pool
  std::int64_t history = 0;      // steps that can be rewound
  WrapperOptions wrappers{};
};

// What a reset is told beside where: all of it may be left out.
struct ResetChoices {
  const double* options = nullptr;         // as in fastrl_description
  const std::int64_t* levels = nullptr;    // by environment; -1: drawn
  const std::int64_t* contexts = nullptr;  // by environment; -1: drawn
};

// Where a step writes, by place. `stepped` is 0 where an environment was reset or left alone, and
// `informed` is 1 where it was reset or stepped: the rows of infos that count.
struct Outputs {
  fastrl_rows observations{};
  std::int32_t* observation_lengths = nullptr;  // text
  fastrl_rows infos{};
  double* rewards = nullptr;
  std::uint8_t* terminated = nullptr;
  std::uint8_t* truncated = nullptr;
  std::uint8_t* stepped = nullptr;
  std::uint8_t* informed = nullptr;
  std::uint8_t* success = nullptr;       // where the environment reports it
  std::uint8_t* action_valid = nullptr;  // text
  // Same-step mode: rows of the environments that ended and began anew.
  fastrl_rows final_observations{};
  fastrl_rows final_infos{};
};

class VectorEnv {
 public:
  // `owner` keeps the table's code loaded. `precision` is part of what snapshots are of.
  VectorEnv(const fastrl_environment& table, const char* precision, VectorOptions options,
            std::map<std::string, OptionValue> environment_options,
            std::shared_ptr<const void> owner = nullptr);

  const VectorOptions& options() const { return options_; }
  std::int64_t num_envs() const { return options_.num_envs; }
  const Description& description() const { return description_; }
  const std::vector<std::int32_t>& action_tokens() const { return action_tokens_; }
  const std::vector<std::string_view>& action_names() const { return action_names_; }
  const std::shared_ptr<const SnapshotKind>& kind() const { return kind_; }
  bool can_solve() const { return table_.solve != nullptr; }
  std::int64_t slot_size() const { return static_cast<std::int64_t>(slot_size_); }

  // One seed for the batch: neighbors get streams of their own.
  void seed(std::uint64_t seed, std::span<const bool> mask);
  // A seed for each, independent of the place in the batch; members of a group take its first
  // member's level.
  void seed_each(std::span<const std::uint64_t> seeds, std::span<const bool> mask);

  // What an environment's own code throws in reset, step or unroll is thrown as a
  // std::runtime_error when all the others are done. That environment must be reset, and its
  // observation is zeros; what it threw in a call that only reads changes nothing.

  // Starts new episodes where `mask` is set (everywhere if empty); writes all observations, and
  // `informed` and infos of what was reset.
  void reset(std::span<const bool> mask, const ResetChoices& choices, const Outputs& outputs);

  // One step where `active` is set (everywhere if empty). Everything is checked before the first
  // write. Returns how many environments ended and were reset at once (same-step mode).
  // `function` is what errors name.
  std::int64_t step(const void* actions, std::span<const bool> active, const Outputs& outputs,
                    const char* function = "step");

  // `steps` steps, outputs [steps, num_envs]; ended environments rest where nothing resets
  // them. With `policy_seed` actions are drawn uniformly and written, else they are read.
  void unroll(std::int64_t steps, void* actions, const std::uint64_t* policy_seed,
              const Outputs& outputs);

  // As `step`, of the environments `ids` at consecutive places; checked by check_step before.
  // Throws nothing of theirs: their faults are returned.
  Faults step_some(std::span<const std::int64_t> ids, const void* actions, const Outputs& outputs);
  void check_step(const char* function, std::span<const std::int64_t> ids, const void* actions,
                  std::span<const bool> active) const;
  // Each environment at most once.
  void check_targets(const char* function, const char* argument,
                     std::span<const std::int64_t> ids) const;

  // Output rows from place `places` on, and copies of rows.
  Outputs moved(const Outputs& outputs, std::int64_t places) const;
  void copy_rows(const Outputs& from, std::int64_t first, const Outputs& to, std::int64_t place,
                 std::int64_t n) const;

  // The current observations, and infos as after a reset if `informed` is given.
  void observe(std::span<const std::int64_t> ids, const Outputs& outputs) const;
  // Text: all there is to see, [n, render_tokens].
  void render(std::span<const std::int64_t> ids, std::int32_t* tokens, std::int32_t* lengths) const;
  // Grid worlds: [n, grid_height, grid_width].
  void cells(std::span<const std::int64_t> ids, char* cells) const;

  Snapshot snapshot(const Selection& ids) const;
  void restore(const Snapshot& snapshot, const Selection& ids, RngMode rng);
  // Puts a copy of sources[i] into targets[i]; all are read before the first is written.
  void branch(const Selection& sources, const Selection& targets, RngMode rng);
  // Goes so many steps back, in each as far as `history` allows or not at all.
  void rewind(const Selection& ids, std::int64_t steps, RngMode rng);
  // How many steps each can go back.
  void rewindable(std::int32_t* steps) const;

  // Equal states (without streams and step counts) have equal hashes.
  void state_hash(std::span<const std::int64_t> ids, std::uint64_t* hashes) const;
  void labels(std::span<const std::int64_t> ids, std::uint64_t* labels) const;
  void solve(const Snapshot& snapshot, Solution* solutions) const;
  void episodes(std::int32_t* elapsed_steps, double* episode_returns) const;

  // Levels from outside, which later episodes begin with; drawn by weights, or evenly without
  // them. Without levels the environment makes its own again. Adds the info "level" for good.
  void set_levels(const Snapshot* levels, std::span<const double> weights);
  std::int64_t num_levels() const;  // that a reset can choose from; 0: none
  // `n` levels of the environment's own; does not touch the batch.
  Snapshot make_levels(std::int64_t n, std::uint64_t seed) const;
  Snapshot parse_levels(std::span<const std::string> texts) const;
  // All environments must be reset then.
  void set_contexts(ContextOptions options);
  std::int64_t num_contexts() const {
    return wrappers_ && wrappers_->contexts() ? wrappers_->contexts()->count() : 0;
  }

  // The action that a text names, written as a row of the action space; false if it names none.
  bool parse_action(std::string_view text, void* row) const;
  bool parse_action_tokens(std::span<const std::int32_t> tokens, void* row) const;
  void goal_rewards(std::int64_t n, const float* achieved, const float* desired,
                    double* rewards) const;

 private:
  // How one environment lies in a snapshot: this, the random stream, the state, the wrappers'
  // bytes.
  struct SlotHeader {
    LevelSource source;
    double episode_return;
    std::int64_t level;
    std::int32_t elapsed_steps;
    std::uint32_t phase;
  };
  // Raise when the meaning of a slot changes: old snapshots are refused then.
  static constexpr std::uint64_t kSlotVersion = 3;

  struct ParamsDeleter {
    void (*destroy)(void*);
    void operator()(void* params) const { destroy(params); }
  };

  static bool selected(std::span<const bool> mask, std::int64_t i) {
    return mask.empty() || mask[static_cast<std::size_t>(i)];
  }
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  // Construction.
  void describe(GivenOptions& options);
  void make_kind();
  double bytes_needed() const;
  void allocate();
  void prepare_levels();
  void name_actions();

  template <typename Body>
  void parallel(std::int64_t n, std::int64_t grain, Body&& body) const {
    // Fewer threads than the pool has: chunks so large that no more can find work.
    if (options_.num_threads > 0) {
      grain = std::max(grain, (n + options_.num_threads - 1) / options_.num_threads);
    }
    parallel_for(n, grain, body);
  }

  [[noreturn]] void throw_not_reset(const char* function, std::int64_t id) const;
  void check_ids(const char* function, const char* argument,
                 std::span<const std::int64_t> ids) const;
  void check_started(const char* function, std::span<const std::int64_t> ids) const;
  void check_kind(const char* function, const Snapshot& snapshot) const;
  void check_states(const char* function, const Snapshot& snapshot) const;
  bool is_sound(const char* function, const std::byte* slot) const;
  bool is_valid(const char* function, const void* params, const std::byte* state,
                bool running) const;
  const std::byte* state_in(const std::byte* slot) const {
    return slot + sizeof(SlotHeader) + table_.random_size;
  }
  const void* params_in(const std::byte* slot) const;
  void check_actions(const char* function, std::span<const std::int64_t> ids, const void* actions,
                     std::span<const bool> active) const;
  [[noreturn]] void fail_action(const char* function, std::span<const std::int64_t> ids,
                                const void* actions, std::span<const bool> active) const;

  // Bytes of one environment.
  std::byte* random(std::int64_t i) { return randoms_.data() + at(i) * table_.random_size; }
  const std::byte* random(std::int64_t i) const {
    return randoms_.data() + at(i) * table_.random_size;
  }
  void get_state(std::int64_t i, std::byte* state) const;
  void put_state(std::int64_t i, const std::byte* state);
  template <typename Byte>
  struct Slots;
  void read_slots(const Slots<std::byte>& to) const;
  std::int64_t write_slots(const Slots<const std::byte>& from, RngMode rng);
  void put_slots(const Selection& targets, const std::byte* slots, std::size_t stride, RngMode rng);
  void fork(std::int64_t i, const std::byte* stream);

  struct StepPlan;

  // Episodes.
  const std::byte* fixed_level(std::int64_t index, const void* params, std::byte* scratch,
                               CallError& error) const;
  void make_state(std::int64_t i, const ResetChoices& choices, std::byte* state, CallError& error);
  void begin_episode(std::int64_t i, const ResetChoices& choices, CallError& error);
  bool begins_at_once(const StepPlan& plan) const;
  void begin_episodes(const StepPlan& plan, std::int64_t begin, std::int64_t end);
  void share_episode(std::int64_t i, std::int64_t origin);
  void start(std::int64_t i);

  // Wrappers (vector_env_wrappers.cpp).
  const void* params(std::int64_t i) const {
    return num_contexts() == 0 ? params_.get() : wrappers_->contexts()->params(context(i));
  }
  // Whether infos or ends of episodes are more than the environment's own.
  bool wraps() const { return wrappers_ != nullptr || level_info_ >= 0; }
  std::int64_t context(std::int64_t i) const { return wrappers_->context(record(i)); }
  std::byte* record(std::int64_t i) { return records_.data() + at(i) * wrappers_->record_size(); }
  const std::byte* record(std::int64_t i) const {
    return records_.data() + at(i) * wrappers_->record_size();
  }
  template <typename Call>
  void each_context(const std::int64_t* ids, const std::uint8_t* run, std::int64_t begin,
                    std::int64_t end, Call&& call) const;
  void show(const fastrl_step& given, std::int64_t begin, std::int64_t end, bool at_reset,
            Faults& faults) const;
  void inform(const Outputs& out, std::int64_t k, std::int64_t i) const;
  void narrow(fastrl_step& rows, std::int64_t begin, std::int64_t end) const;
  void widen(const fastrl_step& rows, const fastrl_rows& outer, const std::uint8_t* shown,
             std::int64_t begin, std::int64_t end) const;
  std::uint64_t step_labels_of(const StepPlan& plan, std::int64_t k, CallError& error) const;
  bool judge(const StepPlan& plan, std::int64_t k);
  void step_wrapped(const StepPlan& plan, fastrl_step step, std::int64_t begin, std::int64_t end);
  bool end_wrapped(const StepPlan& plan, std::int64_t begin, std::int64_t end);
  bool end_attempt(const StepPlan& plan, std::int64_t k, bool ended, bool over);
  const Contexts* contexts() const {
    return num_contexts() > 0 ? &*wrappers_->contexts() : nullptr;
  }
  void check_level(const char* function, const Contexts* contexts, const std::byte* state,
                   std::int64_t index) const;
  void begin_slot(std::byte* slot, const LevelSource& source, std::int64_t context,
                  const std::byte* state) const;
  void begin_record(std::int64_t i);

  // Steps.
  fastrl_step io(const std::int64_t* ids, const std::uint8_t* run, const Outputs& outputs,
                 CallError& error) const;
  void call_step(const StepPlan& plan, const void* params, const fastrl_step& step,
                 std::int64_t begin, std::int64_t end);
  void show(const StepPlan& plan, const std::uint8_t* run, std::int64_t begin, std::int64_t end,
            bool at_reset);
  void retire(const StepPlan& plan, const Faults& faults);
  std::int64_t step_chunk(const StepPlan& plan, std::int64_t begin, std::int64_t end);
  void begin_chunk(const StepPlan& plan, std::int64_t begin, std::int64_t end);
  std::int64_t end_chunk(const StepPlan& plan, std::int64_t begin, std::int64_t end);
  void reset_pending(const StepPlan& plan, std::int64_t begin, std::int64_t end);
  void begin_heavy_episodes(const StepPlan& plan, std::int64_t n);
  std::int64_t run_step(StepPlan plan, std::int64_t n);
  void keep_final(const Outputs& out, std::int64_t k) const;
  void blank_row(const Outputs& out, std::int64_t k) const;
  void blank_observation(const Outputs& out, std::int64_t k) const;
  void record_history(const StepPlan& plan, std::int64_t begin, std::int64_t end);
  void check_rewind(const Selection& ids, std::int64_t steps) const;
  void draw_actions(std::uint64_t seed, std::int64_t step, std::int64_t begin, std::int64_t end,
                    char* rows) const;

  const fastrl_environment& table_;
  std::shared_ptr<const void> owner_;
  VectorOptions options_;
  std::unique_ptr<void, ParamsDeleter> params_;
  Description description_;
  std::vector<std::int32_t> action_tokens_;
  std::vector<std::string_view> action_names_;
  std::shared_ptr<const SnapshotKind> kind_;
  std::size_t slot_size_ = 0;
  std::int64_t grain_ = 64;
  std::int64_t action_size_ = 8;  // bytes of a row
  std::int64_t action_columns_ = 1;
  // Of integers, a malformed one's included.
  std::int64_t lowest_action_ = 0;
  std::uint64_t action_range_ = 0;
  std::array<std::int64_t, FASTRL_MAX_FIELDS> observation_sizes_{};
  std::array<std::int64_t, FASTRL_MAX_FIELDS> info_sizes_{};

  Bytes states_;
  Bytes randoms_;
  std::vector<LevelSource> sources_;
  std::vector<std::uint32_t> begun_;  // as History has it
  std::vector<double> returns_;
  std::vector<std::int32_t> elapsed_;
  std::vector<Phase> phases_;
  // Or more. A step in the background may change it while more actions are sent.
  std::atomic<std::int64_t> num_unset_ = 0;
  Bytes levels_;  // the fixed levels, if they are few

  // Levels from outside, and the place of each environment's own among them (or -1).
  Bytes given_levels_;
  std::int64_t num_given_levels_ = 0;
  WeightedChoice given_choice_;
  std::vector<std::int64_t> level_indices_;
  std::int32_t level_info_ = -1;  // its position in description.infos

  OptionValues base_options_;
  std::string options_line_;            // the environment's own, canonical
  std::unique_ptr<Wrappers> wrappers_;  // none: all are off
  Bytes records_;                       // their bytes of each environment
  // Scratch of wrapped steps, by place.
  std::vector<std::uint8_t> moving_;
  std::vector<double> reward_sums_;

  History history_;

  // Scratch by place, sized once.
  std::vector<std::uint8_t> run_;
  std::vector<std::uint8_t> pending_;
  std::vector<std::int64_t> to_reset_;
  std::vector<std::size_t> leaders_;
};

// The ids that make_vector_env knows.
std::vector<std::string> environment_ids();
// Whether an id has a form in SIMD.
bool has_fast_form(const std::string& id);

// Throws std::invalid_argument for an unknown id or option.
std::unique_ptr<VectorEnv> make_vector_env(const std::string& id, bool fast,
                                           const VectorOptions& options,
                                           std::map<std::string, OptionValue> environment_options);

std::int64_t size_of(std::int32_t dtype);
std::int64_t row_size(const Field& field);

}  // namespace fastrl
