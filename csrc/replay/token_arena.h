// Tokens of variable-length trajectories in blocks of 32: any of them can go at any time, and no
// space is lost but the end of each one's last block.
//
// A column keeps so many bytes of each token (ids, log-probs, whatever the caller declares); the
// action mask is a bit each. Columns are apart, and blocks that follow each other are copied as
// one. Not synchronized; different trajectories may be written and read at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "replay/memory_parts.h"

namespace fastrl {

class TokenArena {
 public:
  static constexpr std::int64_t kBlock = 32;
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;

  // `widths`: bytes a token of each column.
  TokenArena(MemoryParts& parts, std::int64_t num_blocks, std::span<const std::int32_t> widths);

  // Bytes of one block, its link included.
  static std::int64_t block_size(std::span<const std::int32_t> widths);
  static std::int64_t blocks(std::int64_t num_tokens) { return (num_tokens + kBlock - 1) / kBlock; }

  std::int64_t num_free() const { return num_blocks_ - state_->used; }
  // The first block of a chain for `num_tokens` ≥ 1 tokens, which must fit.
  std::uint32_t allocate(std::int64_t num_tokens);
  void release(std::uint32_t first);

  void prefetch(std::uint32_t first) const;
  // One trajectory's tokens of a column, `column` in the order of `widths`.
  void write(std::uint32_t first, std::int64_t num_tokens, std::size_t column,
             const std::byte* tokens);
  void read(std::uint32_t first, std::int64_t num_tokens, std::size_t column,
            std::byte* tokens) const;
  // Blocks begin, …, end − 1 of a chain as they are, with all their columns; `copy_in` knows of no
  // chain that leads out of the arena.
  std::int64_t copy_size() const { return block_size(widths_) - std::int64_t{sizeof(*links_)}; }
  void copy_out(std::uint32_t first, std::int64_t begin, std::int64_t end, std::byte* to) const;
  bool owns_copied(const std::byte* data) const;  // whether a part begins there that is copied
  void copy_in(std::uint32_t first, std::int64_t begin, std::int64_t end, const std::byte* from);
  // Bytes that are 0 or not, and 0 or 1.
  void write_mask(std::uint32_t first, std::int64_t num_tokens, const std::uint8_t* mask);
  void read_mask(std::uint32_t first, std::int64_t num_tokens, std::uint8_t* mask) const;

 private:
  struct State {
    std::int64_t used;       // blocks in chains
    std::int64_t untouched;  // blocks below this one have been used
    std::int64_t free;       // 1 + the first free block among these, or 0
  };

  // Calls body(bytes of the block, size) for each column of some blocks of a chain.
  template <typename Body>
  void for_each_part(std::uint32_t first, std::int64_t begin, std::int64_t end, Body&& body) const;

  // Calls body(block, offset, n) for each run of blocks that follow each other.
  template <typename Body>
  void for_each_run(std::uint32_t first, std::int64_t num_tokens, Body&& body) const;

  std::int64_t num_blocks_;
  State* state_;
  std::uint32_t* links_;  // the next block of the chain, or of the free ones
  std::uint32_t* masks_;
  std::vector<std::int32_t> widths_;
  std::vector<std::byte*> columns_;
};

}  // namespace fastrl
