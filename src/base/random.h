// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace capstan {

// Where a driver draws what must be unpredictable: serial numbers, tokens, nonces, UUIDs. Jitter is
// not drawn: it is a function of identity and serial (base/jitter.h).
class Random {
 public:
  virtual ~Random() = default;
  virtual void Fill(void* bytes, size_t size) = 0;

  std::string Bytes(size_t size);
  // A random UUID, version 4 (RFC 9562 section 5.4), lower case.
  std::string Uuid();
};

// The kernel's generator, getrandom(2). Never destroyed; safe from any thread.
Random& SystemRandom();

// Reproducible bytes for tests and the simulator. Not for keys.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  void Fill(void* bytes, size_t size) override;

 private:
  uint64_t state_;
};

}  // namespace capstan
