// What a save's folder holds: which rows lie where in which segment file, and their checksums.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "replay/segments.h"

namespace fastrl {

// Rows of a stream within a segment.
struct Piece {
  std::uint32_t stream = 0;  // position in Manifest::streams
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::uint64_t offset = 0;  // of row `first` in the segment's data
};

struct Segment {
  std::uint64_t number = 0;           // gives the file's name; never used again in a folder
  std::uint64_t size = 0;             // of its data
  std::vector<std::uint32_t> blocks;  // CRC32C of each kBlockBytes of data, the last one shorter
  std::vector<Piece> pieces;          // by offset; what lies between them nobody needs any more
};

struct Manifest {
  SaveId id{};
  std::string kind;
  std::string layout;
  std::vector<RowStream> streams;
  std::vector<Segment> segments;
  std::vector<std::pair<std::string, std::uint64_t>> blobs;  // names and sizes, one after another
  Segment blob_segment;  // in this; no file of that number if it is empty
};

inline constexpr std::uint64_t kBlockBytes = 1 << 20;
inline constexpr char kManifestName[] = "manifest.fastrl";
inline constexpr char kTemporary[] = ".tmp";

std::string segment_name(std::uint64_t number);
// The number in the name of a segment's file, finished or not.
std::optional<std::uint64_t> segment_number(const std::string& name);

// The bytes at the start of a segment's file, all of them implied by the manifest.
inline constexpr std::size_t kSegmentHeaderBytes = 32;
std::vector<std::byte> segment_header(const Segment& segment);

inline std::uint64_t num_rows(const RowStream& stream) {
  return static_cast<std::uint64_t>(stream.last - stream.first);
}

// What contradicts itself in streams: a text, empty if nothing does.
std::string contradiction(std::span<const RowStream> streams);

std::vector<std::byte> encode(const Manifest& manifest);

// Whole and consistent, whatever the bytes are, or std::invalid_argument that says what is wrong.
Manifest decode(std::span<const std::byte> bytes);

}  // namespace fastrl
