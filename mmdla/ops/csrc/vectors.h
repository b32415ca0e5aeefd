// SIMD vectors: loads and stores with conversion from and to any floating type, and sums.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace mmdla {

// g++ takes vectors apart that are longer than the machine's
#ifdef __AVX512F__
constexpr int vector_bytes = 64;
#else
constexpr int vector_bytes = 32;
#endif

template <typename A>
struct Vector {
  typedef A type __attribute__((vector_size(vector_bytes)));
};

template <typename A>
using Lane = typename Vector<A>::type;

template <typename A>
constexpr int64_t lanes = vector_bytes / sizeof(A);

// halves as bits, and bits of as many floats
typedef uint16_t HalfBits __attribute__((vector_size(vector_bytes / 2)));
typedef uint32_t FloatBits __attribute__((vector_size(vector_bytes)));

// bfloat16 is the upper half of a float
inline Lane<float> widen(HalfBits bits, c10::BFloat16) {
  return (Lane<float>)(__builtin_convertvector(bits, FloatBits) << 16);
}

// rounds to nearest, ties to even, as PyTorch does
inline HalfBits narrow(Lane<float> value, c10::BFloat16) {
  FloatBits bits = (FloatBits)value;
  bits += ((bits >> 16) & 1) + 0x7fff;
  bits = value == value ? bits >> 16 : FloatBits{} + 0x7fc0;
  return __builtin_convertvector(bits, HalfBits);
}

#ifdef __FLT16_MANT_DIG__
typedef _Float16 Halves __attribute__((vector_size(vector_bytes / 2)));

inline Lane<float> widen(HalfBits bits, c10::Half) {
  return __builtin_convertvector((Halves)bits, Lane<float>);
}

inline HalfBits narrow(Lane<float> value, c10::Half) {
  return (HalfBits)__builtin_convertvector(value, Halves);
}
#else
inline Lane<float> widen(HalfBits bits, c10::Half) {
  Lane<float> value;
  for (int i = 0; i < lanes<float>; ++i) value[i] = c10::Half(bits[i], c10::Half::from_bits());
  return value;
}

inline HalfBits narrow(Lane<float> value, c10::Half) {
  HalfBits bits;
  for (int i = 0; i < lanes<float>; ++i) bits[i] = c10::Half(value[i]).x;
  return bits;
}
#endif

template <typename A, typename T>
inline Lane<A> load(const T* from) {
  if constexpr (std::is_same_v<T, A>) {
    Lane<A> value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  } else {
    HalfBits bits;
    std::memcpy(&bits, from, sizeof(bits));
    return widen(bits, T());
  }
}

template <typename A, typename T>
inline void store(T* to, Lane<A> value) {
  if constexpr (std::is_same_v<T, A>) {
    std::memcpy(to, &value, sizeof(value));
  } else {
    const HalfBits bits = narrow(value, T());
    std::memcpy(to, &bits, sizeof(bits));
  }
}

template <typename A>
inline Lane<A> all(A value) {
  return Lane<A>{} + value;
}

template <typename A>
inline Lane<A> relu(Lane<A> value) {  // keeps NaN, as in PyTorch
  return value < 0 ? Lane<A>{} : value;
}

template <typename A>
inline A total(Lane<A> value) {
  A parts[lanes<A>];
  std::memcpy(parts, &value, sizeof(parts));
  for (int64_t step = lanes<A> / 2; step; step /= 2)
    for (int64_t i = 0; i < step; ++i) parts[i] += parts[i + step];
  return parts[0];
}

// count, rounded up to a multiple of the vector's length
template <typename A>
int64_t padded(int64_t count) {
  return (count + lanes<A> - 1) / lanes<A> * lanes<A>;
}

// Reads and writes a vector at position n of a map. `rest` is 0 for a full vector, or the number of
// elements left at the end of the map if they do not fill one.
template <typename A, typename T>
struct In {
  const T* map;
  int64_t rest;
  Lane<A> operator[](int64_t n) const {
    if (!rest) return load<A>(map + n);
    Lane<A> value = {};
    for (int64_t i = 0; i < rest; ++i) value[i] = A(map[n + i]);
    return value;
  }
};

template <typename A, typename T>
struct Out {
  T* map;
  int64_t rest;
  void set(int64_t n, Lane<A> value) const {
    if (!rest) return store<A>(map + n, value);
    for (int64_t i = 0; i < rest; ++i) map[n + i] = T(value[i]);
  }
};

// Calls f(n, rest) for each vector of `count` elements: rest is 0, but for an incomplete last one.
template <typename A, typename F>
inline void for_lanes(int64_t count, F&& f) {
  const int64_t whole = count / lanes<A> * lanes<A>;
  for (int64_t n = 0; n < whole; n += lanes<A>) f(n, int64_t(0));
  if (whole < count) f(whole, count - whole);
}

// The sum of the vectors f(n, rest). Runs of 16 vectors are added up in A, their sums in double.
template <typename A, typename F>
inline double sum_lanes(int64_t count, F&& f) {
  constexpr int64_t run = 16 * lanes<A>;
  double sum = 0;
  for (int64_t start = 0; start < count; start += run) {
    Lane<A> part = {};
    for_lanes<A>(std::min(run, count - start),
                 [&](int64_t n, int64_t rest) { part += f(start + n, rest); });
    sum += total<A>(part);
  }
  return sum;
}

}  // namespace mmdla
