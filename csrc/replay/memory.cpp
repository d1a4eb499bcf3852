#include "replay/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/huge_pages.h"

namespace fastrl {
namespace {

[[noreturn]] void fail(const char* what, const MemoryPlace& place, int error) {
  const std::string where = place.kind == MemoryKind::kOwn ? std::string("memory")
                            : place.kind == MemoryKind::kShared
                                ? concat("shared memory '", place.name, "'")
                                : concat("'", place.name, "'");
  throw std::system_error(error, std::generic_category(), concat(what, " ", where));
}

// Closes what it holds.
class Descriptor {
 public:
  Descriptor(const MemoryPlace& place, int flags)
      : value_(place.kind == MemoryKind::kShared
                   ? shm_open(concat("/", place.name).c_str(), flags, 0600)
                   : ::open(place.name.c_str(), flags | O_CLOEXEC, 0600)) {
    if (value_ < 0) fail((flags & O_CREAT) != 0 ? "cannot create" : "cannot open", place, errno);
  }
  ~Descriptor() { close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

std::byte* map(const MemoryPlace& place, int descriptor, std::size_t bytes) {
  const int flags = descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
  if (data == MAP_FAILED) fail("cannot map", place, errno);
  if (place.kind != MemoryKind::kFile) prefer_huge_pages(data, static_cast<std::int64_t>(bytes));
  return static_cast<std::byte*>(data);
}

}  // namespace

Memory::Memory(MemoryPlace place, std::byte* data, std::size_t size, std::int64_t maker)
    : place_(std::move(place)), data_(data), size_(size), maker_(maker) {}

Memory::Memory(Memory&& other) noexcept
    : place_(std::move(other.place_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(other.size_),
      maker_(std::exchange(other.maker_, 0)) {}

Memory::~Memory() {
  if (data_ != nullptr) munmap(data_, size_);
  if (maker_ == getpid()) remove(place_);  // not in a forked child
}

Memory Memory::create(const MemoryPlace& place, std::size_t bytes) {
  if (place.kind == MemoryKind::kOwn) return {place, map(place, -1, bytes), bytes, 0};
  const Descriptor descriptor(place, O_RDWR | O_CREAT | O_EXCL);
  try {
    const int error = posix_fallocate(descriptor.value(), 0, static_cast<off_t>(bytes));
    if (error != 0) fail("cannot reserve the space of", place, error);
    const std::int64_t maker = place.kind == MemoryKind::kShared ? getpid() : 0;
    return {place, map(place, descriptor.value(), bytes), bytes, maker};
  } catch (...) {
    remove(place);
    throw;
  }
}

void Memory::remove(const MemoryPlace& place) {
  if (place.kind == MemoryKind::kShared) shm_unlink(concat("/", place.name).c_str());
  if (place.kind == MemoryKind::kFile) unlink(place.name.c_str());
}

Memory Memory::open(const MemoryPlace& place) {
  const Descriptor descriptor(place, O_RDWR);
  struct stat status{};
  if (fstat(descriptor.value(), &status) != 0) fail("cannot read the size of", place, errno);
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (bytes == 0) fail("nothing is in", place, EINVAL);
  return {place, map(place, descriptor.value(), bytes), bytes, 0};
}

}  // namespace fastrl
