// The store of token trajectories. Python has checked shapes, dtypes and contiguity.
#include "replay/trajectory_store.h"

#include <nanobind/ndarray.h>
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

// One batch: a block of memory, cut into arrays.
class BatchArrays : public TrajectoryAllocator {
 public:
  enum class Layout : std::uint8_t { kPacked, kPadded, kNoTokens };

  BatchArrays(const TrajectorySizes& sizes, BatchMemory& memory, Layout layout)
      : sizes_(sizes),
        memory_(memory),
        padded_(layout == Layout::kPadded),
        with_tokens_(layout != Layout::kNoTokens) {}
  ~BatchArrays() override {
    if (block_.data != nullptr) memory_.release(block_);  // nobody came for the arrays
  }
  BatchArrays(const BatchArrays&) = delete;
  BatchArrays& operator=(const BatchArrays&) = delete;

  const TrajectoryOutput& allocate(const TrajectoryBatchSize& size) override {
    size_ = size;
    cut(nullptr);
    block_ = memory_.acquire(bytes_);
    cut(block_.data);
    return out_;
  }

  // Token columns (ids first) and action mask, or neither; cu_seqlens, handles, group ids, policy
  // versions, created, rewards, advantages, use counts, successes, columns, cu_groups or None,
  // probabilities or None.
  nb::tuple arrays() {
    const nb::capsule owner = memory_.owner(block_);
    block_ = {};
    nb::list made;
    const auto add = [&](void* data, nb::dlpack::dtype dtype, std::vector<std::size_t> shape) {
      made.append(nb::cast(
          nb::ndarray<nb::numpy>(data, shape.size(), shape.data(), owner, nullptr, dtype)));
    };
    const auto count = static_cast<std::size_t>(size_.count);
    const auto tokens = [&](std::int32_t width) {
      std::vector<std::size_t> shape{static_cast<std::size_t>(size_.num_tokens)};
      if (padded_) shape = {count, static_cast<std::size_t>(size_.longest)};
      if (width > 0) shape.push_back(static_cast<std::size_t>(width));
      return shape;
    };
    if (with_tokens_) {
      add(out_.token_columns[0], nb::dtype<std::int32_t>(), tokens(0));
      for (std::size_t c = 1; c < out_.token_columns.size(); ++c) {
        add(out_.token_columns[c], nb::dtype<std::uint8_t>(), tokens(sizes_.token_widths[c]));
      }
      add(out_.action_mask, nb::dtype<bool>(), tokens(0));
    }
    add(out_.cu_seqlens, nb::dtype<std::int32_t>(), {count + 1});
    add(out_.handles, nb::dtype<std::int64_t>(), {count});
    add(out_.group_ids, nb::dtype<std::int64_t>(), {count});
    add(out_.policy_versions, nb::dtype<std::int64_t>(), {count});
    add(out_.created, nb::dtype<std::int64_t>(), {count});
    add(out_.rewards, nb::dtype<float>(), {count});
    add(out_.advantages, nb::dtype<float>(), {count});
    add(out_.use_counts, nb::dtype<std::int32_t>(), {count});
    add(out_.successes, nb::dtype<bool>(), {count});
    for (std::size_t c = 0; c < out_.columns.size(); ++c) {
      add(out_.columns[c], nb::dtype<std::uint8_t>(),
          {count, static_cast<std::size_t>(sizes_.widths[c])});
    }
    if (out_.cu_groups == nullptr) {
      made.append(nb::none());
    } else {
      add(out_.cu_groups, nb::dtype<std::int32_t>(),
          {static_cast<std::size_t>(size_.num_groups) + 1});
    }
    if (!size_.weighted) {
      made.append(nb::none());
    } else {
      add(out_.probabilities, nb::dtype<double>(), {count});
    }
    return nb::tuple(made);
  }

 private:
  void cut(std::byte* memory) {
    std::size_t at = 0;
    const auto take = [&]<typename T>(T*& part, std::int64_t n) {
      part = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + at);
      at += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
    };
    const std::int64_t tokens = padded_ ? size_.count * size_.longest : size_.num_tokens;
    out_.row = padded_ ? size_.longest : 0;
    if (with_tokens_) {
      out_.token_columns.resize(sizes_.token_widths.size());
      for (std::size_t c = 0; c < sizes_.token_widths.size(); ++c) {
        take(out_.token_columns[c], tokens * sizes_.token_widths[c]);
      }
      take(out_.action_mask, tokens);
    }
    take(out_.cu_seqlens, size_.count + 1);
    take(out_.handles, size_.count);
    take(out_.group_ids, size_.count);
    take(out_.policy_versions, size_.count);
    take(out_.created, size_.count);
    take(out_.rewards, size_.count);
    take(out_.advantages, size_.count);
    take(out_.use_counts, size_.count);
    take(out_.successes, size_.count);
    out_.columns.resize(sizes_.widths.size());
    for (std::size_t c = 0; c < sizes_.widths.size(); ++c) {
      take(out_.columns[c], size_.count * sizes_.widths[c]);
    }
    if (size_.num_groups >= 0) take(out_.cu_groups, size_.num_groups + 1);
    if (size_.weighted) take(out_.probabilities, size_.count);
    bytes_ = at;
  }

  const TrajectorySizes& sizes_;
  BatchMemory& memory_;
  bool padded_;
  bool with_tokens_;
  TrajectoryBatchSize size_;
  TrajectoryOutput out_;
  BatchMemory::Block block_;
  std::size_t bytes_ = 0;
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
    BatchArrays arrays(sizes_, *batches_, static_cast<BatchArrays::Layout>(layout));
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
