// Keeps draws and additions in proportion: whoever is ahead waits, also for other processes.
//
// Math      lead = sampled − samples_per_insert · (added − min_size). Transitions may be added
// while
//           lead ≥ −error_buffer, and drawn while lead ≤ error_buffer: one of them always may.
//           A call is judged by the numbers before it, however much it adds or draws, so the lead
//           goes beyond the band by one call at most, and no call is too large for it.
//           Adding is also allowed as long as drawing is not, because fewer than min_size were
//           added or nothing is left to draw. So never do both sides wait, whatever the numbers
//           are.
// Waiting   by a futex, a word in the memory: without any cost while nobody waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fastrl {

struct LimiterOptions {
  double samples_per_insert;  // 0: nobody ever waits
  double error_buffer;
  std::int64_t min_size;
};

// What the numbers are that a limiter goes by.
struct LimiterCounts {
  std::int64_t added;     // transitions, ever
  std::int64_t sampled;   // items, ever
  std::int64_t drawable;  // transitions, now
};

// What a call that was refused waits for.
class Wait {
 public:
  // From under the mutex that guards the counts: any change of them after that ends the wait.
  explicit Wait(std::uint32_t& event);
  // Until something has changed, or so many seconds are over.
  void sleep(double seconds) const;

 private:
  std::uint32_t* event_;
  std::uint32_t expected_;
};

class Limiter {
 public:
  static std::size_t memory_size() { return sizeof(State); }
  // All state lies in `memory`, 64-byte aligned: zeroed, nobody has waited.
  Limiter(std::byte* memory, const LimiterOptions& options)
      : options_(options), state_(reinterpret_cast<State*>(memory)) {}

  bool is_on() const { return options_.samples_per_insert > 0; }
  bool may_add(const LimiterCounts& counts) const {
    return !has_enough(counts) || lead(counts) >= -options_.error_buffer;
  }
  bool may_sample(const LimiterCounts& counts) const {
    return has_enough(counts) && lead(counts) <= options_.error_buffer;
  }

  // From here on the two sides are taken to be even.
  void restart(const LimiterCounts& counts);

  // A call that must wait, and the end of such waits once counts have changed.
  Wait adding_refused() { return Wait(state_->adding); }
  Wait sampling_refused() { return Wait(state_->sampling); }
  void wake_adding();
  void wake_sampling();

  void count_add_wait();
  void count_sample_wait();
  std::int64_t num_add_waits() const;
  std::int64_t num_sample_waits() const;

  // Who waits for whom, with the numbers.
  std::string why_adding_waits(const LimiterCounts& counts) const;
  std::string why_sampling_waits(const LimiterCounts& counts) const;

 private:
  struct State {
    std::int64_t added_before;  // beyond min_size, when it was restarted
    std::int64_t sampled_before;
    std::int64_t num_add_waits;
    std::int64_t num_sample_waits;
    std::uint32_t adding;  // changes where adding may have become possible; odd if somebody waits
    std::uint32_t sampling;
    std::int64_t reserved[3];
  };
  static_assert(sizeof(State) == 64);

  bool has_enough(const LimiterCounts& counts) const {
    return counts.added >= options_.min_size && counts.drawable > 0;
  }
  double lead(const LimiterCounts& counts) const {
    const std::int64_t added = counts.added - options_.min_size - state_->added_before;
    return static_cast<double>(counts.sampled - state_->sampled_before) -
           options_.samples_per_insert * static_cast<double>(added);
  }
  std::string numbers(const LimiterCounts& counts) const;

  LimiterOptions options_;
  State* state_;
};

}  // namespace fastrl
