// Which environments of a batch a call is about.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

namespace fastrl {

// Those of a list, in its order, or all. Does not own the list.
class Selection {
 public:
  static Selection all(std::int64_t num_envs) { return {nullptr, num_envs}; }

  template <typename Ids>
    requires std::convertible_to<const Ids&, std::span<const std::int64_t>>
  Selection(const Ids& ids)  // NOLINT(google-explicit-constructor): a list is a selection
      : Selection(std::span<const std::int64_t>(ids)) {}
  Selection(std::span<const std::int64_t> ids)  // NOLINT(google-explicit-constructor)
      : ids_(ids.data()), size_(static_cast<std::int64_t>(ids.size())) {}

  std::int64_t size() const { return size_; }
  bool is_all() const { return ids_ == nullptr; }  // true of no environments, too
  std::int64_t operator[](std::int64_t k) const { return ids_ != nullptr ? ids_[k] : k; }
  std::span<const std::int64_t> ids() const {
    return {ids_, ids_ != nullptr ? static_cast<std::size_t>(size_) : 0};
  }

 private:
  Selection(const std::int64_t* ids, std::int64_t size) : ids_(ids), size_(size) {}

  const std::int64_t* ids_;
  std::int64_t size_;
};

}  // namespace fastrl
