#include "envs/grids/maze.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

#include "core/check.h"
#include "envs/level_text.h"

namespace fastrl {

Maze::Params Maze::parse(Options& options) {
  const auto size = static_cast<int>(options.integer("size", 13, 2, CellRows::kMaxSize));
  const auto height = static_cast<int>(options.integer("height", size, 1, CellRows::kMaxSize));
  const auto width = static_cast<int>(options.integer("width", size, 1, CellRows::kMaxSize));
  options.omit("size");
  const Grid grid{height, width};
  if (grid.size() < 2) {
    fail_value("make_vec", "height", "leave room for agent and goal", concat(height, " × ", width));
  }
  const auto layout =
      static_cast<Layout>(options.choice("layout", "scattered", {"scattered", "labyrinth"}));
  if (layout == Layout::kLabyrinth && (height % 2 == 0 || width % 2 == 0)) {
    fail_value("make_vec", "layout", "be 'scattered' unless height and width are odd",
               concat("'labyrinth' of ", height, " × ", width));
  }
  // 25 walls in 13 × 13 cells, and as dense elsewhere.
  const auto num_walls =
      static_cast<int>(options.integer("num_walls", grid.size() * 25 / 169, 0, grid.size() - 2));
  const bool random_num_walls = options.boolean("random_num_walls", true);
  const bool solvable = options.boolean("solvable", true);
  if (layout == Layout::kLabyrinth) {
    for (const char* name : {"num_walls", "random_num_walls", "solvable"}) options.omit(name);
  }
  const bool turns = options.choice("actions", "moves", {"moves", "turns"}) == 1;
  const bool full = options.choice("observation", "view", {"view", "full"}) == 1;
  const auto view_size = static_cast<int>(options.integer("view_size", 5, 3, 15));
  if (view_size % 2 == 0) fail_value("make_vec", "view_size", "be odd", concat(view_size));
  if (full) options.omit("view_size");
  const bool timed = options.choice("reward", "sparse", {"sparse", "minigrid"}) == 1;
  const auto reward_steps =
      static_cast<int>(options.integer("reward_steps", default_steps(grid), 1, 1'000'000));
  if (!timed) options.omit("reward_steps");
  return {.grid = grid,
          .num_walls = num_walls,
          .random_num_walls = random_num_walls,
          .solvable = solvable,
          .layout = layout,
          .turns = turns,
          .view_size = full ? 0 : view_size,
          .reward_steps = timed ? reward_steps : 0};
}

void Maze::describe(const Params& params, Description& description) {
  const Grid& grid = params.grid;
  const std::int64_t view = params.view_size;
  const Field image = view > 0 ? box<std::uint8_t>({view, view, 2}, 0.0, 1.0)
                               : box<std::uint8_t>({grid.height, grid.width, 3}, 0.0, 1.0);
  if (params.turns) {
    description.add_observation("image", image);
    description.add_observation("direction", discrete(4));
  } else {
    description.add_observation(image);
  }
  description.set_action(discrete(params.turns ? 3 : 4));
  description.max_episode_steps = default_steps(grid);
  description.reports_success = 1;
  description.add_label("goal");
  description.grid_height = grid.height;
  description.grid_width = grid.width;
}

namespace {

int below(RandomStream& random, int n) {
  return static_cast<int>(random.below(static_cast<std::uint32_t>(n)));
}

// Opens one of the shortest ways to the goal that there would be without walls.
void carve(const Grid& grid, RandomStream& level, Maze::State& state) {
  const auto draw = [&](int n) { return below(level, n); };
  walk_at_random(grid, state.agent, state.goal, draw,
                 [&](int cell) { state.walls.clear(grid, cell); });
}

Maze::State draw_scattered(const Maze::Params& params, RandomStream& level) {
  const Grid& grid = params.grid;
  const int num_walls =
      params.random_num_walls ? below(level, params.num_walls + 1) : params.num_walls;
  Maze::State state{};
  state.agent = below(level, grid.size());
  state.goal = below(level, grid.size() - 1);
  if (state.goal >= state.agent) ++state.goal;
  for (int placed = 0; placed < num_walls;) {
    const int cell = below(level, grid.size());
    if (cell == state.agent || cell == state.goal || state.walls.test(grid, cell)) continue;
    state.walls.set(grid, cell);
    ++placed;
  }
  return state;
}

// A walk through the rooms, the cells of even row and column, that goes on to an unvisited room as
// long as there is one beside it and else turns back.
Maze::State draw_labyrinth(const Maze::Params& params, RandomStream& level) {
  const Grid& grid = params.grid;
  const Grid rooms{(grid.height + 1) / 2, (grid.width + 1) / 2};
  const auto cell_of = [&](int room) {
    return 2 * rooms.row(room) * grid.width + 2 * rooms.column(room);
  };
  Maze::State state{};
  state.walls = CellRows::all(grid);
  std::array<std::int16_t, CellRows::kMaxSize * CellRows::kMaxSize / 4> path;
  std::size_t size = 0;
  const auto enter = [&](int room) {
    state.walls.clear(grid, cell_of(room));
    path[size++] = static_cast<std::int16_t>(room);
  };
  enter(below(level, rooms.size()));
  while (size > 0) {
    const int room = path[size - 1];
    int choices[4];
    int count = 0;
    for (const Direction direction : {kUp, kDown, kLeft, kRight}) {
      const int next = rooms.neighbor(room, direction);
      if (next >= 0 && state.walls.test(grid, cell_of(next))) choices[count++] = next;
    }
    if (count == 0) {
      --size;
      continue;
    }
    const int next = choices[below(level, count)];
    state.walls.clear(grid, (cell_of(room) + cell_of(next)) / 2);
    enter(next);
  }
  const int agent = below(level, rooms.size());
  const int goal = below(level, rooms.size() - 1);
  state.agent = cell_of(agent);
  state.goal = cell_of(goal < agent ? goal : goal + 1);
  return state;
}

// Open cells from which a move in that direction leads into `to`.
CellRows before_move(const CellRows& to, Direction direction, const CellRows& open) {
  return to.moved(opposite(direction)) & open;
}

void observe_all(const Grid& grid, const Maze::State& state, std::uint8_t* image) {
  const std::ptrdiff_t stride = std::ptrdiff_t{3} * grid.width;
  std::fill_n(image, stride * grid.height, std::uint8_t{0});
  std::uint8_t* to = image;
  for (int row = 0; row < grid.height; ++row, to += stride) {
    for (std::uint32_t walls = state.walls.word(row); walls != 0; walls &= walls - 1) {
      to[std::ptrdiff_t{3} * std::countr_zero(walls)] = 1;
    }
  }
  image[3 * state.goal + 1] = 1;
  image[3 * state.agent + 2] = 1;
}

void observe_view(const Maze::Params& params, const Maze::State& state, std::uint8_t* image) {
  const Grid& grid = params.grid;
  const int size = params.view_size;
  const int half = size / 2;
  const int depth = params.turns ? size - 1 : half;  // rows of the image ahead of the agent
  constexpr int kDown[] = {0, 1, 0, -1};
  constexpr int kRight[] = {1, 0, -1, 0};
  const int direction = params.turns ? state.direction : 3;
  const int ahead_row = kDown[direction];
  const int ahead_column = kRight[direction];
  const int right_row = ahead_column;  // to the agent's right hand
  const int right_column = -ahead_row;
  int first_row = grid.row(state.agent) + depth * ahead_row - half * right_row;
  int first_column = grid.column(state.agent) + depth * ahead_column - half * right_column;
  std::uint8_t* to = image;
  for (int i = 0; i < size; ++i) {
    int row = first_row;
    int column = first_column;
    for (int j = 0; j < size; ++j, to += 2) {
      const bool outside = static_cast<unsigned>(row) >= static_cast<unsigned>(grid.height) ||
                           static_cast<unsigned>(column) >= static_cast<unsigned>(grid.width);
      to[0] = outside || state.walls.test(row, column) ? 1 : 0;
      to[1] = 0;
      row += right_row;
      column += right_column;
    }
    first_row -= ahead_row;
    first_column -= ahead_column;
  }
  const int goal_row = grid.row(state.goal) - grid.row(state.agent);
  const int goal_column = grid.column(state.goal) - grid.column(state.agent);
  const int i = depth - (goal_row * ahead_row + goal_column * ahead_column);
  const int j = half + (goal_row * right_row + goal_column * right_column);
  if (i >= 0 && i < size && j >= 0 && j < size) image[2 * (i * size + j) + 1] = 1;
}

Solution solve_moves(const Grid& grid, const Maze::State& state, const CellRows& open) {
  CellRows reached;
  reached.set(grid, state.goal);
  for (int distance = 1;; ++distance) {
    CellRows grown = reached;
    for (const Direction direction : {kUp, kDown, kLeft, kRight}) {
      grown |= before_move(reached, direction, open);
    }
    if (grown == reached) return {};
    if (grown.test(grid, state.agent)) {
      int action = 0;
      const auto leads_on = [&] {
        const int next = grid.neighbor(state.agent, static_cast<Direction>(action));
        return next >= 0 && reached.test(grid, next);
      };
      while (!leads_on()) ++action;
      return {.distance = distance, .first_action = action};
    }
    reached = grown;
  }
}

Solution solve_turns(const Grid& grid, const Maze::State& state, const CellRows& open) {
  std::array<CellRows, 4> reached;  // by the direction that the agent looks to
  for (CellRows& cells : reached) cells.set(grid, state.goal);
  const auto looking = [&](int direction) -> const CellRows& {
    return reached[static_cast<std::size_t>(direction % 4)];
  };
  for (int distance = 1;; ++distance) {
    std::array<CellRows, 4> grown = reached;
    for (int d = 0; d < 4; ++d) {
      grown[static_cast<std::size_t>(d)] |=
          looking(d + 3) | looking(d + 1) | before_move(looking(d), Maze::facing(d), open);
    }
    if (grown == reached) return {};
    if (grown[static_cast<std::size_t>(state.direction)].test(grid, state.agent)) {
      const bool left = looking(state.direction + 3).test(grid, state.agent);
      const bool right = looking(state.direction + 1).test(grid, state.agent);
      return {.distance = distance, .first_action = left ? 0 : right ? 1 : 2};
    }
    reached = grown;
  }
}

}  // namespace

Solution Maze::solve(const Params& params, const State& state) {
  if (state.agent == state.goal) return {.distance = 0};
  const CellRows open = CellRows::all(params.grid).without(state.walls);
  return params.turns ? solve_turns(params.grid, state, open)
                      : solve_moves(params.grid, state, open);
}

Maze::State Maze::reset(const Params& params, RandomStream& level) {
  State state{};
  if (params.layout == Layout::kLabyrinth) {
    state = draw_labyrinth(params, level);
  } else {
    const CellRows all = CellRows::all(params.grid);
    const auto solved = [&] {
      return solve_moves(params.grid, state, all.without(state.walls)).distance >= 0;
    };
    state = draw_scattered(params, level);
    for (int draw = 1; params.solvable && !solved(); ++draw) {
      if (draw == kMaxDraws) {
        carve(params.grid, level, state);
        break;
      }
      state = draw_scattered(params, level);
    }
  }
  if (params.turns) state.direction = below(level, 4);
  return state;
}

void Maze::observe(const Params& params, const State& state, const Rows& rows) {
  auto* image = rows.at<std::uint8_t>(0);
  if (params.turns) *rows.at<std::int64_t>(1) = state.direction;
  if (params.view_size > 0) {
    observe_view(params, state, image);
  } else {
    observe_all(params.grid, state, image);
  }
}

void Maze::cells(const Params& params, const State& state, char* to) {
  const Grid& grid = params.grid;
  for (int cell = 0; cell < grid.size(); ++cell) {
    to[cell] = state.walls.test(grid, cell) ? '#' : '.';
  }
  to[state.goal] = 'G';
  const char agent = params.turns ? ">v<^"[state.direction] : 'A';
  to[state.agent] = state.agent == state.goal ? '*' : agent;
}

Maze::State Maze::parse_level(const Params& params, std::string_view text) {
  constexpr std::string_view kFacing = ">v<^";
  const Grid& grid = params.grid;
  const LevelText level(text, grid.height, grid.width, "#.GA>v<^");
  level.require(1, "A>v<^", "agent (A, or one of > v < ^)");
  level.require(1, "G", "goal (G)");
  State state{};
  for (int cell = 0; cell < grid.size(); ++cell) {
    const std::size_t direction = kFacing.find(level[cell]);
    if (level[cell] == '#') state.walls.set(grid, cell);
    if (level[cell] == 'G') state.goal = cell;
    if (level[cell] == 'A') state.agent = cell;
    if (direction == std::string_view::npos) continue;
    state.agent = cell;
    if (params.turns) state.direction = static_cast<std::int32_t>(direction);
  }
  return state;
}

}  // namespace fastrl
