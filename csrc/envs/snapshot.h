// States of environments, taken out of a batch: to restore, to branch, to keep in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fastrl {

// A 64-bit hash of bytes, the same on every machine.
std::uint64_t hash_bytes(const void* bytes, std::size_t size);

// Whose states these are. A snapshot is restored only where all of it agrees.
struct SnapshotKind {
  std::string id;
  std::uint32_t version = 0;
  std::uint32_t slot_size = 0;  // bytes of one environment
  std::uint64_t layout = 0;     // hash of what the bytes mean
  std::string options;          // canonical

  friend bool operator==(const SnapshotKind&, const SnapshotKind&) = default;
};

class Snapshot {
 public:
  Snapshot(std::shared_ptr<const SnapshotKind> kind, std::int64_t count);

  const SnapshotKind& kind() const { return *kind_; }
  std::int64_t count() const { return count_; }
  std::size_t size() const { return static_cast<std::size_t>(count_) * kind_->slot_size; }
  std::byte* slots() { return bytes_.get(); }
  const std::byte* slots() const { return bytes_.get(); }

  // False for bytes from outside, whose states must be checked before they are used.
  bool trusted() const { return trusted_; }

  // The given ones, in that order. Throws std::out_of_range.
  Snapshot select(std::span<const std::int64_t> indices) const;

  // Throws std::invalid_argument when `parts` is empty or of several kinds.
  static Snapshot concatenate(std::span<const Snapshot* const> parts);

  // A header (magic, kind, count, checksum), then the states. Equal snapshots give equal bytes.
  std::string to_bytes() const;

  // Throws std::invalid_argument for anything that to_bytes has not written.
  static Snapshot from_bytes(std::span<const std::byte> bytes);

 private:
  std::shared_ptr<const SnapshotKind> kind_;
  std::int64_t count_;
  std::unique_ptr<std::byte[]> bytes_;  // not zeroed first: all are written
  bool trusted_ = true;
};

}  // namespace fastrl
