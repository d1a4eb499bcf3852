#include "envs/kernel.h"
#include "envs/registry.h"
#include "envs/text_games/code_lock.h"
#include "envs/text_games/countdown.h"
#include "envs/text_games/form_fill.h"
#include "envs/text_games/frozen_lake_text.h"
#include "envs/text_games/minesweeper.h"
#include "envs/text_games/sokoban.h"
#include "envs/text_games/tic_tac_toe.h"
#include "envs/text_games/wordle.h"

namespace fastrl {

std::span<const RegisteredEnvironment> text_games() {
  static const RegisteredEnvironment all[] = {
      {environment<CodeLock>()},       {environment<Countdown>()},   {environment<FormFill>()},
      {environment<FrozenLakeText>()}, {environment<Minesweeper>()}, {environment<Sokoban>()},
      {environment<TicTacToe>()},      {environment<Wordle>()}};
  return all;
}

}  // namespace fastrl
