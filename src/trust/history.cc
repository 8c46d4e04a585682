// SPDX-License-Identifier: Apache-2.0
#include "trust/history.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/key.h"
#include "x509/verify.h"

namespace capstan::trust {
namespace {

// Says what the text is, and lets a later layout be told from this one.
constexpr std::string_view kFormat = "capstan-trust-history/1";
constexpr std::string_view kTimeFormat = "%Y-%m-%dT%H:%M:%SZ";

constexpr size_t kMostBytes = 1 << 20;
constexpr size_t kMostRoots = 100;
constexpr size_t kMostSigners = 10;
constexpr size_t kLongestLineage = 64;

constexpr absl::Duration kBackdate = absl::Minutes(2);
constexpr absl::Duration kSignerLife = absl::Minutes(5);
// Of a signer that is believed: its key was to be thrown away.
constexpr absl::Duration kLongestSignerLife = absl::Hours(1);

std::string Utc(absl::Time time) {
  return absl::FormatTime(std::string(kTimeFormat), time, absl::UTCTimeZone());
}

std::string SignedPart(const HistoryLink& link, const std::vector<x509::Certificate>& signer) {
  return absl::StrCat(kFormat, "\nlineage ", link.version.lineage, "\nsequence ",
                      link.version.sequence, "\nprevious ", link.previous, "\ntime ",
                      Utc(link.time), "\nroots\n", link.bundle.ToPem(), "signer\n",
                      x509::ToPem(signer));
}

std::string Encode(std::string_view signed_part, std::string_view signature) {
  return absl::StrCat(signed_part, "signature ", absl::Base64Escape(std::string(signature)), "\n");
}

absl::Status Malformed(std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("this is no document of the trust history: ", why));
}

// Takes the text up to `end`, which goes as well; nullopt where that is missing.
std::optional<std::string_view> TakeUntil(std::string_view& rest, std::string_view end) {
  const size_t at = rest.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view taken = rest.substr(0, at);
  rest.remove_prefix(at + end.size());
  return taken;
}

// A line "NAME VALUE".
absl::StatusOr<std::string_view> TakeLine(std::string_view& rest, std::string_view name) {
  const std::optional<std::string_view> line = TakeUntil(rest, "\n");
  if (!line || !line->starts_with(name) || line->size() <= name.size() + 1 ||
      (*line)[name.size()] != ' ') {
    return Malformed(absl::StrCat("the line \"", name, " …\" is missing"));
  }
  return line->substr(name.size() + 1);
}

absl::StatusOr<int64_t> TakeNumber(std::string_view& rest, std::string_view name) {
  CAPSTAN_ASSIGN_OR_RETURN(const std::string_view text, TakeLine(rest, name));
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < 0) {
    return Malformed(absl::StrCat("\"", name, "\" is no number"));
  }
  return number;
}

bool IsLineage(std::string_view text) {
  return text.size() <= kLongestLineage &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-'; });
}

absl::StatusOr<HistoryLink> TakeLink(std::string_view& rest) {
  HistoryLink link;
  CAPSTAN_ASSIGN_OR_RETURN(const std::string_view lineage, TakeLine(rest, "lineage"));
  if (!IsLineage(lineage)) return Malformed("\"lineage\" is none");
  link.version.lineage = std::string(lineage);
  CAPSTAN_ASSIGN_OR_RETURN(link.version.sequence, TakeNumber(rest, "sequence"));
  CAPSTAN_ASSIGN_OR_RETURN(link.previous, TakeNumber(rest, "previous"));
  CAPSTAN_ASSIGN_OR_RETURN(const std::string_view time, TakeLine(rest, "time"));
  std::string why;
  if (!absl::ParseTime(std::string(kTimeFormat), time, &link.time, &why)) {
    return Malformed("\"time\" is none");
  }
  if (!TakeUntil(rest, "roots\n").value_or("no").empty()) return Malformed("it names no roots");
  const std::optional<std::string_view> roots = TakeUntil(rest, "\nsigner\n");  // no line of base64
  if (!roots) return Malformed("it names no signer");
  absl::StatusOr<Bundle> bundle = Bundle::ParsePem(*roots);
  if (!bundle.ok()) return Malformed(Std(bundle.status().message()));
  if (bundle->roots().size() > kMostRoots) return Malformed("it holds more than 100 roots");
  link.bundle = *std::move(bundle);
  return link;
}

absl::Status CheckNumbers(const HistoryLink& link) {
  if (link.version.empty() || link.previous < 1 || link.version.sequence <= link.previous) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", link.version.ToString(), " does not follow ", link.previous));
  }
  if (link.bundle.empty()) return absl::InvalidArgumentError("a version without a root");
  return absl::OkStatus();
}

x509::CertificateTemplate SignerTemplate(const spiffe::TrustDomain& trust_domain,
                                         const x509::Certificate& issuer, absl::Time time,
                                         std::string_view random16) {
  x509::CertificateTemplate to_sign;
  to_sign.serial = x509::NewSerial(random16);
  to_sign.not_before = time - kBackdate;
  to_sign.not_after = std::min(time + kSignerLife, issuer.not_after());
  to_sign.extensions.basic_constraints = x509::Extensions::BasicConstraints{};
  to_sign.extensions.key_usage = x509::Extensions::Usage{x509::kDigitalSignature};
  to_sign.extensions.authority_key_id = true;
  to_sign.extensions.sans.uris = {spiffe::SpiffeId::ForTrustHistory(trust_domain).ToString()};
  to_sign.extensions.sans.critical = true;
  return to_sign;
}

absl::Status CheckOrder(const BundleVersion& held, const HistoryLink& link) {
  if (link.version.lineage != held.lineage) {
    return absl::FailedPreconditionError(absl::StrCat("it is of lineage ", link.version.lineage,
                                                      ", and what is held is of ", held.lineage));
  }
  if (link.version.sequence <= held.sequence) {
    return absl::FailedPreconditionError(
        absl::StrCat("it is not newer than version ", held.sequence, ", which is held already"));
  }
  if (link.previous > held.sequence) {
    return absl::FailedPreconditionError(absl::StrCat("it follows version ", link.previous,
                                                      ", and version ", held.sequence,
                                                      " is held: the links between are missing"));
  }
  return absl::OkStatus();
}

absl::Status CheckSigner(const Bundle& held, const HistoryDocument& document,
                         const spiffe::TrustDomain& trust_domain) {
  const x509::Certificate& leaf = document.signer.front();
  const spiffe::SpiffeId expected = spiffe::SpiffeId::ForTrustHistory(trust_domain);
  const absl::StatusOr<spiffe::SpiffeId> id = leaf.SpiffeId();
  if (!id.ok() || *id != expected) {
    return absl::UnauthenticatedError(absl::StrCat("its signer is ",
                                                   id.ok() ? id->ToString() : "no X509-SVID",
                                                   ", not ", expected.ToString()));
  }
  if ((leaf.key_usage().value_or(0) & x509::kDigitalSignature) == 0) {
    return absl::UnauthenticatedError("its signer's certificate may not sign anything");
  }
  if (leaf.not_after() - leaf.not_before() > kLongestSignerLife) {
    return absl::UnauthenticatedError(
        "its signer's certificate is valid for more than an hour, and those for the trust history "
        "are good for minutes");
  }
  const x509::Verdict verdict = x509::VerifySvid(document.signer, held.roots(), document.link.time);
  if (!verdict.status.ok()) {
    return absl::UnauthenticatedError(absl::StrCat("its signer does not chain to a held root at ",
                                                   Utc(document.link.time), ": ",
                                                   verdict.status.message()));
  }
  if (!x509::SignedWith(leaf.public_key(), document.signed_part, document.signature)) {
    return absl::UnauthenticatedError("its signature is not that of its signer");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> MakeHistoryDocument(const HistoryLink& link,
                                                const spiffe::TrustDomain& trust_domain,
                                                const Authority& authority, x509::Signer& issuer,
                                                std::string_view random16) {
  HistoryDocument document{.link = link};
  document.link.time = absl::FromUnixSeconds(absl::ToUnixSeconds(link.time));
  CAPSTAN_RETURN_IF_ERROR(CheckNumbers(link));
  if (link.time >= authority.certificate.not_after()) {
    return absl::FailedPreconditionError(
        absl::StrCat("authority ", authority.id.hex(), " expired at ",
                     Utc(authority.certificate.not_after()), " and signs no link"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key,
                           x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate leaf,
                           x509::SignCertificate(SignerTemplate(trust_domain, authority.certificate,
                                                                document.link.time, random16),
                                                 key.public_key(), authority.certificate, issuer));
  document.signer = {std::move(leaf)};
  document.signer.insert(document.signer.end(), authority.intermediates.begin(),
                         authority.intermediates.end());
  document.signed_part = SignedPart(document.link, document.signer);
  CAPSTAN_ASSIGN_OR_RETURN(const std::shared_ptr<x509::Signer> signer,
                           x509::NewSigner(std::move(key)));
  CAPSTAN_ASSIGN_OR_RETURN(document.signature, signer->Sign(document.signed_part));
  // What is read back is what will be verified.
  std::string text = Encode(document.signed_part, document.signature);
  CAPSTAN_ASSIGN_OR_RETURN(const HistoryDocument again, ParseHistoryDocument(text));
  const absl::Status follows = VerifyLink(
      Bundle::Of({authority.root}), {link.version.lineage, link.previous}, again, trust_domain);
  if (!follows.ok()) return absl::FailedPreconditionError(follows.message());
  return text;
}

absl::StatusOr<HistoryDocument> ParseHistoryDocument(std::string_view text) {
  if (text.size() > kMostBytes) return Malformed("it is larger than 1 MiB");
  std::string_view rest = text;
  if (TakeUntil(rest, "\n") != kFormat) {
    return Malformed(absl::StrCat("it does not begin with \"", kFormat, "\""));
  }
  HistoryDocument document;
  CAPSTAN_ASSIGN_OR_RETURN(document.link, TakeLink(rest));
  const absl::Status numbers = CheckNumbers(document.link);
  if (!numbers.ok()) return Malformed(Std(numbers.message()));
  const std::optional<std::string_view> chain = TakeUntil(rest, "signature ");
  if (!chain) return Malformed("it has no signature");
  absl::StatusOr<std::vector<x509::Certificate>> signer = x509::ParsePemCertificates(*chain);
  if (!signer.ok()) return Malformed(Std(signer.status().message()));
  if (signer->size() > kMostSigners) return Malformed("its signer's chain is too long");
  document.signer = *std::move(signer);
  const std::optional<std::string_view> signature = TakeUntil(rest, "\n");
  if (!signature || !absl::Base64Unescape(std::string(*signature), &document.signature)) {
    return Malformed("its signature is no base64");
  }
  document.signed_part = SignedPart(document.link, document.signer);
  // One document has one text: nothing that was skipped above is there.
  if (text != Encode(document.signed_part, document.signature)) {
    return Malformed("it is not in canonical form");
  }
  return document;
}

absl::Status VerifyLink(const Bundle& held, const BundleVersion& held_version,
                        const HistoryDocument& document, const spiffe::TrustDomain& trust_domain) {
  CAPSTAN_RETURN_IF_ERROR(CheckNumbers(document.link));
  CAPSTAN_RETURN_IF_ERROR(CheckOrder(held_version, document.link));
  return CheckSigner(held, document, trust_domain);
}

absl::StatusOr<std::vector<HistoryLink>> Follow(const Bundle& held,
                                                const BundleVersion& held_version,
                                                const std::vector<std::string>& documents,
                                                const spiffe::TrustDomain& trust_domain) {
  std::vector<HistoryLink> links;
  for (const std::string& text : documents) {
    const BundleVersion& version = links.empty() ? held_version : links.back().version;
    absl::StatusOr<HistoryDocument> document = ParseHistoryDocument(text);
    const std::string where = absl::StrCat("link ", links.size() + 1, " of ", documents.size(),
                                           ", from version ", version.sequence);
    if (!document.ok()) return Annotate(document.status(), where);
    CAPSTAN_RETURN_IF_ERROR(Annotate(
        VerifyLink(links.empty() ? held : links.back().bundle, version, *document, trust_domain),
        absl::StrCat(where, " to ", document->link.version.sequence)));
    links.push_back(std::move(document->link));
  }
  return links;
}

}  // namespace capstan::trust
