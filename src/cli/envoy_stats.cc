// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/http_client.h"
#include "cli/commands.h"
#include "envoy/admin.h"

namespace capstan::cli {
namespace {

constexpr char kDefaultAdmin[] = "127.0.0.1:15000";

struct StatsOptions {
  std::string admin = kDefaultAdmin;
  std::string output = "text";
  std::string filter;
};

std::string PathOf(const StatsOptions& options) {
  const bool prometheus = options.output.starts_with("prom");
  std::string path =
      prometheus ? "/stats/prometheus" : absl::StrCat("/stats?format=", options.output);
  if (!options.filter.empty()) {
    absl::StrAppend(&path, prometheus ? "?" : "&", "filter=", UrlEscape(options.filter));
  }
  return path;
}

}  // namespace

void AddEnvoyStatsCommand(CLI::App& app) {
  auto options = std::make_shared<StatsOptions>();
  CLI::App* command = app.add_subcommand(
      "envoy-stats", "Print the counters of an Envoy, istio_requests_total among them");
  command->add_option("--admin", options->admin,
                      "Envoy's admin interface: HOST:PORT or a Unix socket (default: " +
                          std::string(kDefaultAdmin) + ")");
  command->add_option("-o,--output", options->output, "text, json or prometheus (prom)")
      ->check(CLI::IsMember({"text", "json", "prometheus", "prom"}));
  command->add_option("--filter", options->filter,
                      "Only statistics in whose full name Envoy finds this regular expression");
  command->footer(
      "examples:\n"
      "  capstan envoy-stats --output prometheus | grep istio_requests_total\n"
      "  capstan envoy-stats --admin 127.0.0.1:15000 --filter 'ssl\\.(handshake|session_reused)'");
  command->callback([options] {
    const absl::StatusOr<std::string> text =
        envoy::AdminClient(options->admin).Get(PathOf(*options));
    if (!text.ok()) Fail(text.status());
    std::cout << *text;
    if (!text->empty() && text->back() != '\n') std::cout << "\n";
  });
}

}  // namespace capstan::cli
