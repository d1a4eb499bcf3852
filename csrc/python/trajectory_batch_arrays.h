// A batch of trajectories as NumPy arrays over one piece of memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "python/batch_memory.h"
#include "python/bind.h"
#include "replay/trajectory_store.h"

namespace fastrl::python {

// One batch: a block of memory, cut into arrays.
class TrajectoryBatchArrays : public TrajectoryAllocator {
 public:
  enum class Layout : std::uint8_t { kPacked, kPadded, kNoTokens };

  TrajectoryBatchArrays(const TrajectorySizes& sizes, BatchMemory& memory, Layout layout)
      : sizes_(sizes),
        memory_(memory),
        padded_(layout == Layout::kPadded),
        with_tokens_(layout != Layout::kNoTokens) {}
  ~TrajectoryBatchArrays() override {
    if (block_.data != nullptr) memory_.release(block_);  // nobody came for the arrays
  }
  TrajectoryBatchArrays(const TrajectoryBatchArrays&) = delete;
  TrajectoryBatchArrays& operator=(const TrajectoryBatchArrays&) = delete;

  const TrajectoryOutput& allocate(const TrajectoryBatchSize& size) override;

  // Token columns (ids first) and action mask, or neither; cu_seqlens, handles, group ids, policy
  // versions, created, rewards, advantages, use counts, successes, columns, cu_groups or None,
  // probabilities or None.
  nb::tuple arrays();

 private:
  // Where the arrays lie in `memory`, and how many bytes they have.
  void cut(std::byte* memory);

  const TrajectorySizes& sizes_;
  BatchMemory& memory_;
  bool padded_;
  bool with_tokens_;
  TrajectoryBatchSize size_;
  TrajectoryOutput out_;
  BatchMemory::Block block_;
  std::size_t bytes_ = 0;
};

}  // namespace fastrl::python
