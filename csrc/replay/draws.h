// How a batch is drawn from integer weights: the masses, their order, and what each draw's
// probability was.
//
// Math      a mass is floor(u · total) with 64 random bits u. Draw k of n has its own u_k:
//           independent         floor(u_k · total)
//           stratified          floor((k + u_k) · total / n)
//           systematic          floor((k + u_0) · total / n)
//           and the last two are shuffled, because they come sorted by slot.
//           Without replacement: draws that repeat are drawn again, from what is left. With
//           exponential clocks T_i ~ Exp(1) / w_i the slots drawn are those of the n smallest T;
//           given the (n+1)-th, τ, slot i is among them with π_i = 1 − exp(−w_i τ), and Σ f_i / π_i
//           estimates Σ f without bias (Cohen & Kaplan, "Tighter estimation using bottom k
//           sketches", 2008). Its P is π_i / n.
// Numerics  integers but for the probabilities, which are quotients of integers, or π_i / n.
#pragma once

#include <cstdint>
#include <span>

#include "core/random.h"

namespace fastrl {

enum class DrawScheme { kIndependent, kStratified, kSystematic, kWithoutReplacement };

// 64 random bits each, from the stream's next whole blocks of four numbers.
void fill_random(RandomStream& random, std::span<std::uint64_t> bits);

// floor(fraction · n) of 64 bits that stand for a fraction.
inline std::uint64_t scale_fraction(std::uint64_t bits, std::uint64_t n) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide{bits} * n) >> 64);
}

// What can be drawn from: slots with integer weights on a line of masses.
class WeightedSlots {
 public:
  virtual std::uint64_t total() const = 0;
  virtual std::int64_t count() const = 0;                     // of the slots whose weight is not 0
  virtual std::uint64_t prefix(std::int64_t slot) const = 0;  // the first mass that it owns
  virtual void weights(std::span<const std::int64_t> slots, std::uint64_t* weights) const = 0;
  virtual void find(std::span<const std::uint64_t> masses, std::int64_t* slots) const = 0;

 protected:
  ~WeightedSlots() = default;
};

// Draws n slots and says with which probability each draw took its slot. Returns the τ of draws
// without replacement (infinite where all slots were taken), 0 for other schemes. Fails as
// `function` where n < 1, where nothing can be drawn, or fewer than n without replacement.
double draw(const char* function, const WeightedSlots& from, std::int64_t n, DrawScheme scheme,
            RandomStream& random, std::int64_t* slots, double* probabilities);

// The probability that a draw would have taken a slot of this weight with.
double draw_probability(std::uint64_t weight, std::uint64_t total, std::int64_t n, double tau);

}  // namespace fastrl
