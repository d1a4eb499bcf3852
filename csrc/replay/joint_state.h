// Several objects in one save: they have one manifest, so all of them are committed or none is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "replay/segments.h"

namespace fastrl {

// What is a part's among streams and blobs: those of part 2 have ids from 2 << 48 on, and names
// that begin with "2/".
struct PartStream {
  std::size_t part;
  std::uint64_t id;  // as the part itself calls it

  static PartStream of(std::uint64_t joint_id);
  std::uint64_t joint_id() const;
};
std::string joint_name(std::size_t part, const std::string& name);
// The part and its own name; nothing where it has another form.
std::optional<std::pair<std::size_t, std::string>> part_name(const std::string& joint_name);
// The streams of each of so many parts; nothing where there are others.
std::optional<std::vector<std::vector<RowStream>>> part_streams(std::span<const RowStream> streams,
                                                                std::size_t num_parts);

class JointState final : public LiveState {
 public:
  // `others` are no part's. Each part is saved as it is at a moment of its own.
  JointState(std::string kind, std::string layout, std::vector<std::unique_ptr<LiveState>> parts,
             std::span<const Blob> others);

  std::string kind() const override { return kind_; }
  std::vector<RowStream> streams() override;
  std::span<std::byte> copy(std::uint64_t stream, std::int64_t first, std::int64_t last) override;
  SavedState freeze(std::span<const RowStream> written) override;

 private:
  std::string kind_;
  std::string layout_;
  std::vector<std::unique_ptr<LiveState>> parts_;
  std::span<const Blob> others_;
  std::vector<SavedState> frozen_;
};

}  // namespace fastrl
