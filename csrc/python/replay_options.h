// A buffer's options as Python's dicts, which python/fastrl/replay/buffer_layout.py has checked.
#pragma once

#include <vector>

#include "python/bind.h"
#include "python/replay_bound_buffer.h"
#include "replay/layout.h"

namespace fastrl::python {

BufferOptions options_of(const nb::dict& given);
// Its fields as Python names them.
std::vector<Leaf> leaves_of(const nb::dict& given);
nb::dict described(const BufferOptions& options);

}  // namespace fastrl::python
