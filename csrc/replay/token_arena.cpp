#include "replay/token_arena.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace fastrl {
namespace {

// The lowest bit of each byte says whether the byte was 0.
std::uint64_t truth(std::uint64_t bytes) {
  constexpr std::uint64_t kLow = 0x7F7F7F7F7F7F7F7Fu;
  return ((((bytes & kLow) + kLow) | bytes) & ~kLow) >> 7;
}

// Eight bytes of 0 or 1, first byte lowest, as eight bits, and back.
std::uint32_t gathered(std::uint64_t bytes) {
  return static_cast<std::uint32_t>((bytes * 0x0102040810204080u) >> 56);
}
std::uint64_t scattered(std::uint32_t bits) {
  constexpr std::uint64_t kOnes = 0x0101010101010101u;
  return truth((std::uint64_t{bits & 0xFFu} * kOnes) & 0x8040201008040201u);
}

}  // namespace

TokenArena::TokenArena(MemoryParts& parts, std::int64_t num_blocks,
                       std::span<const std::int32_t> widths)
    : num_blocks_(num_blocks),
      state_(parts.take<State>("arena", 1)),
      links_(parts.take<std::uint32_t>("links", num_blocks)),
      masks_(parts.take<std::uint32_t>("action_mask", num_blocks)),
      widths_(widths.begin(), widths.end()) {
  for (const std::int32_t width : widths) {
    const std::string name = "tokens." + std::to_string(columns_.size());
    columns_.push_back(parts.take<std::byte>(name, num_blocks * kBlock * width));
  }
}

std::int64_t TokenArena::block_size(std::span<const std::int32_t> widths) {
  std::int64_t bytes = 2 * sizeof(std::uint32_t);
  for (const std::int32_t width : widths) bytes += kBlock * width;
  return bytes;
}

std::uint32_t TokenArena::allocate(std::int64_t num_tokens) {
  std::int64_t wanted = blocks(num_tokens);
  state_->used += wanted;
  std::uint32_t first = kNone;
  std::uint32_t* link = &first;  // where the number of the next block goes
  for (; wanted > 0 && state_->free != 0; --wanted) {
    const auto block = static_cast<std::uint32_t>(state_->free - 1);
    *link = block;
    link = &links_[block];
    state_->free = *link == kNone ? 0 : std::int64_t{*link} + 1;
  }
  for (; wanted > 0; --wanted) {
    const auto block = static_cast<std::uint32_t>(state_->untouched++);
    *link = block;
    link = &links_[block];
  }
  *link = kNone;
  return first;
}

void TokenArena::release(std::uint32_t first) {
  std::uint32_t last = first;
  std::int64_t n = 1;
  for (; links_[last] != kNone; ++n) last = links_[last];
  links_[last] = state_->free == 0 ? kNone : static_cast<std::uint32_t>(state_->free - 1);
  state_->free = std::int64_t{first} + 1;
  state_->used -= n;
}

void TokenArena::prefetch(std::uint32_t first) const {
  __builtin_prefetch(links_ + first);
  __builtin_prefetch(masks_ + first);
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const std::int64_t bytes = kBlock * widths_[c];
    const std::byte* block = columns_[c] + std::int64_t{first} * bytes;
    for (std::int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(block + at);
  }
}

template <typename Body>
void TokenArena::for_each_run(std::uint32_t first, std::int64_t num_tokens, Body&& body) const {
  std::int64_t offset = 0;
  std::uint32_t block = first;
  while (offset < num_tokens) {
    const std::uint32_t begin = block;
    std::int64_t end = offset + kBlock;
    std::uint32_t next = links_[block];
    for (; end < num_tokens && next == block + 1; end += kBlock) {
      block = next;
      next = links_[block];
    }
    end = std::min(end, num_tokens);
    body(std::int64_t{begin}, offset, end - offset);
    offset = end;
    block = next;
  }
}

void TokenArena::write(std::uint32_t first, std::int64_t num_tokens, std::size_t column,
                       const std::byte* tokens) {
  const std::int64_t width = widths_[column];
  for_each_run(first, num_tokens, [&](std::int64_t block, std::int64_t offset, std::int64_t n) {
    std::memcpy(columns_[column] + block * kBlock * width, tokens + offset * width,
                static_cast<std::size_t>(n * width));
  });
}

void TokenArena::read(std::uint32_t first, std::int64_t num_tokens, std::size_t column,
                      std::byte* tokens) const {
  const std::int64_t width = widths_[column];
  for_each_run(first, num_tokens, [&](std::int64_t block, std::int64_t offset, std::int64_t n) {
    std::memcpy(tokens + offset * width, columns_[column] + block * kBlock * width,
                static_cast<std::size_t>(n * width));
  });
}

void TokenArena::write_mask(std::uint32_t first, std::int64_t num_tokens,
                            const std::uint8_t* mask) {
  for_each_run(first, num_tokens, [&](std::int64_t block, std::int64_t offset, std::int64_t n) {
    for (std::int64_t done = 0; done < n; done += kBlock, ++block) {
      std::uint8_t bytes[kBlock] = {};
      std::memcpy(bytes, mask + offset + done,
                  static_cast<std::size_t>(std::min(kBlock, n - done)));
      std::uint32_t bits = 0;
      for (int part = 0; part < 4; ++part) {
        std::uint64_t eight = 0;
        std::memcpy(&eight, bytes + 8 * part, 8);
        bits |= gathered(truth(eight)) << (8 * part);
      }
      masks_[block] = bits;
    }
  });
}

void TokenArena::read_mask(std::uint32_t first, std::int64_t num_tokens, std::uint8_t* mask) const {
  for_each_run(first, num_tokens, [&](std::int64_t block, std::int64_t offset, std::int64_t n) {
    for (std::int64_t done = 0; done < n; done += kBlock, ++block) {
      std::uint8_t bytes[kBlock];
      for (int part = 0; part < 4; ++part) {
        const std::uint64_t eight = scattered(masks_[block] >> (8 * part));
        std::memcpy(bytes + 8 * part, &eight, 8);
      }
      std::memcpy(mask + offset + done, bytes,
                  static_cast<std::size_t>(std::min(kBlock, n - done)));
    }
  });
}

template <typename Body>
void TokenArena::for_each_part(std::uint32_t first, std::int64_t begin, std::int64_t end,
                               Body&& body) const {
  std::uint32_t block = first;
  for (std::int64_t i = 0; i < end; ++i) {
    if (block >= num_blocks_) throw std::out_of_range("a chain leads out of the token arena");
    if (i >= begin) {
      body(reinterpret_cast<std::byte*>(masks_ + block), sizeof(*masks_));
      for (std::size_t c = 0; c < columns_.size(); ++c) {
        const std::int64_t bytes = kBlock * widths_[c];
        body(columns_[c] + std::int64_t{block} * bytes, static_cast<std::size_t>(bytes));
      }
    }
    block = links_[block];
  }
}

void TokenArena::copy_out(std::uint32_t first, std::int64_t begin, std::int64_t end,
                          std::byte* to) const {
  for_each_part(first, begin, end, [&](const std::byte* part, std::size_t size) {
    std::memcpy(to, part, size);
    to += size;
  });
}

bool TokenArena::owns_copied(const std::byte* data) const {
  return data == reinterpret_cast<const std::byte*>(masks_) ||
         std::ranges::count(columns_, data) > 0;
}

void TokenArena::copy_in(std::uint32_t first, std::int64_t begin, std::int64_t end,
                         const std::byte* from) {
  for_each_part(first, begin, end, [&](std::byte* part, std::size_t size) {
    std::memcpy(part, from, size);
    from += size;
  });
}

}  // namespace fastrl
