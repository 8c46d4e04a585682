// SPDX-License-Identifier: Apache-2.0
// The bytes of an IstioCertificateRequest, as a caller sends them, down to the parsed CSR: total;
// what comes through has a key that may be signed.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "rpc/ca_request.h"
#include "x509/csr.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  istio::v1::auth::IstioCertificateRequest message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) {
    return 0;
  }
  const auto request = capstan::rpc::ReadCaRequest(message);
  if (!request.ok()) {
    if (request.status().message().empty()) std::abort();
    return 0;
  }
  if (request->csr.empty() || request->csr.size() > 64 << 10) std::abort();
  const auto csr = capstan::x509::Csr::Parse(request->csr);
  if (csr.ok() && !csr->public_key().CheckAcceptable().ok()) std::abort();
  return 0;
}
