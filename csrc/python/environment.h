// One batch of environments as Python sees it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "core/check.h"
#include "envs/asynchronous.h"
#include "envs/vector_env.h"
#include "python/array_view.h"
#include "python/bind.h"
#include "python/output_ring.h"

namespace fastrl::python {

template <typename T>
std::span<const T> view(std::uintptr_t address, std::int64_t size) {
  if (address == 0) return {};
  return {pointer<const T>(address), static_cast<std::size_t>(size)};
}

// A second thread is refused, it does not wait.
class Environment {
 public:
  // Steps of other people's environments may take any time.
  Environment(std::unique_ptr<VectorEnv> engine, bool is_of_others);
  ~Environment() { end_asynchronous(); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  VectorEnv& engine() { return *engine_; }
  const VectorEnv& engine() const { return *engine_; }

  // Runs `call` alone, while no result of `send` is outstanding.
  template <typename Call>
  auto alone(const char* function, Call&& call) {
    return alone_with_gil(function, [&] {
      const nb::gil_scoped_release released;
      return call(*engine_);
    });
  }

  // None if the array is not as the environment wants it.
  nb::object step(nb::handle actions, OutputRing& ring);
  // False if an array is not as the environment wants it, or there is no `into`, the OutputSet of
  // all that the caller gives no array for. `observations` is an array where that is all there is
  // to observe, else a tuple.
  bool step_into(nb::handle actions, nb::handle observations, nb::handle rewards,
                 nb::handle terminated, nb::handle truncated, const nb::object& into);
  // The one of the last step_into.
  const nb::object& into() const { return into_; }
  // Raised when infos change: output sets from before are refused.
  std::int64_t generation() const { return generation_; }
  // The set that was written. It is taken while nobody else can take it, too.
  nb::object step_some(std::uintptr_t actions, std::uintptr_t active, OutputRing& ring);

  void send(std::uintptr_t ids, std::int64_t n, std::uintptr_t actions, const nb::callable& rows);
  bool receive(std::int64_t n, double timeout, OutputSet& set, std::uintptr_t ids);
  std::int64_t num_outstanding() const {
    return asynchronous_ ? asynchronous_->num_outstanding() : 0;
  }
  // Whether the last `step` has more to say than its arrays: episodes that ended in it, or a reset
  // that decides about dtypes (fastrl_field.whole_at_reset).
  bool is_unusual() const { return num_ended_ > 0 || begins_with_reset_; }

  // None for the environment's own. Infos may change: the rows of `send` are made anew.
  void set_levels(const Snapshot* levels, const std::vector<double>& weights);
  void close();

 private:
  // Fewer steps take some microseconds, a good part of which letting the interpreter go would be.
  static constexpr std::int64_t kManySteps = 128;

  class Exclusive {
   public:
    Exclusive(Environment& env, const char* function) : busy_(env.busy_) {
      if (busy_.test_and_set(std::memory_order_acquire)) {
        throw std::runtime_error(concat(function, ": another thread is using this environment"));
      }
    }
    ~Exclusive() { busy_.clear(std::memory_order_release); }
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

   private:
    std::atomic_flag& busy_;
  };

  class ReleasedGil {
   public:
    explicit ReleasedGil(bool releases) {
      if (releases) release_.emplace();
    }

   private:
    std::optional<nb::gil_scoped_release> release_;
  };

  void check_open(const char* function) const;
  void check_process(const char* function);
  void end_asynchronous();
  bool was_reset_first(const Outputs& outputs) const;
  bool are_apart(const std::byte* action, const std::array<std::byte*, FASTRL_MAX_FIELDS>& rows,
                 const std::byte* reward, const std::byte* ends, const std::byte* cuts) const;

  template <typename Call>
  std::invoke_result_t<Call> alone_with_gil(const char* function, Call&& call) {
    const Exclusive exclusive(*this, function);
    check_open(function);
    if (asynchronous_ && asynchronous_->num_outstanding() > 0) {
      throw std::runtime_error(
          concat(function, ": ", asynchronous_->num_outstanding(),
                 " results of send are outstanding; receive them with recv first"));
    }
    return call();
  }

  std::unique_ptr<VectorEnv> engine_;
  bool releases_gil_;
  ArrayLayout action_, reward_, flag_;
  std::vector<ArrayLayout> observations_;
  nb::object into_;
  std::int64_t generation_ = 0;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  std::int64_t num_ended_ = 0;
  bool begins_with_reset_ = false;
  bool closed_ = false;
  nb::object rows_;
  std::unique_ptr<Asynchronous> asynchronous_;  // ends before what it uses
};

// Addresses by name, as python/fastrl/envs/outputs.py makes them; 0 or missing where there is none.
Outputs outputs_of(const VectorEnv& env, const nb::dict& addresses);

// Parts of bind_envs.
void bind_description(nb::module_& m);
void bind_outputs(nb::module_& m);
void bind_calls(nb::module_& m);
void bind_steps(nb::class_<Environment>& c);
void bind_time(nb::class_<Environment>& c);
void bind_levels(nb::class_<Environment>& c);
void bind_text(nb::class_<Environment>& c);

}  // namespace fastrl::python
