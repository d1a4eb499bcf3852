// A set of cells of a grid of up to 32 × 32, a word a row: the whole set moves by one cell in 32
// shifts, so that a breadth-first search takes a layer at a time.
#pragma once

#include <array>
#include <cstdint>

#include "envs/grid.h"

namespace fastrl {

struct CellRows {
  static constexpr int kMaxSize = 32;

  std::array<std::uint32_t, kMaxSize> rows{};

  static constexpr CellRows all(const Grid& grid) {
    CellRows cells;
    for (int row = 0; row < grid.height; ++row) cells.word(row) = ~0U >> (kMaxSize - grid.width);
    return cells;
  }

  constexpr std::uint32_t& word(int row) { return rows[static_cast<std::size_t>(row)]; }
  constexpr std::uint32_t word(int row) const { return rows[static_cast<std::size_t>(row)]; }

  constexpr bool test(int row, int column) const { return (word(row) >> column & 1) != 0; }
  constexpr bool test(const Grid& grid, int cell) const {
    return test(grid.row(cell), grid.column(cell));
  }
  constexpr void set(const Grid& grid, int cell) {
    word(grid.row(cell)) |= 1U << grid.column(cell);
  }
  constexpr void clear(const Grid& grid, int cell) {
    word(grid.row(cell)) &= ~(1U << grid.column(cell));
  }

  // Every cell's neighbor in that direction. What leaves the 32 × 32 cells is lost; what leaves a
  // smaller grid is for the caller to take away.
  constexpr CellRows moved(Direction direction) const {
    CellRows to;
    for (int row = 0; row < kMaxSize; ++row) {
      switch (direction) {
        case kUp:
          to.word(row) = row + 1 < kMaxSize ? word(row + 1) : 0;
          break;
        case kDown:
          to.word(row) = row > 0 ? word(row - 1) : 0;
          break;
        case kLeft:
          to.word(row) = word(row) >> 1;
          break;
        case kRight:
          to.word(row) = word(row) << 1;
          break;
      }
    }
    return to;
  }

  constexpr bool within(const CellRows& other) const {
    std::uint32_t outside = 0;
    for (int row = 0; row < kMaxSize; ++row) outside |= word(row) & ~other.word(row);
    return outside == 0;
  }

  constexpr CellRows& operator|=(const CellRows& other) {
    for (int row = 0; row < kMaxSize; ++row) word(row) |= other.word(row);
    return *this;
  }
  friend constexpr CellRows operator|(CellRows a, const CellRows& b) { return a |= b; }

  constexpr CellRows& operator&=(const CellRows& other) {
    for (int row = 0; row < kMaxSize; ++row) word(row) &= other.word(row);
    return *this;
  }
  friend constexpr CellRows operator&(CellRows a, const CellRows& b) { return a &= b; }

  constexpr CellRows without(const CellRows& other) const {
    CellRows left;
    for (int row = 0; row < kMaxSize; ++row) left.word(row) = word(row) & ~other.word(row);
    return left;
  }

  friend constexpr bool operator==(const CellRows&, const CellRows&) = default;
};

}  // namespace fastrl
