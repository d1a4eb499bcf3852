#include <sched.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "replay/replay_buffer.h"

namespace fastrl {
namespace {

constexpr double kOwnExponent = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kLanes = 3;
constexpr std::int64_t kRows = 24;
constexpr std::size_t kSamplers = 4;
constexpr std::size_t kNumbers = 6;  // of an observation, all functions of the first

Field field(const char* name, FieldRole role, std::int64_t numbers, std::int64_t stack) {
  Field made{};
  std::snprintf(made.name, sizeof(made.name), "%s", name);
  made.role = role;
  made.num_dimensions = 1;
  made.shape[0] = numbers;
  made.item_bytes = sizeof(float);
  made.bytes = numbers * made.item_bytes;
  made.stack = stack;
  return made;
}

BufferOptions options(std::int64_t stack) {
  BufferOptions made;
  made.num_lanes = kLanes;
  made.rows_per_lane = kRows;
  made.n_step = 2;
  made.fields = {field("observations", FieldRole::kObservation, kNumbers, stack),
                 field("rewards", FieldRole::kOther, 1, 1)};
  SamplerOptions sampler{};
  sampler.priority_start = sampler.priority_end = 0.6;
  sampler.kind = SamplerKind::kProportional;
  made.samplers.push_back(sampler);
  sampler.kind = SamplerKind::kRank;
  made.samplers.push_back(sampler);
  sampler.kind = SamplerKind::kUniform;
  made.samplers.push_back(sampler);
  // The priorities are weighed anew in every batch.
  sampler.kind = SamplerKind::kProportional;
  sampler.priority_end = 0.1;
  sampler.priority_steps = 64;
  made.samplers.push_back(sampler);
  return made;
}

float number(float first, std::size_t i) {
  return static_cast<float>(mix64(static_cast<std::uint64_t>(first) + i) >> 44);
}

// Steps of all lanes, each named by a number that is its reward and makes its observation. A final
// observation is named like a step, too, and names go up by one along an episode.
struct Writer {
  void make(std::int64_t num_steps) {
    values.clear();
    finals.clear();
    names.clear();
    flags.clear();
    none.assign(static_cast<std::size_t>(num_steps * kLanes), 0);
    handles.resize(none.size());
    for (std::int64_t step = 0; step < num_steps; ++step) {
      for (float& following : next) {
        const float name = following++;
        const bool ends = mix64(static_cast<std::uint64_t>(name)) % 7 == 0;
        names.push_back(name);
        flags.push_back(ends ? 1 : 0);
        for (std::size_t i = 0; i < kNumbers; ++i) values.push_back(number(name, i));
        for (std::size_t i = 0; i < kNumbers; ++i) finals.push_back(number(name + 1, i));
        if (ends) following += 10;
      }
    }
    rows.num_steps = num_steps;
    rows.num_lanes = kLanes;
    rows.values = {reinterpret_cast<const std::byte*>(values.data()),
                   reinterpret_cast<const std::byte*>(names.data())};
    rows.final_values = {reinterpret_cast<const std::byte*>(finals.data()), nullptr};
    rows.terminated = none.data();
    rows.truncated = flags.data();
  }
  float next[kLanes] = {0, 1 << 18, 2 << 18};
  std::vector<float> values, finals, names;
  std::vector<std::uint8_t> flags, none;
  std::vector<std::uint64_t> handles;
  NewRows rows;
};

struct Drawn {
  explicit Drawn(std::size_t n, std::size_t stack)
      : values(n * kNumbers * stack),
        next(values.size()),
        rewards(n),
        discounts(n),
        weights(n),
        probabilities(n),
        handles(n),
        terminated(n),
        truncated(n) {
    arrays.values = {reinterpret_cast<std::byte*>(values.data()),
                     reinterpret_cast<std::byte*>(rewards.data())};
    arrays.next_values = {reinterpret_cast<std::byte*>(next.data()), nullptr};
    arrays.discounts = reinterpret_cast<std::byte*>(discounts.data());
    arrays.terminated = terminated.data();
    arrays.truncated = truncated.data();
    arrays.handles = handles.data();
    arrays.probabilities = probabilities.data();
    arrays.importance_weights = weights.data();
  }
  // Whether item i is a step, its history and what came one or two steps later.
  bool is_whole(std::size_t i, std::size_t stack) const {
    const auto is_row = [&](const std::vector<float>& of, std::size_t place, float name) {
      for (std::size_t j = 0; j < kNumbers; ++j) {
        if (of[(i * stack + place) * kNumbers + j] != number(name, j)) return false;
      }
      return true;
    };
    // The first row of an episode takes the place of those before it.
    const auto is_stack = [&](const std::vector<float>& of, float newest) {
      bool whole = is_row(of, stack - 1, newest);
      for (std::size_t back = 1; back < stack; ++back) {
        const std::size_t place = stack - 1 - back;
        bool found = false;
        for (std::size_t age = 0; age <= back; ++age) {
          found = found || is_row(of, place, newest - static_cast<float>(age));
        }
        whole = whole && found;
      }
      return whole;
    };
    return is_stack(values, rewards[i]) &&
           (is_stack(next, rewards[i] + 1) || is_stack(next, rewards[i] + 2));
  }
  std::vector<float> values, next, rewards, discounts, weights;
  std::vector<double> probabilities;
  std::vector<std::uint64_t> handles;
  std::vector<std::uint8_t> terminated, truncated;
  BatchArrays arrays;
};

std::vector<std::uint64_t> drawable(ReplayBuffer& buffer) {
  std::vector<std::uint64_t> handles(kLanes * kRows);
  handles.resize(static_cast<std::size_t>(
      buffer.drawable_handles(handles.data(), static_cast<std::int64_t>(handles.size()))));
  std::ranges::sort(handles);
  return handles;
}

// All rows and all samplers agree with each other.
bool is_consistent(ReplayBuffer& buffer, std::size_t stack) {
  const std::vector<std::uint64_t> all = drawable(buffer);
  bool good = static_cast<std::int64_t>(all.size()) == buffer.num_drawable();
  if (all.empty()) return good;
  Drawn drawn(all.size(), stack);
  buffer.gather(all, drawn.arrays);
  for (std::size_t i = 0; i < all.size(); ++i) good = good && drawn.is_whole(i, stack);
  std::vector<double> priorities(all.size());
  buffer.priorities(all, 0, priorities.data());
  for (const double priority : priorities) good = good && priority > 0;
  Drawn many(200, stack);
  for (std::size_t sampler = 0; sampler < kSamplers; ++sampler) {
    buffer.sample(200, sampler, kOwnExponent, many.arrays);
    for (std::size_t i = 0; i < 200; ++i) {
      good = good && std::ranges::binary_search(all, many.handles[i]);
      good = good && many.is_whole(i, stack);
    }
  }
  return good;
}

// Keeps this process and its children on one core, where they take turns without waiting.
class OneCore {
 public:
  OneCore() {
    sched_getaffinity(0, sizeof(all_), &all_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
    sched_setaffinity(0, sizeof(one), &one);
  }
  ~OneCore() { sched_setaffinity(0, sizeof(all_), &all_); }
  OneCore(const OneCore&) = delete;
  OneCore& operator=(const OneCore&) = delete;

 private:
  cpu_set_t all_{};
};

// Lets a child make a call, kills it after so many instructions, and returns how many it got to.
std::int64_t kill_after(std::int64_t instructions, const std::function<void()>& call) {
  const OneCore one_core;
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    call();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  std::int64_t done = 0;
  while (WIFSTOPPED(status) && done < instructions &&
         ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0) {
    waitpid(child, &status, 0);
    ++done;
  }
  if (WIFSTOPPED(status)) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  return done;
}

// How many kills in each call: FASTRL_TEST_KILLS, else a few.
std::int64_t num_kills() {
  const char* given = std::getenv("FASTRL_TEST_KILLS");
  return given == nullptr ? 2 : std::strtoll(given, nullptr, 10);
}

struct Victim {
  explicit Victim(std::int64_t stack)
      : place{MemoryKind::kShared,
              "fastrl_repair_" + std::to_string(getpid()) + "_" + std::to_string(stack)},
        buffer(place, options(stack)) {
    for (int call = 0; call < 12; ++call) {
      writer.make(3);
      add();
    }
  }
  void add() { buffer.add(writer.rows, writer.handles.data()); }
  MemoryPlace place;
  ReplayBuffer buffer;
  Writer writer;
  std::vector<std::uint64_t> handles;  // what a call is to work on
  std::vector<double> priorities;
};

// Kills children in a call, the first in its middle and others anywhere. They have a copy of the
// parent's buffer, over the same shared memory.
void kill_anywhere(std::int64_t stack, bool adds, const std::function<void(Victim&)>& prepare,
                   const std::function<void(Victim&)>& call) {
  Victim victim(stack);
  auto random = RandomStream::seeded(7, static_cast<std::uint64_t>(stack));
  const std::vector<std::int64_t> lanes{0, 1, 2};
  std::int64_t length = 0;
  std::int64_t num_undone = 0;
  bool good = true;
  for (std::int64_t n = 0; n <= num_kills(); ++n) {
    const Writer before = victim.writer;
    prepare(victim);
    const std::vector<std::uint64_t> old = drawable(victim.buffer);
    const ReplayBuffer::Counters counters = victim.buffer.counters();
    std::int64_t at = std::numeric_limits<std::int64_t>::max();  // to see how long it is
    if (n == 1) at = length / 2;
    if (n > 1) at = random.below(static_cast<std::uint32_t>(length));
    const std::int64_t done = kill_after(at, [&] { call(victim); });
    if (n == 0) length = done;
    good = good && is_consistent(victim.buffer, static_cast<std::size_t>(stack));
    if (victim.buffer.counters().num_repairs > counters.num_repairs) {
      ++num_undone;
      good = good && victim.buffer.counters().num_added == counters.num_added;
      const std::vector<std::uint64_t> now = drawable(victim.buffer);
      good = good && std::ranges::includes(old, now);
      // The rows of the call took as many places, and each lane lost its newest step.
      good = good &&
             static_cast<std::int64_t>(old.size() - now.size()) <= kLanes * (2 * 3 + 2 + 2 * stack);
    }
    // Another writer takes over.
    victim.writer = before;
    for (float& name : victim.writer.next) name += 1000;
    if (!(adds && n == 1)) {  // there all lanes were being changed, and so they are cut already
      victim.buffer.end_episodes(lanes, {});
      good = good && is_consistent(victim.buffer, static_cast<std::size_t>(stack));
    }
    for (int i = 0; i < 5; ++i) {
      victim.writer.make(1 + n % 4);
      victim.add();
    }
    good = good && is_consistent(victim.buffer, static_cast<std::size_t>(stack));
  }
  CHECK(good);
  CHECK(num_undone > 0);
}

TEST(adding_may_be_killed_at_any_instruction) {
  kill_anywhere(
      3, true, [](Victim& victim) { victim.writer.make(3); }, [](Victim& victim) { victim.add(); });
}

TEST(a_single_step_may_be_killed_at_any_instruction) {
  kill_anywhere(
      1, true, [](Victim& victim) { victim.writer.make(1); }, [](Victim& victim) { victim.add(); });
}

TEST(updates_may_be_killed_at_any_instruction) {
  const auto prepare = [](Victim& victim) {
    victim.handles = drawable(victim.buffer);
    victim.handles.resize(16);
    victim.priorities.resize(victim.handles.size());
    for (std::size_t i = 0; i < victim.handles.size(); ++i) {
      victim.priorities[i] = 1e-9 * static_cast<double>(1 + i);
    }
    victim.priorities[0] = 1e30;  // all weights are shifted
  };
  for (const std::size_t sampler : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
    kill_anywhere(1, false, prepare, [=](Victim& victim) {
      victim.buffer.update_priorities(victim.handles, std::span<const double>(victim.priorities),
                                      sampler);
    });
  }
}

TEST(draws_and_ends_may_be_killed_at_any_instruction) {
  const auto prepare = [](Victim& victim) { victim.handles = drawable(victim.buffer); };
  kill_anywhere(2, false, prepare, [](Victim& victim) {
    const std::vector<std::int64_t> lanes{1, 2};
    victim.buffer.end_episodes(lanes, {});
    victim.buffer.evict(std::span(victim.handles.data(), 3));
    Drawn drawn(4, 2);
    for (std::size_t sampler = 0; sampler < kSamplers; ++sampler) {
      victim.buffer.sample(4, sampler, kOwnExponent, drawn.arrays);
    }
  });
}

}  // namespace
}  // namespace fastrl
