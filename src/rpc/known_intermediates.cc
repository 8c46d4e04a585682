// SPDX-License-Identifier: Apache-2.0
#include "rpc/known_intermediates.h"

#include <algorithm>

namespace capstan::rpc {
namespace {

// By name and key id, cheaply; names alone are not enough in a rotation.
bool CouldIssue(const x509::Certificate& issuer, const x509::Certificate& subject) {
  const std::string wanted = subject.authority_key_id();
  return issuer.is_ca() && issuer.subject_der() == subject.issuer_der() &&
         (wanted.empty() || wanted == issuer.subject_key_id());
}

template <typename Certificates>
auto FindIssuer(const Certificates& among, const x509::Certificate& subject) {
  return std::find_if(among.begin(), among.end(), [&](const x509::Certificate& candidate) {
    return !(candidate == subject) && CouldIssue(candidate, subject);
  });
}

}  // namespace

bool KnownIntermediates::Knows(const x509::Certificate& certificate) const {
  MutexLock lock(mutex_);
  return std::find(known_.begin(), known_.end(), certificate) != known_.end();
}

void KnownIntermediates::Learn(const std::vector<x509::Certificate>& chain) {
  if (chain.empty()) {
    return;
  }
  x509::Certificate subject = chain.front();
  for (size_t steps = 1; steps < chain.size(); ++steps) {
    const auto issuer = FindIssuer(chain, subject);
    if (issuer == chain.end() || Knows(*issuer) || !subject.IsSignedBy(issuer->public_key())) {
      return;  // known ones were learned with all above them
    }
    MutexLock lock(mutex_);
    if (known_.size() == kMax) {
      known_.pop_front();
    }
    known_.push_back(*issuer);
    subject = *issuer;
  }
}

void KnownIntermediates::Complete(std::vector<x509::Certificate>& chain) const {
  if (chain.size() != 1) {
    return;
  }
  MutexLock lock(mutex_);
  while (chain.size() <= kMax) {
    const auto issuer = FindIssuer(known_, chain.back());
    if (issuer == known_.end() || std::find(chain.begin(), chain.end(), *issuer) != chain.end()) {
      return;
    }
    chain.push_back(*issuer);
  }
}

}  // namespace capstan::rpc
