// Moving on a rectangle of cells, numbered row by row.
#pragma once

namespace fastrl {

enum Direction { kUp, kDown, kLeft, kRight };

constexpr Direction opposite(Direction direction) { return static_cast<Direction>(direction ^ 1); }

struct Grid {
  int height = 1;
  int width = 1;

  constexpr int size() const { return height * width; }
  constexpr int row(int cell) const { return cell / width; }
  constexpr int column(int cell) const { return cell % width; }

  // The next cell in that direction, or -1 at the edge.
  constexpr int neighbor(int cell, Direction direction) const {
    switch (direction) {
      case kUp:
        return cell >= width ? cell - width : -1;
      case kDown:
        return cell + width < size() ? cell + width : -1;
      case kLeft:
        return column(cell) > 0 ? cell - 1 : -1;
      case kRight:
        return column(cell) + 1 < width ? cell + 1 : -1;
    }
    return -1;
  }
};

}  // namespace fastrl
