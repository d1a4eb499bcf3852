// Tables that come from elsewhere: checked once, before anything of theirs is called or believed.
#pragma once

#include "envs/environment_table.h"
#include "envs/options.h"

namespace fastrl {

// Throws std::invalid_argument about an argument of a function. Nothing behind `abi_version` is
// read where that differs.
void check_table(const fastrl_environment& table, const char* function = "make_vec",
                 const char* argument = "id");

// The same for what `describe` wrote.
void check_description(const fastrl_environment& table, const fastrl_description& description);

// The table's `create` and `describe` on behalf of `function`, with their errors thrown.
void* created(const fastrl_environment& table, Options& options, const char* function);
fastrl_description described(const fastrl_environment& table, const void* params,
                             const char* function);

}  // namespace fastrl
