// SPDX-License-Identifier: Apache-2.0
// Csr::Parse: total; an accepted request has an acceptable key and survives printing.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "x509/csr.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto csr = capstan::x509::Csr::Parse(input);
  if (!csr.ok()) {
    if (csr.status().message().empty()) std::abort();
    return 0;
  }
  if (!csr->public_key().CheckAcceptable().ok()) std::abort();
  const auto again = capstan::x509::Csr::Parse(csr->ToPem());
  if (!again.ok() || again->der() != csr->der() || again->subject() != csr->subject()) std::abort();
  return 0;
}
