#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "replay/replay_buffer.h"

namespace fastrl {
namespace {

constexpr std::int64_t kNumbers =
    20;  // of an observation, all of them the same function of the first

Field field(const char* name, FieldRole role, std::int64_t numbers) {
  Field made{};
  std::snprintf(made.name, sizeof(made.name), "%s", name);
  made.role = role;
  made.num_dimensions = 1;
  made.shape[0] = numbers;
  made.item_bytes = sizeof(float);
  made.bytes = numbers * made.item_bytes;
  made.stack = 1;
  return made;
}

BufferOptions options(std::int64_t num_lanes, std::int64_t rows_per_lane) {
  BufferOptions made;
  made.num_lanes = num_lanes;
  made.rows_per_lane = rows_per_lane;
  made.fields = {field("observations", FieldRole::kObservation, kNumbers),
                 field("rewards", FieldRole::kReward, 1)};
  SamplerOptions sampler{};
  sampler.kind = SamplerKind::kProportional;
  sampler.priority_start = sampler.priority_end = 0.6;
  sampler.new_value = 1;
  made.samplers = {sampler};
  return made;
}

float number(std::uint32_t first, std::int64_t i) {
  return static_cast<float>(mix64(first + static_cast<std::uint64_t>(i)) >> 44);
}

// Steps of one lane whose every number depends on the step.
struct Steps {
  Steps(std::int64_t count, std::uint32_t first) : rewards(static_cast<std::size_t>(count)) {
    for (std::int64_t step = 0; step < count; ++step) {
      const std::uint32_t name = first + static_cast<std::uint32_t>(step);
      rewards[static_cast<std::size_t>(step)] = static_cast<float>(name);
      for (std::int64_t i = 0; i < kNumbers; ++i) observations.push_back(number(name, i));
    }
    flags.resize(static_cast<std::size_t>(count));
    handles.resize(static_cast<std::size_t>(count));
  }
  NewRows rows(const std::int64_t* lane) const {
    NewRows made;
    made.num_steps = static_cast<std::int64_t>(rewards.size());
    made.num_lanes = 1;
    made.lanes = lane;
    made.values = {reinterpret_cast<const std::byte*>(observations.data()),
                   reinterpret_cast<const std::byte*>(rewards.data())};
    made.terminated = flags.data();
    made.truncated = flags.data();
    return made;
  }
  std::vector<float> observations, rewards;
  std::vector<std::uint8_t> flags;
  std::vector<std::uint64_t> handles;
};

struct Drawn {
  explicit Drawn(std::int64_t n)
      : observations(static_cast<std::size_t>(n * kNumbers)),
        next(observations.size()),
        rewards(static_cast<std::size_t>(n)),
        discounts(rewards.size()),
        weights(rewards.size()),
        probabilities(rewards.size()),
        handles(rewards.size()),
        flags(2 * rewards.size()) {
    arrays.values = {reinterpret_cast<std::byte*>(observations.data()),
                     reinterpret_cast<std::byte*>(rewards.data())};
    arrays.next_values = {reinterpret_cast<std::byte*>(next.data()), nullptr};
    arrays.discounts = reinterpret_cast<std::byte*>(discounts.data());
    arrays.terminated = flags.data();
    arrays.truncated = flags.data() + n;
    arrays.handles = handles.data();
    arrays.probabilities = probabilities.data();
    arrays.importance_weights = weights.data();
  }
  // Whether item i is a step and its successor, nothing else.
  bool is_whole(std::size_t i) const {
    const auto name = static_cast<std::uint32_t>(rewards[i]);
    for (std::int64_t j = 0; j < kNumbers; ++j) {
      const std::size_t at = i * kNumbers + static_cast<std::size_t>(j);
      if (observations[at] != number(name, j) || next[at] != number(name + 1, j)) return false;
    }
    return true;
  }
  std::vector<float> observations, next, rewards, discounts, weights;
  std::vector<double> probabilities;
  std::vector<std::uint64_t> handles;
  std::vector<std::uint8_t> flags;
  BatchArrays arrays;
};

constexpr double kOwnExponent = std::numeric_limits<double>::quiet_NaN();

TEST(threads_that_write_and_draw_see_whole_rows) {
  constexpr std::int64_t kWriters = 3;
  ReplayBuffer buffer(MemoryPlace{}, options(kWriters, 50));
  for (std::int64_t lane = 0; lane < kWriters; ++lane) {
    Steps first(2, static_cast<std::uint32_t>(lane) << 20);
    buffer.add(first.rows(&lane), first.handles.data());
  }
  std::atomic<int> torn{0};
  std::atomic<int> writing{kWriters};
  std::vector<std::thread> threads;
  threads.reserve(kWriters);
  for (std::int64_t lane = 0; lane < kWriters; ++lane) {
    threads.emplace_back([&, lane] {
      std::uint32_t next = (static_cast<std::uint32_t>(lane) << 20) + 2;
      for (int call = 0; call < 200; ++call) {
        Steps steps(1 + call % 7, next);
        next += static_cast<std::uint32_t>(steps.rewards.size());
        buffer.add(steps.rows(&lane), steps.handles.data());
      }
      --writing;
    });
  }
  threads.emplace_back([&] {
    Drawn drawn(32);
    std::vector<double> priorities(32);
    for (int call = 0; writing > 0 || call < 50; ++call) {
      buffer.sample(32, 0, kOwnExponent, drawn.arrays);
      for (std::size_t i = 0; i < 32; ++i) {
        if (!drawn.is_whole(i)) ++torn;
        priorities[i] = static_cast<double>(i % 4);
      }
      buffer.update_priorities(drawn.handles, std::span<const double>(priorities), 0);
    }
  });
  for (std::thread& thread : threads) thread.join();
  CHECK(torn == 0);
  CHECK(buffer.size() == kWriters * 50);
  CHECK(buffer.num_drawable() == kWriters * 49);
}

// The same rows to two buffers, step by step and several steps at once: what is quick for a step
// must come to the same as what is right for any rows.
TEST(steps_one_by_one_are_the_same_as_at_once) {
  constexpr std::int64_t kLanes = 40;
  constexpr std::int64_t kAtOnce = 3;
  auto random = RandomStream::seeded(9, 0);
  BufferOptions of_both = options(kLanes, 13);
  of_both.samplers.push_back(of_both.samplers[0]);
  of_both.samplers[1].kind = SamplerKind::kRank;
  of_both.samplers.push_back(of_both.samplers[0]);
  of_both.samplers[2].priority_end = 0.1;
  of_both.samplers[2].priority_steps = 64;
  ReplayBuffer together(MemoryPlace{}, of_both);
  ReplayBuffer apart(MemoryPlace{}, of_both);
  std::vector<std::uint64_t> all(kLanes * 13);
  bool equal = true;
  for (std::int64_t round = 0; round < 20; ++round) {  // the lanes wrap around
    Steps rows(kAtOnce * kLanes, static_cast<std::uint32_t>(round * kAtOnce * kLanes));
    for (std::uint8_t& flag : rows.flags) flag = random.below(10) == 0 ? 1 : 0;
    NewRows given = rows.rows(nullptr);
    given.num_steps = kAtOnce;
    given.num_lanes = kLanes;
    given.final_values = {given.values[0], nullptr};
    apart.add(given, rows.handles.data());
    for (std::int64_t step = 0; step < kAtOnce; ++step) {
      NewRows one = given;
      one.num_steps = 1;
      one.values[0] += step * kLanes * of_both.fields[0].bytes;
      one.values[1] += step * kLanes * of_both.fields[1].bytes;
      one.final_values[0] += step * kLanes * of_both.fields[0].bytes;
      one.terminated += step * kLanes;
      one.truncated += step * kLanes;
      std::vector<std::uint64_t> handles(kLanes);
      together.add(one, handles.data());
      equal =
          equal && std::equal(handles.begin(), handles.end(), rows.handles.begin() + step * kLanes);
    }
    const std::int64_t n = together.drawable_handles(all.data(), kLanes * 13);
    equal = equal && n == together.num_drawable();
    const std::span<const std::uint64_t> drawable(all.data(), static_cast<std::size_t>(n));
    std::vector<std::uint64_t> others(all.size());
    equal = equal && apart.drawable_handles(others.data(), kLanes * 13) == n;
    equal = equal && std::ranges::equal(drawable, std::span(others.data(), drawable.size()));
    Drawn of_together(n);
    Drawn of_apart(n);
    together.gather(drawable, of_together.arrays);
    apart.gather(drawable, of_apart.arrays);
    equal = equal && of_together.observations == of_apart.observations;
    equal = equal && of_together.next == of_apart.next && of_together.flags == of_apart.flags;
    std::vector<double> values(drawable.size());
    for (const std::size_t sampler : {std::size_t{0}, std::size_t{2}}) {
      std::vector<double> same(drawable.size());
      together.priorities(drawable, sampler, values.data());
      apart.priorities(drawable, sampler, same.data());
      equal = equal && values == same;
    }
    for (std::size_t sampler = 0; sampler < 3; ++sampler) {
      equal = equal && together.num_drawable(sampler) == n && apart.num_drawable(sampler) == n;
    }
    // New priorities for some, and others are evicted, one newest row among them.
    for (double& value : values) value = random.uniform();
    const auto few = static_cast<std::size_t>(n / 3);
    const std::uint64_t newest[] = {
        rows.handles[rows.handles.size() - 1 - static_cast<std::size_t>(round)]};
    for (ReplayBuffer* buffer : {&together, &apart}) {
      for (std::size_t sampler = 0; sampler < 3; ++sampler) {
        buffer->update_priorities(drawable.first(few), std::span<const double>(values).first(few),
                                  sampler);
      }
      buffer->evict(drawable.subspan(few, 1));
      buffer->evict(newest);
    }
  }
  CHECK(equal);
}

TEST(two_buffers_over_one_file_are_one) {
  const std::string path = "/tmp/fastrl_test_buffer_" + std::to_string(getpid());
  ReplayBuffer first(MemoryPlace{MemoryKind::kFile, path}, options(1, 64));
  ReplayBuffer second(Memory::open(MemoryPlace{MemoryKind::kFile, path}));
  unlink(path.c_str());
  CHECK(second.options().fields.size() == 2);
  const std::int64_t lane = 0;
  Steps steps(20, 100);
  first.add(steps.rows(&lane), steps.handles.data());
  CHECK(second.num_drawable() == 19);
  Drawn drawn(50);
  second.sample(50, 0, kOwnExponent, drawn.arrays);
  bool whole = true;
  for (std::size_t i = 0; i < 50; ++i) whole = whole && drawn.is_whole(i);
  CHECK(whole);
  const std::vector<double> priorities{0.0};
  CHECK(second.update_priorities({steps.handles.data(), 1}, std::span<const double>(priorities),
                                 0) == 1);
  first.sample(50, 0, kOwnExponent, drawn.arrays);
  bool drawn_again = false;
  for (const float reward : drawn.rewards) drawn_again = drawn_again || reward == 100;
  CHECK(!drawn_again);
}

TEST(shared_memory_is_named_until_its_maker_is_gone) {
  const MemoryPlace place{MemoryKind::kShared, "fastrl_test_" + std::to_string(getpid())};
  {
    Memory made = Memory::create(place, 8192);
    made.admit_others();
    const Memory opened = Memory::open(place);
    made.data()[5000] = std::byte{7};
    CHECK(opened.size() == 8192);
    CHECK(opened.data()[5000] == std::byte{7});
    bool refused = false;
    try {
      Memory::create(place, 4096);
    } catch (const std::system_error& error) {
      refused = error.code().value() == EEXIST;
    }
    CHECK(refused);
  }
  bool gone = false;
  try {
    Memory::open(place);
  } catch (const std::system_error& error) {
    gone = error.code().value() == ENOENT;
  }
  CHECK(gone);
}

TEST(rows_without_observations_stand_alone) {
  BufferOptions alone = options(1, 5);
  alone.fields = {field("rewards", FieldRole::kReward, 1)};
  ReplayBuffer buffer(MemoryPlace{}, alone);
  Steps steps(12, 7);
  NewRows rows = steps.rows(nullptr);
  rows.values = {reinterpret_cast<const std::byte*>(steps.rewards.data())};
  std::ranges::fill(steps.flags, std::uint8_t{1});  // ends nothing
  buffer.add(rows, steps.handles.data());
  CHECK(buffer.size() == 5 && buffer.num_drawable() == 5 && buffer.num_drawable(0) == 5);
  std::vector<std::uint8_t> drawable(12);
  buffer.are_drawable(steps.handles, drawable.data());
  for (std::size_t i = 0; i < 12; ++i) CHECK(drawable[i] == (i < 7 ? 0 : 1));
  Drawn drawn(64);
  drawn.arrays.values = {reinterpret_cast<std::byte*>(drawn.rewards.data())};
  drawn.arrays.next_values = {nullptr};
  buffer.sample(64, 0, kOwnExponent, drawn.arrays);
  for (std::size_t i = 0; i < 64; ++i) {
    CHECK(drawn.rewards[i] >= 14 && drawn.rewards[i] < 19 && drawn.flags[i] == 1);
  }
  CHECK(buffer.evict({steps.handles.data(), 12}) == 5 && buffer.num_drawable() == 0);
}

TEST(episodes_are_listed_once_they_have_ended) {
  ReplayBuffer buffer(MemoryPlace{}, options(2, 8));
  std::vector<std::int64_t> after{0, 0}, lanes(4), numbers(4), begins(4), last_rows(4), oldest(2);
  const ReplayBuffer::EndedEpisodes to{lanes.data(), numbers.data(), begins.data(),
                                       last_rows.data(), oldest.data()};
  CHECK(buffer.ended_episodes(after, to, 4) == 0);
  const std::int64_t lane = 1;
  Steps first(3, 0), second(2, 3);
  const std::vector<float> observation(kNumbers);
  const std::vector<const std::byte*> finals{reinterpret_cast<const std::byte*>(observation.data()),
                                             nullptr};
  buffer.add(first.rows(&lane), first.handles.data());
  CHECK(buffer.ended_episodes(after, to, 4) == 0);
  buffer.end_episodes({&lane, 1}, finals);
  buffer.add(second.rows(&lane), second.handles.data());
  buffer.end_episodes({&lane, 1}, finals);
  CHECK(buffer.ended_episodes(after, to, 1) == 2);
  CHECK(lanes[0] == 1 && numbers[0] == 1 && begins[0] == 0 && last_rows[0] == 3);
  after[1] = 1;
  CHECK(buffer.ended_episodes(after, to, 4) == 1);
  CHECK(numbers[0] == 2 && begins[0] == 4 && last_rows[0] == 6 && oldest[1] == 0);
  Steps more(6, 5);  // overwrites the first episode and a row of the second
  buffer.add(more.rows(&lane), more.handles.data());
  after[1] = 0;
  CHECK(buffer.ended_episodes(after, to, 4) == 1);
  CHECK(numbers[0] == 2 && begins[0] == 4 && last_rows[0] == 6 && oldest[1] == 5);
  std::vector<std::int32_t> states(2);
  buffer.lane_states(states.data());
  CHECK(states[0] == static_cast<std::int32_t>(LaneState::kBetween));
  CHECK(states[1] == static_cast<std::int32_t>(LaneState::kOpen));
}

}  // namespace
}  // namespace fastrl
