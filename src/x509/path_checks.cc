// SPDX-License-Identifier: Apache-2.0
#include "x509/path_checks.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "x509/openssl.h"
#include "x509/signature_algorithm.h"

namespace capstan::x509 {
namespace {

// What OpenSSL's security level 2 asks of keys: RSA of 2048 bits, any curve in use.
constexpr int kMinSecurityBits = 112;

std::string Rfc3339(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string Hex(const std::string& bytes) {
  return absl::BytesToHexString(bytes);
}

std::string NameOf(const Certificate& certificate) {
  const std::string subject = certificate.Subject();
  if (!subject.empty()) {
    return subject;
  }
  const SubjectAltNames& sans = certificate.sans();
  for (const auto* names : {&sans.uris, &sans.dns, &sans.ips, &sans.emails}) {
    if (!names->empty()) {
      return names->front();
    }
  }
  return absl::StrCat("serial ", certificate.serial().ToHex());
}

// Collects steps until one fails.
class Steps {
 public:
  void Pass(int position, std::string text) { steps_.push_back({true, position, std::move(text)}); }
  // false, so that checks can end with it.
  bool Fail(int position, std::string text) {
    steps_.push_back({false, position, std::move(text)});
    return false;
  }
  std::vector<VerifyStep> Take() { return std::move(steps_); }

 private:
  std::vector<VerifyStep> steps_;
};

class Checker {
 public:
  Checker(const Path& path, absl::Time now, const VerifyOptions& options)
      : path_(path), now_(now), options_(options) {}

  std::vector<VerifyStep> Run() {
    if (CheckLinks() && CheckValidity() && CheckAuthorities() && CheckStrength() &&
        CheckPurpose()) {
      CheckRevocation();
    }
    return steps_.Take();
  }

 private:
  bool CheckLinks() {
    for (size_t i = 0; i + 1 < path_.size(); ++i) {
      const PathLink& subject = path_[i];
      const PathLink& issuer = path_[i + 1];
      const std::string hint = subject.certificate.authority_key_id();
      const std::string key_id = issuer.certificate.subject_key_id();
      if (!hint.empty() && !key_id.empty() && hint != key_id) {
        return steps_.Fail(subject.position,
                           absl::StrCat(Describe(subject), " is signed by ", Describe(issuer),
                                        ", but its authority key id ", Hex(hint),
                                        " names another key: peers refuse it; issue it again"));
      }
      steps_.Pass(subject.position,
                  absl::StrCat(Describe(subject), " names ", issuer.certificate.Subject(),
                               " as its issuer and is signed by ", Describe(issuer),
                               hint.empty() || key_id.empty() ? "" : "; the key ids agree"));
    }
    const PathLink& root = path_.back();
    if (!SameName(root.certificate.issuer_der(), root.certificate.subject_der()) ||
        !root.certificate.IsSelfSigned()) {
      return steps_.Fail(root.position,
                         absl::StrCat(Describe(root), " is in the bundle but is not self-signed: ",
                                      "put the self-signed root above it into the bundle"));
    }
    steps_.Pass(root.position, absl::StrCat(Describe(root), " is self-signed and in the bundle"));
    return true;
  }

  bool CheckValidity() {
    for (const PathLink& link : path_) {
      const Certificate& certificate = link.certificate;
      if (now_ < certificate.not_before()) {
        return steps_.Fail(
            link.position,
            absl::StrCat(Describe(link), " is not valid before ", Rfc3339(certificate.not_before()),
                         ", and it is ", Rfc3339(now_), ": wait, or correct the clock"));
      }
      if (certificate.not_after() <= now_) {
        return steps_.Fail(
            link.position,
            absl::StrCat(Describe(link), " expired at ", Rfc3339(certificate.not_after()),
                         ", and it is ", Rfc3339(now_),
                         link.is_root ? ": replace the root" : ": renew it"));
      }
      steps_.Pass(
          link.position,
          absl::StrCat(Describe(link), " is valid from ", Rfc3339(certificate.not_before()), " to ",
                       Rfc3339(certificate.not_after()), ", and it is ", Rfc3339(now_)));
    }
    return true;
  }

  bool CheckAuthorities() {
    int below = 0;  // intermediates that count for path lengths
    for (size_t i = 1; i < path_.size(); ++i) {
      if (!CheckAuthority(path_[i], below)) {
        return false;
      }
      const Certificate& certificate = path_[i].certificate;
      below += SameName(certificate.issuer_der(), certificate.subject_der()) ? 0 : 1;
    }
    return true;
  }

  bool CheckAuthority(const PathLink& link, int below) {
    const Certificate& certificate = link.certificate;
    // Version 1 roots know no extensions; they are still in use, and trusted because they are
    // listed.
    const bool old_root = link.is_root && certificate.version() < 3;
    if (!certificate.is_ca() && !old_root) {
      return steps_.Fail(
          link.position,
          absl::StrCat(Describe(link), " signs certificates but is no CA: its ",
                       certificate.has_basic_constraints() ? "basic constraints say CA:FALSE"
                                                           : "basic constraints are missing"));
    }
    const auto usage = certificate.key_usage();
    if (usage.has_value() && (*usage & kKeyCertSign) == 0) {
      return steps_.Fail(link.position, absl::StrCat(Describe(link),
                                                     " signs certificates, which its key usage "
                                                     "does not allow (keyCertSign is missing)"));
    }
    const auto limit = certificate.path_length();
    if (limit.has_value() && below > *limit) {
      return steps_.Fail(link.position,
                         absl::StrCat(Describe(link), " allows ", *limit,
                                      " intermediates below itself, and there are ", below));
    }
    steps_.Pass(
        link.position,
        absl::StrCat(Describe(link), " is a CA that may sign certificates",
                     limit.has_value() ? absl::StrCat(", with at most ", *limit,
                                                      " intermediates below (", below, " here)")
                                       : ""));
    return true;
  }

  bool CheckStrength() {
    for (const PathLink& link : path_) {
      const Certificate& certificate = link.certificate;
      const PublicKey& key = certificate.public_key();
      if (key.get() == nullptr || EVP_PKEY_get_security_bits(key.get()) < kMinSecurityBits) {
        return steps_.Fail(link.position,
                           absl::StrCat(Describe(link), " has a key that is too weak or unknown (",
                                        key.Description(), "): RSA needs 2048 bits"));
      }
      // A root is trusted because it is listed: its own signature proves nothing.
      if (!link.is_root && IsBroken(certificate.SignatureAlgorithm())) {
        return steps_.Fail(
            link.position,
            absl::StrCat(Describe(link), " is signed with ", certificate.SignatureAlgorithm(),
                         ", which is broken: issue it again with SHA-256"));
      }
    }
    steps_.Pass(-1, "all keys and signatures are strong enough");
    return true;
  }

  bool CheckPurpose() {
    if (options_.purpose == Purpose::kAny) {
      return true;
    }
    const bool server = options_.purpose == Purpose::kServer;
    const std::string wanted = server ? "serverAuth" : "clientAuth";
    for (const PathLink& link : path_) {
      const std::vector<std::string> usages = link.certificate.extended_key_usage();
      if (!usages.empty() && std::find(usages.begin(), usages.end(), wanted) == usages.end()) {
        return steps_.Fail(link.position,
                           absl::StrCat(Describe(link), " is not for this use: ", wanted,
                                        " is missing in its extended key usage (",
                                        absl::StrJoin(usages, ", "), ")"));
      }
    }
    const PathLink& leaf = path_.front();
    const uint32_t fitting = server ? kDigitalSignature | kKeyEncipherment | kKeyAgreement
                                    : kDigitalSignature | kKeyAgreement;
    const auto usage = leaf.certificate.key_usage();
    if (usage.has_value() && (*usage & fitting) == 0) {
      return steps_.Fail(leaf.position, absl::StrCat(Describe(leaf),
                                                     " is not for TLS: its key usage has no "
                                                     "digitalSignature"));
    }
    steps_.Pass(leaf.position, absl::StrCat(Describe(leaf), " may be used as a TLS ",
                                            server ? "server" : "client"));
    return true;
  }

  bool CheckRevocation() {
    if (options_.crls.empty()) {
      return true;
    }
    for (size_t i = 0; i < path_.size(); ++i) {
      const PathLink& issuer = path_[std::min(i + 1, path_.size() - 1)];
      if (!CheckNotRevoked(path_[i], issuer)) {
        return false;
      }
    }
    return true;
  }

  // The newest list that `issuer` made and that has begun.
  const Crl* NewestCrlOf(const Certificate& issuer) const {
    const Crl* newest = nullptr;
    for (const Crl& crl : options_.crls) {
      if (SameName(crl.issuer_der(), issuer.subject_der()) && crl.IsSignedBy(issuer.public_key()) &&
          crl.this_update() <= now_ &&
          (newest == nullptr || newest->this_update() < crl.this_update())) {
        newest = &crl;
      }
    }
    return newest;
  }

  bool CheckNotRevoked(const PathLink& subject, const PathLink& issuer) {
    const Crl* crl = NewestCrlOf(issuer.certificate);
    if (crl == nullptr) {
      return steps_.Fail(
          subject.position,
          absl::StrCat("no revocation list of ", Describe(issuer),
                       " was given: with revocation lists every CA of a chain needs one"));
    }
    const auto usage = issuer.certificate.key_usage();
    if (usage.has_value() && (*usage & kCrlSign) == 0) {
      return steps_.Fail(
          issuer.position,
          absl::StrCat("the revocation list of ", Describe(issuer),
                       " does not count: the CA's key usage has no cRLSign; make the "
                       "CA with cRLSign, or leave its list out"));
    }
    if (crl->next_update().has_value() && *crl->next_update() <= now_) {
      return steps_.Fail(
          issuer.position,
          absl::StrCat("the revocation list of ", Describe(issuer), " was to be replaced by ",
                       Rfc3339(*crl->next_update()), ": publish a new one"));
    }
    const std::vector<SerialNumber> revoked = crl->revoked();
    if (std::find(revoked.begin(), revoked.end(), subject.certificate.serial()) != revoked.end()) {
      return steps_.Fail(subject.position, absl::StrCat(Describe(subject), " (serial ",
                                                        subject.certificate.serial().ToHex(),
                                                        ") is revoked by ", Describe(issuer)));
    }
    steps_.Pass(
        subject.position,
        absl::StrCat(Describe(subject), " is not on the revocation list of ", Describe(issuer)));
    return true;
  }

  const Path& path_;
  const absl::Time now_;
  const VerifyOptions& options_;
  Steps steps_;
};

}  // namespace

std::string Describe(const Certificate& certificate) {
  const std::string ski = certificate.subject_key_id();
  return absl::StrCat(NameOf(certificate), " (",
                      ski.empty()
                          ? absl::StrCat("fingerprint ", certificate.FingerprintHex().substr(0, 16))
                          : absl::StrCat("SKI ", Hex(ski)),
                      ")");
}

std::string Describe(const PathLink& link) {
  if (link.is_root) {
    return absl::StrCat("root ", Describe(link.certificate));
  }
  return absl::StrCat("certificate ", link.position, " (", NameOf(link.certificate), ")");
}

std::vector<VerifyStep> CheckPath(const Path& path, absl::Time now, const VerifyOptions& options) {
  return Checker(path, now, options).Run();
}

std::vector<VerifyStep> ExplainDeadEnd(const DeadEnd& end, const std::vector<Certificate>& roots) {
  Steps steps;
  for (size_t i = 0; i + 1 < end.path.size(); ++i) {
    steps.Pass(end.path[i].position,
               absl::StrCat(Describe(end.path[i]), " is signed by ", Describe(end.path[i + 1])));
  }
  const PathLink& last = end.path.back();
  const Certificate& certificate = last.certificate;
  std::vector<std::string> trusted;
  for (const Certificate& root : roots) {
    trusted.push_back(Describe(root));
  }
  const std::string bundle = absl::StrCat("the bundle trusts ", absl::StrJoin(trusted, ", "));
  if (end.gave_up) {
    steps.Fail(last.position, "the chain has too many certificates of equal names to try them all");
  } else if (SameName(certificate.issuer_der(), certificate.subject_der()) &&
             certificate.IsSelfSigned()) {
    steps.Fail(last.position,
               absl::StrCat(Describe(last), " (", Describe(certificate),
                            ") is a self-signed root that is not in the bundle: ", bundle));
  } else if (!end.namesakes.empty()) {
    std::vector<std::string> names;
    for (const Certificate& namesake : end.namesakes) {
      names.push_back(Describe(namesake));
    }
    const std::string hint = certificate.authority_key_id();
    steps.Fail(last.position,
               absl::StrCat(Describe(last), " names ", certificate.Issuer(),
                            " as its issuer, but no certificate of that name made its signature (",
                            hint.empty() ? "" : absl::StrCat("it asks for key ", Hex(hint), "; "),
                            "tried: ", absl::StrJoin(names, ", "),
                            "): the right issuer is missing in the chain or the bundle"));
  } else {
    steps.Fail(last.position,
               absl::StrCat(Describe(last), " names \"", certificate.Issuer(),
                            "\" as its issuer, and neither the chain nor the bundle has a "
                            "certificate of that name: add the missing one; ",
                            bundle));
  }
  return steps.Take();
}

}  // namespace capstan::x509
