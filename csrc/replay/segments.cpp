#include "replay/segments.h"

#include <cerrno>
#include <optional>
#include <stdexcept>
#include <utility>

#include "core/check.h"
#include "replay/manifest.h"
#include "replay/segment_files.h"

namespace fastrl {
namespace {

constexpr const char* kReadable = "be a folder with a save";

// Of that kind, or of that kind of some objects.
bool is_kind(const std::string& saved, const std::string& kind) {
  return saved == kind || saved.starts_with(concat(kind, " of "));
}

}  // namespace

SavedFolder::SavedFolder(const char* function, const std::string& path, const std::string& kind,
                         FileSystem& files, SegmentOptions options)
    : function_(function), path_(path), files_(files) {
  const std::string file = join(path, kManifestName);
  std::optional<Manifest> manifest;
  telling(function, kReadable, [&] {
    lock_ = files.lock(path, false, options.lock_seconds);
    try {
      manifest = read_manifest(files, path);
    } catch (const std::invalid_argument& wrong) {
      fail_value(function, "path", "hold an undamaged save",
                 concat("the manifest '", file, "': ", wrong.what()));
    }
    if (!manifest) throw FileError(ENOENT, "cannot load", file);
  });
  if (!is_kind(manifest->kind, kind)) {
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
  telling(function_, kReadable, [&] { read_all(rows, blobs); });
}

void SavedFolder::read_all(const RowMemory& rows, const BlobMemory& blobs) const {
  std::optional<SegmentReader> reader;
  const Segment& blob_segment = manifest_->blob_segment;
  if (blob_segment.size > 0) reader.emplace(files_, path_, function_, blob_segment);
  for (const auto& [name, size] : manifest_->blobs) {
    const auto memory = blobs(name, size);
    if (memory.size() != size) {
      throw std::logic_error(
          concat("blob ", name, " has ", size, " bytes, its memory ", memory.size()));
    }
    if (size > 0) reader->read(memory);
  }
  for (const Segment& segment : manifest_->segments) {
    reader.emplace(files_, path_, function_, segment);
    for (const Piece& piece : segment.pieces) {
      reader->skip_to(piece.offset);
      reader->read_rows(manifest_->streams[piece.stream], piece, rows);
    }
    reader->skip_to(segment.size);
  }
}

}  // namespace fastrl
