// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/pki.h"

namespace capstan::cli {
namespace {

struct BundleFlags {
  std::vector<std::string> files;
  bool deduplicate = false;
  std::string order = "given";
  std::string out = "-";
  OutputOptions output;
};

absl::StatusOr<std::vector<x509::Certificate>> ReadAll(const std::vector<std::string>& paths) {
  std::vector<x509::Certificate> all;
  for (const std::string& path : paths) {
    CAPSTAN_ASSIGN_OR_RETURN(std::string text, ReadInput(path));
    const auto certificates = x509::ParseCertificates(text);
    if (!certificates.ok()) {
      return Annotate(certificates.status(), path == "-" ? "standard input" : path);
    }
    all.insert(all.end(), certificates->begin(), certificates->end());
  }
  return all;
}

// Keeps the first of each.
void RemoveDuplicates(std::vector<x509::Certificate>& certificates) {
  std::set<std::string> seen;
  std::erase_if(certificates, [&](const x509::Certificate& certificate) {
    return !seen.insert(certificate.fingerprint()).second;
  });
}

absl::Status Run(const BundleFlags& flags) {
  PkiOutput output(flags.output, std::cout, std::cerr);
  CAPSTAN_RETURN_IF_ERROR(output.Reserve(flags.out));
  if (std::count(flags.files.begin(), flags.files.end(), "-") > 1) {
    return absl::InvalidArgumentError("standard input (-) can be read once only");
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<x509::Certificate> certificates, ReadAll(flags.files));
  if (flags.deduplicate) RemoveDuplicates(certificates);
  if (flags.order == "canonical") {
    std::stable_sort(certificates.begin(), certificates.end(),
                     [](const x509::Certificate& a, const x509::Certificate& b) {
                       return a.fingerprint() < b.fingerprint();
                     });
  }
  output.AddBundle(flags.out, certificates);
  return output.Finish();
}

}  // namespace

void AddPkiBundle(CLI::App& pki) {
  CLI::App* command = pki.add_subcommand("bundle", "Combine certificates into one PEM file");
  auto flags = std::make_shared<BundleFlags>();
  command->add_option("FILE", flags->files, "Certificates, PEM or DER (- is standard input)")
      ->required();
  command->add_flag("--deduplicate", flags->deduplicate,
                    "Keep only the first of equal certificates");
  command
      ->add_option("--order", flags->order,
                   "given: as in the files; canonical: by SHA-256 fingerprint, the same for every "
                   "order of the files")
      ->check(CLI::IsMember({"given", "canonical"}))
      ->capture_default_str();
  command->add_option("--out", flags->out, "File to write (- is standard output)")
      ->type_name("FILE")
      ->capture_default_str();
  AddOutputFlags(*command, flags->output);
  command->footer(
      "Only the certificates are kept, of equal form: text around them and other blocks are left "
      "out.\n\n"
      "examples:\n"
      "  capstan pki bundle rootA/root-cert.pem rootB/root-cert.pem --out combined-root.pem\n"
      "  capstan pki bundle combined-root2.pem --deduplicate --order canonical");
  command->callback([flags] {
    if (absl::Status done = Run(*flags); !done.ok()) Fail(done);
  });
}

}  // namespace capstan::cli
