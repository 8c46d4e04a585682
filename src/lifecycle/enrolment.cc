// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/enrolment.h"

#include <utility>

#include "base/status.h"
#include "x509/csr.h"

namespace capstan::lifecycle {

absl::StatusOr<std::string> X509Enrolment::NewCsr() {
  if (!pending_key_) {
    CAPSTAN_ASSIGN_OR_RETURN(pending_key_, new_key_());
  }
  x509::Extensions extensions;
  extensions.sans.uris = {id_.ToString()};
  extensions.sans.critical = true;
  CAPSTAN_ASSIGN_OR_RETURN(const x509::Csr csr,
                           x509::Csr::Create(*pending_key_, x509::Name{}, extensions));
  return csr.ToPem();
}

absl::StatusOr<Leaf> X509Enrolment::Accept(const std::vector<std::string>& answer,
                                           const trust::Bundle& bundle, absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(CheckedAnswer checked,
                           CheckAnswer(answer, {.id = id_,
                                                .key = pending_key_->public_key(),
                                                .ttl = ttl_,
                                                .bundle = bundle,
                                                .now = now}));
  accepted_ = Certified{*std::exchange(pending_key_, std::nullopt), std::move(checked)};
  return accepted_->answer.leaf;
}

}  // namespace capstan::lifecycle
