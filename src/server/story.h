// SPDX-License-Identifier: Apache-2.0
// The log lines an operator follows during a reload. They are istiod's, word for word with
// Capstan's own name in the place of istiod's, so that whoever knows the one knows the other
// (docs/operations.md lists them side by side); what Capstan knows besides stands in fields behind
// the words.
#pragma once

#include <string>
#include <vector>

#include "rotation/step.h"
#include "server/serving.h"
#include "trust/ca_set.h"

namespace capstan::server::story {

void ReloadBegins(const trust::CaSet& set, const std::string& source);
void BuiltInCa(const trust::Authority& authority);
void StepDone(const rotation::Step& step, const rotation::Situation& before);
// "x509 cert - Issuer: …" for each certificate once: our own leaf and its chain, the issuer's
// chain, and every root of the bundle.
void Certificates(const Serving& serving, const rotation::Situation& situation);
void ReloadDone(const rotation::Situation& situation);

// istiod's line for one certificate.
std::string Line(const x509::Certificate& certificate);

}  // namespace capstan::server::story
