#include "replay/limiter.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <ctime>

#include "core/check.h"

namespace fastrl {
namespace {

using Word = std::atomic_ref<std::uint32_t>;
using Count = std::atomic_ref<std::int64_t>;

void wake(std::uint32_t& event) {
  const Word word(event);
  std::uint32_t seen = word.load(std::memory_order_acquire);
  while ((seen & 1) != 0) {
    if (!word.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
    syscall(SYS_futex, &event, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
    return;
  }
}

}  // namespace

Wait::Wait(std::uint32_t& event) : event_(&event) {
  expected_ = Word(event).fetch_or(1, std::memory_order_acq_rel) | 1;
}

void Wait::sleep(double seconds) const {
  seconds = std::max(seconds, 0.0);
  timespec left{};
  left.tv_sec = static_cast<std::time_t>(seconds);
  left.tv_nsec = static_cast<long>((seconds - static_cast<double>(left.tv_sec)) * 1e9);
  // Returns at once where the word has changed; who called looks again in any case.
  syscall(SYS_futex, event_, FUTEX_WAIT, expected_, &left, nullptr, 0);
}

void Limiter::restart(const LimiterCounts& counts) {
  state_->added_before = std::max<std::int64_t>(counts.added - options_.min_size, 0);
  state_->sampled_before = counts.sampled;
  wake_adding();
  wake_sampling();
}

void Limiter::wake_adding() { wake(state_->adding); }
void Limiter::wake_sampling() { wake(state_->sampling); }

void Limiter::count_add_wait() {
  Count(state_->num_add_waits).fetch_add(1, std::memory_order_relaxed);
}
void Limiter::count_sample_wait() {
  Count(state_->num_sample_waits).fetch_add(1, std::memory_order_relaxed);
}

std::int64_t Limiter::num_add_waits() const {
  return Count(state_->num_add_waits).load(std::memory_order_relaxed);
}
std::int64_t Limiter::num_sample_waits() const {
  return Count(state_->num_sample_waits).load(std::memory_order_relaxed);
}

std::string Limiter::numbers(const LimiterCounts& counts) const {
  return concat(counts.added, " added, ", counts.sampled, " sampled, ", options_.samples_per_insert,
                " samples per insert, min_size ", options_.min_size, ", error_buffer ",
                options_.error_buffer);
}

std::string Limiter::why_adding_waits(const LimiterCounts& counts) const {
  return concat("the writers wait for the learner: ", numbers(counts));
}

std::string Limiter::why_sampling_waits(const LimiterCounts& counts) const {
  const char* why = "";
  if (!has_enough(counts)) {
    why = counts.added < options_.min_size ? "min_size is not reached, "
                                           : "no transition can be drawn, ";
  }
  return concat("the learner waits for the writers: ", why, numbers(counts));
}

}  // namespace fastrl
