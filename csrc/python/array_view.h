// An array argument of a hot call: where it lies, if it is laid out as wanted.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "envs/environment_table.h"
#include "python/bind.h"
#include "python/numpy_head.h"

namespace fastrl::python {

// What an array must be: C-contiguous, of a dtype, and [rows, shape of the field...], or [rows].
struct ArrayLayout {
  static constexpr std::int64_t kAnyRows = -1;

  ArrayLayout(std::int32_t dtype, std::int64_t rows, bool is_written);
  ArrayLayout(const fastrl_field& field, std::int64_t rows, bool is_written);

  bool has_shape(int n, const Py_ssize_t* given) const {
    if (n != ndim || (given[0] != shape[0] && shape[0] != kAnyRows)) return false;
    for (int d = 1; d < n; ++d) {
      if (given[d] != shape[static_cast<std::size_t>(d)]) return false;
    }
    return true;
  }

  PyTypeObject* type;  // of arrays whose head can be read; null if there are none
  PyObject* numpy_dtype;
  std::int32_t dtype;
  int flags;
  bool is_written;
  int ndim = 1;
  std::array<Py_ssize_t, 5> shape{};
  std::int64_t bytes;
};

// NumPy's arrays are read in place, in 3 ns; other objects go through the buffer protocol, in 100.
class ArrayView {
 public:
  ArrayView(nb::handle array, const ArrayLayout& wanted) {
    if (Py_TYPE(array.ptr()) == wanted.type) {
      const auto* head = reinterpret_cast<const NumpyHead*>(array.ptr());
      if (head->dtype == wanted.numpy_dtype) {
        if (head->has(wanted.flags) && wanted.has_shape(head->ndim, head->shape)) {
          data_ = reinterpret_cast<std::byte*>(head->data);
          num_rows_ = head->shape[0];
        }
        return;
      }
    }
    // Also where a dtype that compares equal is another object.
    view_buffer(array.ptr(), wanted);
  }
  ~ArrayView() {
    if (held_) PyBuffer_Release(&buffer_);
  }
  ArrayView(const ArrayView&) = delete;
  ArrayView& operator=(const ArrayView&) = delete;

  bool is_as_wanted() const { return num_rows_ >= 0; }
  std::byte* data() const { return data_; }
  std::int64_t num_rows() const { return num_rows_; }

 private:
  void view_buffer(PyObject* array, const ArrayLayout& wanted);

  std::byte* data_ = nullptr;
  std::int64_t num_rows_ = -1;
  Py_buffer buffer_;  // left as it is unless it is held: a hot call makes five of these
  bool held_ = false;
};

}  // namespace fastrl::python
