// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/pki.h"
#include "cli/pki_subject.h"

namespace capstan::cli {
namespace {

struct CsrFlags {
  std::string key;
  std::string new_key;
  std::string key_type;
  std::string request_file;
  std::string section;
  std::string subject;
  LeafFlags leaf;
  std::string out = "-";
  OutputOptions output;
};

// What shall be requested, and the key that a request file's default_bits means.
struct Wish {
  x509::Name subject;
  x509::Extensions extensions;
  std::optional<x509::KeyType> key_type;
};

absl::StatusOr<Wish> WishOfFile(const CsrFlags& flags) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::RequestFile file, ReadRequestFile(flags.request_file));
  if (!file.is_request) {
    return absl::InvalidArgumentError(absl::StrCat(
        flags.request_file, " has no section [ req ], which names the subject: add it"));
  }
  Wish wish{file.subject, {}, file.default_bits};
  const std::string section = flags.section.empty() ? file.req_extensions : flags.section;
  if (!section.empty()) {
    const auto requested = file.Section(section);
    if (!requested.ok()) return Annotate(requested.status(), flags.request_file);
    wish.extensions = requested->values;
    // It names the issuer's key, which a request does not know: OpenSSL refuses it here.
    wish.extensions.authority_key_id = false;
  }
  return wish;
}

absl::StatusOr<Wish> WishOfFlags(const CsrFlags& flags) {
  Wish wish;
  if (!flags.subject.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(wish.subject, ParseSubject(flags.subject));
  }
  CAPSTAN_ASSIGN_OR_RETURN(wish.extensions.sans, ToSubjectAltNames(flags.leaf));
  return wish;
}

absl::Status Run(const CsrFlags& flags) {
  if (flags.key.empty() == flags.new_key.empty()) {
    return absl::InvalidArgumentError(
        "name the key of the request: --key FILE, or --new-key FILE to make one");
  }
  if (flags.request_file.empty() && flags.subject.empty() && !flags.leaf.Any()) {
    return absl::InvalidArgumentError(
        "say who the request is for: --request-file FILE, or --subject, --spiffe-id, --dns, --ip");
  }
  PkiOutput output(flags.output, std::cout, std::cerr);
  if (!flags.new_key.empty()) CAPSTAN_RETURN_IF_ERROR(output.Reserve(flags.new_key));
  CAPSTAN_RETURN_IF_ERROR(output.Reserve(flags.out));
  CAPSTAN_ASSIGN_OR_RETURN(Wish wish,
                           flags.request_file.empty() ? WishOfFlags(flags) : WishOfFile(flags));
  x509::KeyType type = wish.key_type.value_or(x509::KeyType::kEcdsaP256);
  if (!flags.key_type.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(type, x509::ParseKeyType(flags.key_type));
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, flags.key.empty()
                                                     ? x509::PrivateKey::Generate(type)
                                                     : ReadPrivateKey(flags.key));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, x509::Csr::Create(key, wish.subject, wish.extensions));
  if (!flags.new_key.empty()) output.AddKey(flags.new_key, key);
  output.AddRequest(flags.out, csr);
  return output.Finish();
}

}  // namespace

void AddPkiCsr(CLI::App& pki) {
  CLI::App* command = pki.add_subcommand("csr", "Make a certificate request (PKCS#10)");
  auto flags = std::make_shared<CsrFlags>();
  CLI::Option* key =
      command->add_option("--key", flags->key, "Private key of the request")->type_name("FILE");
  CLI::Option* new_key =
      command->add_option("--new-key", flags->new_key, "Make a key and write it here")
          ->type_name("FILE")
          ->excludes(key);
  AddKeyTypeFlag(*command, "--key-type", flags->key_type)
      ->description(
          "Kind of the new key (default: default_bits of the request file, else ecdsa-p256)")
      ->needs(new_key);
  CLI::Option* file =
      command
          ->add_option("--request-file,--config", flags->request_file, "OpenSSL-style request file")
          ->type_name("FILE");
  command->add_option("--extensions", flags->section, "Its section (default: its req_extensions)")
      ->type_name("SECTION")
      ->needs(file);
  command->add_option("--subject", flags->subject, "Subject, like /O=Istio/CN=httpbin")
      ->type_name("NAME")
      ->excludes(file);
  AddLeafFlags(*command, flags->leaf);
  for (const char* name : {"--spiffe-id", "--dns", "--ip"})
    command->get_option(name)->excludes(file);
  command->add_option("--out", flags->out, "File to write (- is standard output)")
      ->type_name("FILE")
      ->capture_default_str();
  AddOutputFlags(*command, flags->output);
  command->footer(
      "examples:\n"
      "  capstan pki csr --key workload.key --request-file csr.conf --out workload.csr\n"
      "  capstan pki csr --new-key workload.key --out workload.csr \\\n"
      "      --spiffe-id spiffe://cluster.local/ns/default/sa/httpbin");
  command->callback([flags] {
    if (absl::Status done = Run(*flags); !done.ok()) Fail(done);
  });
}

}  // namespace capstan::cli
