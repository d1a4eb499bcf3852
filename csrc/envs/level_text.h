// Reading a level drawn by hand: rows of characters, a character a cell.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "core/check.h"

namespace fastrl {

[[noreturn]] inline void fail_level(const std::string& expected, const std::string& actual) {
  fail_value("parse_level", "text", expected, actual);
}

class LevelText {
 public:
  // Throws std::invalid_argument unless there are `height` rows of `width` of these characters.
  // Newlines around the rows do not count.
  LevelText(std::string_view text, int height, int width, std::string_view characters) {
    while (text.starts_with('\n')) text.remove_prefix(1);
    while (text.ends_with('\n')) text.remove_suffix(1);
    const auto rows = std::ranges::count(text, '\n') + 1;
    if (rows != height) fail_level(concat("have ", height, " rows"), concat(rows));
    for (int row = 0; row < height; ++row) {
      const std::string_view line = text.substr(0, text.find('\n'));
      if (line.size() != static_cast<std::size_t>(width)) {
        fail_level(concat("have ", width, " characters in row ", row), concat(line.size()));
      }
      for (const char c : line) {
        if (characters.find(c) == std::string_view::npos) {
          fail_level(concat("be drawn with the characters ", characters),
                     concat("'", c, "' in row ", row));
        }
      }
      cells_ += line;
      text.remove_prefix(std::min(text.size(), line.size() + 1));
    }
  }

  char operator[](int cell) const { return cells_[static_cast<std::size_t>(cell)]; }

  int count(std::string_view characters) const {
    return static_cast<int>(std::ranges::count_if(
        cells_, [&](char c) { return characters.find(c) != std::string_view::npos; }));
  }

  // Throws unless so many cells hold one of these characters.
  void require(int wanted, std::string_view characters, std::string_view what) const {
    const int found = count(characters);
    if (found != wanted) fail_level(concat("have ", wanted, " ", what), concat(found));
  }

 private:
  std::string cells_;
};

}  // namespace fastrl
