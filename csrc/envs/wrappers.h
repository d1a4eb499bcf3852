// The wrappers of a batch: what each adds to the description, and where its bytes of an environment
// lie. The engine calls them in vector_env_wrappers.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "envs/attempts.h"
#include "envs/contexts.h"
#include "envs/costs.h"
#include "envs/reward_machine.h"

namespace fastrl {

struct MachineOptions {
  std::shared_ptr<const RewardMachine> machine;  // none: the wrapper is off
  bool adds = false;                             // to the environment's reward, or in its place
  bool observed = false;

  bool on() const { return machine != nullptr; }
};

struct WrapperOptions {
  std::int64_t action_repeat = 1;
  ContextOptions contexts;
  CostOptions costs;
  AttemptOptions attempts;
  MachineOptions machine;

  bool any() const {
    return action_repeat > 1 || contexts.on() || costs.on() || attempts.on() || machine.on();
  }
};

// What can be true of a step, bit by bit: the environment's labels of the state, then "success" and
// "malformed" where there is such a thing.
std::vector<std::string> step_labels(const fastrl_description& description);

class Wrappers {
 public:
  // Positions in description.infos, -1 where there is no such info.
  struct Infos {
    std::int32_t context = -1;
    std::int32_t cost = -1;
    std::int32_t episode_cost = -1;
    std::int32_t attempt = -1;
    std::int32_t attempt_ended = -1;
    std::int32_t labels = -1;
    std::int32_t machine_state = -1;
    std::int32_t machine_clocks = -1;
    std::int32_t discount = -1;
  };

  // Extends `description` by infos and observed numbers.
  Wrappers(const fastrl_environment& table, WrapperOptions options, const OptionValues& base,
           Description& description);

  const WrapperOptions& options() const { return options_; }
  const Infos& infos() const { return infos_; }
  const std::optional<Contexts>& contexts() const { return contexts_; }
  const std::optional<Costs>& costs() const { return costs_; }
  const std::optional<Attempts>& attempts() const { return attempts_; }
  const std::optional<RewardMachine>& machine() const { return machine_; }
  void set_contexts(Contexts contexts);

  bool reads_labels() const { return costs_ || machine_; }
  // Observation 0 is of so many bytes without what is appended to it; 0 if nothing is.
  std::int64_t inner_row_size() const { return inner_row_size_; }

  // An environment's bytes.
  std::size_t record_size() const { return record_size_; }
  std::int64_t context(const std::byte* record) const;
  void set_context(std::byte* record, std::int64_t context) const;
  double& episode_cost(std::byte* record) const;
  double episode_cost(const std::byte* record) const;
  std::int32_t* machine_record(std::byte* record) const;  // the state, then the clocks
  const std::int32_t* machine_record(const std::byte* record) const;
  Attempts::Record& attempt(std::byte* record) const;
  const Attempts::Record& attempt(const std::byte* record) const;
  std::byte* first_state(std::byte* record) const { return record + first_state_at_; }
  const std::byte* first_state(const std::byte* record) const { return record + first_state_at_; }

  // An episode begins with `state`; the context has been set.
  void begin(std::byte* record, const std::byte* state) const;
  // Also the next attempt.
  void begin_machine(std::byte* record) const;
  // May bytes from outside be a record? Says nothing about the first state.
  bool valid(const std::byte* record) const;

  // Writes what is appended to a row of observation 0, behind its inner part.
  void append(const std::byte* record, char* row) const;

  // "attempts=5, reward_machine=…": equal where records mean the same.
  std::string canonical() const;

 private:
  void extend_observation(Description& description);
  void add_infos(Description& description);
  void lay_out(std::size_t state_size);

  WrapperOptions options_;
  Infos infos_;
  std::optional<Contexts> contexts_;
  std::optional<Costs> costs_;
  std::optional<Attempts> attempts_;
  std::optional<RewardMachine> machine_;
  std::int64_t inner_row_size_ = 0;
  std::int32_t observed_dtype_ = FASTRL_FLOAT32;
  std::size_t cost_at_ = 0;
  std::size_t machine_at_ = 0;
  std::size_t attempt_at_ = 0;
  std::size_t first_state_at_ = 0;
  std::size_t state_size_ = 0;
  std::size_t record_size_ = 0;
};

}  // namespace fastrl
