// SPDX-License-Identifier: Apache-2.0
#include "x509/verify.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/openssl.h"
#include "x509/path_builder.h"
#include "x509/path_checks.h"

namespace capstan::x509 {
namespace {

// RSA of 2048 bits and no SHA-1 but on the root itself.
constexpr int kSecurityLevel = 2;

struct StackFree {
  // The elements belong to the Certificates.
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};
using StorePtr = std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>>;
using StoreCtxPtr = std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>>;
using StackPtr = std::unique_ptr<STACK_OF(X509), StackFree>;

// X509_V_FLAG_X509_STRICT stays off: it refuses intermediates without an authority key id, which is
// what Istio's own makefile produced with OpenSSL 1.1, and which Envoy and Go accept.
void SetParameters(X509_VERIFY_PARAM* parameters, absl::Time now, const VerifyOptions& options) {
  X509_VERIFY_PARAM_set_time(parameters, absl::ToTimeT(now));
  X509_VERIFY_PARAM_set_auth_level(parameters, kSecurityLevel);
  if (options.purpose != Purpose::kAny) {
    X509_VERIFY_PARAM_set_purpose(parameters, options.purpose == Purpose::kServer
                                                  ? X509_PURPOSE_SSL_SERVER
                                                  : X509_PURPOSE_SSL_CLIENT);
  }
  if (!options.crls.empty()) {
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  }
}

// OpenSSL's judgement of one path: the root alone is trusted, the rest is offered.
VerifyStep AskOpenSsl(const Path& path, absl::Time now, const VerifyOptions& options) {
  const auto unreadable = [](int position) {
    return VerifyStep{false, position, "OpenSSL cannot read this certificate: issue it again"};
  };
  const StorePtr store(X509_STORE_new());
  const StackPtr untrusted(sk_X509_new_null());
  const StoreCtxPtr context(X509_STORE_CTX_new());
  for (const PathLink& link : path) {
    if (link.certificate.get() == nullptr) {
      return unreadable(link.position);
    }
    sk_X509_push(untrusted.get(), link.certificate.get());
  }
  X509_STORE_add_cert(store.get(), path.back().certificate.get());
  for (const Crl& crl : options.crls) {
    if (crl.get() != nullptr) {
      X509_STORE_add_crl(store.get(), crl.get());
    }
  }
  X509_STORE_CTX_init(context.get(), store.get(), path.front().certificate.get(), untrusted.get());
  SetParameters(X509_STORE_CTX_get0_param(context.get()), now, options);
  const bool verified = X509_verify_cert(context.get()) == 1;
  ERR_clear_error();
  if (verified) {
    return {true, -1, "name constraints, policies and critical extensions have nothing against it"};
  }
  const int depth = std::clamp(X509_STORE_CTX_get_error_depth(context.get()), 0,
                               static_cast<int>(path.size()) - 1);
  const PathLink& culprit = path[depth];
  return {
      false, culprit.position,
      absl::StrCat(Describe(culprit), ": OpenSSL says \"",
                   X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())), "\"")};
}

Verdict Refused(std::vector<VerifyStep> steps) {
  Verdict verdict;
  verdict.status = absl::FailedPreconditionError(steps.back().text);
  verdict.steps = std::move(steps);
  return verdict;
}

Verdict Unusable(std::string text) {
  Verdict verdict;
  verdict.status = absl::InvalidArgumentError(text);
  verdict.steps.push_back({false, -1, std::move(text)});
  return verdict;
}

Verdict JudgePath(const Path& path, absl::Time now, const VerifyOptions& options) {
  std::vector<VerifyStep> steps = CheckPath(path, now, options);
  if (!steps.back().ok) {
    return Refused(std::move(steps));
  }
  // The same questions and more, asked of code that the whole world uses. Both must agree.
  steps.push_back(AskOpenSsl(path, now, options));
  if (!steps.back().ok) {
    return Refused(std::move(steps));
  }
  Verdict verdict;
  for (const PathLink& link : path) {
    verdict.chain.push_back(link.certificate);
  }
  verdict.steps = std::move(steps);
  return verdict;
}

// An X509-SVID's own rules.
VerifyStep CheckSvidLeaf(const Certificate& leaf) {
  const auto refuse = [](std::string text) { return VerifyStep{false, 0, std::move(text)}; };
  if (leaf.is_ca()) {
    return refuse("certificate 0 is a CA: it cannot identify a workload");
  }
  if ((leaf.key_usage().value_or(0) & (kKeyCertSign | kCrlSign)) != 0) {
    return refuse(
        "certificate 0 may sign certificates or revocation lists: it cannot identify a "
        "workload");
  }
  const auto id = leaf.SpiffeId();
  if (!id.ok()) {
    return refuse(absl::StrCat("certificate 0: ", id.status().message()));
  }
  if (id->path().empty()) {
    return refuse(absl::StrCat("certificate 0: ", id->ToString(),
                               " names a trust domain, not a workload: it has no path"));
  }
  return {true, 0, absl::StrCat("certificate 0 is an X509-SVID of ", id->ToString())};
}

}  // namespace

Verdict Verify(const std::vector<Certificate>& presented, const std::vector<Certificate>& roots,
               absl::Time now, const VerifyOptions& options) {
  if (presented.empty()) {
    return Unusable("no certificate was presented");
  }
  if (roots.empty()) {
    return Unusable("the bundle has no root: nothing can be trusted");
  }
  const Paths paths = FindPaths(presented, roots);
  if (paths.complete.empty()) {
    return Refused(ExplainDeadEnd(paths.longest, roots));
  }
  // Of several failures the one that came furthest says most.
  Verdict best;
  for (const Path& path : paths.complete) {
    Verdict verdict = JudgePath(path, now, options);
    if (verdict.status.ok()) {
      return verdict;
    }
    if (verdict.steps.size() > best.steps.size()) {
      best = std::move(verdict);
    }
  }
  return best;
}

Verdict VerifySvid(const std::vector<Certificate>& presented, const std::vector<Certificate>& roots,
                   absl::Time now, const VerifyOptions& options) {
  Verdict verdict = Verify(presented, roots, now, options);
  if (!verdict.status.ok()) {
    return verdict;
  }
  verdict.steps.push_back(CheckSvidLeaf(presented.front()));
  return verdict.steps.back().ok ? verdict : Refused(std::move(verdict.steps));
}

}  // namespace capstan::x509
