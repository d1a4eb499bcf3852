#include "replay/segment_files.h"

#include <algorithm>
#include <stdexcept>

#include "core/check.h"
#include "replay/checksum.h"

namespace fastrl {
namespace {

// A callback's memory, once it is known to be some whole rows and no more than were asked for.
std::span<std::byte> rows_at(const RowMemory& rows, const RowStream& stream, std::int64_t first,
                             std::int64_t last) {
  const auto memory = rows(stream.id, first, last);
  const auto most = static_cast<std::uint64_t>(last - first) * stream.row_size;
  if (memory.empty() || memory.size() > most || memory.size() % stream.row_size != 0) {
    throw std::logic_error(concat("rows ", first, " to ", last, " of stream ", stream.id,
                                  " lie in ", memory.size(), " bytes"));
  }
  return memory;
}

std::int64_t rows_in(std::span<const std::byte> memory, const RowStream& stream) {
  return static_cast<std::int64_t>(memory.size() / stream.row_size);
}

}  // namespace

NewFile::NewFile(FileSystem& files, const std::string& folder, const std::string& name)
    : files_(files), final_(join(folder, name)), temporary_(final_ + kTemporary) {
  file_ = files_.create(temporary_);
}

void NewFile::close() {
  file_->sync();
  file_.reset();
}

SegmentWriter::SegmentWriter(FileSystem& files, const std::string& folder, Segment& segment)
    : file_(files, folder, segment_name(segment.number)), segment_(segment) {
  file_.write(segment_header(segment));
  block_.reserve(std::min(segment.size, kBlockBytes));
}

void SegmentWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto some = bytes.first(std::min(bytes.size(), kBlockBytes - block_.size()));
    block_.insert(block_.end(), some.begin(), some.end());
    bytes = bytes.subspan(some.size());
    if (block_.size() == kBlockBytes) write_block();
  }
}

void SegmentWriter::append_rows(const RowStream& stream, const Piece& piece,
                                const RowMemory& rows) {
  for (std::int64_t row = piece.first; row < piece.last;) {
    const auto memory = rows_at(rows, stream, row, piece.last);
    append(memory);
    row += rows_in(memory, stream);
  }
}

void SegmentWriter::seal() {
  if (!block_.empty()) write_block();
  file_.close();
  file_.rename();
}

void SegmentWriter::write_block() {
  segment_.blocks.push_back(crc32c(block_));
  file_.write(block_);
  block_.clear();
}

SegmentReader::SegmentReader(FileSystem& files, const std::string& folder, const char* function,
                             const Segment& segment)
    : function_(function), segment_(segment), path_(join(folder, segment_name(segment.number))) {
  const auto size = files.size(path_);
  if (!size) refuse("is missing");
  const std::uint64_t wanted = kSegmentHeaderBytes + segment.size;
  if (*size != wanted) refuse(concat("has ", *size, " bytes in place of ", wanted));
  file_ = files.open(path_);
  const auto header = segment_header(segment);
  std::vector<std::byte> found(header.size());
  if (file_->read(found) != found.size() || found != header) refuse("begins with other bytes");
}

void SegmentReader::read(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const auto some = take(bytes.size());
    std::ranges::copy(some, bytes.begin());
    bytes = bytes.subspan(some.size());
  }
}

void SegmentReader::read_rows(const RowStream& stream, const Piece& piece, const RowMemory& rows) {
  for (std::int64_t row = piece.first; row < piece.last;) {
    const auto memory = rows_at(rows, stream, row, piece.last);
    read(memory);
    row += rows_in(memory, stream);
  }
}

void SegmentReader::skip_to(std::uint64_t offset) {
  while (position_ < offset) take(offset - position_);
}

std::span<const std::byte> SegmentReader::take(std::uint64_t most) {
  if (rest_.empty()) next_block();
  const auto some =
      rest_.first(static_cast<std::size_t>(std::min<std::uint64_t>(most, rest_.size())));
  rest_ = rest_.subspan(some.size());
  position_ += some.size();
  return some;
}

void SegmentReader::next_block() {
  block_.resize(static_cast<std::size_t>(std::min(kBlockBytes, segment_.size - position_)));
  if (file_->read(block_) != block_.size()) refuse(concat("ends in block ", number_));
  const std::uint32_t found = crc32c(block_);
  const std::uint32_t wanted = segment_.blocks[number_];
  if (found != wanted) {
    refuse(concat("has the checksum ", found, " in place of ", wanted, " in block ", number_,
                  ", the ", block_.size(), " bytes from ", kSegmentHeaderBytes + position_));
  }
  ++number_;
  rest_ = block_;
}

void SegmentReader::refuse(const std::string& what) const {
  fail_value(function_, "path", "hold an undamaged save",
             concat("segment ", segment_.number, " whose file '", path_, "' ", what));
}

std::optional<Manifest> read_manifest(FileSystem& files, const std::string& folder) {
  const std::string path = join(folder, kManifestName);
  const auto size = files.size(path);
  if (!size) return std::nullopt;
  std::vector<std::byte> bytes(static_cast<std::size_t>(*size));
  bytes.resize(files.open(path)->read(bytes));
  return decode(bytes);
}

}  // namespace fastrl
