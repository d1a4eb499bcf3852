// Wrapper options as python/fastrl/envs/wrappers.py has checked them.
#pragma once

#include "envs/wrappers.h"
#include "python/bind.h"

namespace fastrl::python {

ContextOptions context_options_of(const nb::dict& given);
WrapperOptions wrapper_options_of(const nb::dict& given);

}  // namespace fastrl::python
