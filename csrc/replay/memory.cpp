#include "replay/memory.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

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

// How often this process and those before it were forked.
std::uint32_t num_forks() {
  static std::atomic<std::uint32_t> forks{0};
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(registered);
  return forks.load(std::memory_order_relaxed);
}

// Names of shared memory that this process has made. What is still here when it exits was never
// destroyed.
class MadeNames {
 public:
  static MadeNames& instance() {
    static MadeNames names;
    return names;
  }
  ~MadeNames() {
    if (maker_ != getpid()) return;
    for (const std::string& name : names_) Memory::remove({MemoryKind::kShared, name});
  }
  void add(const std::string& name) {
    const std::scoped_lock lock(mutex_);
    if (maker_ != getpid()) names_.clear();
    maker_ = getpid();
    names_.push_back(name);
  }
  void remove(const std::string& name) {
    const std::scoped_lock lock(mutex_);
    std::erase(names_, name);
  }

 private:
  std::mutex mutex_;
  pid_t maker_ = 0;
  std::vector<std::string> names_;
};

bool lock_file(int descriptor, int how) {
  while (flock(descriptor, how) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

}  // namespace

// Closes what it holds.
class Memory::Descriptor {
 public:
  Descriptor(const MemoryPlace& place, int flags)
      : Descriptor(place.kind == MemoryKind::kShared
                       ? shm_open(concat("/", place.name).c_str(), flags, 0600)
                       : ::open(place.name.c_str(), flags | O_CLOEXEC, 0600)) {
    if (value_ < 0) fail((flags & O_CREAT) != 0 ? "cannot create" : "cannot open", place, errno);
  }
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

Memory::Memory(MemoryPlace place, Descriptor&& descriptor, std::size_t size)
    : place_(std::move(place)), size_(size), forks_(num_forks()) {
  const int flags = place_.kind == MemoryKind::kOwn ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, descriptor.value(), 0);
  if (data == MAP_FAILED) fail("cannot map", place_, errno);
  if (place_.kind != MemoryKind::kFile) prefer_huge_pages(data, static_cast<std::int64_t>(size));
  data_ = static_cast<std::byte*>(data);
  descriptor_ = descriptor.release();
}

Memory::Memory(Memory&& other) noexcept
    : place_(std::move(other.place_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(other.size_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      is_alone_(other.is_alone_),
      is_maker_(std::exchange(other.is_maker_, false)),
      forks_(other.forks_) {}

Memory::~Memory() {
  if (data_ != nullptr) munmap(data_, size_);
  if (is_maker_ && !is_inherited()) {
    remove(place_);
    MadeNames::instance().remove(place_.name);
  }
  if (descriptor_ < 0) return;
  // By name: forked children hold the same lock and need not know of it.
  if (!is_inherited()) lock_file(descriptor_, LOCK_UN);
  close(descriptor_);
}

Memory Memory::create(const MemoryPlace& place, std::size_t bytes) {
  if (place.kind == MemoryKind::kOwn) return {place, Descriptor(-1), bytes};
  Descriptor descriptor(place, O_RDWR | O_CREAT | O_EXCL);
  try {
    if (!lock_file(descriptor.value(), LOCK_EX)) fail("cannot lock", place, errno);
    const int error = posix_fallocate(descriptor.value(), 0, static_cast<off_t>(bytes));
    if (error != 0) fail("cannot reserve the space of", place, error);
    Memory made(place, std::move(descriptor), bytes);
    if (place.kind == MemoryKind::kShared) {
      MadeNames::instance().add(place.name);
      made.is_maker_ = true;
    }
    return made;
  } catch (...) {
    remove(place);
    throw;
  }
}

Memory Memory::open(const MemoryPlace& place) { return attach(place, Descriptor(place, O_RDWR)); }

Memory Memory::inherit(Memory& of_parent) {
  if (of_parent.place_.kind == MemoryKind::kOwn) {
    throw std::runtime_error(
        "ReplayBuffer: made before a fork, in memory that the processes do not share; make it with "
        "storage='shared:NAME' or with a path");
  }
  // A lock of its own instead of the parent's, also where the name is gone.
  const std::string path = concat("/proc/self/fd/", of_parent.descriptor_);
  Descriptor descriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (descriptor.value() < 0) fail("cannot open", of_parent.place_, errno);
  close(std::exchange(of_parent.descriptor_, -1));
  return attach(of_parent.place_, std::move(descriptor));
}

Memory Memory::attach(const MemoryPlace& place, Descriptor&& descriptor) {
  const bool is_alone = lock_file(descriptor.value(), LOCK_EX | LOCK_NB);
  if (!is_alone && (errno != EWOULDBLOCK || !lock_file(descriptor.value(), LOCK_SH))) {
    fail("cannot lock", place, errno);
  }
  struct stat status{};
  if (fstat(descriptor.value(), &status) != 0) fail("cannot read the size of", place, errno);
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (bytes == 0) fail("nothing is in", place, EINVAL);
  Memory opened(place, std::move(descriptor), bytes);
  opened.is_alone_ = is_alone;
  return opened;
}

Memory::Found Memory::look(const MemoryPlace& place, std::size_t head_bytes) {
  const Descriptor descriptor(place, O_RDONLY);
  struct stat status{};
  if (fstat(descriptor.value(), &status) != 0) fail("cannot read the size of", place, errno);
  Found found{static_cast<std::size_t>(status.st_size), true, {}};
  found.head.resize(std::min(found.size, head_bytes));
  const ssize_t read = pread(descriptor.value(), found.head.data(), found.head.size(), 0);
  if (read != static_cast<ssize_t>(found.head.size())) fail("cannot read", place, errno);
  found.is_open = !lock_file(descriptor.value(), LOCK_EX | LOCK_NB);
  return found;
}

void Memory::remove(const MemoryPlace& place) {
  if (place.kind == MemoryKind::kShared) shm_unlink(concat("/", place.name).c_str());
  if (place.kind == MemoryKind::kFile) unlink(place.name.c_str());
}

void Memory::admit_others() {
  if (descriptor_ >= 0) lock_file(descriptor_, LOCK_SH);
  is_alone_ = false;
}

bool Memory::is_last() {
  if (descriptor_ < 0 || is_inherited()) return false;  // a child's lock is its parent's
  return lock_file(descriptor_, LOCK_EX | LOCK_NB);
}

void Memory::write_through(std::size_t bytes) const {
  if (place_.kind != MemoryKind::kFile) return;
  if (msync(data_, bytes, MS_SYNC) != 0) fail("cannot write", place_, errno);
}

bool Memory::is_inherited() const { return forks_ != num_forks(); }

}  // namespace fastrl
