// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "cli/pki.h"
#include "cli/pki_makefile_text.h"

namespace capstan::cli {

void AddPkiMakefile(CLI::App& pki) {
  CLI::App* command =
      pki.add_subcommand("makefile", "Print a makefile with the targets of Istio's tools/certs");
  command->footer(
      "examples:\n"
      "  capstan pki makefile > Makefile.selfsigned.mk\n"
      "  make -f Makefile.selfsigned.mk root-ca intermediateA-cacerts");
  command->callback([] { std::cout << kPkiMakefile; });
}

}  // namespace capstan::cli
