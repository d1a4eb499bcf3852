#include "python/batch_memory.h"

#include <new>
#include <utility>

#include "core/huge_pages.h"

namespace fastrl::python {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr std::size_t kSmall = 64 << 10;

void free_block(BatchMemory::Block block) { ::operator delete(block.data, kAlignment); }

}  // namespace

BatchMemory::~BatchMemory() {
  for (const Block block : free_) free_block(block);
}

BatchMemory::Block BatchMemory::acquire(std::size_t bytes) {
  {
    const std::scoped_lock lock(mutex_);
    // The last one first: it is still in the caches.
    for (std::size_t i = free_.size(); i-- > 0;) {
      if (free_[i].size < bytes || free_[i].size > 4 * bytes + kSmall) continue;
      const Block found = free_[i];
      free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
      return found;
    }
  }
  // A little more than asked for: the next batch has other lengths.
  const std::size_t size = bytes + bytes / 4 + kSmall / 16;
  const Block made{static_cast<std::byte*>(::operator new(size, kAlignment)), size};
  prefer_huge_pages(made.data, static_cast<std::int64_t>(size));
  return made;
}

void BatchMemory::release(Block block) {
  Block dropped = block;
  {
    const std::scoped_lock lock(mutex_);
    free_.push_back(block);
    if (free_.size() <= kKept) return;
    dropped = free_.front();
    free_.erase(free_.begin());
  }
  free_block(dropped);
}

nb::capsule BatchMemory::owner(Block block) {
  using Held = std::pair<std::shared_ptr<BatchMemory>, Block>;
  auto held = std::make_unique<Held>(shared_from_this(), block);
  nb::capsule made(held.get(), [](void* data) noexcept {
    const std::unique_ptr<Held> last(static_cast<Held*>(data));
    last->first->release(last->second);
  });
  held.release();  // NOLINT(bugprone-unused-return-value)
  return made;
}

}  // namespace fastrl::python
