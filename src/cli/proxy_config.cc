// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/files.h"
#include "base/status.h"
#include "cli/certificate_input.h"
#include "cli/commands.h"
#include "cli/secret_table.h"
#include "envoy/admin.h"
#include "envoy/config_dump.h"

namespace capstan::cli {
namespace {

// istioctl's --proxy-admin-port default.
constexpr char kDefaultAdmin[] = "127.0.0.1:15000";

struct SecretOptions {
  std::string admin = kDefaultAdmin;
  std::string file;
  std::string output = "table";
};

absl::StatusOr<std::string> Dump(const SecretOptions& options) {
  if (options.file.empty()) return envoy::AdminClient(options.admin).Get(envoy::kSecretsPath);
  return ReadInput(options.file);
}

absl::StatusOr<std::string> Output(const SecretOptions& options) {
  CAPSTAN_ASSIGN_OR_RETURN(const std::string dump, Dump(options));
  if (options.output == "json") return envoy::NormalizeSecrets(dump);
  CAPSTAN_ASSIGN_OR_RETURN(const auto secrets, envoy::ParseSecrets(dump));
  return SecretTable(secrets, RealClock().Now());
}

}  // namespace

void AddProxyConfigCommand(CLI::App& app) {
  CLI::App* group =
      app.add_subcommand("proxy-config", "Show what an Envoy really holds")->alias("pc");
  group->require_subcommand(1);
  auto options = std::make_shared<SecretOptions>();
  CLI::App* command = group->add_subcommand("secret", "Its certificates and trust bundles")
                          ->alias("secrets")
                          ->alias("s");
  CLI::Option* admin =
      command->add_option("--admin", options->admin,
                          "Envoy's admin interface: HOST:PORT or a Unix socket (default: " +
                              std::string(kDefaultAdmin) + ")");
  command
      ->add_option("-f,--file", options->file,
                   "A saved answer of /config_dump, or - for standard input, instead of --admin")
      ->excludes(admin);
  command
      ->add_option(
          "-o,--output", options->output,
          "table (or short), or json in the form of istioctl, \"default\" and \"ROOTCA\" first")
      ->check(CLI::IsMember({"table", "short", "json"}));
  command->footer(
      "examples:\n"
      "  capstan proxy-config secret --admin 127.0.0.1:15000\n"
      "  capstan proxy-config secret -f dump.json -o json | \\\n"
      "      jq -r '.dynamicActiveSecrets[0].secret.tlsCertificate.certificateChain.inlineBytes' | "
      "\\\n"
      "      base64 -d | capstan inspect - --short");
  command->callback([options] {
    const absl::StatusOr<std::string> text = Output(*options);
    if (!text.ok()) {
      Fail(options->file.empty() ? text.status() : Annotate(text.status(), options->file));
    }
    std::cout << *text;
  });
}

}  // namespace capstan::cli
