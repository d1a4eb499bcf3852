// A list of slots per bucket: a slot is added, moved and removed in O(1), and the k-th of a bucket
// is looked up in O(1), all in given memory without pointers.
//
// Layout    a bucket's list is a tree of nodes of 16 numbers (one cache line), only as high as its
//           length asks for; all nodes come from one pool. 10.3 bytes a slot, and 64 a bucket in
//           use.
// Limits    at most 2^32 slots and 65,534 buckets. Not synchronized.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastrl {

class BucketLists {
 public:
  static constexpr std::int64_t kNone = -1;

  static std::size_t memory_size(std::int64_t capacity, std::int64_t num_buckets);

  // `memory`, 64-byte aligned: zeroed, no slot is in a bucket; used, it is as it was left.
  BucketLists(std::byte* memory, std::int64_t capacity, std::int64_t num_buckets);

  // Moves a slot to the end of a bucket's list, or out of all with kNone. The last of the list that
  // it leaves takes its place.
  void move(std::int64_t slot, std::int64_t bucket);

  // Makes all lists anew from the slots' buckets, which are always whole, even where a process died
  // in move(). O(capacity).
  void rebuild();

  std::int64_t bucket(std::int64_t slot) const { return bucket_of_[slot] - 1; }
  std::int64_t place(std::int64_t slot) const { return place_of_[slot]; }
  std::int64_t size(std::int64_t bucket) const { return lists_[bucket].size; }
  std::int64_t slot(std::int64_t bucket, std::int64_t place) const;

  // The first bucket at or below this one that is not empty, or kNone.
  std::int64_t occupied_at_or_below(std::int64_t bucket) const;

 private:
  struct Pool {
    std::uint32_t num_used;
    std::uint32_t first_free;  // + 1, and so are the links in a free node's first number
  };
  struct List {
    std::int64_t size;
    std::uint32_t root;
    std::int32_t height;
  };
  struct Layout;

  std::uint32_t& entry(const List& list, std::int64_t place) const;
  std::uint32_t take_node();
  void free_node(std::uint32_t node);
  void push(std::int64_t bucket, std::int64_t slot);
  void pop(std::int64_t bucket);

  std::int64_t capacity_;
  std::int64_t num_buckets_;
  Pool* pool_;
  List* lists_;
  std::uint64_t* occupied_;   // a bit per bucket
  std::uint16_t* bucket_of_;  // + 1
  std::uint32_t* place_of_;
  std::uint32_t* nodes_;
};

}  // namespace fastrl
