// SPDX-License-Identifier: Apache-2.0
#include "base/jitter.h"

#include <cstdint>

namespace capstan {
namespace {

// FNV-1a with a final mix: the low bits of plain FNV are too regular for sequential serials.
uint64_t Hash(uint64_t h, std::string_view bytes) {
  for (unsigned char c : bytes) {
    h ^= c;
    h *= 0x100000001b3;
  }
  return h;
}

}  // namespace

double Jitter(std::string_view identity, std::string_view serial) {
  uint64_t h = Hash(0xcbf29ce484222325, identity);
  h = Hash(h, std::string_view("\0", 1));
  h = Hash(h, serial);
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccd;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53;
  h ^= h >> 33;
  return static_cast<double>(h >> 11) * 0x1.0p-53;
}

}  // namespace capstan
