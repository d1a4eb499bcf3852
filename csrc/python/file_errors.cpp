// FileError as Python knows it: OSError with errno, text and path, or its subclass for that errno.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <exception>

#include "python/bind.h"
#include "replay/files.h"

namespace fastrl::python {

void bind_file_errors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const FileError& error) {
      const nb::tuple arguments = nb::make_tuple(error.code(), error.text(), error.path());
      PyErr_SetObject(PyExc_OSError, arguments.ptr());
    }
  });
}

}  // namespace fastrl::python
