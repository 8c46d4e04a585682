// SPDX-License-Identifier: Apache-2.0
#include "x509/verify.h"

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/status.h"
#include "cli/certificate_input.h"
#include "cli/commands.h"
#include "cli/verify_text.h"

namespace capstan::cli {
namespace {

struct VerifyArguments {
  std::string chain;
  std::vector<std::string> roots;
  std::vector<std::string> crls;
  std::string at;
  std::string purpose = "any";
  bool spiffe = false;
  std::string output = "text";
};

absl::StatusOr<std::vector<x509::Certificate>> ReadRoots(const std::vector<std::string>& files) {
  std::vector<x509::Certificate> roots;
  for (const std::string& file : files) {
    CAPSTAN_ASSIGN_OR_RETURN(std::vector<x509::Certificate> more, ReadCertificates(file));
    roots.insert(roots.end(), more.begin(), more.end());
  }
  return roots;
}

absl::StatusOr<std::vector<x509::Crl>> ReadCrls(const std::vector<std::string>& files) {
  std::vector<x509::Crl> crls;
  for (const std::string& file : files) {
    CAPSTAN_ASSIGN_OR_RETURN(const std::string bytes, ReadInput(file));
    absl::StatusOr<std::vector<x509::Crl>> more = x509::ParsePemCrls(bytes);
    if (!more.ok()) {
      if (absl::StatusOr<x509::Crl> der = x509::Crl::ParseDer(bytes); der.ok()) {
        crls.push_back(*std::move(der));
        continue;
      }
      return Annotate(more.status(), file);
    }
    crls.insert(crls.end(), more->begin(), more->end());
  }
  return crls;
}

x509::Purpose PurposeOf(const std::string& name) {
  if (name == "server") return x509::Purpose::kServer;
  if (name == "client") return x509::Purpose::kClient;
  return x509::Purpose::kAny;
}

absl::Status CheckOneStandardInput(const VerifyArguments& arguments) {
  int uses = arguments.chain == "-";
  for (const auto& list : {arguments.roots, arguments.crls}) {
    for (const std::string& file : list) uses += file == "-";
  }
  return uses <= 1 ? absl::OkStatus()
                   : absl::InvalidArgumentError("- (standard input) can be read only once");
}

absl::StatusOr<bool> Run(const VerifyArguments& arguments) {
  CAPSTAN_RETURN_IF_ERROR(CheckOneStandardInput(arguments));
  absl::Time at = RealClock().Now();
  if (!arguments.at.empty()) {
    absl::StatusOr<absl::Time> moment = ParseMoment(arguments.at, at);
    if (!moment.ok()) return Annotate(moment.status(), "--at");
    at = *moment;
  }
  CAPSTAN_ASSIGN_OR_RETURN(const auto presented, ReadCertificates(arguments.chain));
  CAPSTAN_ASSIGN_OR_RETURN(const auto roots, ReadRoots(arguments.roots));
  x509::VerifyOptions options;
  options.purpose = PurposeOf(arguments.purpose);
  CAPSTAN_ASSIGN_OR_RETURN(options.crls, ReadCrls(arguments.crls));
  const x509::Verdict verdict = arguments.spiffe ? x509::VerifySvid(presented, roots, at, options)
                                                 : x509::Verify(presented, roots, at, options);
  std::cout << (arguments.output == "json" ? VerdictJson(verdict, at) : VerdictText(verdict, at));
  return verdict.status.ok();
}

}  // namespace

void AddVerifyCommand(CLI::App& app) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* command = app.add_subcommand(
      "verify", "Say step by step why a chain is trusted, or why not (exit code 0 or 1)");
  command
      ->add_option(
          "CHAIN", arguments->chain,
          "Leaf first, then intermediates in any order: file in PEM or DER, -, or HOST:PORT")
      ->required();
  command->add_option("--roots", arguments->roots, "File of trusted roots; may be given again")
      ->required();
  command->add_option("--at", arguments->at,
                      "Verify at this time: 2026-12-24T18:00:00Z, +720h, -5m (default: now)");
  command->add_option("--purpose", arguments->purpose, "server, client or any")
      ->check(CLI::IsMember({"server", "client", "any"}));
  command->add_option("--crl", arguments->crls,
                      "File of CRLs; with one, every CA of the chain needs one");
  command->add_flag("--spiffe", arguments->spiffe, "Demand an X509-SVID");
  command->add_option("-o,--output", arguments->output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  command->footer(
      "Exit codes: 0 trusted, 1 not trusted, 2 bad input, 3 no connection.\n\n"
      "examples:\n"
      "  capstan verify chain.pem --roots root-cert.pem\n"
      "  capstan verify 127.0.0.1:8443 --roots combined-root.pem --spiffe --at +720h\n"
      "  capstan verify chain.pem --roots root-cert.pem --crl ca-crl.pem -o json");
  command->callback([arguments] {
    const absl::StatusOr<bool> trusted = Run(*arguments);
    if (!trusted.ok()) Fail(trusted.status());
    if (!*trusted) throw CLI::RuntimeError(kNo);
  });
}

}  // namespace capstan::cli
