// The few file operations that a durable save needs, so that a test can fail each of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace fastrl {

// What the system refused. Becomes OSError (with `code` as errno, and its subclass) in Python.
class FileError : public std::runtime_error {
 public:
  // `action`: what could not be done, as "cannot write".
  FileError(int code, const std::string& action, const std::string& path);
  // As the function tells it whose argument `path` has led there.
  FileError told(const char* function, const char* expected) const;

  int code() const { return code_; }
  const std::string& text() const { return text_; }  // all but the path
  const std::string& path() const { return path_; }

 private:
  FileError(int code, std::string action, std::string text, std::string path);

  int code_;
  std::string action_;
  std::string text_;
  std::string path_;
};

// The result of a call that works in a function's `path`, or its FileError as the function tells
// it.
template <typename Call>
auto telling(const char* function, const char* expected, Call call) {
  try {
    return call();
  } catch (const FileError& error) {
    throw error.told(function, expected);
  }
}

// Closed with the object.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
  virtual void sync() = 0;  // what was written is on the disk
};

class InputFile {
 public:
  virtual ~InputFile() = default;
  // Fills `bytes` as far as the file goes and returns how many that were.
  virtual std::size_t read(std::span<std::byte> bytes) = 0;
};

// Held while the object lives.
class FolderLock {
 public:
  virtual ~FolderLock() = default;
};

// All of them throw FileError.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual void make_folder(const std::string& path) = 0;  // with those above it, all on the disk
  virtual std::unique_ptr<OutputFile> create(const std::string& path) = 0;
  virtual std::unique_ptr<InputFile> open(const std::string& path) = 0;
  virtual std::optional<std::uint64_t> size(const std::string& path) = 0;  // of a file that exists
  virtual std::vector<std::string> list(const std::string& folder) = 0;    // names
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void remove(const std::string& path) = 0;
  virtual void sync_folder(const std::string& path) = 0;  // names and renames are on the disk
  // One writer or several readers, among processes. Waits up to `seconds` for the others.
  virtual std::unique_ptr<FolderLock> lock(const std::string& folder, bool exclusive,
                                           double seconds) = 0;
};

FileSystem& system_files();

}  // namespace fastrl
