// Steps that run while the caller does something else.
//
// Results come out in the order in which their actions went in, so a program that uses them gives
// the same numbers as one that steps, for any number of threads and any cut into batches.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "envs/vector_env.h"

namespace fastrl {

class Asynchronous {
 public:
  // `rows` are as many output rows as `env` has environments; results wait in them. Both must
  // outlive this.
  Asynchronous(VectorEnv& env, const Outputs& rows);
  ~Asynchronous();
  Asynchronous(const Asynchronous&) = delete;
  Asynchronous& operator=(const Asynchronous&) = delete;

  // Everything is checked before anything is taken. An environment has one action under way.
  void send(std::span<const std::int64_t> ids, const void* actions);

  // Waits for the next `n` results, at most `timeout` seconds (forever if negative); copies them to
  // places 0, …, n - 1 and their environments to `ids`. False if it took too long: nothing is lost.
  // If environments among them have failed, throws std::runtime_error about the first: the n
  // results count as received then, and who has failed needs a reset.
  bool receive(std::int64_t n, double timeout, const Outputs& to, std::int64_t* ids);

  std::int64_t num_outstanding() const { return sent_ - received_; }

  // A forked child has a copy of this without its thread, which can neither be used nor ended.
  bool is_of_this_process() const;

 private:
  void work();
  Faults step(std::span<const std::int64_t> ids, std::int64_t first);
  std::int64_t row(std::int64_t sequence) const { return sequence % env_.num_envs(); }

  VectorEnv& env_;
  Outputs rows_;
  std::int64_t action_size_;
  // Rings over the numbers of actions: of each environment id and its action.
  std::vector<std::int64_t> ids_;
  std::vector<std::byte> actions_;
  std::vector<bool> outstanding_;

  mutable std::mutex mutex_;
  std::condition_variable sent_more_;
  std::condition_variable stepped_more_;
  std::int64_t sent_ = 0;  // written by the caller alone
  std::int64_t stepped_ = 0;
  std::int64_t received_ = 0;  // of the caller alone
  Faults faults_;              // of results that wait, their places counted from the first action
  bool stopping_ = false;
  pid_t process_;
  std::thread worker_;
};

}  // namespace fastrl
