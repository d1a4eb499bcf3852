// Segments' files: written under another name until they are whole, checked block by block when
// they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "replay/files.h"
#include "replay/manifest.h"

namespace fastrl {

inline std::string join(const std::string& folder, const std::string& name) {
  return folder + "/" + name;
}

// A file under a temporary name until it is whole and on the disk.
class NewFile {
 public:
  NewFile(FileSystem& files, const std::string& folder, const std::string& name);
  void write(std::span<const std::byte> bytes) { file_->write(bytes); }
  void close();
  void rename() { files_.rename(temporary_, final_); }

 private:
  FileSystem& files_;
  std::string final_;
  std::string temporary_;
  std::unique_ptr<OutputFile> file_;
};

// Writes a segment's data in blocks and notes their checksums.
class SegmentWriter {
 public:
  SegmentWriter(FileSystem& files, const std::string& folder, Segment& segment);
  void append(std::span<const std::byte> bytes);
  void append_rows(const RowStream& stream, const Piece& piece, const RowMemory& rows);
  void seal();

 private:
  void write_block();

  NewFile file_;
  Segment& segment_;
  std::vector<std::byte> block_;
};

// Reads a segment's data from front to back; nothing leaves it before its block's checksum was
// found right.
class SegmentReader {
 public:
  SegmentReader(FileSystem& files, const std::string& folder, const char* function,
                const Segment& segment);

  // The next bytes of the data.
  void read(std::span<std::byte> bytes);
  void read_rows(const RowStream& stream, const Piece& piece, const RowMemory& rows);
  // Goes on to this place in the data and checks all on the way.
  void skip_to(std::uint64_t offset);

 private:
  std::span<const std::byte> take(std::uint64_t most);
  void next_block();
  [[noreturn]] void refuse(const std::string& what) const;

  const char* function_;
  const Segment& segment_;
  std::string path_;
  std::unique_ptr<InputFile> file_;
  std::vector<std::byte> block_;
  std::span<const std::byte> rest_;  // of the block
  std::uint64_t position_ = 0;
  std::size_t number_ = 0;  // of the next block
};

// Nothing where there is no manifest; throws std::invalid_argument where it is none.
std::optional<Manifest> read_manifest(FileSystem& files, const std::string& folder);

}  // namespace fastrl
