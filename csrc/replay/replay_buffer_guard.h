// What the files of ReplayBuffer share: its lock, and what a priority may be.
#pragma once

#include <cstddef>
#include <exception>
#include <limits>

#include "core/check.h"
#include "replay/layout.h"
#include "replay/replay_buffer.h"

namespace fastrl {

// Of a pending row: as the sampler's rule for new ones says.
inline constexpr double kNoPriority = -1.0;

inline bool is_priority(double priority) {
  return priority >= 0 && priority <= std::numeric_limits<double>::max();
}

[[noreturn]] inline void fail_priority(const char* function, double priority, std::size_t item) {
  fail_value(function, "priorities", "be finite and at least 0", concat(priority, " at ", item));
}

// Holds the buffer's mutex, and says in the memory what for.
class ReplayBuffer::Guard {
 public:
  // Undoes what the last holder left unfinished.
  explicit Guard(ReplayBuffer& buffer)
      : header_(buffer.header_), exceptions_(std::uncaught_exceptions()) {
    header_.mutex.lock();
    if (header_.call != CallState::kNone) {
      try {
        buffer.repair();
      } catch (...) {
        header_.mutex.unlock();
        throw;
      }
    }
    say(CallState::kReading);
  }
  // A change that has failed half-way is left to the next one, like that of a process that died.
  ~Guard() {
    if (!changes_ || std::uncaught_exceptions() == exceptions_) say(CallState::kNone);
    header_.mutex.unlock();
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  // All checks have passed: from here to the end the memory is not consistent.
  void begin_change() {
    header_.num_added_before = header_.num_added;
    in_this_order();
    ++header_.change;
    say(CallState::kChanging);
    changes_ = true;
  }

 private:
  void say(CallState call) {
    in_this_order();
    header_.call = call;
    in_this_order();
  }

  BufferHeader& header_;
  int exceptions_;
  bool changes_ = false;
};

}  // namespace fastrl
