// A method of a Python class whose usual calls are answered here, without a frame of Python's: half
// of what a step of one environment costs would be that frame.
#pragma once

#include "python/bind.h"

namespace fastrl::python {

// Answers a call, arguments as vectorcall has them with `self` first. Null without an error set
// leaves the call to the method as it is written in Python.
using Attempt = PyObject* (*)(PyObject* const* args, Py_ssize_t num_args, PyObject* names);

// What takes the place of `method` in its class: `attempt` first, then the method itself. It has
// the method's name, documentation and signature.
nb::object native_first(nb::handle method, Attempt attempt);

}  // namespace fastrl::python
