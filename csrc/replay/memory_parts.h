// The parts of one piece of plain memory: aligned, named, in the order in which they are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace fastrl {

struct MemoryPart {
  std::string name;  // no other part has it
  std::byte* data;
  std::size_t size;
};

// Asked twice in the same order: once without memory, to learn the size, and once to get addresses.
class MemoryParts {
 public:
  static constexpr std::size_t kAlignment = 64;

  explicit MemoryParts(std::byte* memory) : memory_(memory) {}

  template <typename T>
  T* take(std::string name, std::int64_t count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    std::byte* data = memory_ == nullptr ? nullptr : memory_ + size_;
    parts_.push_back({std::move(name), data, bytes});
    size_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(data);
  }

  bool has_memory() const { return memory_ != nullptr; }
  std::size_t size() const { return size_; }
  const std::vector<MemoryPart>& parts() const { return parts_; }

 private:
  std::byte* memory_;
  std::size_t size_ = 0;
  std::vector<MemoryPart> parts_;
};

}  // namespace fastrl
