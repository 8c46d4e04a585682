// SPDX-License-Identifier: Apache-2.0
#include "cli/pki.h"

#include "cli/commands.h"

namespace capstan::cli {

void AddPkiCommands(CLI::App& app) {
  CLI::App* pki = app.add_subcommand("pki", "Make keys, roots, intermediates, requests and leaves");
  pki->require_subcommand(1);
  AddPkiKey(*pki);
  AddPkiRootCa(*pki);
  AddPkiIntermediate(*pki);
  AddPkiCsr(*pki);
  AddPkiSign(*pki);
  AddPkiBundle(*pki);
  AddPkiMakefile(*pki);
  pki->footer(
      "Nothing is written before everything is made; files that exist are never replaced without\n"
      "--force; private keys get mode 0600.\n\n"
      "examples:\n"
      "  capstan pki root-ca && capstan pki intermediate-cacerts intermediateA\n"
      "  capstan pki sign --help");
}

}  // namespace capstan::cli
