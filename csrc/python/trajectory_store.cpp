// The store of token trajectories. Python has checked shapes, dtypes and contiguity.
#include "replay/trajectory_store.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <sys/mman.h>

#include <cstring>
#include <system_error>
#include <tuple>

#include "core/huge_pages.h"
#include "python/batch_memory.h"
#include "python/bind.h"
#include "python/saving.h"
#include "python/trajectory_batch_arrays.h"
#include "replay/top_k.h"

namespace fastrl::python {
namespace {

template <typename T>
std::vector<const std::byte*> columns_of(const T& addresses) {
  std::vector<const std::byte*> columns;
  for (const std::uintptr_t address : addresses) columns.push_back(pointer<std::byte>(address));
  return columns;
}

std::span<const std::int64_t> handles_of(std::uintptr_t address, std::int64_t n) {
  return {pointer<const std::int64_t>(address), static_cast<std::size_t>(n)};
}

// Memory of the system: zeroed, and there once it is touched.
class OwnMemory {
 public:
  explicit OwnMemory(std::size_t bytes) : bytes_(bytes) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
      throw std::system_error(errno, std::generic_category(), "cannot map memory");
    }
    data_ = static_cast<std::byte*>(data);
    prefer_huge_pages(data, static_cast<std::int64_t>(bytes));
  }
  ~OwnMemory() { munmap(data_, bytes_); }
  OwnMemory(const OwnMemory&) = delete;
  OwnMemory& operator=(const OwnMemory&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::size_t bytes_;
  std::byte* data_ = nullptr;
};

class BoundTrajectoryStore {
 public:
  BoundTrajectoryStore(const TrajectorySizes& sizes, const TrajectoryLimits& limits,
                       std::uint64_t seed)
      : sizes_(sizes),
        memory_(TrajectoryStore::memory_size(sizes)),
        store_(memory_.data(), sizes, limits, seed),
        batches_(std::make_shared<BatchMemory>()) {}

  TrajectoryStore& store() { return store_; }

  void add(std::int64_t count, std::uintptr_t cu_seqlens,
           const std::vector<std::uintptr_t>& token_columns, std::uintptr_t action_mask,
           std::uintptr_t group_ids, std::uintptr_t policy_versions, std::uintptr_t created,
           std::uintptr_t rewards, std::uintptr_t advantages, std::uintptr_t successes,
           std::uintptr_t group_successes, std::uintptr_t weights,
           const std::vector<std::uintptr_t>& columns, std::uintptr_t handles) {
    store_.add({.count = count,
                .cu_seqlens = pointer<const std::int32_t>(cu_seqlens),
                .token_columns = columns_of(token_columns),
                .action_mask = pointer<const std::uint8_t>(action_mask),
                .group_ids = pointer<const std::int64_t>(group_ids),
                .policy_versions = pointer<const std::int64_t>(policy_versions),
                .created = pointer<const std::int64_t>(created),
                .rewards = pointer<const float>(rewards),
                .advantages = pointer<const float>(advantages),
                .successes = pointer<const std::uint8_t>(successes),
                .group_successes = pointer<const std::int32_t>(group_successes),
                .weights = pointer<const float>(weights),
                .columns = columns_of(columns)},
               pointer<std::int64_t>(handles));
  }

  nb::tuple sample(std::int64_t count, int order, bool replacement, bool successes_only,
                   std::int64_t max_staleness, std::int64_t token_budget, bool count_use,
                   int layout) {
    return batch(layout, [&](TrajectoryAllocator& arrays) {
      store_.sample({.order = static_cast<DrawOrder>(order),
                     .replacement = replacement,
                     .successes_only = successes_only,
                     .count_use = count_use,
                     .count = count,
                     .max_staleness = max_staleness,
                     .token_budget = token_budget},
                    arrays);
    });
  }

  nb::tuple sample_groups(std::int64_t count, int order, std::int64_t group_size,
                          const std::vector<double>& bucket_weights, std::uintptr_t group_ids,
                          std::int64_t max_staleness, std::int64_t token_budget, bool count_use,
                          int layout) {
    return batch(layout, [&](TrajectoryAllocator& arrays) {
      store_.sample_groups({.order = static_cast<DrawOrder>(order),
                            .count_use = count_use,
                            .count = count,
                            .group_size = group_size,
                            .bucket_weights = bucket_weights,
                            .group_ids = pointer<const std::int64_t>(group_ids),
                            .max_staleness = max_staleness,
                            .token_budget = token_budget},
                           arrays);
    });
  }

  nb::tuple get(std::uintptr_t handles, std::int64_t n, bool count_use, int layout) {
    return batch(layout, [&](TrajectoryAllocator& arrays) {
      store_.get(handles_of(handles, n), count_use, arrays);
    });
  }

  // Copies, by name.
  nb::dict state() {
    nb::dict made;
    std::vector<std::pair<nb::bytearray, const MemoryPart*>> copies;
    for (const MemoryPart& part : store_.state()) {
      nb::bytearray copy;
      copy.resize(part.size);
      made[part.name.c_str()] = copy;
      copies.emplace_back(std::move(copy), &part);
    }
    const nb::gil_scoped_release release;
    const std::scoped_lock lock(store_.mutex());
    for (auto& [copy, part] : copies) std::memcpy(copy.data(), part->data, part->size);
    return made;
  }

  void restore(const std::vector<std::tuple<std::string, std::uintptr_t, std::size_t>>& state) {
    std::vector<MemoryPart> parts;
    for (const auto& [name, address, size] : state) {
      parts.push_back({name, pointer<std::byte>(address), size});
    }
    store_.restore(parts);
    saver_.reset();
  }

  nb::tuple save(const std::string& path, const std::string& layout, const NamedBlobs& others) {
    return saver_.save(
        [&](Saver& saver) { return store_.save(saver, path, layout, blobs_of(others)); });
  }

  // Into an empty store.
  nb::dict load(const BoundFolder& saved) {
    LoadedBlobs others;
    {
      const nb::gil_scoped_release released;
      store_.load(saved.folder(), others.memory());
    }
    saver_.adopt(saved.folder());
    return others.taken();
  }

 private:
  template <typename Draw>
  nb::tuple batch(int layout, Draw&& draw) {
    TrajectoryBatchArrays arrays(sizes_, *batches_,
                                 static_cast<TrajectoryBatchArrays::Layout>(layout));
    {
      const nb::gil_scoped_release release;
      draw(arrays);
    }
    return arrays.arrays();
  }

  TrajectorySizes sizes_;
  OwnMemory memory_;
  TrajectoryStore store_;
  std::shared_ptr<BatchMemory> batches_;
  BoundSaver saver_{SegmentOptions{.streams_apart = true}};
};

nb::dict totals(BoundTrajectoryStore& self) {
  const TrajectoryTotals totals = self.store().totals();
  nb::dict made;
  made["count"] = totals.count;
  made["num_groups"] = totals.num_groups;
  made["num_tokens"] = totals.num_tokens;
  made["num_free_blocks"] = totals.num_free_blocks;
  made["policy_version"] = totals.policy_version;
  made["clock"] = totals.clock;
  made["added"] = totals.counters.added;
  made["sampled"] = totals.counters.sampled;
  made["refused_stale"] = totals.counters.refused_stale;
  made["refused_updates"] = totals.counters.refused_updates;
  const char* const reasons[kNumEvictions] = {"space", "staleness", "age",
                                              "uses",  "group",     "removed"};
  nb::dict evicted;
  for (std::size_t i = 0; i < kNumEvictions; ++i) evicted[reasons[i]] = totals.counters.evicted[i];
  made["evicted"] = evicted;
  return made;
}

TrajectorySizes sizes_of(std::int64_t max_trajectories, std::int64_t num_blocks,
                         std::int32_t num_buckets, const std::vector<std::int32_t>& token_widths,
                         const std::vector<std::int32_t>& widths, bool weighted) {
  return {max_trajectories, num_blocks, num_buckets, token_widths, widths, weighted};
}

}  // namespace

void bind_trajectory_store(nb::module_& m) {
  m.def(
      "top_k",
      [](std::uintptr_t queries, std::int64_t num_queries, std::uintptr_t keys,
         std::int64_t num_keys, std::int64_t dim, std::int64_t k, std::uintptr_t rows,
         std::uintptr_t scores) {
        top_k({.queries = pointer<const float>(queries),
               .num_queries = num_queries,
               .keys = pointer<const float>(keys),
               .num_keys = num_keys,
               .dim = dim},
              k, pointer<std::int64_t>(rows), pointer<double>(scores));
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def("trajectory_store_size",
        [](std::int64_t max_trajectories, std::int64_t num_blocks, std::int32_t num_buckets,
           const std::vector<std::int32_t>& token_widths, const std::vector<std::int32_t>& widths,
           bool weighted) {
          return TrajectoryStore::memory_size(
              sizes_of(max_trajectories, num_blocks, num_buckets, token_widths, widths, weighted));
        });
  using Self = BoundTrajectoryStore;
  const auto free = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<Self>(m, "TrajectoryStore")
      .def(
          "__init__",
          [](Self* self, std::int64_t max_trajectories, std::int64_t num_blocks,
             std::int32_t num_buckets, const std::vector<std::int32_t>& token_widths,
             const std::vector<std::int32_t>& widths, bool weighted, std::int64_t max_staleness,
             std::int64_t ttl, std::int64_t use_count_limit, std::int64_t max_per_group,
             bool evict_stalest, std::uint64_t seed) {
            new (self) Self(
                sizes_of(max_trajectories, num_blocks, num_buckets, token_widths, widths, weighted),
                {.max_staleness = max_staleness,
                 .ttl = ttl,
                 .use_count_limit = use_count_limit,
                 .max_per_group = max_per_group,
                 .evict_stalest = evict_stalest},
                seed);
          },
          nb::arg("max_trajectories"), nb::arg("num_blocks"), nb::arg("num_buckets"),
          nb::arg("token_widths"), nb::arg("widths"), nb::arg("weighted"), nb::arg("max_staleness"),
          nb::arg("ttl"), nb::arg("use_count_limit"), nb::arg("max_per_group"),
          nb::arg("evict_stalest"), nb::arg("seed"))
      .def("add", &Self::add, free)
      .def("sample", &Self::sample)
      .def("sample_groups", &Self::sample_groups)
      .def("get", &Self::get)
      .def(
          "advance",
          [](Self& self, std::int64_t policy_version, std::int64_t clock) {
            self.store().advance(policy_version, clock);
          },
          free)
      .def(
          "update",
          [](Self& self, std::uintptr_t handles, std::int64_t n, std::uintptr_t rewards,
             std::uintptr_t advantages, std::uintptr_t successes, std::uintptr_t weights,
             const std::vector<std::uintptr_t>& columns) {
            return self.store().update(handles_of(handles, n),
                                       {.rewards = pointer<const float>(rewards),
                                        .advantages = pointer<const float>(advantages),
                                        .successes = pointer<const std::uint8_t>(successes),
                                        .weights = pointer<const float>(weights),
                                        .columns = columns_of(columns)});
          },
          free)
      .def(
          "remove",
          [](Self& self, std::uintptr_t handles, std::int64_t n) {
            return self.store().remove(handles_of(handles, n));
          },
          free)
      .def(
          "contains",
          [](Self& self, std::uintptr_t handles, std::int64_t n, std::uintptr_t there) {
            self.store().contains(handles_of(handles, n), pointer<std::uint8_t>(there));
          },
          free)
      .def(
          "group_counts",
          [](Self& self, std::uintptr_t group_ids, std::int64_t n, std::uintptr_t members,
             std::uintptr_t successes) {
            self.store().group_counts(handles_of(group_ids, n), pointer<std::int64_t>(members),
                                      pointer<std::int64_t>(successes));
          },
          free)
      .def(
          "bucket_counts",
          [](Self& self, std::uintptr_t counts) {
            self.store().bucket_counts(pointer<std::int64_t>(counts));
          },
          free)
      .def(
          "nearest",
          [](Self& self, std::uintptr_t queries, std::int64_t num_queries, std::size_t column,
             std::int64_t k, std::uintptr_t handles, std::uintptr_t scores) {
            self.store().nearest(pointer<const float>(queries), num_queries, column, k,
                                 pointer<std::int64_t>(handles), pointer<double>(scores));
          },
          free)
      .def("handles", [](Self& self) { return self.store().handles(); })
      .def("totals", &totals)
      .def("state", &Self::state)
      .def("restore", &Self::restore)
      .def("save", &Self::save, nb::arg("path"), nb::arg("layout"), nb::arg("others"))
      .def("load", &Self::load, nb::arg("saved"));
}

}  // namespace fastrl::python
