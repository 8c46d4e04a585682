// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/random.h"
#include "base/status.h"
#include "cli/pki.h"
#include "spiffe/spiffe_id.h"

namespace capstan::cli {
namespace {

constexpr int kMaxDays = 36525;  // a hundred years

constexpr x509::KeyType kKeyTypes[] = {x509::KeyType::kRsa2048, x509::KeyType::kRsa3072,
                                       x509::KeyType::kRsa4096, x509::KeyType::kEcdsaP256,
                                       x509::KeyType::kEcdsaP384};

std::string CanonicalPath(const std::string& path) {
  return path == "-" ? "standard input" : path;
}

absl::Status CheckMaySign(const x509::Certificate& certificate, absl::Time now) {
  if (!certificate.is_ca()) {
    return absl::FailedPreconditionError(
        "the certificate is no CA (basicConstraints without CA:TRUE): name the CA's");
  }
  if ((certificate.key_usage().value_or(x509::kKeyCertSign) & x509::kKeyCertSign) == 0) {
    return absl::FailedPreconditionError(
        "its keyUsage lacks keyCertSign: no verifier would accept what it signs");
  }
  if (now < certificate.not_before() || now > certificate.not_after()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the CA's certificate is valid from ", FormatUtc(certificate.not_before()),
                     " to ", FormatUtc(certificate.not_after()), ", and now is ", FormatUtc(now)));
  }
  return absl::OkStatus();
}

}  // namespace

void AddOutputFlags(CLI::App& command, OutputOptions& options) {
  command.add_flag("--force", options.force, "Replace files that exist");
  command.add_flag("--dry-run", options.dry_run,
                   "Check everything, say what would be made, write nothing");
  command.add_option("-o,--output", options.format, "How to print what was made")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

CLI::Option* AddKeyTypeFlag(CLI::App& command, const std::string& flag, std::string& type) {
  std::vector<std::string> names;
  for (x509::KeyType known : kKeyTypes) names.emplace_back(x509::KeyTypeName(known));
  return command.add_option(flag, type, "The kind of key to make")->check(CLI::IsMember(names));
}

void AddValidityFlags(CLI::App& command, ValidityFlags& flags) {
  CLI::Option* days = command.add_option("--days", flags.days, "Days of validity")
                          ->check(CLI::Range(1, kMaxDays))
                          ->capture_default_str();
  command.add_option("--validity", flags.duration, "Validity as a duration instead: 24h, 90s")
      ->type_name("DURATION")
      ->excludes(days);
  command
      .add_option("--not-before", flags.not_before, "When validity begins, RFC 3339 (default: now)")
      ->type_name("TIME");
}

absl::StatusOr<Validity> ToValidity(const ValidityFlags& flags, absl::Time now) {
  Validity validity{now, now};
  if (!flags.not_before.empty()) {
    std::string error;
    if (!absl::ParseTime(absl::RFC3339_full, flags.not_before, &validity.not_before, &error)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--not-before ", flags.not_before,
                       " is no time: write it like 2026-01-31T12:00:00Z (", error, ")"));
    }
  }
  absl::Duration length = absl::Hours(24) * flags.days;
  if (!flags.duration.empty() &&
      (!absl::ParseDuration(flags.duration, &length) || length < absl::Seconds(1) ||
       length > absl::Hours(24) * kMaxDays)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--validity ", flags.duration,
                     " is no duration from 1s to a hundred years: write it like 24h or 90m"));
  }
  validity.not_before = absl::FromUnixSeconds(absl::ToUnixSeconds(validity.not_before));
  validity.not_after = validity.not_before + length;
  // The library would refuse them too, but not by the flag's name.
  if (validity.not_before < absl::UnixEpoch() ||
      validity.not_after >= absl::FromUnixSeconds(253402300800)) {
    return absl::InvalidArgumentError("--not-before: the validity must lie between 1970 and 9999");
  }
  return validity;
}

void AddLeafFlags(CLI::App& command, LeafFlags& flags) {
  command.add_option("--spiffe-id", flags.spiffe_id, "SPIFFE ID of the workload, as a URI name")
      ->type_name("ID");
  command.add_option("--dns", flags.dns, "A DNS name (may be repeated)")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command.add_option("--ip", flags.ips, "An IP address (may be repeated)")
      ->type_name("ADDRESS")
      ->allow_extra_args(false);
}

absl::StatusOr<x509::SubjectAltNames> ToSubjectAltNames(const LeafFlags& flags) {
  x509::SubjectAltNames sans;
  if (!flags.spiffe_id.empty()) {
    const auto id = spiffe::SpiffeId::Parse(flags.spiffe_id);
    if (!id.ok()) return Annotate(id.status(), absl::StrCat("--spiffe-id ", flags.spiffe_id));
    if (id->path().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--spiffe-id ", flags.spiffe_id,
                       " has no path, it names a whole trust domain: write it like ",
                       "spiffe://cluster.local/ns/default/sa/httpbin"));
    }
    sans.uris.push_back(id->ToString());
  }
  for (const auto& [kind, values] : {std::pair("DNS", &flags.dns), std::pair("IP", &flags.ips)}) {
    for (const std::string& value : *values) {
      if (absl::Status added = x509::AddSubjectAltName(kind, value, sans); !added.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("\"", value, "\" ", Std(added.message())));
      }
    }
  }
  return sans;
}

absl::StatusOr<x509::PrivateKey> ReadPrivateKey(const std::string& path) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, ReadInput(path));
  auto key = x509::PrivateKey::ParsePem(text);
  WipeBytes(text);
  if (!key.ok()) return Annotate(key.status(), CanonicalPath(path));
  if (absl::Status fit = key->public_key().CheckAcceptable(); !fit.ok()) {
    return Annotate(fit, CanonicalPath(path));
  }
  return key;
}

absl::StatusOr<x509::RequestFile> ReadRequestFile(const std::string& path) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, ReadInput(path));
  auto file = x509::ParseRequestFile(text);
  if (!file.ok()) return Annotate(file.status(), CanonicalPath(path));
  return file;
}

absl::StatusOr<Ca> ReadCa(const std::string& certificate_path, const std::string& key_path,
                          absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, ReadPrivateKey(key_path));
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, ReadInput(certificate_path));
  auto certificates = x509::ParseCertificates(text);
  if (!certificates.ok()) return Annotate(certificates.status(), CanonicalPath(certificate_path));
  const auto own = std::find_if(
      certificates->begin(), certificates->end(),
      [&](const x509::Certificate& each) { return each.public_key() == key.public_key(); });
  if (own == certificates->end()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the key in ", key_path, " belongs to no certificate in ", certificate_path, " (",
        certificates->front().Subject(), "): name the pair that belongs together"));
  }
  if (absl::Status may = CheckMaySign(*own, now); !may.ok()) {
    return Annotate(may, certificate_path);
  }
  return Ca{*own, std::move(key)};
}

absl::StatusOr<x509::Certificate> MakeCertificate(x509::CertificateTemplate to_sign,
                                                  const x509::PublicKey& key, const Ca& ca) {
  to_sign.serial = x509::NewSerial(SystemRandom().Bytes(16));
  CAPSTAN_ASSIGN_OR_RETURN(auto signer, x509::NewSigner(ca.key));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate made,
                           x509::SignCertificate(to_sign, key, ca.certificate, *signer));
  if (!made.IsSignedBy(ca.certificate.public_key()) ||
      made.issuer_der() != ca.certificate.subject_der() || !(made.public_key() == key)) {
    return absl::InternalError("the certificate just signed does not verify: nothing was written");
  }
  return made;
}

absl::StatusOr<x509::Certificate> MakeSelfSigned(x509::CertificateTemplate to_sign,
                                                 const x509::PrivateKey& key) {
  to_sign.serial = x509::NewSerial(SystemRandom().Bytes(16));
  CAPSTAN_ASSIGN_OR_RETURN(auto signer, x509::NewSigner(key));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate made, x509::SelfSign(to_sign, *signer));
  if (!made.IsSelfSigned() || made.issuer_der() != made.subject_der()) {
    return absl::InternalError("the certificate just signed does not verify: nothing was written");
  }
  return made;
}

x509::Extensions ForCertificate(const x509::RequestedExtensions& requested, bool self_signed) {
  x509::Extensions extensions = requested.values;
  extensions.subject_key_id = true;
  extensions.authority_key_id = !self_signed || requested.authority_key_id_always;
  return extensions;
}

}  // namespace capstan::cli
