// Zeroed, aligned memory of an index, for as long as a test needs it.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace fastrl::testing {

class IndexMemory {
 public:
  explicit IndexMemory(std::size_t size)
      : size_(size), bytes_(new (std::align_val_t{64}) std::byte[size]()) {}

  std::byte* get() const { return bytes_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{64}); }
  };
  std::size_t size_;
  std::unique_ptr<std::byte, Free> bytes_;
};

}  // namespace fastrl::testing
