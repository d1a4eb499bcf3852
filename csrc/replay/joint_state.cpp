#include "replay/joint_state.h"

#include <charconv>

#include "core/check.h"

namespace fastrl {
namespace {

constexpr int kIdBits = 48;

}  // namespace

PartStream PartStream::of(std::uint64_t joint_id) {
  return {static_cast<std::size_t>(joint_id >> kIdBits), joint_id & ((1ull << kIdBits) - 1)};
}

std::uint64_t PartStream::joint_id() const { return std::uint64_t{part} << kIdBits | id; }

std::string joint_name(std::size_t part, const std::string& name) {
  return concat(part, "/", name);
}

std::optional<std::pair<std::size_t, std::string>> part_name(const std::string& joint_name) {
  std::size_t part = 0;
  const char* const end = joint_name.data() + joint_name.size();
  const auto [rest, error] = std::from_chars(joint_name.data(), end, part);
  if (error != std::errc{} || rest == end || *rest != '/') return std::nullopt;
  return std::pair(part, std::string(rest + 1, end));
}

std::optional<std::vector<std::vector<RowStream>>> part_streams(std::span<const RowStream> streams,
                                                                std::size_t num_parts) {
  std::vector<std::vector<RowStream>> parts(num_parts);
  for (RowStream stream : streams) {
    const PartStream of = PartStream::of(stream.id);
    if (of.part >= num_parts) return std::nullopt;
    stream.id = of.id;
    parts[of.part].push_back(stream);
  }
  return parts;
}

JointState::JointState(std::string kind, std::string layout,
                       std::vector<std::unique_ptr<LiveState>> parts, std::span<const Blob> others)
    : kind_(std::move(kind)),
      layout_(std::move(layout)),
      parts_(std::move(parts)),
      others_(others) {}

std::vector<RowStream> JointState::streams() {
  std::vector<RowStream> joint;
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    for (RowStream stream : parts_[part]->streams()) {
      stream.id = PartStream{part, stream.id}.joint_id();
      joint.push_back(stream);
    }
  }
  return joint;
}

std::span<std::byte> JointState::copy(std::uint64_t stream, std::int64_t first, std::int64_t last) {
  const PartStream of = PartStream::of(stream);
  return parts_[of.part]->copy(of.id, first, last);
}

SavedState JointState::freeze(std::span<const RowStream> written) {
  SavedState joint{.kind = kind_,
                   .layout = layout_,
                   .streams = {},
                   .blobs = {others_.begin(), others_.end()},
                   .rows = {}};
  const auto written_of = part_streams(written, parts_.size());
  frozen_.clear();
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    const SavedState& frozen = frozen_.emplace_back(parts_[part]->freeze(written_of->at(part)));
    for (RowStream stream : frozen.streams) {
      stream.id = PartStream{part, stream.id}.joint_id();
      joint.streams.push_back(stream);
    }
    for (const Blob& blob : frozen.blobs) {
      joint.blobs.push_back({joint_name(part, blob.name), blob.bytes});
    }
  }
  joint.rows = [this](std::uint64_t stream, std::int64_t first, std::int64_t last) {
    const PartStream of = PartStream::of(stream);
    return frozen_[of.part].rows(of.id, first, last);
  };
  return joint;
}

}  // namespace fastrl
