// The memory that a buffer lives in: this process's own, shared by name, or a file.
//
// What is kept there has no pointers, so all three hold the same bytes. The system keeps count of
// the processes that have it open: a lock on its file that goes with its holder, however that ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

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
  // In a forked child: what its parent shares with it. A failure where that is memory of its own.
  static Memory inherit(Memory& of_parent);

  // Shared memory that is there, whether somebody has it open, and its first bytes.
  struct Found {
    std::size_t size;
    bool is_open;
    std::vector<std::byte> head;
  };
  static Found look(const MemoryPlace& place, std::size_t head_bytes);
  // Removes the name; who has it open keeps it.
  static void remove(const MemoryPlace& place);

  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&&) = delete;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  // The name of shared memory goes with the process that made it, at its exit at the latest; what
  // others have open stays. After a SIGKILL of the maker the name stays, too.
  ~Memory();

  // Whether nobody else has it open: true until admit_others() for who made it or was the first to
  // open it; all others wait in open() meanwhile.
  bool is_alone() const { return is_alone_; }
  void admit_others();
  // Before it is closed: whether nobody else has it open, and then nobody can until it is closed.
  bool is_last();
  // Waits until so many bytes of a file are on the disk.
  void write_through(std::size_t bytes) const;
  // Whether this is a forked child's copy of what its parent has.
  bool is_inherited() const;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  const MemoryPlace& place() const { return place_; }

 private:
  class Descriptor;
  Memory(MemoryPlace place, Descriptor&& descriptor, std::size_t size);
  static Memory attach(const MemoryPlace& place, Descriptor&& descriptor);

  MemoryPlace place_;
  std::byte* data_;
  std::size_t size_;
  int descriptor_ = -1;  // own memory has none
  bool is_alone_ = true;
  bool is_maker_ = false;
  std::uint32_t forks_;  // before it was mapped
};

}  // namespace fastrl
