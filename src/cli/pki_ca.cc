// SPDX-License-Identifier: Apache-2.0
// The two targets of Istio's Makefile.selfsigned.mk as commands.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/pki.h"
#include "cli/pki_profile.h"

namespace capstan::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDays = 36525;

struct CaFlags {
  CaProfile profile;
  int days = 3650;
  std::string key_type;  // instead of RSA with key_bits
  std::string directory = ".";
  bool print_request_file = false;
  OutputOptions output;
};

struct IntermediateFlags : CaFlags {
  std::string name;
  std::string san_dns = "istiod.istio-system.svc";
  std::string root_certificate;  // empty: root-cert.pem of the directory
  std::string root_key;
};

// Every variable of the makefile is a flag, and read from the environment too, as make reads it.
void AddVariable(CLI::App& command, const std::string& variable, std::string& value,
                 const std::string& help) {
  std::string flag = absl::AsciiStrToLower(variable);
  std::replace(flag.begin(), flag.end(), '_', '-');
  command.add_option("--" + flag, value, help)->envname(variable)->capture_default_str();
}

void AddVariable(CLI::App& command, const std::string& variable, int& value,
                 const std::string& help, const CLI::Validator& check) {
  std::string flag = absl::AsciiStrToLower(variable);
  std::replace(flag.begin(), flag.end(), '_', '-');
  command.add_option("--" + flag, value, help)
      ->envname(variable)
      ->check(check)
      ->capture_default_str();
}

void AddCaFlags(CLI::App& command, const std::string& prefix, CaFlags& flags) {
  AddVariable(command, prefix + "_DAYS", flags.days, "Days of validity", CLI::Range(1, kMaxDays));
  AddVariable(command, prefix + "_KEYSZ", flags.profile.key_bits, "Bits of the RSA key",
              CLI::IsMember({2048, 3072, 4096}));
  AddVariable(command, prefix + "_ORG", flags.profile.organization, "O of the subject");
  AddVariable(command, prefix + "_CN", flags.profile.common_name, "CN of the subject");
  AddKeyTypeFlag(command, "--key-type", flags.key_type)
      ->description("Another kind of key than RSA");
  command.add_flag("--crl-sign", flags.profile.crl_sign,
                   "Add cRLSign to the key usage, which Istio's makefile leaves out: without it "
                   "verifiers refuse every CRL of this CA");
  command.add_option("--dir", flags.directory, "The folder of the root's files")
      ->type_name("DIR")
      ->capture_default_str();
  command.add_flag("--print-request-file", flags.print_request_file,
                   "Print the request file and make nothing");
  AddOutputFlags(command, flags.output);
}

absl::StatusOr<x509::PrivateKey> MakeKey(const CaFlags& flags) {
  const std::string name =
      flags.key_type.empty() ? absl::StrCat("rsa-", flags.profile.key_bits) : flags.key_type;
  CAPSTAN_ASSIGN_OR_RETURN(x509::KeyType type, x509::ParseKeyType(name));
  return x509::PrivateKey::Generate(type);
}

// What our own request file asks for: read back by the same reader as everybody's.
struct Wish {
  x509::Name subject;
  x509::RequestedExtensions extensions;
};
absl::StatusOr<Wish> ReadWish(std::string_view text) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::RequestFile file, x509::ParseRequestFile(text));
  CAPSTAN_ASSIGN_OR_RETURN(x509::RequestedExtensions extensions,
                           file.Section(file.x509_extensions));
  return Wish{file.subject, std::move(extensions)};
}

absl::StatusOr<x509::CertificateTemplate> ToTemplate(const Wish& wish, int days, bool self_signed) {
  ValidityFlags validity_flags;
  validity_flags.days = days;
  CAPSTAN_ASSIGN_OR_RETURN(Validity validity, ToValidity(validity_flags, RealClock().Now()));
  x509::CertificateTemplate to_sign;
  to_sign.subject = wish.subject;
  to_sign.not_before = validity.not_before;
  to_sign.not_after = validity.not_after;
  to_sign.extensions = ForCertificate(wish.extensions, self_signed);
  return to_sign;
}

std::string In(const std::string& directory, const std::string& name) {
  return directory == "." ? name : (fs::path(directory) / name).string();
}

absl::Status RunRoot(const CaFlags& flags) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string request_file, RootRequestFile(flags.profile));
  CAPSTAN_ASSIGN_OR_RETURN(Wish wish, ReadWish(request_file));
  if (flags.print_request_file) {
    std::cout << request_file;
    return absl::OkStatus();
  }
  const std::string key_path = In(flags.directory, "root-key.pem");
  const std::string conf_path = In(flags.directory, "root-ca.conf");
  const std::string csr_path = In(flags.directory, "root-cert.csr");
  const std::string certificate_path = In(flags.directory, "root-cert.pem");
  PkiOutput output(flags.output, std::cout, std::cerr);
  output.AddFolder(flags.directory);
  for (const std::string& path : {key_path, conf_path, csr_path, certificate_path}) {
    CAPSTAN_RETURN_IF_ERROR(output.Reserve(path));
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, MakeKey(flags));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr,
                           x509::Csr::Create(key, wish.subject, wish.extensions.values));
  CAPSTAN_ASSIGN_OR_RETURN(x509::CertificateTemplate to_sign, ToTemplate(wish, flags.days, true));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate certificate, MakeSelfSigned(to_sign, key));
  output.AddKey(key_path, key);
  output.AddRequestFile(conf_path, request_file);
  output.AddRequest(csr_path, csr);
  output.AddCertificate(certificate_path, certificate);
  return output.Finish();
}

// A folder name that is also the locality of the subject, as in the makefile.
absl::Status CheckName(std::string_view name) {
  if (name == "." || name == ".." || name.starts_with('-') ||
      name.find('/') != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "NAME \"", absl::CHexEscape(name),
        "\" becomes a folder: use a plain name like intermediateA (--dir says where)"));
  }
  return absl::OkStatus();
}

absl::Status CheckRootFiles(const std::string& certificate, const std::string& key) {
  for (const std::string& path : {certificate, key}) {
    if (FileExists(path)) continue;
    return absl::NotFoundError(absl::StrCat(
        "there is no ", path,
        ": make a root first (capstan pki root-ca), or name one with --root-cert and --root-key"));
  }
  return absl::OkStatus();
}

absl::Status RunIntermediate(const IntermediateFlags& flags) {
  CAPSTAN_RETURN_IF_ERROR(CheckName(flags.name));
  CAPSTAN_ASSIGN_OR_RETURN(std::string request_file,
                           IntermediateRequestFile(flags.profile, flags.name, flags.san_dns));
  CAPSTAN_ASSIGN_OR_RETURN(Wish wish, ReadWish(request_file));
  if (flags.print_request_file) {
    std::cout << request_file;
    return absl::OkStatus();
  }
  const auto or_default = [&](const std::string& path, const char* name) {
    return path.empty() ? In(flags.directory, name) : path;
  };
  const std::string root_path = or_default(flags.root_certificate, "root-cert.pem");
  const std::string root_key_path = or_default(flags.root_key, "root-key.pem");
  const std::string folder = In(flags.directory, flags.name);
  const std::string key_path = In(folder, "ca-key.pem");
  const std::string certificate_path = In(folder, "ca-cert.pem");
  const std::string chain_path = In(folder, "cert-chain.pem");
  const std::string copy_path = In(folder, "root-cert.pem");
  PkiOutput output(flags.output, std::cout, std::cerr);
  output.AddFolder(flags.directory);
  output.AddFolder(folder);
  for (const std::string& path : {key_path, certificate_path, chain_path, copy_path}) {
    CAPSTAN_RETURN_IF_ERROR(output.Reserve(path));
  }
  CAPSTAN_RETURN_IF_ERROR(CheckRootFiles(root_path, root_key_path));
  CAPSTAN_ASSIGN_OR_RETURN(Ca root, ReadCa(root_path, root_key_path, RealClock().Now()));
  if (root.certificate.path_length() == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        root_path, ": its path length is 0, it may sign leaves only: use the root above it"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::string root_pem, ReadFile(root_path));
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, MakeKey(flags));
  CAPSTAN_ASSIGN_OR_RETURN(x509::CertificateTemplate to_sign, ToTemplate(wish, flags.days, false));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate certificate,
                           MakeCertificate(to_sign, key.public_key(), root));
  output.AddKey(key_path, key);
  output.AddCertificate(certificate_path, certificate);
  output.AddBundle(chain_path, {certificate, root.certificate});
  output.AddCopy(copy_path, root_pem, root_path);
  return output.Finish();
}

}  // namespace

void AddPkiRootCa(CLI::App& pki) {
  CLI::App* command = pki.add_subcommand("root-ca", "Make a root CA, as Istio's makefile does");
  auto flags = std::make_shared<CaFlags>();
  flags->profile.common_name = "Root CA";
  AddCaFlags(*command, "ROOTCA", *flags);
  command->footer(
      "Makes root-key.pem, root-ca.conf, root-cert.csr and root-cert.pem.\n\n"
      "examples:\n"
      "  capstan pki root-ca\n"
      "  capstan pki root-ca --dir rootB --rootca-cn 'Root B' --rootca-days 730 --crl-sign\n"
      "  capstan pki root-ca --key-type ecdsa-p384 --dry-run");
  command->callback([flags] {
    if (absl::Status done = RunRoot(*flags); !done.ok()) Fail(done);
  });
}

void AddPkiIntermediate(CLI::App& pki) {
  CLI::App* command = pki.add_subcommand(
      "intermediate-cacerts", "Make an intermediate CA in the layout of Istio's cacerts");
  auto flags = std::make_shared<IntermediateFlags>();
  flags->profile.common_name = "Intermediate CA";
  command->add_option("NAME", flags->name, "Folder to fill, and L of the subject")->required();
  AddCaFlags(*command, "INTERMEDIATE", *flags);
  AddVariable(*command, "INTERMEDIATE_SAN_DNS", flags->san_dns, "DNS name of the certificate");
  command
      ->add_option("--root-cert", flags->root_certificate, "The root (default: DIR/root-cert.pem)")
      ->type_name("FILE");
  command->add_option("--root-key", flags->root_key, "Its key (default: DIR/root-key.pem)")
      ->type_name("FILE");
  command->footer(
      "Makes NAME/ca-key.pem, NAME/ca-cert.pem, NAME/cert-chain.pem and NAME/root-cert.pem: what\n"
      "istiod and capstand load. The request file and the request, which make deletes, are not "
      "kept.\n\n"
      "examples:\n"
      "  capstan pki intermediate-cacerts intermediateA\n"
      "  capstan pki intermediate-cacerts cluster1 --root-cert /mnt/root-cert.pem --root-key "
      "/mnt/root-key.pem");
  command->callback([flags] {
    if (absl::Status done = RunIntermediate(*flags); !done.ok()) Fail(done);
  });
}

}  // namespace capstan::cli
