// SPDX-License-Identifier: Apache-2.0
// ParsePemCrls and Crl::ParseDer: total; printing what was read gives the same lists back.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "x509/crl.h"

namespace {

using capstan::x509::Crl;

void CheckDer(std::string_view der) {
  const auto crl = Crl::ParseDer(der);
  if (!crl.ok()) {
    if (crl.status().message().empty()) std::abort();
    return;
  }
  if (crl->der() != der) std::abort();
  crl->Issuer();
  crl->authority_key_id();
  crl->number_hex();
  crl->revoked();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  CheckDer(input);
  const auto crls = capstan::x509::ParsePemCrls(input);
  if (!crls.ok()) {
    return 0;
  }
  const auto again = capstan::x509::ParsePemCrls(capstan::x509::ToPem(*crls));
  if (!again.ok() || again->size() != crls->size()) std::abort();
  for (size_t i = 0; i < crls->size(); ++i) {
    if ((*crls)[i].der() != (*again)[i].der()) std::abort();
  }
  return 0;
}
