#include "envs/text.h"

#include <charconv>
#include <optional>
#include <string>

#include "envs/environment.h"

namespace fastrl {
namespace {

struct Tag {
  std::string_view open;
  std::string_view close;
};

constexpr Tag kTags[] = {{"<answer>", "</answer>"}, {"<action>", "</action>"}};

// What the complete tag that closes last encloses.
std::optional<std::string_view> last_element(std::string_view text) {
  std::optional<std::string_view> found;
  std::size_t last_close = 0;
  for (const Tag& tag : kTags) {
    const std::size_t close = text.rfind(tag.close);
    if (close == std::string_view::npos || (found && close < last_close)) continue;
    const std::size_t open = text.substr(0, close).rfind(tag.open);
    if (open == std::string_view::npos) continue;
    const std::size_t begin = open + tag.open.size();
    found = text.substr(begin, close - begin);
    last_close = close;
  }
  return found;
}

int action_named(std::string_view word, std::span<const std::string_view> names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (equal_words(word, names[i])) return static_cast<int>(i);
  }
  return kMalformedAction;
}

// The first or the last whole word that is an action.
int find_action(std::string_view text, std::span<const std::string_view> names, bool first) {
  int found = kMalformedAction;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = begin;
    while (end < text.size() && is_word(text[end])) ++end;
    if (end > begin) {
      const int action = action_named(text.substr(begin, end - begin), names);
      if (action != kMalformedAction) {
        found = action;
        if (first) return found;
      }
    }
    begin = end + 1;
  }
  return found;
}

std::optional<std::int32_t> as_number(std::string_view word) {
  std::int32_t number = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, number);
  if (error != std::errc() || stop != end || word.size() > 10) return std::nullopt;
  return number;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

Answer answer_in_tags(std::string_view text) {
  Answer answer{text, false};
  while (const auto inside = last_element(answer.text)) answer = {*inside, true};
  return answer;
}

Answer answer_in_brackets(std::string_view text) {
  const Answer answer = answer_in_tags(text);
  std::size_t open = 0;
  std::size_t close = 0;
  if (answer.marked) {
    open = answer.text.find('[');
    close = open == std::string_view::npos ? open : answer.text.find(']', open);
  } else {
    close = answer.text.rfind(']');
    open = close == std::string_view::npos ? close : answer.text.rfind('[', close);
  }
  if (open == std::string_view::npos || close == std::string_view::npos) return answer;
  return {answer.text.substr(open + 1, close - open - 1), true};
}

bool read_numbers(const Answer& answer, std::span<std::int32_t> numbers) {
  const std::string_view text = answer.text;
  std::size_t found = 0;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = begin;
    const auto follows = [&](std::size_t i) {
      return i + 1 < text.size() && is_digit(text[i + 1]);
    };
    if (text[end] == '-' && follows(end)) ++end;
    while (end < text.size() && (is_word(text[end]) || (text[end] == '.' && follows(end)))) ++end;
    if (const auto number = as_number(text.substr(begin, end - begin))) {
      if (found == numbers.size()) {
        std::shift_left(numbers.begin(), numbers.end(), 1);  // NOLINT(modernize-use-ranges): C++23
        --found;
      }
      numbers[found++] = *number;
      if (answer.marked && found == numbers.size()) return true;
    }
    begin = std::max(end, begin + 1);
  }
  return found == numbers.size();
}

int parse_action(std::string_view text, std::span<const std::string_view> names) {
  const Answer answer = answer_in_tags(text);
  return find_action(answer.text, names, answer.marked);
}

std::optional<std::string> spoken_text(std::span<const std::int32_t> tokens) {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token == kEndToken) break;
    if (token < 0 || token >= kVocabularySize) return std::nullopt;
    if (token >= kFirstWord) text += spelling(token);
  }
  return text;
}

}  // namespace fastrl
