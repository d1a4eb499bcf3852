#include "envs/snapshot.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/check.h"
#include "core/random.h"

namespace fastrl {
namespace {

constexpr char kMagic[8] = {'F', 'A', 'S', 'T', 'R', 'L', 'S', 'N'};
constexpr std::uint32_t kFormat = 1;

// Fixed part of the file; the options' text follows, then the states.
struct Header {
  char magic[8];
  std::uint32_t format;
  std::uint32_t version;
  char id[32];
  std::uint64_t layout;
  std::uint64_t count;
  std::uint32_t slot_size;
  std::uint32_t options_size;
  std::uint64_t checksum;  // of the header with a zero here, and of all that follows
};
static_assert(sizeof(Header) == 80);
static_assert(std::endian::native == std::endian::little, "the file is little-endian");

std::uint64_t checksum(Header header, const std::byte* rest, std::size_t size) {
  header.checksum = 0;
  return mix64(hash_bytes(&header, sizeof(header)) ^ hash_bytes(rest, size));
}

[[noreturn]] void refuse(const std::string& actual) {
  fail_value("Snapshot.frombytes", "data", "be bytes of Snapshot.tobytes", actual);
}

}  // namespace

std::uint64_t hash_bytes(const void* bytes, std::size_t size) {
  const auto* next = static_cast<const unsigned char*>(bytes);
  std::uint64_t hash = mix64(size);
  for (; size >= 8; next += 8, size -= 8) {
    std::uint64_t word;
    std::memcpy(&word, next, 8);
    hash = mix64(hash ^ word);
  }
  if (size == 0) return hash;
  std::uint64_t word = 0;
  std::memcpy(&word, next, size);
  return mix64(hash ^ word);
}

Snapshot::Snapshot(std::shared_ptr<const SnapshotKind> kind, std::int64_t count)
    : kind_(std::move(kind)),
      count_(count),
      bytes_(std::make_unique_for_overwrite<std::byte[]>(size())) {}

Snapshot Snapshot::select(std::span<const std::int64_t> indices) const {
  for (const std::int64_t index : indices) {
    if (index < 0 || index >= count_) {
      fail_index("Snapshot", "index", concat("be from 0 to ", count_ - 1), concat(index));
    }
  }
  Snapshot result(kind_, static_cast<std::int64_t>(indices.size()));
  result.trusted_ = trusted_;
  const std::size_t size = kind_->slot_size;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(result.slots() + i * size, slots() + static_cast<std::size_t>(indices[i]) * size,
                size);
  }
  return result;
}

Snapshot Snapshot::concatenate(std::span<const Snapshot* const> parts) {
  if (parts.empty()) {
    fail_value("Snapshot.concatenate", "snapshots", "hold at least one snapshot", "none");
  }
  std::int64_t count = 0;
  for (const Snapshot* part : parts) {
    if (part->kind() != parts.front()->kind()) {
      fail_value("Snapshot.concatenate", "snapshots", "come from one environment and options",
                 concat(parts.front()->kind().id, "(", parts.front()->kind().options, ") and ",
                        part->kind().id, "(", part->kind().options, ")"));
    }
    count += part->count();
  }
  Snapshot result(parts.front()->kind_, count);
  std::byte* next = result.slots();
  for (const Snapshot* part : parts) {
    next = std::copy_n(part->slots(), part->size(), next);
    result.trusted_ = result.trusted_ && part->trusted_;
  }
  return result;
}

std::string Snapshot::to_bytes() const {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.format = kFormat;
  header.version = kind_->version;
  kind_->id.copy(header.id, sizeof(header.id) - 1);
  header.layout = kind_->layout;
  header.count = static_cast<std::uint64_t>(count_);
  header.slot_size = kind_->slot_size;
  header.options_size = static_cast<std::uint32_t>(kind_->options.size());
  std::string rest = kind_->options;
  rest.append(reinterpret_cast<const char*>(slots()), size());
  header.checksum = checksum(header, reinterpret_cast<const std::byte*>(rest.data()), rest.size());
  std::string result(reinterpret_cast<const char*>(&header), sizeof(header));
  return result += rest;
}

Snapshot Snapshot::from_bytes(std::span<const std::byte> bytes) {
  Header header;
  if (bytes.size() < sizeof(header)) refuse(concat("only ", bytes.size(), " bytes"));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) refuse("bytes of another kind");
  if (header.format != kFormat) refuse(concat("format ", header.format));
  const auto rest = bytes.subspan(sizeof(header));
  // Sizes are compared by division: a corrupt count must not overflow.
  const bool fits = header.options_size <= rest.size() && header.slot_size > 0 &&
                    (rest.size() - header.options_size) % header.slot_size == 0 &&
                    (rest.size() - header.options_size) / header.slot_size == header.count;
  if (!fits) refuse(concat("a truncated file of ", bytes.size(), " bytes"));
  if (header.checksum != checksum(header, rest.data(), rest.size())) {
    refuse("damaged bytes (the checksum differs)");
  }
  const auto* options = reinterpret_cast<const char*>(rest.data());
  auto kind = std::make_shared<SnapshotKind>();
  kind->id.assign(header.id, strnlen(header.id, sizeof(header.id)));
  kind->version = header.version;
  kind->slot_size = header.slot_size;
  kind->layout = header.layout;
  kind->options.assign(options, header.options_size);
  Snapshot result(std::move(kind), static_cast<std::int64_t>(header.count));
  std::ranges::copy(rest.subspan(header.options_size), result.slots());
  result.trusted_ = false;
  return result;
}

}  // namespace fastrl
