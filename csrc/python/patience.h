// How a call waits that the limiter refuses: without the GIL, and not deaf to Ctrl-C.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>

#include "core/check.h"
#include "python/bind.h"
#include "replay/limiter.h"

namespace fastrl::python {

// At most so long until it looks again: for signals, and where who should wake it was killed.
inline constexpr double kLongestSleep = 0.1;

// TimeoutError in Python.
class LimiterTimeout : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Calls `attempt` until it no longer asks to wait, for so many seconds at most, after which
// TimeoutError says why(). Returns whether it had to wait. Holds the GIL on entry and exit.
template <typename Attempt, typename Why>
bool patiently(const char* function, double seconds, Attempt attempt, Why why) {
  std::optional<std::chrono::steady_clock::time_point> begin;
  while (true) {
    bool is_over = false;
    {
      const nb::gil_scoped_release released;
      const std::optional<Wait> wait = attempt();
      if (!wait) return begin.has_value();
      const auto now = std::chrono::steady_clock::now();
      if (!begin) begin = now;
      const double left = seconds - std::chrono::duration<double>(now - *begin).count();
      is_over = left <= 0;
      if (!is_over) wait->sleep(std::min(left, kLongestSleep));
    }
    if (is_over) {
      throw LimiterTimeout(concat(function, ": waited ", seconds, " s, ", why()));
    }
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

}  // namespace fastrl::python
