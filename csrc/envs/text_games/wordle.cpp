#include "envs/text_games/wordle.h"

#include <array>
#include <optional>
#include <string>

#include "envs/level_text.h"
#include "envs/text_games/wordle_words.h"

namespace fastrl {
namespace {

std::optional<Wordle::Word> packed(std::string_view word) {
  if (word.size() > Wordle::kMaxLength) return std::nullopt;
  Wordle::Word bits = 0;
  for (std::size_t i = 0; i < word.size(); ++i) {
    const char c = lower(word[i]);
    if (c < 'a' || c > 'z') return std::nullopt;
    bits |= static_cast<Wordle::Word>(c - 'a' + 1) << (5 * i);
  }
  return bits;
}

// The position of a word in the list, -1 if it is not there.
std::int32_t find_word(const Wordle::Params& params, std::string_view word) {
  const auto bits = packed(word);
  const Wordle::Word* end = params.words + params.num_words;
  const Wordle::Word* found = bits ? std::find(params.words, end, *bits) : end;
  return found == end ? -1 : static_cast<std::int32_t>(found - params.words);
}

}  // namespace

Wordle::Params Wordle::parse(Options& options) {
  const std::string_view list = options.text("words", kWordleWords);
  if (list == kWordleWords) options.omit("words");
  Params params{
      .words = {},
      .num_words = 0,
      .length = 0,
      .max_guesses = static_cast<std::int32_t>(options.integer("max_guesses", 6, 1, kMaxGuesses)),
      .partial = options.choice("reward", "binary", {"binary", "partial"}) == 1};
  const auto refuse = [](const std::string& expected, const std::string& actual) {
    fail_value("make_vec", "words", expected, actual);
  };
  std::string_view rest = list;
  while (!(rest = trimmed(rest)).empty()) {
    const std::string_view word = rest.substr(0, rest.find_first_of(" \t\r\n"));
    rest.remove_prefix(word.size());
    const auto size = static_cast<std::int32_t>(word.size());
    if (params.num_words == 0) params.length = size;
    const auto bits = packed(word);
    if (!bits || size < kMinLength || size != params.length) {
      refuse(concat("be words of ", kMinLength, " to ", kMaxLength,
                    " letters from a to z, all of the same length"),
             concat("'", word, "'"));
    }
    if (find_word(params, word) >= 0) refuse("be different words", concat("'", word, "' twice"));
    if (params.num_words == kMaxWords) refuse(concat("be at most ", kMaxWords, " words"), "more");
    params.words[params.num_words++] = *bits;
  }
  if (params.num_words == 0) refuse("hold a word", concat("'", list, "'"));
  return params;
}

Wordle::State Wordle::parse_level(const Params& params, std::string_view text) {
  const std::int32_t secret = find_word(params, trimmed(text));
  if (secret < 0) fail_level("be a word of the list", concat("'", text, "'"));
  return {.secret = secret, .num_guesses = 0, .guesses = {}};
}

bool Wordle::parse_action(const Params& params, std::string_view text, std::int64_t* action) {
  const std::int32_t word = find_word(params, trimmed(answer_in_brackets(text).text));
  if (word < 0) return false;
  *action = word;
  return true;
}

double Wordle::best_share(const Params& params, const State& state) {
  const Word secret = params.words[state.secret];
  int best = 0;
  for (int i = 0; i < state.num_guesses; ++i) {
    if (state.guesses[i] < 0) continue;
    const Word guess = params.words[state.guesses[i]];
    int right = 0;
    for (int k = 0; k < params.length; ++k) right += letter(guess, k) == letter(secret, k) ? 1 : 0;
    best = std::max(best, right);
  }
  return static_cast<double>(best) / params.length;
}

void Wordle::put_word(const Params& params, Word word, TokenWriter& writer) {
  std::array<char, kMaxLength> letters{};
  for (int i = 0; i < params.length; ++i) {
    letters[static_cast<std::size_t>(i)] = static_cast<char>('a' + letter(word, i) - 1);
  }
  writer.put(std::string_view(letters.data(), static_cast<std::size_t>(params.length)));
}

void Wordle::put_marks(const Params& params, const State& state, int i, TokenWriter& writer) {
  if (state.guesses[i] < 0) {
    writer.put('?');
    return;
  }
  const Word secret = params.words[state.secret];
  const Word guess = params.words[state.guesses[i]];
  // How often the word has each letter where the guess does not.
  std::array<std::int8_t, 32> left{};
  for (int k = 0; k < params.length; ++k) {
    if (letter(secret, k) != letter(guess, k)) ++left[letter(secret, k)];
  }
  for (int k = 0; k < params.length; ++k) {
    const unsigned own = letter(guess, k);
    writer.put(own == letter(secret, k) ? 'G' : left[own]-- > 0 ? 'Y' : 'X');
  }
}

}  // namespace fastrl
