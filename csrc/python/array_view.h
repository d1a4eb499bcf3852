// An array argument of a hot call: where it lies, if it is laid out as wanted.
#pragma once

#include <cstdint>

#include "envs/environment_table.h"
#include "python/bind.h"

namespace fastrl::python {

// NumPy's arrays are read in place, in 5 ns; other objects go through the buffer protocol, in 100.
class ArrayView {
 public:
  ArrayView(nb::handle array, bool writable);
  ~ArrayView() {
    if (held_) PyBuffer_Release(&buffer_);
  }
  ArrayView(const ArrayView&) = delete;
  ArrayView& operator=(const ArrayView&) = delete;

  void* data() const { return data_; }
  std::int64_t num_rows() const { return ndim_ > 0 ? shape_[0] : 0; }

  // Whether this is C-contiguous, [rows, shape of the field...] and of that dtype.
  bool is(std::int32_t dtype, const fastrl_field* field, std::int64_t rows) const;

 private:
  bool view_numpy(PyObject* array, bool writable);
  void view_buffer(PyObject* array, bool writable);

  void* data_ = nullptr;
  std::int32_t dtype_ = -1;  // none that anybody wants
  int ndim_ = 0;
  const Py_ssize_t* shape_ = nullptr;
  Py_buffer buffer_{};
  bool held_ = false;
};

}  // namespace fastrl::python
