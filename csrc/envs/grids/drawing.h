// Reading a level that is drawn as text, one character a cell and one line a row.
#pragma once

#include <string_view>

#include "core/check.h"
#include "envs/grid.h"

namespace fastrl {

[[noreturn]] inline void fail_level(const std::string& expected, const std::string& actual) {
  fail_value("set_levels", "levels", expected, actual);
}

// Calls visit(character, cell) for all cells of a drawing of that size. Line ends at either end of
// the text, as of a literal over several lines, are left out.
template <typename Visit>
void read_drawing(const Grid& grid, std::string_view text, Visit&& visit) {
  while (text.starts_with('\n')) text.remove_prefix(1);
  while (text.ends_with('\n')) text.remove_suffix(1);
  const auto size = [&] { return concat("have ", grid.height, " lines of ", grid.width); };
  int row = 0;
  for (bool more = true; more; ++row) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    more = end != std::string_view::npos;
    text.remove_prefix(more ? end + 1 : text.size());
    if (row >= grid.height) fail_level(size() + " characters", "more lines");
    if (line.size() != static_cast<std::size_t>(grid.width)) {
      fail_level(size() + " characters", concat(line.size(), " in line ", row + 1));
    }
    for (int column = 0; column < grid.width; ++column) {
      visit(line[static_cast<std::size_t>(column)], row * grid.width + column);
    }
  }
  if (row < grid.height) fail_level(size() + " characters", concat(row, " lines"));
}

// The one cell of a kind, -1 until it is found.
class OneCell {
 public:
  explicit OneCell(const char* name) : name_(name) {}

  void found(int cell) {
    if (cell_ >= 0) fail_level(concat("draw one ", name_), "two");
    cell_ = cell;
  }
  int cell() const {
    if (cell_ < 0) fail_level(concat("draw one ", name_), "none");
    return cell_;
  }

 private:
  const char* name_;
  int cell_ = -1;
};

[[noreturn]] inline void fail_character(const char* known, char character) {
  fail_level(concat("be drawn with ", known), concat("'", character, "'"));
}

}  // namespace fastrl
