#include "replay/segments.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <random>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/check.h"
#include "replay/checksum.h"
#include "replay/manifest.h"

namespace fastrl {
namespace {

constexpr std::size_t kFanout = 8;             // as many small segments, and they are merged
constexpr std::uint64_t kSmallest = 64 << 10;  // segments below count as equally small
constexpr std::size_t kRememberedSaves = 256;  // more folders than that get everything again

std::string join(const std::string& folder, const std::string& name) { return folder + "/" + name; }

// Rows [first, last) of the stream at this position.
struct Rows {
  std::uint32_t stream = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

std::uint64_t live_bytes(const Segment& segment, std::span<const RowStream> streams) {
  std::uint64_t bytes = 0;
  for (const Piece& piece : segment.pieces) {
    bytes += static_cast<std::uint64_t>(piece.last - piece.first) * streams[piece.stream].row_size;
  }
  return bytes;
}

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

// A file under a temporary name until it is whole and on the disk.
class NewFile {
 public:
  NewFile(FileSystem& files, const std::string& folder, const std::string& name)
      : files_(files), final_(join(folder, name)), temporary_(final_ + kTemporary) {
    file_ = files_.create(temporary_);
  }
  void write(std::span<const std::byte> bytes) { file_->write(bytes); }
  void close() {
    file_->sync();
    file_.reset();
  }
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
  SegmentWriter(FileSystem& files, const std::string& folder, Segment& segment)
      : file_(files, folder, segment_name(segment.number)), segment_(segment) {
    file_.write(segment_header(segment));
    block_.reserve(std::min(segment.size, kBlockBytes));
  }

  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto some = bytes.first(std::min(bytes.size(), kBlockBytes - block_.size()));
      block_.insert(block_.end(), some.begin(), some.end());
      bytes = bytes.subspan(some.size());
      if (block_.size() == kBlockBytes) write_block();
    }
  }

  void seal() {
    if (!block_.empty()) write_block();
    file_.close();
    file_.rename();
  }

 private:
  void write_block() {
    segment_.blocks.push_back(crc32c(block_));
    file_.write(block_);
    block_.clear();
  }

  NewFile file_;
  Segment& segment_;
  std::vector<std::byte> block_;
};

// Reads a segment's data from front to back; nothing leaves it before its block's checksum was
// found right.
class SegmentReader {
 public:
  SegmentReader(FileSystem& files, const std::string& folder, const char* function,
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

  // The next bytes of the data.
  void read(std::span<std::byte> bytes) {
    while (!bytes.empty()) {
      const auto some = take(bytes.size());
      std::ranges::copy(some, bytes.begin());
      bytes = bytes.subspan(some.size());
    }
  }

  // Goes on to this place in the data and checks all on the way.
  void skip_to(std::uint64_t offset) {
    while (position_ < offset) take(offset - position_);
  }

 private:
  std::span<const std::byte> take(std::uint64_t most) {
    if (rest_.empty()) next_block();
    const auto some =
        rest_.first(static_cast<std::size_t>(std::min<std::uint64_t>(most, rest_.size())));
    rest_ = rest_.subspan(some.size());
    position_ += some.size();
    return some;
  }

  void next_block() {
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

  [[noreturn]] void refuse(const std::string& what) const {
    fail_value(function_, "path", "hold an undamaged save",
               concat("segment ", segment_.number, " whose file '", path_, "' ", what));
  }

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
std::optional<Manifest> read_manifest(FileSystem& files, const std::string& folder) {
  const std::string path = join(folder, kManifestName);
  const auto size = files.size(path);
  if (!size) return std::nullopt;
  std::vector<std::byte> bytes(static_cast<std::size_t>(*size));
  bytes.resize(files.open(path)->read(bytes));
  return decode(bytes);
}

// Removes our files that the manifest, which must be on the disk for good, does not name. What
// cannot be removed is tried again by the next save.
void remove_unneeded(FileSystem& files, const std::string& folder,
                     const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    try {
      files.remove(join(folder, name));
    } catch (const FileError&) {
      continue;
    }
  }
}

std::vector<std::string> unneeded(const std::vector<std::string>& listed,
                                  const Manifest& manifest) {
  std::unordered_set<std::string> needed;
  for (const Segment& segment : manifest.segments) needed.insert(segment_name(segment.number));
  needed.insert(segment_name(manifest.blob_segment.number));
  std::vector<std::string> names;
  for (const std::string& name : listed) {
    const bool ours = segment_number(name) || name == concat(kManifestName, kTemporary);
    if (ours && !needed.contains(name)) names.push_back(name);
  }
  return names;
}

// The rows of the state that earlier segments hold, in those segments.
std::vector<Segment> held_segments(FileSystem& files, const std::string& folder,
                                   const Manifest& before, const SavedState& state) {
  std::unordered_map<std::uint64_t, std::uint32_t> positions;
  for (std::size_t i = 0; i < state.streams.size(); ++i) {
    positions.emplace(state.streams[i].id, static_cast<std::uint32_t>(i));
  }
  std::vector<Segment> held;
  for (Segment segment : before.segments) {
    std::vector<Piece> kept;
    for (Piece piece : segment.pieces) {
      const RowStream& was = before.streams[piece.stream];
      const auto found = positions.find(was.id);
      if (found == positions.end()) continue;
      const RowStream& now = state.streams[found->second];
      const std::int64_t first = std::max(piece.first, now.first);
      const std::int64_t last = std::min({piece.last, was.sealed, now.last});
      if (first >= last || was.row_size != now.row_size) continue;
      piece.offset += static_cast<std::uint64_t>(first - piece.first) * now.row_size;
      kept.push_back({found->second, first, last, piece.offset});
    }
    if (kept.empty()) continue;
    segment.pieces = std::move(kept);
    const auto size = files.size(join(folder, segment_name(segment.number)));
    if (size == kSegmentHeaderBytes + segment.size) held.push_back(std::move(segment));
  }
  return held;
}

// Takes out the segments whose rows are better written again, along with so many new bytes: as
// many small ones as the fanout. A row is so written once per factor of kFanout + 1 in size.
void drop_small(std::vector<Segment>& held, std::span<const RowStream> streams,
                std::uint64_t new_bytes, std::uint64_t segment_bytes) {
  for (;;) {
    const std::uint64_t limit =
        std::min(std::max(new_bytes, kSmallest), std::max<std::uint64_t>(segment_bytes / 2, 1));
    const auto is_small = [&](const Segment& segment) {
      return live_bytes(segment, streams) <= limit;
    };
    if (static_cast<std::size_t>(std::ranges::count_if(held, is_small)) < kFanout) return;
    for (const Segment& segment : held) {
      if (is_small(segment)) new_bytes += live_bytes(segment, streams);
    }
    std::erase_if(held, is_small);
  }
}

// The rows of each stream that no segment holds, in order.
std::vector<std::vector<Rows>> missing_rows(const std::vector<Segment>& held,
                                            std::span<const RowStream> streams) {
  std::vector<std::vector<Rows>> have(streams.size());
  for (const Segment& segment : held) {
    for (const Piece& piece : segment.pieces) {
      have[piece.stream].push_back({piece.stream, piece.first, piece.last});
    }
  }
  std::vector<std::vector<Rows>> missing(streams.size());
  for (std::size_t i = 0; i < streams.size(); ++i) {
    std::ranges::sort(have[i], {}, &Rows::first);
    std::int64_t next = streams[i].first;
    const auto position = static_cast<std::uint32_t>(i);
    for (const Rows& rows : have[i]) {
      if (next < rows.first) missing[i].push_back({position, next, rows.first});
      next = rows.last;
    }
    if (next < streams[i].last) missing[i].push_back({position, next, streams[i].last});
  }
  return missing;
}

std::uint64_t count_rows(const std::vector<Rows>& rows) {
  std::uint64_t count = 0;
  for (const Rows& range : rows) count += static_cast<std::uint64_t>(range.last - range.first);
  return count;
}

// Cuts the missing rows into segments of about the given size. Each has the same share of every
// stream, so that its rows, which are of one age, vanish together.
std::vector<Segment> cut(const std::vector<std::vector<Rows>>& missing,
                         std::span<const RowStream> streams, std::uint64_t segment_bytes) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    bytes += count_rows(missing[i]) * streams[i].row_size;
  }
  const std::uint64_t parts = bytes / segment_bytes + (bytes % segment_bytes != 0 ? 1 : 0);
  std::vector<Segment> segments(static_cast<std::size_t>(parts));
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const std::uint64_t count = count_rows(missing[i]);
    std::uint64_t done = 0;
    auto range = missing[i].begin();
    std::int64_t next = range == missing[i].end() ? 0 : range->first;
    for (std::uint64_t part = 0; part < parts; ++part) {
      Segment& segment = segments[static_cast<std::size_t>(part)];
      const std::uint64_t end = count / parts * (part + 1) + count % parts * (part + 1) / parts;
      while (done < end) {
        const std::int64_t last =
            std::min(range->last, next + static_cast<std::int64_t>(end - done));
        segment.pieces.push_back({static_cast<std::uint32_t>(i), next, last, segment.size});
        const auto rows = static_cast<std::uint64_t>(last - next);
        segment.size += rows * streams[i].row_size;
        done += rows;
        next = last;
        if (next != range->last) continue;
        ++range;
        if (range != missing[i].end()) next = range->first;
      }
    }
  }
  std::erase_if(segments, [](const Segment& segment) { return segment.size == 0; });
  return segments;
}

void write_rows(FileSystem& files, const std::string& folder, const SavedState& state,
                Segment& segment) {
  SegmentWriter writer(files, folder, segment);
  for (const Piece& piece : segment.pieces) {
    const RowStream& stream = state.streams[piece.stream];
    for (std::int64_t row = piece.first; row < piece.last;) {
      const auto memory = rows_at(state.rows, stream, row, piece.last);
      writer.append(memory);
      row += rows_in(memory, stream);
    }
  }
  writer.seal();
}

// The entropy is asked for each time: a forked process must not go on in the same series.
SaveId random_id() {
  std::random_device device;
  SaveId id{};
  for (std::uint64_t& part : id) part = std::uint64_t{device()} << 32 | device();
  return id;
}

}  // namespace

SaveReport Saver::save(const std::string& path, const SavedState& state) {
  if (const std::string wrong = contradiction(state.streams); !wrong.empty()) {
    fail_value("save", "streams", "not contradict themselves", wrong);
  }
  FileSystem& files = *files_;
  files.make_folder(path);
  const auto lock = files.lock(path, true, options_.lock_seconds);
  const std::vector<std::string> listed = files.list(path);

  Manifest before;
  bool legible = true;
  try {
    before = read_manifest(files, path).value_or(Manifest{});
  } catch (const std::invalid_argument&) {
    legible = false;  // all of it is replaced, once there is something better
  }
  if (legible) {
    // What a crash or a failure has left, first: it takes space on a full disk. The manifest that
    // we see may not be on the disk yet, and the one that is may name other files.
    if (const auto names = unneeded(listed, before); !names.empty()) {
      files.sync_folder(path);
      remove_unneeded(files, path, names);
    }
  }
  const auto ancestor = std::ranges::find(ancestors_, before.id);
  const bool known = legible && ancestor != ancestors_.end();

  Manifest next{.id = random_id(),
                .kind = state.kind,
                .layout = state.layout,
                .streams = state.streams,
                .segments = {},
                .blobs = {},
                .blob_segment = {}};
  if (known) next.segments = held_segments(files, path, before, state);
  std::uint64_t new_bytes = 0;
  for (const auto& rows : missing_rows(next.segments, state.streams)) {
    if (!rows.empty()) new_bytes += count_rows(rows) * state.streams[rows[0].stream].row_size;
  }
  drop_small(next.segments, state.streams, new_bytes, options_.segment_bytes);
  SaveReport report;
  report.segments_kept = static_cast<std::int64_t>(next.segments.size());
  auto fresh = cut(missing_rows(next.segments, state.streams), state.streams,
                   std::max<std::uint64_t>(options_.segment_bytes, 1));
  for (const Blob& blob : state.blobs) {
    next.blobs.emplace_back(blob.name, blob.bytes.size());
    next.blob_segment.size += blob.bytes.size();
  }
  std::uint64_t number = 0;
  for (const std::string& name : listed)
    number = std::max(number, segment_number(name).value_or(0));
  for (Segment& segment : fresh) segment.number = ++number;
  next.blob_segment.number = ++number;

  std::vector<std::string> written;
  bool committing = false;
  try {
    for (Segment& segment : fresh) {
      written.push_back(segment_name(segment.number));
      write_rows(files, path, state, segment);
      for (const Piece& piece : segment.pieces) report.rows_written += piece.last - piece.first;
      report.bytes_written += kSegmentHeaderBytes + segment.size;
      next.segments.push_back(std::move(segment));
    }
    if (next.blob_segment.size > 0) {
      written.push_back(segment_name(next.blob_segment.number));
      SegmentWriter writer(files, path, next.blob_segment);
      for (const Blob& blob : state.blobs) writer.append(blob.bytes);
      writer.seal();
      report.bytes_written += kSegmentHeaderBytes + next.blob_segment.size;
    }
    report.segments_written = static_cast<std::int64_t>(written.size());
    written.emplace_back(kManifestName);
    NewFile file(files, path, kManifestName);
    const auto bytes = encode(next);
    file.write(bytes);
    file.close();
    report.bytes_written += bytes.size();
    files.sync_folder(path);  // the segments' names
    // From here on the folder may hold either manifest.
    const SaveId replaced = before.id;
    ancestors_.push_back(next.id);
    committing = true;
    file.rename();
    files.sync_folder(path);
    if (known) std::erase(ancestors_, replaced);
    if (ancestors_.size() > kRememberedSaves) ancestors_.erase(ancestors_.begin());
  } catch (...) {
    if (!committing) {
      for (std::string& name : written) {
        if (name != kManifestName) remove_unneeded(files, path, {name});
        remove_unneeded(files, path, {name + kTemporary});
      }
    }
    throw;
  }
  // Read anew, and no reason to fail any more.
  try {
    remove_unneeded(files, path, unneeded(files.list(path), next));
  } catch (const FileError&) {
    return report;
  }
  return report;
}

SavedFolder::SavedFolder(const char* function, const std::string& path, const std::string& kind,
                         FileSystem& files, SegmentOptions options)
    : function_(function),
      path_(path),
      files_(files),
      lock_(files.lock(path, false, options.lock_seconds)) {
  const std::string file = join(path, kManifestName);
  std::optional<Manifest> manifest;
  try {
    manifest = read_manifest(files, path);
  } catch (const std::invalid_argument& wrong) {
    fail_value(function, "path", "hold an undamaged save",
               concat("the manifest '", file, "': ", wrong.what()));
  }
  if (!manifest) throw FileError(ENOENT, "cannot load", file);
  if (manifest->kind != kind) {
    fail_value(function, "path", concat("hold a saved ", kind),
               concat("a saved ", manifest->kind, " in '", path, "'"));
  }
  manifest_ = std::make_unique<Manifest>(std::move(*manifest));
}

SavedFolder::~SavedFolder() = default;

const std::string& SavedFolder::layout() const { return manifest_->layout; }
const std::vector<RowStream>& SavedFolder::streams() const { return manifest_->streams; }
SaveId SavedFolder::id() const { return manifest_->id; }

void SavedFolder::read(const RowMemory& rows, const BlobMemory& blobs) const {
  for (const Segment& segment : manifest_->segments) {
    SegmentReader reader(files_, path_, function_, segment);
    for (const Piece& piece : segment.pieces) {
      reader.skip_to(piece.offset);
      const RowStream& stream = manifest_->streams[piece.stream];
      for (std::int64_t row = piece.first; row < piece.last;) {
        const auto memory = rows_at(rows, stream, row, piece.last);
        reader.read(memory);
        row += rows_in(memory, stream);
      }
    }
    reader.skip_to(segment.size);
  }
  if (manifest_->blob_segment.size == 0) {
    for (const auto& [name, size] : manifest_->blobs) blobs(name, size);
    return;
  }
  SegmentReader reader(files_, path_, function_, manifest_->blob_segment);
  for (const auto& [name, size] : manifest_->blobs) {
    const auto memory = blobs(name, size);
    if (memory.size() != size) {
      throw std::logic_error(
          concat("blob ", name, " has ", size, " bytes, its memory ", memory.size()));
    }
    reader.read(memory);
  }
}

}  // namespace fastrl
