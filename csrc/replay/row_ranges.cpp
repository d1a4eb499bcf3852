#include "replay/row_ranges.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace fastrl {
namespace {

constexpr std::size_t kFanout = 8;             // as many small segments, and they are merged
constexpr std::uint64_t kSmallest = 64 << 10;  // segments below count as equally small

std::uint64_t live_bytes(const Segment& segment, std::span<const RowStream> streams) {
  std::uint64_t bytes = 0;
  for (const Piece& piece : segment.pieces) {
    bytes += static_cast<std::uint64_t>(piece.last - piece.first) * streams[piece.stream].row_size;
  }
  return bytes;
}

std::uint64_t count_rows(const std::vector<RowRange>& rows) {
  std::uint64_t count = 0;
  for (const RowRange& range : rows) count += static_cast<std::uint64_t>(range.last - range.first);
  return count;
}

}  // namespace

std::vector<Segment> still_needed(std::span<const Segment> segments,
                                  std::span<const RowStream> were, std::span<const RowStream> are) {
  std::unordered_map<std::uint64_t, std::uint32_t> positions;
  for (std::size_t i = 0; i < are.size(); ++i) {
    positions.emplace(are[i].id, static_cast<std::uint32_t>(i));
  }
  std::vector<Segment> needed;
  for (Segment segment : segments) {
    std::vector<Piece> kept;
    for (Piece piece : segment.pieces) {
      const RowStream& was = were[piece.stream];
      const auto found = positions.find(was.id);
      if (found == positions.end()) continue;
      const RowStream& now = are[found->second];
      const std::int64_t first = std::max(piece.first, now.first);
      const std::int64_t last = std::min({piece.last, was.sealed, now.last});
      if (first >= last || was.row_size != now.row_size) continue;
      piece.offset += static_cast<std::uint64_t>(first - piece.first) * now.row_size;
      kept.push_back({found->second, first, last, piece.offset});
    }
    if (kept.empty()) continue;
    segment.pieces = std::move(kept);
    needed.push_back(std::move(segment));
  }
  return needed;
}

RowsByStream missing_rows(std::span<const Segment> held, std::span<const RowStream> streams) {
  RowsByStream have(streams.size());
  for (const Segment& segment : held) {
    for (const Piece& piece : segment.pieces) {
      have[piece.stream].push_back({piece.stream, piece.first, piece.last});
    }
  }
  RowsByStream missing(streams.size());
  for (std::size_t i = 0; i < streams.size(); ++i) {
    std::ranges::sort(have[i], {}, &RowRange::first);
    std::int64_t next = streams[i].first;
    const auto position = static_cast<std::uint32_t>(i);
    for (const RowRange& rows : have[i]) {
      if (next < rows.first) missing[i].push_back({position, next, rows.first});
      next = rows.last;
    }
    if (next < streams[i].last) missing[i].push_back({position, next, streams[i].last});
  }
  return missing;
}

std::uint64_t bytes_of(const RowsByStream& rows, std::span<const RowStream> streams) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    bytes += count_rows(rows[i]) * streams[i].row_size;
  }
  return bytes;
}

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

std::vector<Segment> cut(const RowsByStream& missing, std::span<const RowStream> streams,
                         std::uint64_t segment_bytes) {
  const std::uint64_t bytes = bytes_of(missing, streams);
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

std::vector<Segment> cut_apart(const RowsByStream& rows, std::span<const RowStream> streams,
                               std::uint64_t segment_bytes) {
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const std::uint64_t row_size = streams[i].row_size;
    for (RowRange rest : rows[i]) {
      while (rest.first < rest.last) {
        if (segments.empty() || segments.back().size >= segment_bytes) segments.emplace_back();
        Segment& segment = segments.back();
        const std::uint64_t room = (segment_bytes - segment.size + row_size - 1) / row_size;
        const auto count = std::min(static_cast<std::uint64_t>(rest.last - rest.first), room);
        const std::int64_t last = rest.first + static_cast<std::int64_t>(count);
        segment.pieces.push_back({rest.stream, rest.first, last, segment.size});
        segment.size += count * row_size;
        rest.first = last;
      }
    }
  }
  return segments;
}

}  // namespace fastrl
