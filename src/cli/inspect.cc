// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/status.h"
#include "base/strings.h"
#include "cli/certificate_input.h"
#include "cli/commands.h"
#include "cli/findings.h"
#include "cli/inspect_short.h"
#include "cli/inspect_text.h"

namespace capstan::cli {
namespace {

struct InspectOptions {
  std::string source = "-";
  bool short_form = false;
  bool bundle = false;
  std::string output = "text";
  std::string expiring_within;
};

// What step says of a file that cannot be read.
std::string StepFileError(const std::string& name, const absl::Status& status) {
  std::error_code ignored;
  if (std::filesystem::is_directory(name, ignored)) {
    return absl::StrCat("error reading file ", name, ": read ", name, " failed: is a directory");
  }
  const char* why = status.code() == absl::StatusCode::kNotFound ? "no such file or directory"
                    : status.code() == absl::StatusCode::kPermissionDenied ? "permission denied"
                                                                           : nullptr;
  if (why == nullptr) return absl::StrCat("error reading file ", Std(status.message()));
  return absl::StrCat("error reading file ", name, ": open ", name, " failed: ", why);
}

// --short speaks and ends as step does, errors included, so that it can take step's place in
// scripts.
[[noreturn]] void FailAsStep(std::string_view message) {
  std::cout.flush();
  std::cerr << message << "\n";
  throw CLI::RuntimeError(kNo);
}

std::optional<Endpoint> EndpointOf(const std::string& source) {
  if (source == "-" || FileExists(source)) return std::nullopt;
  return ParseEndpoint(source);
}

void PrintShort(const InspectOptions& options) {
  if (const std::optional<Endpoint> endpoint = EndpointOf(options.source)) {
    const auto chain = FetchChain(*endpoint);
    if (!chain.ok()) Fail(chain.status());
    for (const x509::Certificate& certificate : *chain) {
      std::cout << ShortText(certificate);
      if (!options.bundle) break;
    }
    return;
  }
  const absl::StatusOr<std::string> bytes = ReadInput(options.source);
  if (!bytes.ok()) FailAsStep(StepFileError(options.source, bytes.status()));
  const absl::StatusOr<std::string> text = ShortTextOfBytes(*bytes, options.source, options.bundle);
  if (!text.ok()) FailAsStep(Std(text.status().message()));
  std::cout << *text;
}

absl::StatusOr<Held> Read(const std::string& source) {
  if (const std::optional<Endpoint> endpoint = EndpointOf(source)) {
    CAPSTAN_ASSIGN_OR_RETURN(std::vector<x509::Certificate> chain, FetchChain(*endpoint));
    return Held(std::move(chain));
  }
  CAPSTAN_ASSIGN_OR_RETURN(const std::string bytes, ReadInput(source));
  absl::StatusOr<Held> held = ReadHeld(bytes);
  if (!held.ok()) return Annotate(held.status(), source == "-" ? "standard input" : source);
  return held;
}

std::optional<absl::Duration> ParseWithin(const std::string& text) {
  if (text.empty()) return std::nullopt;
  absl::Duration within;
  if (!absl::ParseDuration(text, &within) || within < absl::ZeroDuration()) {
    Fail(kUsage,
         absl::StrCat("--expiring-within \"", text,
                      "\" is no duration: write hours, minutes and seconds, as 720h or 90m"));
  }
  return within;
}

void PrintLong(const InspectOptions& options) {
  const std::optional<absl::Duration> within = ParseWithin(options.expiring_within);
  const absl::StatusOr<Held> held = Read(options.source);
  if (!held.ok()) Fail(held.status());
  const bool json = options.output == "json";
  if (const auto* request = std::get_if<x509::RequestDescription>(&*held)) {
    std::cout << (json ? JsonText(*request) : LongText(*request));
    return;
  }
  const auto& certificates = std::get<std::vector<x509::Certificate>>(*held);
  const absl::Time now = RealClock().Now();
  const std::vector<Finding> findings = Findings(certificates, now, within);
  std::cout << (json ? JsonText(certificates, findings, now)
                     : LongText(certificates, findings, now));
  const bool ends = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.code == "expired" || finding.code == "expiring";
  });
  if (within && ends) throw CLI::RuntimeError(kNo);
}

}  // namespace

void AddInspectCommand(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Show every certificate of a file, standard input or TLS server, with warnings");
  command->add_option("SOURCE", options->source,
                      "File in PEM or DER, - for standard input (the default), or HOST:PORT");
  CLI::Option* short_form = command->add_flag("--short", options->short_form,
                                              "What `step certificate inspect --short` prints");
  command->add_flag("--bundle", options->bundle,
                    "With --short: all certificates of the input, not only the first");
  CLI::Option* output = command->add_option("-o,--output", options->output, "text or json")
                            ->check(CLI::IsMember({"text", "json"}));
  CLI::Option* within = command->add_option(
      "--expiring-within", options->expiring_within,
      "Exit with 1 if a certificate has expired or will within this duration (720h)");
  within->type_name("DURATION");
  short_form->excludes(output)->excludes(within);
  command->footer(
      "examples:\n"
      "  capstan inspect cert-chain.pem\n"
      "  capstan inspect --short --bundle root-cert.pem\n"
      "  capstan inspect 127.0.0.1:15012 -o json\n"
      "  capstan inspect --expiring-within 720h cacerts/ca-cert.pem > /dev/null || echo renew");
  command->callback(
      [options] { options->short_form ? PrintShort(*options) : PrintLong(*options); });
}

}  // namespace capstan::cli
