// Token trajectories of variable length: groups, successes, policy versions, uses and age.
//
// Everything that is kept lies in memory from outside, without pointers (`state` names its parts),
// so that it can be written down and taken up again. Calls may come from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/random.h"
#include "replay/group_table.h"
#include "replay/memory_parts.h"
#include "replay/segments.h"
#include "replay/token_arena.h"
#include "replay/version_order.h"

namespace fastrl {

struct TrajectorySizes {
  std::int64_t max_trajectories = 0;  // below 2^31
  std::int64_t num_blocks = 0;        // of 32 tokens
  std::int32_t num_buckets = 0;       // group successes 0, 1, …; the last bucket holds all above
  std::vector<std::int32_t> token_widths;  // bytes a token; the first column is the token ids
  std::vector<std::int32_t> widths;        // bytes a trajectory
  bool weighted = false;                   // trajectories have weights to be drawn by
};

// What makes room, and what goes without need. -1 means no limit.
struct TrajectoryLimits {
  std::int64_t max_staleness = -1;    // policy versions behind the newest
  std::int64_t ttl = -1;              // clock ticks since it was made
  std::int64_t use_count_limit = -1;  // times in a batch
  std::int64_t max_per_group = -1;
  bool evict_stalest = false;  // make room by version; else by arrival
};

// Why a trajectory went.
enum class Eviction : std::uint8_t { kSpace, kStaleness, kAge, kUses, kGroup, kRemoved };
inline constexpr std::size_t kNumEvictions = 6;

struct TrajectoryCounters {
  std::int64_t added = 0;
  std::int64_t refused_stale = 0;    // too old on arrival
  std::int64_t refused_updates = 0;  // of trajectories that are gone
  std::int64_t sampled = 0;          // draws that counted as a use
  std::int64_t evicted[kNumEvictions] = {};
};

struct TrajectoryTotals {
  std::int64_t count = 0;
  std::int64_t num_groups = 0;
  std::int64_t num_tokens = 0;
  std::int64_t num_free_blocks = 0;
  std::int64_t policy_version = 0;
  std::int64_t clock = 0;
  TrajectoryCounters counters;
};

// A batch of trajectories, back to back.
struct TrajectoryInput {
  std::int64_t count = 0;
  const std::int32_t* cu_seqlens = nullptr;  // [count + 1]
  std::vector<const std::byte*> token_columns = {};
  const std::uint8_t* action_mask = nullptr;
  const std::int64_t* group_ids = nullptr;
  const std::int64_t* policy_versions = nullptr;
  const std::int64_t* created = nullptr;  // null: one clock tick each
  const float* rewards = nullptr;
  const float* advantages = nullptr;
  const std::uint8_t* successes = nullptr;
  const std::int32_t* group_successes = nullptr;  // null: count the stored ones
  const float* weights = nullptr;                 // null: 1
  std::vector<const std::byte*> columns = {};
};

// Where a batch goes. Packed: token columns have as many tokens as the batch, `row` is 0. Padded:
// row b starts at b · row. Without token columns no tokens are written.
struct TrajectoryOutput {
  std::int64_t row = 0;
  std::vector<std::byte*> token_columns = {};
  std::uint8_t* action_mask = nullptr;
  std::int32_t* cu_seqlens = nullptr;
  std::int64_t* handles = nullptr;
  std::int64_t* group_ids = nullptr;
  std::int64_t* policy_versions = nullptr;
  std::int64_t* created = nullptr;
  float* rewards = nullptr;
  float* advantages = nullptr;
  std::int32_t* use_counts = nullptr;
  std::uint8_t* successes = nullptr;
  std::int32_t* cu_groups = nullptr;
  double* probabilities = nullptr;
  std::vector<std::byte*> columns = {};
};

struct TrajectoryBatchSize {
  std::int64_t count = 0;
  std::int64_t num_tokens = 0;
  std::int64_t longest = 0;
  std::int64_t num_groups = 0;  // -1: trajectories were not drawn by group
  bool weighted = false;        // they were drawn by weight
};

// Called once what will be in a batch is known, before it is written.
class TrajectoryAllocator {
 public:
  virtual ~TrajectoryAllocator() = default;
  virtual const TrajectoryOutput& allocate(const TrajectoryBatchSize& size) = 0;
};

enum class DrawOrder : std::uint8_t { kUniform, kNewest, kOldest, kWeighted };

struct TrajectoryQuery {
  DrawOrder order = DrawOrder::kUniform;
  bool replacement = false;
  bool successes_only = false;
  bool count_use = true;
  std::int64_t count = -1;  // -1: as many as there are
  std::int64_t max_staleness = -1;
  std::int64_t token_budget = -1;
};

struct GroupQuery {
  DrawOrder order = DrawOrder::kUniform;
  bool count_use = true;
  std::int64_t count = -1;
  std::int64_t group_size = -1;                 // members of each, drawn; -1: all
  std::span<const double> bucket_weights = {};  // empty: all groups alike
  const std::int64_t* group_ids = nullptr;      // these `count` groups instead of drawn ones
  std::int64_t max_staleness = -1;
  std::int64_t token_budget = -1;  // cuts between groups
};

// What an update changes; null leaves it.
struct TrajectoryChange {
  const float* rewards = nullptr;
  const float* advantages = nullptr;
  const std::uint8_t* successes = nullptr;
  const float* weights = nullptr;
  std::vector<const std::byte*> columns = {};
};

class TrajectoryStore {
 public:
  static std::size_t memory_size(const TrajectorySizes& sizes);
  // Bytes of the tokens of one block.
  static std::int64_t block_size(const TrajectorySizes& sizes);

  // Zeroed memory: empty, seeded. Used memory: as it was left, if it was made for the same sizes.
  TrajectoryStore(std::byte* memory, const TrajectorySizes& sizes, const TrajectoryLimits& limits,
                  std::uint64_t seed);

  // All of a batch, or an exception and nothing. handles: -1 for those too stale to be kept.
  void add(const TrajectoryInput& input, std::int64_t* handles);

  // The newest policy version, the time; neither runs backward. What is too old for them goes.
  void advance(std::int64_t policy_version, std::int64_t clock);

  void sample(const TrajectoryQuery& query, TrajectoryAllocator& allocator);
  void sample_groups(const GroupQuery& query, TrajectoryAllocator& allocator);
  // The trajectories of these handles, all of which must be there.
  void get(std::span<const std::int64_t> handles, bool count_use, TrajectoryAllocator& allocator);

  // Both pass over handles whose trajectory is gone and return the number of the others.
  std::int64_t update(std::span<const std::int64_t> handles, const TrajectoryChange& change);
  std::int64_t remove(std::span<const std::int64_t> handles);
  void contains(std::span<const std::int64_t> handles, std::uint8_t* there) const;

  // Stored members, and successes as the buckets count them, of each group; 0 for unknown ones.
  void group_counts(std::span<const std::int64_t> group_ids, std::int64_t* members,
                    std::int64_t* successes) const;
  // Handles of the k trajectories whose vectors in a column of floats have the largest dot products
  // with each query; -1 and -infinity where there are no more.
  void nearest(const float* queries, std::int64_t num_queries, std::size_t column, std::int64_t k,
               std::int64_t* handles, double* scores) const;
  // Handles of the trajectories in the order of their versions.
  std::vector<std::int64_t> handles() const;
  // [num_buckets] groups in each bucket.
  void bucket_counts(std::int64_t* counts) const;

  TrajectoryTotals totals() const;

  // All that is kept, the layout first. Whoever reads it holds the mutex meanwhile.
  const std::vector<MemoryPart>& state() const { return parts_.parts(); }
  std::mutex& mutex() { return mutex_; }
  // Takes up what `state` named, of this store or of one of the same sizes. A Saver of this one is
  // no good any more.
  void restore(std::span<const MemoryPart> parts);

  // Saves the store as it is at one moment of the call, and some blobs along with it; the saver
  // must be one for `streams_apart`. Tokens are read in passing, each trajectory's under the mutex;
  // at that one moment all else is copied, and the tokens that have come meanwhile.
  SaveReport save(Saver& saver, const std::string& path, const std::string& layout,
                  std::span<const Blob> others);
  // Takes up what was saved of one of the same sizes; an empty store does, once. `others` says
  // where the blobs go that were added. After an exception the store is worth nothing.
  void load(const SavedFolder& saved, const BlobMemory& others);

 private:
  class Live;

  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  // Classes of `order_`.
  static constexpr int kFailure = 0;
  static constexpr int kSuccess = 1;

  // One cache line.
  struct Record {
    std::int64_t policy_version;
    std::int64_t created;
    std::uint32_t generation;
    std::uint32_t length;  // 0: nobody is here
    std::uint32_t first_block;
    std::uint32_t group;
    float reward;
    float advantage;
    std::uint32_t use_count;
    std::uint32_t success;
    std::uint32_t previous;  // in the order of arrival
    std::uint32_t next;      // also of the free ones
    std::uint32_t previous_member;
    std::uint32_t next_member;
  };
  static_assert(sizeof(Record) == 64);

  struct Header {
    std::uint64_t layout;        // of the sizes it was made for; 0: new
    RandomStream random;         // trajectories and groups are drawn from it
    RandomStream member_random;  // members of groups
    std::int64_t policy_version;
    std::int64_t clock;
    std::int64_t count;
    std::int64_t num_tokens;
    std::int64_t untouched;  // slots below this one have been used
    std::uint32_t free;      // linked by `next`
    std::uint32_t oldest;
    std::uint32_t newest;
    std::uint32_t padding;
    TrajectoryCounters counters;
  };

  // What goes into a batch.
  struct Picked {
    std::vector<std::uint32_t> slots;
    std::vector<std::int32_t> cu_groups;
    std::vector<std::uint32_t> groups;  // whose members are to be taken
    std::vector<double> probabilities;  // where drawn by weight
    std::int64_t num_tokens = 0;        // counted where there is a budget
  };

  TrajectoryStore(MemoryParts parts, const TrajectorySizes& sizes, const TrajectoryLimits& limits);

  std::int64_t handle(std::uint32_t slot) const {
    return static_cast<std::int64_t>(std::uint64_t{records_[slot].generation} << 32 | slot);
  }
  // The slot, or kNone where its trajectory is gone.
  std::uint32_t slot_of(std::int64_t handle) const;
  std::int64_t oldest_version(std::int64_t max_staleness) const;
  int bucket_of(const TrajectoryGroup& group) const;

  std::vector<MemoryPart> blob_parts() const;
  static void check_weight(const char* function, float weight);
  void check_input(const TrajectoryInput& input) const;
  std::uint32_t insert(const TrajectoryInput& input, std::int64_t i);
  void join_group(std::uint32_t slot, std::int64_t key, std::int32_t reported);
  void leave_group(std::uint32_t slot);
  void place_in_bucket(std::uint32_t group);
  void evict(std::uint32_t slot, Eviction reason);
  void evict_outdated();
  void make_room(std::int64_t num_tokens);
  void write_tokens(const TrajectoryInput& input, const std::int64_t* handles);
  std::int64_t trajectories_per_chunk(std::int64_t count, std::int64_t num_tokens) const;

  void pick(const TrajectoryQuery& query, Picked& picked);
  void pick_weighted(const TrajectoryQuery& query, Picked& picked);
  void pick_groups(const GroupQuery& query, std::int64_t oldest, Picked& picked);
  // False where the budget is used up.
  bool pick_members(const GroupQuery& query, std::int64_t oldest, Picked& picked);
  bool take_group(const GroupQuery& query, std::int64_t oldest, std::span<std::uint32_t> members,
                  Picked& picked);
  void check_budget(const char* function, std::int64_t token_budget, const Picked& picked) const;
  void emit(const char* function, Picked& picked, bool count_use, TrajectoryAllocator& allocator);
  void write_batch(const Picked& picked, const TrajectoryBatchSize& size,
                   const TrajectoryOutput& out) const;
  void write_row(std::uint32_t slot, std::int64_t b, const TrajectoryOutput& out) const;
  void write_row_tokens(std::uint32_t slot, std::int64_t offset, const TrajectoryOutput& out) const;

  TrajectorySizes sizes_;
  TrajectoryLimits limits_;
  MemoryParts parts_;
  Header* header_;
  Record* records_;
  std::vector<std::byte*> columns_;
  TokenArena arena_;
  GroupTable groups_;
  VersionOrder order_;        // trajectories
  VersionOrder group_order_;  // groups by their newest member; class: bucket
  mutable std::mutex mutex_;
};

}  // namespace fastrl
