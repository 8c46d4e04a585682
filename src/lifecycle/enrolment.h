// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lifecycle/check_answer.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"
#include "x509/key.h"

namespace capstan::lifecycle {

// What a request is made of, and whether its answer may be served: the Driver's port to keys and
// certificates. X509Enrolment is the real one.
class Enrolment {
 public:
  virtual ~Enrolment() = default;
  // The next request, PEM. Its key is that of the one before where it is not known whether the
  // control plane signed for that: an answer that was lost is then given once more, not signed
  // twice.
  virtual absl::StatusOr<std::string> NewCsr() = 0;
  // FailedPrecondition: it chains to a root that `bundle` does not hold. InvalidArgument: it may
  // not be served for another reason. Accepted: it is what is to be served, and its key is used up.
  virtual absl::StatusOr<Leaf> Accept(const std::vector<std::string>& answer,
                                      const trust::Bundle& bundle, absl::Time now) = 0;
  // Nothing was signed for the last request, or something useless was: the next one gets a key of
  // its own.
  virtual void DropKey() = 0;
};

// A certificate with its key, fit to be served.
struct Certified {
  x509::PrivateKey key;
  CheckedAnswer answer;
};

class X509Enrolment final : public Enrolment {
 public:
  using NewKey = std::function<absl::StatusOr<x509::PrivateKey>()>;
  // `new_key` makes a fresh one for each certificate. `ttl`: as it is requested.
  X509Enrolment(spiffe::SpiffeId id, absl::Duration ttl, NewKey new_key)
      : id_(std::move(id)), ttl_(ttl), new_key_(std::move(new_key)) {}

  absl::StatusOr<std::string> NewCsr() override;
  absl::StatusOr<Leaf> Accept(const std::vector<std::string>& answer, const trust::Bundle& bundle,
                              absl::Time now) override;
  void DropKey() override { pending_key_.reset(); }

  // What was accepted last.
  const std::optional<Certified>& accepted() const { return accepted_; }

 private:
  const spiffe::SpiffeId id_;
  const absl::Duration ttl_;
  const NewKey new_key_;
  std::optional<x509::PrivateKey> pending_key_;
  std::optional<Certified> accepted_;
};

}  // namespace capstan::lifecycle
