// SPDX-License-Identifier: Apache-2.0
#include "agent/options.h"

#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace capstan::agent {
namespace {

std::string LevelName(log::Level level) {
  switch (level) {
    case log::Level::kDebug:
      return "debug";
    case log::Level::kInfo:
      return "info";
    case log::Level::kWarn:
      return "warn";
    case log::Level::kError:
      return "error";
    case log::Level::kOff:
      break;
  }
  return "info";
}

absl::Status ParseUids(std::string_view text, std::vector<uid_t>& uids) {
  std::vector<uid_t> parsed;
  for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    uid_t uid = 0;
    if (!absl::SimpleAtoi(part, &uid)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", part, "\" is no numeric user id"));
    }
    parsed.push_back(uid);
  }
  uids = std::move(parsed);
  return absl::OkStatus();
}

// A setting that `parse` turns into a value.
template <typename T, typename Parse, typename Render>
void AddParsed(Settings& settings, const char* name, const char* help, const char* placeholder,
               T* target, Parse parse, Render render) {
  settings.Custom(
      name, help, placeholder,
      [target, parse](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(*target, parse(text));
        return absl::OkStatus();
      },
      [target, render] { return std::string(render(*target)); });
}

void Declare(Settings& settings, Options& o) {
  settings.Text("state-dir", "folder of the agent's credential, trust and instance id",
                &o.state_dir);
  settings.Text("socket", "Unix socket on which SDS is served (default STATE_DIR/sds.sock)",
                &o.socket);
  settings.Custom(
      "socket-uids",
      "numeric user ids that may connect to the socket, besides the agent's and root", "UID,UID",
      [&o](std::string_view text) { return ParseUids(text, o.socket_uids); },
      [&o] { return absl::StrJoin(o.socket_uids, ","); });
  settings.Text("join-file", "file written by `capstan token create`; needed once, to enrol",
                &o.join_file);
  settings.Text("output-dir",
                "folder to keep key.pem, cert-chain.pem and root-cert.pem in (default: none, the "
                "workload's key stays in memory)",
                &o.output_dir);
  settings.CustomList(
      "probe",
      "TLS listener of the workload to prove trust with; may be repeated (default: none, what "
      "consumers acknowledge is all that is known)",
      "HOST:PORT[,sni=NAME][,alpn=PROTO]",
      [&o](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(o.probes, probe::ParseProbeTargets(text));
        return absl::OkStatus();
      },
      [&o] {
        return absl::StrJoin(o.probes, ",", [](std::string* out, const probe::ProbeTarget& target) {
          absl::StrAppend(out, ToString(target));
        });
      });
  settings.Text("envoy-admin",
                "admin interface of the Envoy beside it, HOST:PORT or a socket's path: its failed "
                "handshakes are told to the control plane (default: none)",
                &o.envoy_admin);
  settings.Text("http", "address for /metrics, /healthz and /readyz (default: off)", &o.http);
  settings.Duration("ttl",
                    "life asked for the workload's certificate; 0: the control plane's default",
                    &o.ttl, absl::ZeroDuration());
  settings.Duration("credential-ttl",
                    "life asked for the agent's own certificate; 0: the control plane's default",
                    &o.credential_ttl, absl::ZeroDuration());
  AddParsed(settings, "key-type",
            "kind of the workload's keys: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096",
            "TYPE", &o.key_type, x509::ParseKeyType, x509::KeyTypeName);
  AddParsed(settings, "log-format", "text or json", "FORMAT", &o.log_format, log::ParseFormat,
            [](log::Format f) { return f == log::Format::kJson ? "json" : "text"; });
  AddParsed(settings, "log-level", "debug, info, warn or error", "LEVEL", &o.log_level,
            log::ParseLevel, LevelName);
}

}  // namespace

absl::StatusOr<Loaded> LoadOptions(int argc, const char* const* argv,
                                   const Settings::Environment& environment, Options& options) {
  Settings settings("capstan-agent",
                    "obtains and renews a workload's certificate and serves it to Envoy over SDS");
  Declare(settings, options);
  CAPSTAN_ASSIGN_OR_RETURN(const Settings::Todo todo, settings.Load(argc, argv, environment));
  if (todo == Settings::Todo::kExit) return Loaded{todo, settings.output()};
  if (options.state_dir.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(settings.Origin("state-dir"),
                                                   ": state-dir is empty; it names the folder that "
                                                   "holds the agent's credential"));
  }
  if (options.socket.empty()) options.socket = absl::StrCat(options.state_dir, "/sds.sock");
  if (todo == Settings::Todo::kPrintConfig) return Loaded{todo, settings.ToYaml()};
  return Loaded{todo, ""};
}

}  // namespace capstan::agent
