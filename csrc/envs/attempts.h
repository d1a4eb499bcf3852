// Several attempts at one level inside one episode: retries after a failure, or trials of several
// inner episodes. Each attempt begins with the state that the episode began with.
//
// Trials    the rewards are the environment's; the episode ends with its last attempt, or with the
//           first success where that is asked for.
// Retries   the episode ends with the first success or the last attempt, and its last step has the
//           only reward: decay^t, if attempt t = 0, 1, … succeeded, minus
//           repeat_penalty (1 - E / T) with E different answers in T attempts. An answer is all the
//           actions of an attempt.
// Source    trials: LaMer; retries: "A Simple 'Try Again' Can Elicit Multi-Turn LLM Reasoning".
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastrl {

struct AttemptOptions {
  std::int64_t max_attempts = 0;  // 0: the wrapper is off
  bool until_success = false;
  bool retries = false;
  double decay = 0.5;
  double repeat_penalty = 0.5;

  bool on() const { return max_attempts > 0; }
};

class Attempts {
 public:
  static constexpr std::int64_t kMaxRetries = 64;

  // An environment's bytes, with `answers` of as many attempts as are counted.
  struct Record {
    std::int64_t attempt;
    std::uint64_t answer;  // of this attempt, so far
    std::uint64_t answers[kMaxRetries];
  };
  struct Outcome {
    bool again = false;
    double reward = 0.0;  // retries: of the step
  };

  explicit Attempts(const AttemptOptions& options) : options_(options) {}

  const AttemptOptions& options() const { return options_; }
  std::size_t record_size() const;

  void begin(Record& record) const;
  // Retries: takes note of an action.
  void act(Record& record, const void* action, std::size_t size) const;
  // After the end of an attempt: whether the level begins anew, and then it has. `final`: it must
  // not.
  Outcome end(Record& record, bool success, bool final) const;
  bool valid(const Record& record) const;

 private:
  double retry_reward(const Record& record, bool success) const;

  AttemptOptions options_;
};

}  // namespace fastrl
