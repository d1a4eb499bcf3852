// The memory that a buffer lives in: this process's own, shared by name, or a file.
//
// What is kept there has no pointers, so all three hold the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fastrl {

enum class MemoryKind { kOwn, kShared, kFile };

struct MemoryPlace {
  MemoryKind kind = MemoryKind::kOwn;
  std::string name;  // of the shared memory, or the file's path
};

// Zeroed when it is new. Failures are std::system_error and name the place.
class Memory {
 public:
  // New memory; a name or file that is there already is a failure. All of it is reserved, so that a
  // full disk fails here and not at some later write.
  static Memory create(const MemoryPlace& place, std::size_t bytes);
  // What another process, or an earlier one, made.
  static Memory open(const MemoryPlace& place);

  // Takes away what `create` has made there; what is mapped stays.
  static void remove(const MemoryPlace& place);

  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&&) = delete;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  // The name of shared memory goes with the process that made it; what is mapped stays.
  ~Memory();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  const MemoryPlace& place() const { return place_; }

 private:
  Memory(MemoryPlace place, std::byte* data, std::size_t size, std::int64_t maker);

  MemoryPlace place_;
  std::byte* data_;
  std::size_t size_;
  std::int64_t maker_;  // the process whose end removes the name, or 0
};

}  // namespace fastrl
