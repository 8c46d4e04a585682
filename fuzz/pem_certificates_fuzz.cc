// SPDX-License-Identifier: Apache-2.0
// ParsePemCertificates: total, and printing what was read gives the same certificates back.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "x509/certificate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto certificates = capstan::x509::ParsePemCertificates(text);
  if (!certificates.ok()) {
    if (certificates.status().message().empty()) std::abort();
    return 0;
  }
  if (certificates->empty()) std::abort();
  const auto again = capstan::x509::ParsePemCertificates(capstan::x509::ToPem(*certificates));
  if (!again.ok() || *again != *certificates) std::abort();
  return 0;
}
