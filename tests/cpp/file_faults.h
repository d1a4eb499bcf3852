// File systems that fail: an operation that the disk refuses, and a machine that loses power.
#pragma once

#include <cerrno>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "replay/files.h"

namespace fastrl::testing {

// Counts the operations on another file system and lets one of them fail, a write after half of
// its bytes.
class RefusingFiles final : public FileSystem {
 public:
  explicit RefusingFiles(FileSystem& files) : files_(files) {}

  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
  std::int64_t refuse_at = kNever;
  bool refuse_all_later = false;  // as a full disk does
  std::int64_t count = 0;

  void make_folder(const std::string& path) override { at(path), files_.make_folder(path); }
  std::unique_ptr<OutputFile> create(const std::string& path) override {
    at(path);
    return std::make_unique<Output>(*this, path, files_.create(path));
  }
  std::unique_ptr<InputFile> open(const std::string& path) override {
    at(path);
    return std::make_unique<Input>(*this, path, files_.open(path));
  }
  std::optional<std::uint64_t> size(const std::string& path) override {
    at(path);
    return files_.size(path);
  }
  std::vector<std::string> list(const std::string& folder) override {
    at(folder);
    return files_.list(folder);
  }
  void rename(const std::string& from, const std::string& to) override {
    at(to), files_.rename(from, to);
  }
  void remove(const std::string& path) override { at(path), files_.remove(path); }
  void sync_folder(const std::string& path) override { at(path), files_.sync_folder(path); }
  std::unique_ptr<FolderLock> lock(const std::string& folder, bool exclusive,
                                   double seconds) override {
    at(folder);
    return files_.lock(folder, exclusive, seconds);
  }

 private:
  bool refuses() {
    const std::int64_t index = count++;
    return index == refuse_at || (refuse_all_later && index > refuse_at);
  }
  void at(const std::string& path) {
    if (refuses()) throw FileError(ENOSPC, "cannot write", path);
  }

  class Output final : public OutputFile {
   public:
    Output(RefusingFiles& owner, std::string path, std::unique_ptr<OutputFile> file)
        : owner_(owner), path_(std::move(path)), file_(std::move(file)) {}
    void write(std::span<const std::byte> bytes) override {
      if (owner_.refuses()) {
        file_->write(bytes.first(bytes.size() / 2));
        throw FileError(ENOSPC, "cannot write", path_);
      }
      file_->write(bytes);
    }
    void sync() override { owner_.at(path_), file_->sync(); }

   private:
    RefusingFiles& owner_;
    std::string path_;
    std::unique_ptr<OutputFile> file_;
  };

  class Input final : public InputFile {
   public:
    Input(RefusingFiles& owner, std::string path, std::unique_ptr<InputFile> file)
        : owner_(owner), path_(std::move(path)), file_(std::move(file)) {}
    std::size_t read(std::span<std::byte> bytes) override {
      owner_.at(path_);
      return file_->read(bytes);
    }

   private:
    RefusingFiles& owner_;
    std::string path_;
    std::unique_ptr<InputFile> file_;
  };

  FileSystem& files_;
};

struct PowerLoss : std::exception {};

// A disk that keeps what was synced, and of the rest whatever it likes: any part of a file's
// bytes, any of the changes of names.
class VolatileDisk final : public FileSystem {
 public:
  std::int64_t lose_power_at = RefusingFiles::kNever;
  std::int64_t count = 0;

  // The disk as it is found after the power came back.
  void power_on(std::mt19937_64& random) {
    for (const Change& change : pending_) {
      if (random() % 2 == 0) change.apply(durable_);
    }
    pending_.clear();
    names_ = durable_;
    for (const auto& [name, file] : names_) {
      const std::size_t unsynced = file->bytes.size() - file->synced;
      file->bytes.resize(file->synced + (unsynced == 0 ? 0 : random() % (unsynced + 1)));
      for (std::size_t i = file->synced; i < file->bytes.size(); ++i) {
        if (random() % 2 == 0) file->bytes[i] = std::byte{0};
      }
      file->synced = file->bytes.size();
    }
    lose_power_at = RefusingFiles::kNever;
    count = 0;
  }

  void make_folder(const std::string&) override { step(); }
  std::unique_ptr<OutputFile> create(const std::string& path) override {
    step();
    auto file = std::make_shared<File>();
    change({path, file, {}});
    return std::make_unique<Output>(*this, file);
  }
  std::unique_ptr<InputFile> open(const std::string& path) override {
    step();
    return std::make_unique<Input>(names_.at(path));
  }
  std::optional<std::uint64_t> size(const std::string& path) override {
    step();
    const auto found = names_.find(path);
    if (found == names_.end()) return std::nullopt;
    return found->second->bytes.size();
  }
  std::vector<std::string> list(const std::string& folder) override {
    step();
    std::vector<std::string> names;
    for (const auto& [path, file] : names_) names.push_back(path.substr(folder.size() + 1));
    return names;
  }
  void rename(const std::string& from, const std::string& to) override {
    step();
    change({to, names_.at(from), from});
  }
  void remove(const std::string& path) override {
    step();
    change({path, nullptr, {}});
  }
  void sync_folder(const std::string&) override {
    step();
    durable_ = names_;
    pending_.clear();
  }
  std::unique_ptr<FolderLock> lock(const std::string&, bool, double) override {
    return std::make_unique<FolderLock>();
  }

 private:
  struct File {
    std::vector<std::byte> bytes;
    std::size_t synced = 0;
  };
  using Names = std::map<std::string, std::shared_ptr<File>>;

  struct Change {
    std::string to;
    std::shared_ptr<File> file;  // null: `to` is removed
    std::string from;            // of a rename

    void apply(Names& names) const {
      if (file == nullptr) {
        names.erase(to);
      } else {
        names[to] = file;
      }
      if (!from.empty()) names.erase(from);
    }
  };

  class Output final : public OutputFile {
   public:
    Output(VolatileDisk& disk, std::shared_ptr<File> file) : disk_(disk), file_(std::move(file)) {}
    void write(std::span<const std::byte> bytes) override {
      // Half of it is there when the power goes in the middle.
      const auto half = bytes.first(bytes.size() / 2);
      file_->bytes.insert(file_->bytes.end(), half.begin(), half.end());
      disk_.step();
      const auto rest = bytes.subspan(half.size());
      file_->bytes.insert(file_->bytes.end(), rest.begin(), rest.end());
    }
    void sync() override {
      disk_.step();
      file_->synced = file_->bytes.size();
    }

   private:
    VolatileDisk& disk_;
    std::shared_ptr<File> file_;
  };

  class Input final : public InputFile {
   public:
    explicit Input(std::shared_ptr<File> file) : file_(std::move(file)) {}
    std::size_t read(std::span<std::byte> bytes) override {
      const std::size_t size = std::min(bytes.size(), file_->bytes.size() - position_);
      std::copy_n(file_->bytes.begin() + static_cast<std::ptrdiff_t>(position_), size,
                  bytes.begin());
      position_ += size;
      return size;
    }

   private:
    std::shared_ptr<File> file_;
    std::size_t position_ = 0;
  };

  void step() {
    if (count++ >= lose_power_at) throw PowerLoss{};
  }
  void change(Change change) {
    change.apply(names_);
    pending_.push_back(std::move(change));
  }

  Names names_;
  Names durable_;
  std::vector<Change> pending_;
};

}  // namespace fastrl::testing
