// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/pki.h"

namespace capstan::cli {
namespace {

struct KeyFlags {
  std::string type = "ecdsa-p256";
  std::string out;
  OutputOptions output;
};

absl::Status Run(const KeyFlags& flags) {
  PkiOutput output(flags.output, std::cout, std::cerr);
  CAPSTAN_RETURN_IF_ERROR(output.Reserve(flags.out));
  CAPSTAN_ASSIGN_OR_RETURN(x509::KeyType type, x509::ParseKeyType(flags.type));
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, x509::PrivateKey::Generate(type));
  output.AddKey(flags.out, key);
  return output.Finish();
}

}  // namespace

void AddPkiKey(CLI::App& pki) {
  CLI::App* command = pki.add_subcommand("key", "Make a private key");
  auto flags = std::make_shared<KeyFlags>();
  AddKeyTypeFlag(*command, "--type", flags->type)->capture_default_str();
  command->add_option("--out", flags->out, "File to write, mode 0600 (- is standard output)")
      ->type_name("FILE")
      ->required();
  AddOutputFlags(*command, flags->output);
  command->footer(
      "The key is written unencrypted, as PKCS#8 in PEM.\n\n"
      "examples:\n"
      "  capstan pki key --out workload.key\n"
      "  capstan pki key --type rsa-4096 --out ca.key");
  command->callback([flags] {
    if (absl::Status done = Run(*flags); !done.ok()) Fail(done);
  });
}

}  // namespace capstan::cli
