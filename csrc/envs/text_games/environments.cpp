#include "envs/kernel.h"
#include "envs/registry.h"
#include "envs/text_games/code_lock.h"
#include "envs/text_games/frozen_lake_text.h"
#include "envs/text_games/sokoban.h"

namespace fastrl {

std::span<const RegisteredEnvironment> text_games() {
  static const RegisteredEnvironment kAll[] = {
      {environment<CodeLock>()}, {environment<FrozenLakeText>()}, {environment<Sokoban>()}};
  return kAll;
}

}  // namespace fastrl
