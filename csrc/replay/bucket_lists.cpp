#include "replay/bucket_lists.h"

#include <algorithm>
#include <array>
#include <bit>

#include "replay/process_mutex.h"

namespace fastrl {
namespace {

// How many entries a tree of this height holds.
constexpr std::int64_t span_of(int height) { return std::int64_t{1} << (4 * height); }

// A list of c slots has ⌈c / 16^h⌉ nodes of height h, where c > 16^(h − 1) or h = 1.
std::int64_t most_nodes(std::int64_t capacity, std::int64_t num_buckets) {
  std::int64_t nodes = 0;
  for (int height = 1; height == 1 || span_of(height - 1) < capacity; ++height) {
    nodes += capacity / span_of(height) + std::min(num_buckets, capacity / span_of(height - 1));
  }
  return nodes;
}

}  // namespace

struct BucketLists::Layout {
  Layout(std::int64_t capacity, std::int64_t num_buckets) {
    const auto slots = static_cast<std::size_t>(capacity);
    const auto buckets = static_cast<std::size_t>(num_buckets);
    pool = take(sizeof(Pool));
    lists = take(buckets * sizeof(List));
    occupied = take((buckets + 63) / 64 * sizeof(std::uint64_t));
    bucket_of = take(slots * sizeof(std::uint16_t));
    place_of = take(slots * sizeof(std::uint32_t));
    nodes = take(static_cast<std::size_t>(most_nodes(capacity, num_buckets)) * 16 *
                 sizeof(std::uint32_t));
  }

  std::size_t take(std::size_t bytes) {
    const std::size_t at = size;
    size += (bytes + 63) / 64 * 64;
    return at;
  }

  std::size_t size = 0;
  std::size_t pool, lists, occupied, bucket_of, place_of, nodes;
};

std::size_t BucketLists::memory_size(std::int64_t capacity, std::int64_t num_buckets) {
  return Layout(capacity, num_buckets).size;
}

BucketLists::BucketLists(std::byte* memory, std::int64_t capacity, std::int64_t num_buckets)
    : capacity_(capacity), num_buckets_(num_buckets) {
  const Layout layout(capacity, num_buckets);
  pool_ = reinterpret_cast<Pool*>(memory + layout.pool);
  lists_ = reinterpret_cast<List*>(memory + layout.lists);
  occupied_ = reinterpret_cast<std::uint64_t*>(memory + layout.occupied);
  bucket_of_ = reinterpret_cast<std::uint16_t*>(memory + layout.bucket_of);
  place_of_ = reinterpret_cast<std::uint32_t*>(memory + layout.place_of);
  nodes_ = reinterpret_cast<std::uint32_t*>(memory + layout.nodes);
}

std::uint32_t& BucketLists::entry(const List& list, std::int64_t place) const {
  std::uint32_t node = list.root;
  for (int height = list.height - 1; height > 0; --height) {
    node = nodes_[std::size_t{node} * 16 + ((place >> (4 * height)) & 15)];
  }
  return nodes_[std::size_t{node} * 16 + (place & 15)];
}

std::int64_t BucketLists::slot(std::int64_t bucket, std::int64_t place) const {
  return entry(lists_[bucket], place);
}

std::uint32_t BucketLists::take_node() {
  if (pool_->first_free == 0) return pool_->num_used++;
  const std::uint32_t node = pool_->first_free - 1;
  pool_->first_free = nodes_[std::size_t{node} * 16];
  return node;
}

void BucketLists::free_node(std::uint32_t node) {
  nodes_[std::size_t{node} * 16] = pool_->first_free;
  pool_->first_free = node + 1;
}

void BucketLists::push(std::int64_t bucket, std::int64_t slot) {
  List& list = lists_[bucket];
  const std::int64_t place = list.size++;
  if (place == 0) {
    list.root = take_node();
    list.height = 1;
    occupied_[bucket / 64] |= std::uint64_t{1} << (bucket % 64);
  } else if (place == span_of(list.height)) {
    const std::uint32_t root = take_node();
    nodes_[std::size_t{root} * 16] = list.root;
    list.root = root;
    ++list.height;
  }
  std::uint32_t node = list.root;
  for (int height = list.height - 1; height > 0; --height) {
    std::uint32_t& child = nodes_[std::size_t{node} * 16 + ((place >> (4 * height)) & 15)];
    if (place % span_of(height) == 0) child = take_node();
    node = child;
  }
  nodes_[std::size_t{node} * 16 + (place & 15)] = static_cast<std::uint32_t>(slot);
  place_of_[slot] = static_cast<std::uint32_t>(place);
}

void BucketLists::pop(std::int64_t bucket) {
  List& list = lists_[bucket];
  const std::int64_t place = --list.size;
  std::uint32_t node = list.root;
  for (int height = list.height; height > 0; --height) {
    const std::uint32_t child =
        nodes_[std::size_t{node} * 16 + ((place >> (4 * (height - 1))) & 15)];
    if (place % span_of(height) == 0) free_node(node);
    node = child;
  }
  if (place == 0) {
    occupied_[bucket / 64] &= ~(std::uint64_t{1} << (bucket % 64));
  } else if (list.height > 1 && place == span_of(list.height - 1)) {
    const std::uint32_t root = list.root;
    list.root = nodes_[std::size_t{root} * 16];
    free_node(root);
    --list.height;
  }
}

void BucketLists::move(std::int64_t slot, std::int64_t bucket) {
  const std::int64_t from = this->bucket(slot);
  if (from == bucket) return;
  bucket_of_[slot] = static_cast<std::uint16_t>(bucket + 1);  // first: rebuild() goes by it
  in_this_order();
  if (from != kNone) {
    const List& list = lists_[from];
    const std::uint32_t last = entry(list, list.size - 1);
    const std::uint32_t place = place_of_[slot];
    entry(list, place) = last;
    place_of_[last] = place;
    pop(from);
  }
  if (bucket != kNone) push(bucket, slot);
}

void BucketLists::rebuild() {
  *pool_ = {};
  std::fill_n(lists_, num_buckets_, List{});
  std::fill_n(occupied_, (num_buckets_ + 63) / 64, std::uint64_t{0});
  for (std::int64_t slot = 0; slot < capacity_; ++slot) {
    if (bucket(slot) != kNone) push(bucket(slot), slot);
  }
}

std::int64_t BucketLists::occupied_at_or_below(std::int64_t bucket) const {
  if (bucket < 0) return kNone;
  std::int64_t word = bucket / 64;
  std::uint64_t bits = occupied_[word] & (~std::uint64_t{0} >> (63 - bucket % 64));
  while (bits == 0) {
    if (word-- == 0) return kNone;
    bits = occupied_[word];
  }
  return word * 64 + 63 - std::countl_zero(bits);
}

}  // namespace fastrl
