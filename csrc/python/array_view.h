// An array argument of a hot call: where it lies, if it is laid out as wanted.
#pragma once

#include <cstdint>

#include "envs/environment_table.h"
#include "python/bind.h"

namespace fastrl::python {

// NumPy's arrays are read in place, in 5 ns; other objects go through the buffer protocol, in 100.
class ArrayView {
 public:
  // What has another dtype is nothing that anybody wants.
  ArrayView(nb::handle array, std::int32_t dtype, bool writable);
  ~ArrayView() {
    if (held_) PyBuffer_Release(&buffer_);
  }
  ArrayView(const ArrayView&) = delete;
  ArrayView& operator=(const ArrayView&) = delete;

  void* data() const { return data_; }
  std::int64_t num_rows() const { return ndim_ > 0 ? shape_[0] : 0; }

  // Whether this is C-contiguous, of the dtype, and [rows, shape of the field...], or [rows].
  bool is(const fastrl_field* field, std::int64_t rows) const;

 private:
  bool view_numpy(PyObject* array, std::int32_t dtype, bool writable);
  void view_buffer(PyObject* array, std::int32_t dtype, bool writable);

  void* data_ = nullptr;
  int ndim_ = -1;  // of what nobody wants
  const Py_ssize_t* shape_ = nullptr;
  Py_buffer buffer_;  // left as it is unless it is held: a hot call makes five of these
  bool held_ = false;
};

}  // namespace fastrl::python
