// What the files of ReplayBuffer share: its lock, and what a priority may be.
#pragma once

#include <cstddef>
#include <limits>
#include <stdexcept>

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

// Holds the buffer's mutex.
class ReplayBuffer::Guard {
 public:
  explicit Guard(BufferHeader& header) : header_(header) {
    header_.mutex.lock();
    if (header_.is_changing == 0) return;
    header_.mutex.unlock();
    throw std::runtime_error("ReplayBuffer: a process died while it changed this buffer");
  }
  ~Guard() {
    if (changes_) header_.is_changing = 0;
    header_.mutex.unlock();
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  // All checks have passed: from here to the end the memory is not consistent.
  void begin_change() {
    header_.is_changing = 1;
    changes_ = true;
  }

 private:
  BufferHeader& header_;
  bool changes_ = false;
};

}  // namespace fastrl
