// SPDX-License-Identifier: Apache-2.0
// ParseHistoryDocument: total; one document has one text, so that what it accepts and follows from
// nothing held is nothing.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "trust/history.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto document = capstan::trust::ParseHistoryDocument(input);
  if (!document.ok()) {
    if (document.status().message().empty()) std::abort();
    return 0;
  }
  const capstan::trust::HistoryLink& link = document->link;
  if (link.bundle.empty() || link.version.sequence <= link.previous || link.previous < 1 ||
      document->signer.empty() || !input.starts_with(document->signed_part)) {
    std::abort();
  }
  // Without a root nobody vouches for the signer, whatever it says.
  static const auto domain = capstan::spiffe::TrustDomain::Parse("mesh.test");
  if (capstan::trust::VerifyLink({}, {link.version.lineage, link.previous}, *document, *domain)
          .ok()) {
    std::abort();
  }
  return 0;
}
