// The store of token trajectories and the structures that it is made of.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.h"
#include "replay/distinct_draws.h"
#include "replay/trajectory_store.h"
#include "temporary_folder.h"

namespace fastrl {
namespace {

// Zeroed memory on a cache line.
class TestMemory {
 public:
  explicit TestMemory(std::size_t bytes)
      : bytes_(bytes), storage_(std::make_unique<std::byte[]>(bytes + 64)) {
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.get());
    data_ = storage_.get() + (64 - address % 64) % 64;
  }
  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

 private:
  std::size_t bytes_;
  std::unique_ptr<std::byte[]> storage_;
  std::byte* data_;
};

// Calls make(parts) without memory to learn the size, then with memory.
template <typename Make>
auto make_with(std::unique_ptr<TestMemory>& memory, Make make) {
  MemoryParts sizes(nullptr);
  make(sizes);
  memory = std::make_unique<TestMemory>(sizes.size());
  MemoryParts parts(memory->data());
  return make(parts);
}

TrajectorySizes small_sizes() {
  return {.max_trajectories = 32,
          .num_blocks = 64,
          .num_buckets = 4,
          .token_widths = {4, 4, 2},
          .widths = {8}};
}

// Trajectories whose tokens all say whose they are.
struct TestBatch {
  std::vector<std::int32_t> ends{0}, ids;
  std::vector<float> log_probs, rewards;
  std::vector<std::int16_t> turns;
  std::vector<std::uint8_t> mask, successes;
  std::vector<std::int64_t> groups, versions, values, handles;

  void append(std::int32_t mark, std::int64_t length, std::int64_t group, std::int64_t version) {
    for (std::int64_t t = 0; t < length; ++t) {
      ids.push_back(mark);
      log_probs.push_back(-static_cast<float>(t));
      turns.push_back(static_cast<std::int16_t>(mark % 100));
      mask.push_back(t % 3 == 0 ? 7 : 0);
    }
    ends.push_back(static_cast<std::int32_t>(ids.size()));
    rewards.push_back(static_cast<float>(mark));
    successes.push_back(mark % 2 == 0 ? 1 : 0);
    groups.push_back(group);
    versions.push_back(version);
    values.push_back(std::int64_t{mark} << 32);
    handles.push_back(0);
  }

  void add_to(TrajectoryStore& store) {
    store.add({.count = static_cast<std::int64_t>(groups.size()),
               .cu_seqlens = ends.data(),
               .token_columns = {reinterpret_cast<const std::byte*>(ids.data()),
                                 reinterpret_cast<const std::byte*>(log_probs.data()),
                                 reinterpret_cast<const std::byte*>(turns.data())},
               .action_mask = mask.data(),
               .group_ids = groups.data(),
               .policy_versions = versions.data(),
               .created = nullptr,
               .rewards = rewards.data(),
               .advantages = nullptr,
               .successes = successes.data(),
               .group_successes = nullptr,
               .columns = {reinterpret_cast<const std::byte*>(values.data())}},
              handles.data());
  }
};

// A batch in vectors, checked against what `TestBatch` writes.
class ReadBatch : public TrajectoryAllocator {
 public:
  const TrajectoryOutput& allocate(const TrajectoryBatchSize& size) override {
    const auto count = static_cast<std::size_t>(size.count);
    const auto tokens = static_cast<std::size_t>(size.num_tokens);
    ids.resize(tokens), log_probs.resize(tokens), turns.resize(tokens), mask.resize(tokens);
    ends.resize(count + 1), uses.resize(count), successes.resize(count);
    for (auto* column : {&handles, &groups, &versions, &created, &values}) column->resize(count);
    rewards.resize(count), advantages.resize(count);
    group_ends.resize(static_cast<std::size_t>(std::max<std::int64_t>(0, size.num_groups + 1)));
    out_ = {.row = 0,
            .token_columns = {reinterpret_cast<std::byte*>(ids.data()),
                              reinterpret_cast<std::byte*>(log_probs.data()),
                              reinterpret_cast<std::byte*>(turns.data())},
            .action_mask = mask.data(),
            .cu_seqlens = ends.data(),
            .handles = handles.data(),
            .group_ids = groups.data(),
            .policy_versions = versions.data(),
            .created = created.data(),
            .rewards = rewards.data(),
            .advantages = advantages.data(),
            .use_counts = uses.data(),
            .successes = successes.data(),
            .cu_groups = size.num_groups < 0 ? nullptr : group_ends.data(),
            .columns = {reinterpret_cast<std::byte*>(values.data())}};
    return out_;
  }

  bool is_whole() const {
    for (std::size_t b = 0; b + 1 < ends.size(); ++b) {
      const auto mark = static_cast<std::int32_t>(rewards[b]);
      if (values[b] != std::int64_t{mark} << 32) return false;
      for (std::int32_t t = ends[b]; t < ends[b + 1]; ++t) {
        const auto i = static_cast<std::size_t>(t);
        const std::int32_t offset = t - ends[b];
        if (ids[i] != mark || log_probs[i] != -static_cast<float>(offset) ||
            turns[i] != mark % 100 || mask[i] != (offset % 3 == 0 ? 1 : 0)) {
          return false;
        }
      }
    }
    return true;
  }

  std::vector<std::int32_t> ids, ends, uses, group_ends;
  std::vector<float> log_probs, rewards, advantages;
  std::vector<std::int16_t> turns;
  std::vector<std::uint8_t> mask, successes;
  std::vector<std::int64_t> handles, groups, versions, created, values;

 private:
  TrajectoryOutput out_;
};

TEST(rank_bitmap_counts_as_a_set_does) {
  constexpr std::int64_t kSize = 40'000;
  std::unique_ptr<TestMemory> memory;
  RankBitmap bitmap =
      make_with(memory, [](MemoryParts& parts) { return RankBitmap(parts, "bitmap", kSize); });
  RandomStream random = RandomStream::seeded(1, 0);
  std::set<std::int64_t> members;
  for (int step = 0; step < 20'000; ++step) {
    // Dense and sparse regions, and both ends.
    const std::int64_t i = step % 7 == 0 ? kSize - 1 - random.below(50) : random.below(20'000);
    if (members.erase(i) == 1) {
      bitmap.clear(i);
    } else {
      members.insert(i);
      bitmap.set(i);
    }
  }
  CHECK(bitmap.count() == static_cast<std::int64_t>(members.size()));
  std::int64_t k = 0;
  for (const std::int64_t i : members) {
    CHECK(bitmap.select(k) == i);
    CHECK(bitmap.rank(i) == k);
    CHECK(bitmap.rank(i + 1) == k + 1);
    ++k;
  }
  CHECK(bitmap.rank(kSize) == k);
}

TEST(version_order_keeps_versions_apart) {
  constexpr std::int64_t kCapacity = 200;
  std::unique_ptr<TestMemory> memory;
  VersionOrder order = make_with(
      memory, [](MemoryParts& parts) { return VersionOrder(parts, "order", kCapacity, 3, true); });
  RandomStream random = RandomStream::seeded(2, 0);
  std::map<std::uint32_t, std::pair<std::int64_t, int>> items;  // version and class
  for (int step = 0; step < 5'000; ++step) {
    const std::uint32_t item = random.below(kCapacity);
    const int item_class = static_cast<int>(random.below(3));
    if (!items.contains(item)) {
      // Mostly newer and newer, now and then far behind.
      const std::int64_t version =
          step / 50 - (random.below(4) == 0 ? std::int64_t{random.below(30)} : 0);
      order.insert(item, version, item_class);
      items[item] = {version, item_class};
    } else if (random.below(3) == 0) {
      order.set_class(item, item_class);
      items[item].second = item_class;
    } else {
      order.erase(item);
      items.erase(item);
    }
    if (step % 50 != 0) continue;
    for (const int asked : {VersionOrder::kAll, 0, 1, 2}) {
      for (const std::int64_t oldest : {std::int64_t{-100}, std::int64_t{step / 50 - 8}}) {
        const VersionOrder::Range range = order.not_older(oldest, asked);
        std::set<std::uint32_t> found;
        std::int64_t last = oldest;
        for (std::int64_t k = 0; k < range.count; ++k) {
          const std::uint32_t at = order.at(asked, range.first + k);
          CHECK(order.version(at) >= last);
          last = order.version(at);
          found.insert(at);
        }
        std::set<std::uint32_t> expected;
        for (const auto& [i, is] : items) {
          if (is.first >= oldest && (asked == VersionOrder::kAll || asked == is.second)) {
            expected.insert(i);
          }
        }
        CHECK(found == expected);
      }
    }
  }
}

TEST(group_table_finds_every_key_through_collisions) {
  constexpr std::int64_t kCapacity = 64;
  std::unique_ptr<TestMemory> memory;
  GroupTable table =
      make_with(memory, [](MemoryParts& parts) { return GroupTable(parts, kCapacity); });
  RandomStream random = RandomStream::seeded(3, 0);
  std::map<std::int64_t, std::uint32_t> groups;
  for (int step = 0; step < 20'000; ++step) {
    const std::int64_t key = static_cast<std::int64_t>(random.below(200)) - 100;
    if (groups.contains(key)) {
      table.erase(groups[key]);
      groups.erase(key);
    } else if (table.count() < kCapacity) {
      groups[key] = table.insert(key);
    }
    const std::int64_t asked = static_cast<std::int64_t>(random.below(200)) - 100;
    CHECK(table.find(asked) == (groups.contains(asked) ? groups[asked] : GroupTable::kNone));
  }
  CHECK(table.count() == static_cast<std::int64_t>(groups.size()));
}

TEST(distinct_draws_are_a_permutation) {
  RandomStream random = RandomStream::seeded(4, 0);
  DistinctDraws draws(0);
  std::set<std::uint32_t> seen, others;
  for (std::int64_t i = 0; i < 1'000; ++i) {
    seen.insert(draws.draw(0, i, 1'000, random));
    others.insert(draws.draw(7, i, 5'000, random));
  }
  CHECK(seen.size() == 1'000 && *seen.rbegin() == 999);
  CHECK(others.size() == 1'000 && *others.rbegin() < 5'000);
}

TEST(trajectory_store_gives_back_what_it_took) {
  const TestMemory memory(TrajectoryStore::memory_size(small_sizes()));
  TrajectoryStore store(memory.data(), small_sizes(), {.max_staleness = 3}, 0);
  RandomStream random = RandomStream::seeded(5, 0);
  for (std::int32_t step = 0; step < 300; ++step) {
    TestBatch batch;
    for (std::int32_t i = 0; i < 3; ++i) {
      const std::int64_t length = 1 + random.below(step % 10 == 0 ? 500 : 80);
      batch.append(3 * step + i, length, random.below(5), step / 20);
    }
    batch.add_to(store);
    const TrajectoryTotals totals = store.totals();
    ReadBatch read;
    store.sample({.count_use = true, .count = totals.count}, read);
    CHECK(read.is_whole());
    CHECK(*std::ranges::min_element(read.versions) >= totals.policy_version - 3);
    store.sample_groups({.count = totals.num_groups, .group_size = 2}, read);
    CHECK(read.is_whole());
  }
  const TrajectoryTotals totals = store.totals();
  std::int64_t evicted = 0;
  for (const std::int64_t n : totals.counters.evicted) evicted += n;
  CHECK(totals.counters.added == 900 && totals.counters.added - evicted == totals.count);
}

TEST(trajectory_store_goes_on_in_copied_memory) {
  const TestMemory memory(TrajectoryStore::memory_size(small_sizes()));
  TrajectoryStore store(memory.data(), small_sizes(), {}, 9);
  TestBatch batch;
  for (std::int32_t i = 0; i < 20; ++i) batch.append(i, 1 + i, i % 4, i / 7);
  batch.add_to(store);
  ReadBatch read;
  store.sample({.count = 5}, read);

  const TestMemory copy(memory.size());
  std::set<std::string> names;
  std::size_t total = 0;
  for (const MemoryPart& part : store.state()) {
    names.insert(part.name);
    total += part.size;
  }
  CHECK(names.size() == store.state().size());
  CHECK(total <= memory.size());
  std::memcpy(copy.data(), memory.data(), memory.size());
  TrajectoryStore other(copy.data(), small_sizes(), {}, 1);
  const TestMemory third(memory.size());
  TrajectoryStore restored(third.data(), small_sizes(), {}, 2);
  restored.restore(store.state());
  ReadBatch reads[3];
  store.sample({.count = 7}, reads[0]);
  other.sample({.count = 7}, reads[1]);
  restored.sample({.count = 7}, reads[2]);
  CHECK(reads[0].handles == reads[1].handles && reads[0].ids == reads[1].ids);
  CHECK(reads[0].handles == reads[2].handles && reads[0].ids == reads[2].ids);

  TrajectorySizes others = small_sizes();
  others.widths = {4, 4};
  bool refused = false;
  try {
    const TrajectoryStore wrong(copy.data(), others, {}, 0);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

TEST(trajectory_store_takes_calls_from_many_threads) {
  const TestMemory memory(TrajectoryStore::memory_size(small_sizes()));
  TrajectoryStore store(memory.data(), small_sizes(), {.use_count_limit = 2, .max_per_group = 6},
                        0);
  TestBatch first;
  for (std::int32_t i = 0; i < 8; ++i) first.append(i, 20, i, 0);
  first.add_to(store);
  std::vector<std::thread> threads;
  threads.reserve(3);
  std::vector<int> torn(3);
  for (int w = 0; w < 2; ++w) {
    threads.emplace_back([&store, w] {
      for (std::int32_t step = 0; step < 200; ++step) {
        TestBatch batch;
        for (std::int32_t i = 0; i < 4; ++i) batch.append(1000 * w + step, 40, i, step / 10);
        batch.add_to(store);
        store.remove({batch.handles.data(), 1});
      }
    });
  }
  for (std::size_t r = 0; r < torn.size(); ++r) {
    threads.emplace_back([&store, &torn, r] {
      ReadBatch read;
      for (int step = 0; step < 200; ++step) {
        try {
          r == 0 ? store.sample({.count = 1}, read) : store.sample_groups({.count = 1}, read);
        } catch (const std::invalid_argument&) {
          continue;  // empty just now
        }
        if (!read.is_whole()) ++torn[r];
      }
    });
  }
  const testing::TemporaryFolder folder;
  Saver saver(system_files(), {.streams_apart = true});
  for (int turn = 0; turn < 10; ++turn) {
    store.save(saver, folder.path, "{}", {});
    const TestMemory other(memory.size());
    TrajectoryStore loaded(other.data(), small_sizes(), {}, 0);
    loaded.load(SavedFolder("load", folder.path, "TrajectoryStore"),
                [](const std::string&, std::uint64_t) { return std::span<std::byte>(); });
    ReadBatch read;
    loaded.get(loaded.handles(), false, read);
    CHECK(read.is_whole());
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(std::ranges::count(torn, 0) == 3);
}

}  // namespace
}  // namespace fastrl
