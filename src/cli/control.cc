// SPDX-License-Identifier: Apache-2.0
// capstan status, fleet list, reload, token create: what an operator asks of a running capstand.
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "authn/join_file.h"
#include "base/files.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/control_join.h"
#include "cli/control_target.h"
#include "cli/control_text.h"

namespace capstan::cli {
namespace {

void AddStatus(CLI::App& app) {
  CLI::App* command = app.add_subcommand("status", "What the control plane trusts and signs with");
  std::shared_ptr<Target> target = AddTarget(*command);
  command->callback(
      [target] { Print(*target, OrFail(Connect(*target)->GetStatus()), &StatusText); });
}

void AddFleet(CLI::App& app) {
  CLI::App* fleet = app.add_subcommand("fleet", "Who is out there");
  fleet->require_subcommand(1);
  CLI::App* command = fleet->add_subcommand(
      "list", "Every workload that holds an unexpired certificate, and how far it is");
  std::shared_ptr<Target> target = AddTarget(*command);
  command->callback(
      [target] { Print(*target, OrFail(Connect(*target)->ListFleet()), &FleetText); });
}

void AddReload(CLI::App& app) {
  CLI::App* command = app.add_subcommand("reload", "Look at the CA directory now");
  std::shared_ptr<Target> target = AddTarget(*command);
  command->callback([target] { Print(*target, OrFail(Connect(*target)->Reload()), &ReloadText); });
}

struct TokenFlags {
  std::string spiffe_id;
  std::string ttl = "10m";
  std::string out;
  bool force = false;
};

void CreateToken(const Target& target, const TokenFlags& flags) {
  const control::v1::CreateTokenRequest request = OrFail(TokenRequest(flags.spiffe_id, flags.ttl));
  const bool to_file = flags.out != "-";
  // Before the token exists: one that cannot be written would be lost.
  if (to_file && !flags.force && FileExists(flags.out)) {
    Fail(kUsage, absl::StrCat(flags.out, ": exists; choose another name or add --force"));
  }
  const authn::JoinFile join =
      OrFail(JoinFileOf(request, OrFail(Connect(target)->CreateToken(request))));
  std::string json = authn::ToJson(join);
  if (!to_file) {
    std::cout << json << std::flush;
    WipeBytes(json);
    return;
  }
  const absl::Status written = WriteFileAtomically(
      flags.out, json, 0600, flags.force ? Overwrite::kReplace : Overwrite::kRefuse);
  WipeBytes(json);
  if (!written.ok()) {
    Fail(written);
  }
  std::cout << (target.json() ? TokenJson(join, flags.out) : TokenText(join, flags.out))
            << std::flush;
}

void AddToken(CLI::App& app) {
  CLI::App* token = app.add_subcommand("token", "Join tokens");
  token->require_subcommand(1);
  CLI::App* command = token->add_subcommand(
      "create", "Make a join file: all a new agent needs, and a token good for one identity once");
  std::shared_ptr<Target> target = AddTarget(*command);
  auto flags = std::make_shared<TokenFlags>();
  command->add_option("--spiffe-id", flags->spiffe_id, "The identity the token stands for")
      ->required();
  command->add_option("--ttl", flags->ttl, "How long the token may be used, such as 10m or 24h")
      ->capture_default_str();
  command
      ->add_option("--out", flags->out, "Join file to write (mode 0600), or - for standard output")
      ->required();
  command->add_flag("--force", flags->force, "Replace an existing file");
  command->callback([target, flags] { CreateToken(*target, *flags); });
}

}  // namespace

void AddControlCommands(CLI::App& app) {
  AddStatus(app);
  AddFleet(app);
  AddReload(app);
  AddToken(app);
}

}  // namespace capstan::cli
