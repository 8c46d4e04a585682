// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/pki.h"
#include "cli/pki_subject.h"

namespace capstan::cli {
namespace {

// How far a certificate may outlive its issuer without a remark: Istio's makefile gives root and
// intermediate the same number of days, made one after the other.
constexpr absl::Duration kUnremarkable = absl::Hours(24);

struct SignFlags {
  std::string csr;
  std::string ca_certificate;
  std::string ca_key;
  std::string self_sign;
  std::string request_file;
  std::string section;
  LeafFlags leaf;
  bool copy_extensions = false;
  bool as_ca = false;
  std::optional<int> path_length;
  bool crl_sign = false;
  ValidityFlags validity{.days = 365};
  std::string out = "-";
  OutputOptions output;
};

// What shall be signed, and where that was said: "csr.conf: line 16".
struct Wish {
  x509::Name subject;
  std::optional<x509::PublicKey> key;
  x509::RequestedExtensions extensions;
  std::string place;

  // The place of one extension.
  std::string PlaceOf(std::string_view extension) const {
    const auto line = extensions.lines.find(extension);
    if (line == extensions.lines.end()) return place;
    return absl::StrCat(place, ": line ", line->second);
  }
};

absl::StatusOr<x509::Csr> ReadCsr(const std::string& path) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, ReadInput(path));
  auto csr = x509::Csr::Parse(text);
  if (!csr.ok()) return Annotate(csr.status(), path == "-" ? "standard input" : path);
  return csr;
}

// Which section of the file counts: for a self-signed certificate as `openssl req -x509` chooses
// it.
absl::StatusOr<std::string> ChooseSection(const SignFlags& flags, const x509::RequestFile& file) {
  if (!flags.section.empty()) return flags.section;
  if (!file.x509_extensions.empty()) return file.x509_extensions;
  if (!file.req_extensions.empty()) return file.req_extensions;
  if (file.sections.size() == 1) return file.sections.begin()->first;
  return absl::InvalidArgumentError(absl::StrCat(
      flags.request_file, ": say which section holds the extensions, with --extensions"));
}

absl::Status UseRequestFile(const SignFlags& flags, Wish& wish) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::RequestFile file, ReadRequestFile(flags.request_file));
  CAPSTAN_ASSIGN_OR_RETURN(std::string section, ChooseSection(flags, file));
  auto extensions = file.Section(section);
  if (!extensions.ok()) return Annotate(extensions.status(), flags.request_file);
  wish.extensions = *std::move(extensions);
  wish.place = flags.request_file;
  if (!flags.csr.empty())
    return absl::OkStatus();  // its subject counts, as with `openssl x509 -req`
  if (!file.is_request) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.request_file,
                     " has no section [ req ], which names the subject: add it, or "
                     "name a request with --csr"));
  }
  wish.subject = file.subject;
  return absl::OkStatus();
}

// A leaf as Istio's CA makes it, or an intermediate as its makefile does.
absl::Status UseFlags(const SignFlags& flags, Wish& wish) {
  x509::Extensions& extensions = wish.extensions.values;
  CAPSTAN_ASSIGN_OR_RETURN(extensions.sans, ToSubjectAltNames(flags.leaf));
  extensions.sans.critical = wish.subject.empty();  // RFC 5280 section 4.1.2.6
  extensions.basic_constraints = x509::Extensions::BasicConstraints{};
  extensions.key_usage = x509::Extensions::Usage{};
  if (flags.as_ca) {
    extensions.basic_constraints->ca = true;
    extensions.basic_constraints->path_length = flags.path_length;
    extensions.key_usage->bits = x509::kDigitalSignature | x509::kNonRepudiation |
                                 x509::kKeyEncipherment | x509::kKeyCertSign;
  } else {
    extensions.key_usage->bits = x509::kDigitalSignature | x509::kKeyEncipherment;
    extensions.extended_key_usage = {"serverAuth", "clientAuth"};
  }
  wish.place = "the flags";
  return absl::OkStatus();
}

absl::StatusOr<Wish> ReadWish(const SignFlags& flags) {
  Wish wish;
  if (!flags.csr.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, ReadCsr(flags.csr));
    wish.subject = csr.subject();
    wish.key = csr.public_key();
    if (flags.copy_extensions) {
      wish.extensions.values = csr.extensions();
      wish.place = flags.csr;
      return wish;
    }
  }
  if (!flags.request_file.empty()) {
    CAPSTAN_RETURN_IF_ERROR(UseRequestFile(flags, wish));
  } else if (flags.leaf.Any() || flags.as_ca) {
    CAPSTAN_RETURN_IF_ERROR(UseFlags(flags, wish));
  } else {
    return absl::InvalidArgumentError(
        "say what the certificate shall hold: --spiffe-id, --dns or --ip for a leaf, "
        "--request-file "
        "FILE, --copy-extensions to grant what the request asks for, or --as-ca for an "
        "intermediate");
  }
  return wish;
}

// Which certificates may come out. Self-signed roots are CAs by nature.
absl::Status CheckWish(const SignFlags& flags, const Wish& wish, PkiOutput& output) {
  const x509::Extensions& extensions = wish.extensions.values;
  const bool is_ca = extensions.basic_constraints.has_value() && extensions.basic_constraints->ca;
  if (is_ca && !flags.as_ca && flags.self_sign.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(wish.PlaceOf("basicConstraints"),
                     ": CA:true would make this a CA, which can sign a certificate for every name "
                     "of the mesh; for a "
                     "workload write CA:false, and if an intermediate CA is meant, say --as-ca"));
  }
  if (flags.as_ca && !is_ca) {
    return absl::InvalidArgumentError(absl::StrCat(
        wish.PlaceOf("basicConstraints"),
        ": --as-ca, but this asks for no CA: write \"basicConstraints = critical, CA:true\""));
  }
  const uint32_t usage = extensions.key_usage.value_or(x509::Extensions::Usage{}).bits;
  if (is_ca && extensions.key_usage.has_value() && (usage & x509::kKeyCertSign) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        wish.PlaceOf("keyUsage"), ": a CA needs keyCertSign: nothing it signs would be accepted"));
  }
  if (!is_ca && (usage & x509::kKeyCertSign) != 0) {
    output.Warn(
        absl::StrCat(wish.PlaceOf("keyUsage"),
                     ": keyCertSign without CA:true: verifiers that follow RFC 5280 strictly "
                     "refuse this certificate; remove keyCertSign"));
  }
  if (!extensions.basic_constraints.has_value() && !flags.self_sign.empty()) {
    output.Warn(absl::StrCat(wish.place,
                             ": without basicConstraints = critical, CA:true this "
                             "certificate anchors no chain"));
  }
  return absl::OkStatus();
}

absl::Status CheckIssuer(const x509::Certificate& issuer, const Wish& wish,
                         const Validity& validity, PkiOutput& output) {
  const auto& constraints = wish.extensions.values.basic_constraints;
  if (const std::optional<int> allowed = issuer.path_length();
      allowed.has_value() && constraints.has_value() && constraints->ca) {
    if (*allowed == 0 || constraints->path_length.value_or(0) >= *allowed) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the CA ", issuer.Subject(), " has path length ", *allowed,
          *allowed == 0 ? ": it may sign leaves only; use the CA above it"
                        : ": the path length of what it signs must be smaller (--path-length)"));
    }
  }
  if (validity.not_after > issuer.not_after() + kUnremarkable) {
    output.Warn(absl::StrCat("it is valid until ", FormatUtc(validity.not_after),
                             ", its issuer only until ", FormatUtc(issuer.not_after()),
                             ": nobody accepts it after that"));
  }
  return absl::OkStatus();
}

absl::Status CheckFlags(const SignFlags& flags) {
  const bool by_ca = !flags.ca_certificate.empty() && !flags.ca_key.empty();
  if (by_ca == !flags.self_sign.empty()) {
    return absl::InvalidArgumentError(
        "name the signer: --ca-cert FILE and --ca-key FILE, or --self-sign KEY");
  }
  if (flags.csr.empty() && (by_ca || flags.request_file.empty())) {
    return absl::InvalidArgumentError(
        by_ca
            ? "name the request to sign: --csr FILE"
            : "name the subject of the self-signed certificate: --request-file FILE or --csr FILE");
  }
  if (flags.path_length.has_value() && (!flags.as_ca || !flags.request_file.empty())) {
    return absl::InvalidArgumentError(
        "--path-length goes with --as-ca and flags; in a request file write pathlen:N");
  }
  return absl::OkStatus();
}

absl::StatusOr<x509::Certificate> SelfSign(const SignFlags& flags, const Wish& wish,
                                           x509::CertificateTemplate to_sign) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, ReadPrivateKey(flags.self_sign));
  if (wish.key.has_value() && !(*wish.key == key.public_key())) {
    return absl::FailedPreconditionError(
        absl::StrCat(flags.csr, " was made with another key than ", flags.self_sign,
                     ": a certificate signs itself with the key it certifies"));
  }
  return MakeSelfSigned(std::move(to_sign), key);
}

absl::Status Run(const SignFlags& flags) {
  CAPSTAN_RETURN_IF_ERROR(CheckFlags(flags));
  PkiOutput output(flags.output, std::cout, std::cerr);
  CAPSTAN_RETURN_IF_ERROR(output.Reserve(flags.out));
  const absl::Time now = RealClock().Now();
  CAPSTAN_ASSIGN_OR_RETURN(Validity validity, ToValidity(flags.validity, now));
  CAPSTAN_ASSIGN_OR_RETURN(Wish wish, ReadWish(flags));
  CAPSTAN_RETURN_IF_ERROR(CheckWish(flags, wish, output));
  if (flags.crl_sign && wish.extensions.values.key_usage.has_value()) {
    wish.extensions.values.key_usage->bits |= x509::kCrlSign;
  }
  x509::CertificateTemplate to_sign;
  to_sign.subject = wish.subject;
  to_sign.not_before = validity.not_before;
  to_sign.not_after = validity.not_after;
  to_sign.extensions = ForCertificate(wish.extensions, !flags.self_sign.empty());
  if (!flags.self_sign.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate made, SelfSign(flags, wish, std::move(to_sign)));
    output.AddCertificate(flags.out, made);
    return output.Finish();
  }
  CAPSTAN_ASSIGN_OR_RETURN(Ca ca, ReadCa(flags.ca_certificate, flags.ca_key, now));
  CAPSTAN_RETURN_IF_ERROR(CheckIssuer(ca.certificate, wish, validity, output));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate made,
                           MakeCertificate(std::move(to_sign), *wish.key, ca));
  output.AddCertificate(flags.out, made);
  return output.Finish();
}

void AddSignerFlags(CLI::App& command, SignFlags& flags) {
  command.add_option("--csr", flags.csr, "The request to sign, PEM or DER (- is standard input)")
      ->type_name("FILE");
  CLI::Option* certificate =
      command.add_option("--ca-cert", flags.ca_certificate, "The signing CA")->type_name("FILE");
  CLI::Option* key =
      command.add_option("--ca-key", flags.ca_key, "Its private key")->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
  command
      .add_option("--self-sign", flags.self_sign,
                  "Instead of a CA: sign with the subject's own key")
      ->type_name("KEY")
      ->excludes(certificate)
      ->excludes(key);
}

void AddContentFlags(CLI::App& command, SignFlags& flags) {
  CLI::Option* file = command
                          .add_option("--request-file,--config,--extfile", flags.request_file,
                                      "OpenSSL-style request file with the extensions")
                          ->type_name("FILE");
  command
      .add_option("--extensions", flags.section,
                  "Its section (default: its x509_extensions, else its req_extensions)")
      ->type_name("SECTION")
      ->needs(file);
  AddLeafFlags(command, flags.leaf);
  CLI::Option* copy =
      command
          .add_flag("--copy-extensions", flags.copy_extensions,
                    "Grant the extensions that the request asks for: look at them first")
          ->needs(command.get_option("--csr"))
          ->excludes(file);
  for (const char* name : {"--spiffe-id", "--dns", "--ip"}) {
    command.get_option(name)->excludes(file)->excludes(copy);
  }
  command.add_flag("--as-ca", flags.as_ca, "Let a CA come out: without it CA:true is refused");
  command
      .add_option("--path-length", flags.path_length, "How many CAs may follow it, with --as-ca")
      ->type_name("N")
      ->check(CLI::Range(0, 255));
  command.add_flag("--crl-sign", flags.crl_sign,
                   "Add cRLSign to the key usage, so that it may sign CRLs");
}

}  // namespace

void AddPkiSign(CLI::App& pki) {
  CLI::App* command = pki.add_subcommand("sign", "Sign a request, or a root by itself");
  auto flags = std::make_shared<SignFlags>();
  AddSignerFlags(*command, *flags);
  AddContentFlags(*command, *flags);
  AddValidityFlags(*command, flags->validity);
  command->add_option("--out", flags->out, "File to write (- is standard output)")
      ->type_name("FILE")
      ->capture_default_str();
  AddOutputFlags(*command, flags->output);
  command->footer(
      "The serial number is random, the validity begins now; key identifiers are added as OpenSSL "
      "3\n"
      "adds them.\n\n"
      "examples:\n"
      "  capstan pki sign --self-sign ca.key --request-file ca.conf --days 365 --out ca.pem\n"
      "  capstan pki sign --csr workload.csr --ca-cert ca.pem --ca-key ca.key \\\n"
      "      --request-file csr.conf --days 365 --out workload.pem\n"
      "  capstan pki sign --csr workload.csr --ca-cert ca.pem --ca-key ca.key --validity 24h \\\n"
      "      --spiffe-id spiffe://cluster.local/ns/default/sa/httpbin --out workload.pem\n"
      "  capstan pki sign --csr mesh.csr --ca-cert root.pem --ca-key root.key \\\n"
      "      --as-ca --path-length 0 --days 730 --out mesh.pem");
  command->callback([flags] {
    if (absl::Status done = Run(*flags); !done.ok()) Fail(done);
  });
}

}  // namespace capstan::cli
