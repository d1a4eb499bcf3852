#include "replay/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <system_error>
#include <thread>
#include <utility>

#include "core/check.h"

namespace fastrl {
namespace {

std::string above(const std::string& path) {
  const auto end = path.find_last_not_of('/');
  const auto slash = end == std::string::npos ? end : path.find_last_of('/', end);
  if (slash == std::string::npos) return path.starts_with('/') ? "/" : ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// What is no folder of this path's.
std::string file_in_the_way(std::string path) {
  struct stat facts{};
  while (::stat(path.c_str(), &facts) != 0 && errno == ENOTDIR) path = above(path);
  return path;
}

[[noreturn]] void refuse(const char* action, const std::string& path) {
  throw FileError(errno, action, path);
}

// Calls again what a signal interrupted.
template <typename Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class Descriptor {
 public:
  Descriptor(std::string path, int flags, const char* action)
      : path_(std::move(path)),
        value_(uninterrupted([&] { return ::open(path_.c_str(), flags | O_CLOEXEC, 0666); })) {
    if (value_ < 0) refuse(action, path_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(value_); }

  int value() const { return value_; }
  const std::string& path() const { return path_; }

  void sync() const {
#if defined(F_FULLFSYNC)  // where fsync stops at the drive's cache
    const int result = uninterrupted([this] { return ::fcntl(value_, F_FULLFSYNC); });
#else
    const int result = uninterrupted([this] { return ::fsync(value_); });
#endif
    if (result < 0) refuse("cannot sync", path_);
  }

 private:
  std::string path_;
  int value_;
};

class SystemOutput final : public OutputFile {
 public:
  explicit SystemOutput(const std::string& path)
      : file_(path, O_WRONLY | O_CREAT | O_TRUNC, "cannot create") {}

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const auto written =
          uninterrupted([&] { return ::write(file_.value(), bytes.data(), bytes.size()); });
      if (written < 0) refuse("cannot write", file_.path());
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void sync() override { file_.sync(); }

 private:
  Descriptor file_;
};

class SystemInput final : public InputFile {
 public:
  explicit SystemInput(const std::string& path) : file_(path, O_RDONLY, "cannot open") {}

  std::size_t read(std::span<std::byte> bytes) override {
    std::size_t got = 0;
    while (got < bytes.size()) {
      const auto more = uninterrupted(
          [&] { return ::read(file_.value(), bytes.data() + got, bytes.size() - got); });
      if (more < 0) refuse("cannot read", file_.path());
      if (more == 0) break;
      got += static_cast<std::size_t>(more);
    }
    return got;
  }

 private:
  Descriptor file_;
};

class SystemLock final : public FolderLock {
 public:
  SystemLock(const std::string& folder, bool exclusive, double seconds)
      : folder_(folder, O_RDONLY | O_DIRECTORY, "cannot open") {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    const int operation = (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB;
    while (uninterrupted([&] { return ::flock(folder_.value(), operation); }) < 0) {
      if (errno != EWOULDBLOCK) return;  // a file system without locks
      if (std::chrono::steady_clock::now() >= deadline) {
        errno = EWOULDBLOCK;
        refuse("cannot lock the folder, others use it:", folder);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  SystemLock(const SystemLock&) = delete;
  SystemLock& operator=(const SystemLock&) = delete;
  // Unlocked by name: a process forked meanwhile has the descriptor, too.
  ~SystemLock() override { ::flock(folder_.value(), LOCK_UN); }

 private:
  Descriptor folder_;
};

class SystemFiles final : public FileSystem {
 public:
  void make_folder(const std::string& path) override {
    int code = ::mkdir(path.c_str(), 0777) == 0 ? 0 : errno;
    if (code == ENOENT && above(path) != path) {
      make_folder(above(path));
      code = ::mkdir(path.c_str(), 0777) == 0 ? 0 : errno;
    }
    if (code == 0) {
      sync_folder(above(path));
      return;
    }
    struct stat facts{};
    if (code == EEXIST && ::stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode)) return;
    errno = code == EEXIST ? ENOTDIR : code;
    refuse("cannot make the folder", path);
  }

  std::unique_ptr<OutputFile> create(const std::string& path) override {
    return std::make_unique<SystemOutput>(path);
  }
  std::unique_ptr<InputFile> open(const std::string& path) override {
    return std::make_unique<SystemInput>(path);
  }

  std::optional<std::uint64_t> size(const std::string& path) override {
    struct stat facts{};
    if (::stat(path.c_str(), &facts) == 0) return static_cast<std::uint64_t>(facts.st_size);
    if (errno == ENOENT) return std::nullopt;
    refuse("cannot look at", path);
  }

  std::vector<std::string> list(const std::string& folder) override {
    DIR* const stream = ::opendir(folder.c_str());
    if (stream == nullptr) refuse("cannot list", folder);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(stream)) names.emplace_back(entry->d_name);
    const int code = errno;
    ::closedir(stream);
    errno = code;
    if (code != 0) refuse("cannot list", folder);
    return names;
  }

  void rename(const std::string& from, const std::string& to) override {
    if (std::rename(from.c_str(), to.c_str()) != 0) refuse("cannot rename to", to);
  }
  void remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) refuse("cannot remove", path);
  }
  void sync_folder(const std::string& path) override {
    Descriptor(path, O_RDONLY | O_DIRECTORY, "cannot open").sync();
  }
  std::unique_ptr<FolderLock> lock(const std::string& folder, bool exclusive,
                                   double seconds) override {
    return std::make_unique<SystemLock>(folder, exclusive, seconds);
  }
};

}  // namespace

FileError::FileError(int code, std::string action, std::string text, std::string path)
    : std::runtime_error(concat(text, ": '", path, "'")),
      code_(code),
      action_(std::move(action)),
      text_(std::move(text)),
      path_(std::move(path)) {}

FileError::FileError(int code, const std::string& action, const std::string& path)
    : FileError(code, action, concat(action, ": ", std::system_category().message(code)), path) {}

FileError FileError::told(const char* function, const char* expected) const {
  const std::string reason = std::system_category().message(code_);
  std::string found = concat("'", reason, "', ", action_);
  std::string where = path_;
  if (code_ == ENOTDIR) {
    where = file_in_the_way(path_);
    found = where == path_ ? "a file" : "a name below a file";
  }
  return {code_, action_, argument_message(function, "path", expected, found), where};
}

FileSystem& system_files() {
  static SystemFiles files;
  return files;
}

}  // namespace fastrl
