// Which rows of a state lie in which segments, and which are to be written, and how.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "replay/manifest.h"

namespace fastrl {

// Rows [first, last) of the stream at this position.
struct RowRange {
  std::uint32_t stream = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
};
using RowsByStream = std::vector<std::vector<RowRange>>;

// The segments, made for the streams `were`, with those of their rows alone that are sealed and
// that the streams `are` still have; without those that have none.
std::vector<Segment> still_needed(std::span<const Segment> segments,
                                  std::span<const RowStream> were, std::span<const RowStream> are);

// The rows of each stream that no segment holds, in order, and their bytes.
RowsByStream missing_rows(std::span<const Segment> held, std::span<const RowStream> streams);
std::uint64_t bytes_of(const RowsByStream& rows, std::span<const RowStream> streams);

// Takes out the segments whose rows are better written again, along with so many new bytes: as
// many small ones as the fanout of 8. A row is so written once per factor of 9 in size.
void drop_small(std::vector<Segment>& held, std::span<const RowStream> streams,
                std::uint64_t new_bytes, std::uint64_t segment_bytes);

// Cuts rows into segments of about the given size. Each has the same share of every stream, so that
// its rows, which are of one age, vanish together; or all of some streams, which vanish together.
std::vector<Segment> cut(const RowsByStream& rows, std::span<const RowStream> streams,
                         std::uint64_t segment_bytes);
std::vector<Segment> cut_apart(const RowsByStream& rows, std::span<const RowStream> streams,
                               std::uint64_t segment_bytes);

}  // namespace fastrl
