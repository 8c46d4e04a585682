// SPDX-License-Identifier: Apache-2.0
#include "trust/ca_set.h"

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "trust/ca_crl.h"
#include "trust/ca_path.h"
#include "x509/seal.h"
#include "x509/sign.h"
#include "x509/verify.h"

namespace capstan::trust {
namespace {

constexpr char kCrlFile[] = "ca-crl.pem";

// Which file plays which part.
struct Layout {
  std::string name;
  std::string certificate;
  std::string key;
  std::string chain;  // "" where `certificate` carries it
  std::string roots;

  std::vector<std::string> Required() const {
    std::vector<std::string> files = {certificate, key, roots};
    if (!chain.empty()) files.insert(files.begin() + 2, chain);
    return files;
  }
};

const Layout& IstioLayout() {
  static const Layout& layout =
      *new Layout{"istio", "ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"};
  return layout;
}

const Layout& TlsLayout() {
  static const Layout& layout =
      *new Layout{"kubernetes.io/tls", "tls.crt", "tls.key", "", "ca.crt"};
  return layout;
}

absl::StatusOr<const Layout*> ChooseLayout(const CaFiles& files) {
  const Layout* layout = files.contains(TlsLayout().certificate) ? &TlsLayout() : &IstioLayout();
  std::vector<std::string> missing;
  for (const std::string& name : layout->Required()) {
    if (!files.contains(name)) missing.push_back(name);
  }
  if (missing.size() == layout->Required().size()) {
    return absl::NotFoundError(absl::StrCat("no CA files: expected ",
                                            absl::StrJoin(IstioLayout().Required(), ", "), " or ",
                                            absl::StrJoin(TlsLayout().Required(), ", ")));
  }
  if (!missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "incomplete CA: ", absl::StrJoin(missing, ", "), missing.size() == 1 ? " is" : " are",
        " missing (the ", layout->name, " layout needs ", absl::StrJoin(layout->Required(), ", "),
        "); add what is missing"));
  }
  return layout;
}

absl::StatusOr<std::vector<FileCertificate>> ReadCertificates(const CaFiles& files,
                                                              const std::string& name) {
  const std::string& text = files.at(name);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is empty; put the certificates there"));
  }
  absl::StatusOr<std::vector<x509::Certificate>> parsed = x509::ParsePemCertificates(text);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", parsed.status().message(),
                     "; put whole PEM certificates there (was the file copied completely?)"));
  }
  std::vector<FileCertificate> certificates;
  for (const x509::Certificate& certificate : *parsed) {
    certificates.push_back({certificate, name, static_cast<int>(certificates.size()) + 1,
                            static_cast<int>(parsed->size())});
  }
  return certificates;
}

absl::StatusOr<x509::PrivateKey> ReadKey(const CaFiles& files, const std::string& name) {
  const std::string& text = files.at(name);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is empty; put the CA's private key there"));
  }
  absl::StatusOr<x509::PrivateKey> key = x509::PrivateKey::ParsePem(text);
  if (!key.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", key.status().message(), "; put the CA's private key there"));
  }
  if (absl::Status acceptable = key->public_key().CheckAcceptable(); !acceptable.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", acceptable.message()));
  }
  return key;
}

absl::StatusOr<Bundle> ReadRoots(const std::vector<FileCertificate>& roots, absl::Time now,
                                 std::vector<std::string>& warnings) {
  std::vector<x509::Certificate> certificates;
  for (const FileCertificate& root : roots) {
    if (!root.certificate.is_ca()) {
      return absl::InvalidArgumentError(
          absl::StrCat(root.Named(), " is not a CA: only roots belong there"));
    }
    if (!root.certificate.IsSelfSigned()) {
      return absl::InvalidArgumentError(absl::StrCat(
          root.Named(), " is signed by \"", root.certificate.Issuer(),
          "\", so it is no root: only self-signed CAs belong there, intermediates go into "
          "the chain"));
    }
    if (root.certificate.not_after() < now) {
      warnings.push_back(
          absl::StrCat(root.Named(), " expired at ",
                       absl::FormatTime(root.certificate.not_after(), absl::UTCTimeZone()),
                       " and anchors nothing"));
    }
    certificates.push_back(root.certificate);
  }
  Bundle bundle = Bundle::Of(std::move(certificates));
  if (size_t repeated = roots.size() - bundle.roots().size(); repeated > 0) {
    warnings.push_back(absl::StrCat(roots.front().file, " repeats ", repeated,
                                    repeated == 1 ? " root" : " roots", "; each counts once"));
  }
  return bundle;
}

// The certificate whose key is the CA's key: normally the first of the file.
absl::StatusOr<FileCertificate> SigningCertificate(const std::vector<FileCertificate>& certificates,
                                                   const x509::PrivateKey& key,
                                                   const std::string& key_file,
                                                   std::vector<std::string>& warnings) {
  const x509::PublicKey& public_key = key.public_key();
  for (const FileCertificate& candidate : certificates) {
    if (!(candidate.certificate.public_key() == public_key)) continue;
    if (candidate.number > 1) {
      warnings.push_back(
          absl::StrCat(candidate.Named(), " is the signing certificate and should be the first"));
    }
    return candidate;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(key_file, " (", public_key.Description(), ") is not the private key of ",
                   certificates.front().Named(), "; put the two of one CA there"));
}

// Whatever is in the files besides the chain must at least do no harm: a root, or another
// certificate of a CA of the chain. Anything else means that two sets were mixed.
absl::Status CheckLeftovers(const std::vector<FileCertificate>& pool, const Authority& authority,
                            const Bundle& bundle, std::vector<std::string>& warnings) {
  std::vector<x509::Certificate> chain = CasOf(authority);
  for (const FileCertificate& extra : pool) {
    const x509::Certificate& certificate = extra.certificate;
    if (std::find(chain.begin(), chain.end(), certificate) != chain.end()) continue;
    if (!certificate.is_ca()) {
      return absl::InvalidArgumentError(
          absl::StrCat(extra.Named(), " is a leaf: a CA's chain has no place for it; remove it"));
    }
    if (bundle.Contains(certificate)) continue;
    auto same_key = [&](const x509::Certificate& c) {
      return c.public_key() == certificate.public_key();
    };
    if (std::any_of(chain.begin(), chain.end(), same_key) || certificate.IsSelfSigned()) {
      warnings.push_back(absl::StrCat(extra.Named(), " is not needed"));
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(extra.Named(), " is not in the chain of the signing certificate \"",
                     authority.certificate.Subject(),
                     "\": there are two chains; keep the one that belongs to the key"));
  }
  return absl::OkStatus();
}

void WarnOfOrder(const std::vector<FileCertificate>& file, const Authority& authority,
                 std::vector<std::string>& warnings) {
  std::vector<x509::Certificate> chain = CasOf(authority);
  auto last = chain.begin();
  for (const FileCertificate& link : file) {
    auto position = std::find(chain.begin(), chain.end(), link.certificate);
    if (position == chain.end()) continue;
    if (position < last) {
      warnings.push_back(absl::StrCat(link.Named(),
                                      " is out of order; the chain goes from the signing "
                                      "certificate up"));
      return;
    }
    last = position;
  }
}

absl::StatusOr<std::vector<x509::Crl>> ReadCrls(const CaFiles& files, const Authority& authority,
                                                const Bundle& bundle,
                                                const std::vector<x509::Certificate>& known,
                                                absl::Time now) {
  auto file = files.find(kCrlFile);
  if (file == files.end()) return std::vector<x509::Crl>();
  absl::StatusOr<std::vector<x509::Crl>> crls = x509::ParsePemCrls(file->second);
  if (!crls.ok()) return Annotate(crls.status(), kCrlFile);
  CAPSTAN_RETURN_IF_ERROR(Annotate(CheckCovered(authority, *crls, now), kCrlFile));
  std::vector<x509::Certificate> signers = CasOf(authority);
  signers.insert(signers.end(), bundle.roots().begin(), bundle.roots().end());
  signers.insert(signers.end(), known.begin(), known.end());
  for (size_t i = 0; i < crls->size(); ++i) {
    const x509::Crl& crl = (*crls)[i];
    auto signed_it = [&](const x509::Certificate& ca) {
      return ca.subject_der() == crl.issuer_der() && crl.IsSignedBy(ca.public_key());
    };
    if (std::none_of(signers.begin(), signers.end(), signed_it)) {
      return absl::InvalidArgumentError(
          absl::StrCat(kCrlFile, ": CRL ", i + 1, " (issuer \"", crl.Issuer(),
                       "\") is signed by no CA of this set; remove it"));
    }
  }
  std::sort(crls->begin(), crls->end(),
            [](const x509::Crl& a, const x509::Crl& b) { return a.der() < b.der(); });
  crls->erase(
      std::unique(crls->begin(), crls->end(),
                  [](const x509::Crl& a, const x509::Crl& b) { return a.der() == b.der(); }),
      crls->end());
  return crls;
}

// Signs a leaf that is thrown away and verifies it as a peer would.
absl::Status Probe(const Authority& authority, const x509::PrivateKey& key, const Bundle& bundle,
                   const std::vector<x509::Crl>& crls, const std::string& id, absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<x509::Signer> signer, x509::NewSigner(key));
  CAPSTAN_ASSIGN_OR_RETURN(x509::LeafTemplate leaf, x509::LeafTemplate::For(authority.certificate));
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey subject,
                           x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  x509::SubjectAltNames sans;
  sans.uris = {id};
  CAPSTAN_ASSIGN_OR_RETURN(
      std::string der,
      leaf.SignDer(x509::SerialNumber::FromBytes("\x01"),
                   std::max(now - absl::Minutes(1), authority.certificate.not_before()),
                   std::min(now + absl::Minutes(1), authority.certificate.not_after()), sans,
                   subject.public_key(), *signer));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate probe, x509::Certificate::ParseDer(der));
  std::vector<x509::Certificate> presented = {probe};
  presented.insert(presented.end(), authority.intermediates.begin(), authority.intermediates.end());
  x509::VerifyOptions options;
  options.crls = crls;
  return x509::Verify(presented, bundle.roots(), now, options).status;
}

}  // namespace

const std::vector<std::string>& CaFileNames() {
  static const std::vector<std::string>& names =
      *new std::vector<std::string>{"ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem",
                                    kCrlFile,      "tls.crt",    "tls.key",        "ca.crt"};
  return names;
}

std::string CaSet::ContentDigest() const {
  std::string content = "capstan CA set 1\n";
  for (const x509::Certificate& certificate : CasOf(authority))
    content += certificate.fingerprint();
  absl::StrAppend(&content, "\nbundle ", bundle.DigestHex(), "\n");
  for (const x509::Crl& crl : crls) content += x509::Sha256(crl.der());
  return absl::BytesToHexString(x509::Sha256(content));
}

absl::StatusOr<CaSet> ParseCaSet(const CaFiles& files, absl::Time now,
                                 const ParseOptions& options) {
  CAPSTAN_ASSIGN_OR_RETURN(const Layout* layout, ChooseLayout(files));
  std::vector<std::string> warnings;
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<FileCertificate> signing_file,
                           ReadCertificates(files, layout->certificate));
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, ReadKey(files, layout->key));
  std::vector<FileCertificate> chain_file;
  if (!layout->chain.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(chain_file, ReadCertificates(files, layout->chain));
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<FileCertificate> root_file,
                           ReadCertificates(files, layout->roots));

  CAPSTAN_ASSIGN_OR_RETURN(FileCertificate signing,
                           SigningCertificate(signing_file, key, layout->key, warnings));
  if (!signing.certificate.is_ca()) {
    return absl::InvalidArgumentError(
        absl::StrCat(signing.Named(),
                     " is not a CA (no basicConstraints CA:TRUE): it cannot sign; put an "
                     "intermediate CA there"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(Bundle bundle, ReadRoots(root_file, now, warnings));
  std::vector<FileCertificate> pool = signing_file;
  pool.insert(pool.end(), chain_file.begin(), chain_file.end());
  CAPSTAN_ASSIGN_OR_RETURN(Authority authority,
                           BuildAuthority(signing, pool, bundle, layout->roots, now));
  CAPSTAN_RETURN_IF_ERROR(CheckLeftovers(pool, authority, bundle, warnings));
  WarnOfOrder(chain_file, authority, warnings);

  CAPSTAN_ASSIGN_OR_RETURN(std::vector<x509::Crl> crls,
                           ReadCrls(files, authority, bundle, options.known_cas, now));
  if (absl::Status probed = Probe(authority, key, bundle, crls, options.probe_id, now);
      !probed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a leaf signed by ", signing.Named(), " on trial does not verify: ", probed.message()));
  }
  return CaSet{layout->name,      std::move(authority), std::move(key),
               std::move(bundle), std::move(crls),      std::move(warnings)};
}

}  // namespace capstan::trust
