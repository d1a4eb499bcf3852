// An array argument of a buffer's hot calls: where it lies, if it is laid out as wanted.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "python/numpy_head.h"

namespace fastrl::python {

// An array argument that is laid out as wanted, or nothing.
class Argument {
 public:
  // `array` must be contiguous, of this dtype and one of NumPy's own.
  Argument(nb::handle array, nb::handle dtype) : head_(numpy_head(array.ptr())) {
    if (head_ == nullptr) return;
    const bool is_wanted = head_->has(NumpyHead::kContiguous | NumpyHead::kAligned) &&
                           (head_->dtype == dtype.ptr() || nb::handle(head_->dtype).equal(dtype));
    if (!is_wanted) head_ = nullptr;
  }
  bool has_shape(const std::vector<std::int64_t>& leading,
                 const std::vector<std::int64_t>& own) const {
    if (head_ == nullptr) return false;
    if (static_cast<std::size_t>(head_->ndim) != leading.size() + own.size()) return false;
    return std::equal(leading.begin(), leading.end(), head_->shape) &&
           std::equal(own.begin(), own.end(), head_->shape + leading.size());
  }
  std::vector<std::int64_t> shape() const {
    if (head_ == nullptr) return {};
    return {head_->shape, head_->shape + head_->ndim};
  }
  template <typename T>
  const T* data() const {
    return reinterpret_cast<const T*>(head_->data);
  }

 private:
  const NumpyHead* head_;
};

}  // namespace fastrl::python
