// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace capstan {
namespace {

class KernelRandom final : public Random {
 public:
  void Fill(void* bytes, size_t size) override {
    auto* out = static_cast<unsigned char*>(bytes);
    while (size > 0) {
      ssize_t n = getrandom(out, size, 0);
      if (n < 0) {
        if (errno == EINTR) continue;
        // Nothing can be signed or made safely without entropy, and the kernel says this cannot
        // happen.
        std::perror("getrandom");
        std::abort();
      }
      out += n;
      size -= static_cast<size_t>(n);
    }
  }
};

// SplitMix64: small, and every seed gives a full-period stream.
uint64_t Next(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

std::string Random::Bytes(size_t size) {
  std::string bytes(size, '\0');
  Fill(bytes.data(), size);
  return bytes;
}

std::string Random::Uuid() {
  std::string b = Bytes(16);
  b[6] = static_cast<char>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<char>((b[8] & 0x3f) | 0x80);
  std::string hex = absl::BytesToHexString(b);
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20));
}

Random& SystemRandom() {
  static KernelRandom& random = *new KernelRandom;
  return random;
}

void SeededRandom::Fill(void* bytes, size_t size) {
  auto* out = static_cast<unsigned char*>(bytes);
  while (size > 0) {
    uint64_t word = Next(state_);
    size_t n = size < sizeof(word) ? size : sizeof(word);
    std::memcpy(out, &word, n);
    out += n;
    size -= n;
  }
}

}  // namespace capstan
