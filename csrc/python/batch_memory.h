// Memory for the arrays of batches, used again once all arrays of an earlier batch are gone.
//
// Memory of the system is zeroed page by page when it is first written, which costs more than the
// copying; memory that was written before is not.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "python/bind.h"

namespace fastrl::python {

class BatchMemory : public std::enable_shared_from_this<BatchMemory> {
 public:
  struct Block {
    std::byte* data = nullptr;
    std::size_t size = 0;
  };

  ~BatchMemory();

  // At least so many bytes, 64-byte aligned. Needs no GIL.
  Block acquire(std::size_t bytes);
  void release(Block block);
  // What keeps the block until the last array that names it as its owner is gone.
  nb::capsule owner(Block block);

 private:
  static constexpr std::size_t kKept = 4;

  std::mutex mutex_;
  std::vector<Block> free_;
};

}  // namespace fastrl::python
