// Moving on a rectangle of cells, numbered row by row.
#pragma once

#include <cstdlib>

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

// Visits the cells of one of the shortest ways, each way with the same probability: not `from`, but
// `to`. draw(n) is uniform in {0, …, n - 1}.
template <typename Draw, typename Visit>
void walk_at_random(const Grid& grid, int from, int to, Draw&& draw, Visit&& visit) {
  int row = grid.row(from);
  int column = grid.column(from);
  while (true) {
    const int down = grid.row(to) - row;
    const int right = grid.column(to) - column;
    const int distance = std::abs(down) + std::abs(right);
    if (distance == 0) return;
    if (draw(distance) < std::abs(down)) {
      row += down > 0 ? 1 : -1;
    } else {
      column += right > 0 ? 1 : -1;
    }
    visit(row * grid.width + column);
  }
}

}  // namespace fastrl
