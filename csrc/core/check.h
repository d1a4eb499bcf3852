// Argument errors that say which function, which argument, what was expected and what came.
#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace fastrl {

// Joins anything printable; std::format is not in every C++20 library yet.
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

inline std::string argument_message(const char* function, const char* argument,
                                    const std::string& expected, const std::string& actual) {
  return concat(function, ": `", argument, "` must ", expected, ", got ", actual);
}

// Becomes ValueError in Python.
[[noreturn]] inline void fail_value(const char* function, const char* argument,
                                    const std::string& expected, const std::string& actual) {
  throw std::invalid_argument(argument_message(function, argument, expected, actual));
}

// Becomes IndexError in Python.
[[noreturn]] inline void fail_index(const char* function, const char* argument,
                                    const std::string& expected, const std::string& actual) {
  throw std::out_of_range(argument_message(function, argument, expected, actual));
}

}  // namespace fastrl
