// What goes wrong in an environment's own code, which may be anybody's.
//
// One environment's failure is its own: the others of the batch make their step, whatever the
// number of threads and the cut into chunks, and the call says in the end who has failed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "envs/environment_table.h"

namespace fastrl {

// The message in valid UTF-8, whatever bytes were written.
std::string text_of(const fastrl_error& error);

// What one call of a table's function fills in.
class CallError : public fastrl_error {
 public:
  // A message counts only where it was written.
  CallError() { clear(); }  // NOLINT(*-member-init, *UninitializedObject)

  bool failed() const { return status != FASTRL_OK; }
  void clear() { status = FASTRL_OK; }
  // Throws std::invalid_argument with the message where an argument was refused, or
  // std::runtime_error that names `function` and the environment.
  void check(const char* function, const char* id) const {
    if (failed()) raise(function, id);
  }

 private:
  [[noreturn]] void raise(const char* function, const char* id) const;
};

struct Fault {
  std::int64_t place;
  std::int64_t environment;
  std::string message;
};
using Faults = std::vector<Fault>;

// Runs call(first) for places from `begin` on, and again behind each that fails.
template <typename Call>
void each_sound(const fastrl_step& io, std::int64_t begin, std::int64_t end, Faults& faults,
                Call&& call) {
  while (begin < end) {
    call(begin);
    if (io.error->status == FASTRL_OK) return;
    const std::int64_t place = std::clamp(io.error->place, begin, end - 1);
    faults.push_back({place, io.ids != nullptr ? io.ids[place] : place, text_of(*io.error)});
    io.error->status = FASTRL_OK;
    begin = place + 1;
  }
}

// The faults of a call, from several threads.
class FaultLog {
 public:
  void add(const Faults& faults);
  bool empty() const { return faults_.empty(); }
  // By place.
  Faults take();

  // Throws std::runtime_error about the first, if there is one. `remedy` says what to do about it.
  void check(const char* function, const char* id, const char* remedy = "");

 private:
  std::mutex mutex_;
  Faults faults_;
};

// "environment 3 of Counter-v0 has failed…: `step` threw: out of fuel"
std::string fault_message(const Fault& fault, const char* id, const char* remedy);

inline constexpr const char* kNeedsReset = " and needs a reset";

}  // namespace fastrl
