#include "replay/manifest.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <type_traits>
#include <unordered_set>

#include "core/check.h"
#include "replay/checksum.h"

namespace fastrl {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

constexpr char kMagic[8] = {'F', 'A', 'S', 'T', 'R', 'L', 'S', 'V'};
constexpr char kSegmentMagic[8] = {'F', 'A', 'S', 'T', 'R', 'L', 'S', 'G'};
constexpr std::uint32_t kFormat = 1;

// The start of a manifest in every format, so that a later one is known as such.
struct Head {
  char magic[8];
  std::uint32_t format;
  std::uint32_t checksum;  // of the file with a zero here
  std::uint64_t size;      // of the file
};
static_assert(sizeof(Head) == 24);

class Encoder {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(&value, sizeof(T));
  }
  void put(const std::string& text) {
    put<std::uint64_t>(text.size());
    put_bytes(text.data(), text.size());
  }
  template <typename T>
  void put(const std::vector<T>& items) {
    put<std::uint64_t>(items.size());
    for (const T& item : items) put(item);
  }
  void put(const std::pair<std::string, std::uint64_t>& blob) {
    put(blob.first);
    put(blob.second);
  }
  void put(const RowStream& stream) {
    put(stream.id);
    put(stream.row_size);
    put(stream.first);
    put(stream.last);
    put(stream.sealed);
  }
  void put(const Piece& piece) {
    put<std::uint64_t>(piece.stream);
    put(piece.first);
    put(piece.last);
    put(piece.offset);
  }
  void put(const Segment& segment) {
    put(segment.number);
    put(segment.size);
    put(segment.blocks);
    put(segment.pieces);
  }

  std::vector<std::byte> bytes;

 private:
  void put_bytes(const void* data, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), first, first + size);
  }
};

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string get_text() {
    const auto text = take(get<std::uint64_t>());
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  // `least`: bytes that an item has at least, so that no count can ask for more than there is.
  template <typename Item>
  auto get_list(std::size_t least, Item item) {
    const auto count = get<std::uint64_t>();
    if (count > rest_.size() / least) refuse("its lists are longer than the file");
    std::vector<decltype(item())> items;
    items.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) items.push_back(item());
    return items;
  }
  RowStream get_stream() {
    RowStream stream;
    stream.id = get<std::uint64_t>();
    stream.row_size = get<std::uint64_t>();
    stream.first = get<std::int64_t>();
    stream.last = get<std::int64_t>();
    stream.sealed = get<std::int64_t>();
    return stream;
  }
  Piece get_piece() {
    Piece piece;
    const auto stream = get<std::uint64_t>();
    if (stream > std::numeric_limits<std::uint32_t>::max()) refuse("a piece has no stream");
    piece.stream = static_cast<std::uint32_t>(stream);
    piece.first = get<std::int64_t>();
    piece.last = get<std::int64_t>();
    piece.offset = get<std::uint64_t>();
    return piece;
  }
  Segment get_segment() {
    Segment segment;
    segment.number = get<std::uint64_t>();
    segment.size = get<std::uint64_t>();
    segment.blocks = get_list(4, [this] { return get<std::uint32_t>(); });
    segment.pieces = get_list(32, [this] { return get_piece(); });
    return segment;
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::byte> take(std::uint64_t size) {
    if (size > rest_.size()) refuse("it ends too early");
    const auto taken = rest_.first(static_cast<std::size_t>(size));
    rest_ = rest_.subspan(static_cast<std::size_t>(size));
    return taken;
  }

  std::span<const std::byte> rest_;
};

void check_blocks(const Segment& segment) {
  const std::uint64_t whole = segment.size / kBlockBytes;
  if (segment.blocks.size() != whole + (segment.size % kBlockBytes != 0 ? 1 : 0)) {
    refuse(concat("segment ", segment.number, " has a wrong number of checksums"));
  }
}

// Pieces lie in their segments one behind another, and make up each stream without gap or overlap.
void check_pieces(const Manifest& manifest) {
  std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> ranges(manifest.streams.size());
  for (const Segment& segment : manifest.segments) {
    check_blocks(segment);
    std::uint64_t end = 0;
    for (const Piece& piece : segment.pieces) {
      const std::string where = concat("segment ", segment.number, " has ");
      if (piece.stream >= manifest.streams.size()) refuse(where + "rows of no stream");
      const RowStream& stream = manifest.streams[piece.stream];
      if (piece.first < stream.first || piece.last > stream.last || piece.first >= piece.last) {
        refuse(where + "rows that their stream has not");
      }
      // Cannot overflow: a stream's whole size fits, and these are some of its rows.
      const auto size = static_cast<std::uint64_t>(piece.last - piece.first) * stream.row_size;
      if (piece.offset < end || piece.offset > segment.size || size > segment.size - piece.offset) {
        refuse(where + "rows outside of it");
      }
      end = piece.offset + size;
      ranges[piece.stream].emplace_back(piece.first, piece.last);
    }
  }
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    std::ranges::sort(ranges[i]);
    std::int64_t next = manifest.streams[i].first;
    for (const auto& [first, last] : ranges[i]) {
      if (first != next) break;
      next = last;
    }
    if (next != manifest.streams[i].last) {
      refuse(concat("stream ", manifest.streams[i].id, " is not covered by the segments"));
    }
  }
}

}  // namespace

std::string segment_name(std::uint64_t number) {
  char digits[17] = "0000000000000000";
  for (int i = 15; i >= 0; --i, number >>= 4) digits[i] = "0123456789abcdef"[number & 15];
  return concat("segment-", digits, ".fastrl");
}

std::optional<std::uint64_t> segment_number(const std::string& name) {
  constexpr std::size_t kDigits = 8;  // where they begin
  if (name.size() < kDigits + 16) return std::nullopt;
  std::uint64_t number = 0;
  const char* const first = name.data() + kDigits;
  if (std::from_chars(first, first + 16, number, 16).ptr != first + 16) return std::nullopt;
  const std::string finished = segment_name(number);
  if (name != finished && name != finished + kTemporary) return std::nullopt;
  return number;
}

std::vector<std::byte> segment_header(const Segment& segment) {
  Encoder out;
  for (const char letter : kSegmentMagic) out.put(letter);
  out.put(kFormat);
  out.put(static_cast<std::uint32_t>(kBlockBytes));
  out.put(segment.number);
  out.put(segment.size);
  return out.bytes;
}

std::string contradiction(std::span<const RowStream> streams) {
  std::unordered_set<std::uint64_t> ids;
  for (const RowStream& stream : streams) {
    const std::string name = concat("stream ", stream.id);
    if (!ids.insert(stream.id).second) return name + " twice";
    if (stream.row_size == 0) return name + " with rows of no size";
    if (stream.first < 0 || stream.first > stream.last || stream.sealed > stream.last) {
      return concat(name, " with rows from ", stream.first, " to ", stream.last, ", sealed before ",
                    stream.sealed);
    }
    if (num_rows(stream) > std::numeric_limits<std::uint64_t>::max() / stream.row_size) {
      return name + " with more bytes than 64 bits can count";
    }
  }
  return {};
}

std::vector<std::byte> encode(const Manifest& manifest) {
  Encoder out;
  Head head{};
  std::ranges::copy(kMagic, head.magic);
  head.format = kFormat;
  out.put(head);
  out.put(manifest.id);
  out.put(manifest.kind);
  out.put(manifest.layout);
  out.put(manifest.streams);
  out.put(manifest.segments);
  out.put(manifest.blobs);
  out.put(manifest.blob_segment);
  head.size = out.bytes.size();
  std::memcpy(out.bytes.data(), &head, sizeof(head));
  head.checksum = crc32c(out.bytes);
  std::memcpy(out.bytes.data(), &head, sizeof(head));
  return std::move(out.bytes);
}

Manifest decode(std::span<const std::byte> bytes) {
  Decoder in(bytes);
  if (bytes.size() < sizeof(Head)) refuse("it ends too early");
  auto head = in.get<Head>();
  if (!std::ranges::equal(head.magic, kMagic)) refuse("it does not begin as one");
  if (head.size != bytes.size()) {
    refuse(concat("it has ", bytes.size(), " bytes and says ", head.size));
  }
  const std::uint32_t checksum = std::exchange(head.checksum, 0);
  const auto head_bytes = std::as_bytes(std::span(&head, 1));
  if (crc32c(bytes.subspan(sizeof(Head)), crc32c(head_bytes)) != checksum) {
    refuse("its checksum is wrong");
  }
  if (head.format != kFormat) {
    refuse(concat("it is of format ", head.format, ", this version reads ", kFormat));
  }
  Manifest manifest;
  manifest.id = in.get<SaveId>();
  manifest.kind = in.get_text();
  manifest.layout = in.get_text();
  manifest.streams = in.get_list(40, [&] { return in.get_stream(); });
  manifest.segments = in.get_list(32, [&] { return in.get_segment(); });
  manifest.blobs = in.get_list(16, [&] {
    std::string name = in.get_text();
    const auto size = in.get<std::uint64_t>();
    return std::pair(std::move(name), size);
  });
  manifest.blob_segment = in.get_segment();
  if (!in.empty()) refuse("it goes on behind its end");

  if (const std::string wrong = contradiction(manifest.streams); !wrong.empty()) {
    refuse("it has " + wrong);
  }
  check_pieces(manifest);
  check_blocks(manifest.blob_segment);
  std::uint64_t rest = manifest.blob_segment.size;
  for (const auto& [name, size] : manifest.blobs) {
    if (size > rest) refuse(concat("blob ", name, " lies outside of its segment"));
    rest -= size;
  }
  if (rest != 0 || !manifest.blob_segment.pieces.empty()) refuse("its blobs do not fill a segment");
  return manifest;
}

}  // namespace fastrl
