#include "envs/grids/dark_key_to_door.h"
#include "envs/grids/dark_room.h"
#include "envs/grids/maze.h"
#include "envs/kernel.h"
#include "envs/registry.h"

namespace fastrl {

std::span<const RegisteredEnvironment> grids() {
  static const RegisteredEnvironment all[] = {
      {environment<DarkKeyToDoor>()}, {environment<DarkRoom>()}, {environment<Maze>()}};
  return all;
}

}  // namespace fastrl
