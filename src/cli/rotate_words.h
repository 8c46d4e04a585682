// SPDX-License-Identifier: Apache-2.0
// The words of a rotation's messages in sentences, the same in every view of it.
#pragma once

#include <string>
#include <string_view>

#include "capstan/control/v1/control.pb.h"
#include "cli/commands.h"

namespace capstan::cli {

// What a pipeline learns from the exit code: kDone (none, or ended as wished), kRunning, kWaiting
// (somebody keeps the gate shut), kPaused, kRolledBack (or aborted).
ExitCode CodeOf(const control::v1::Rotation& rotation);
// Nothing will happen to it any more.
bool Ended(const control::v1::Rotation& rotation);

// "both-trusted" → 2; 0 where it is none of the four.
int PhaseNumber(std::string_view phase);
std::string_view PhaseWords(std::string_view phase);
// "switch-issuer" → "let the new authority sign"; "" → the end of the rotation.
std::string_view StepWords(std::string_view step);
// What the gate asks for, as a clause.
std::string_view GateWords(std::string_view gate);

// Somebody keeps the gate shut; without, a gate that is not open opens by itself after its soak.
bool Held(const control::v1::Gate& gate);
// "shut: …", "soaking: …", "open: …", or that there is none.
std::string GateText(const control::v1::Gate& gate);

// What is known of one kind of holder.
struct Advice {
  std::string_view means;
  std::string_view remedy;
  bool excludable = true;
};
Advice AdviceFor(std::string_view kind);
// What passing over a holder of this kind costs at this gate.
std::string_view CostOf(std::string_view kind, std::string_view gate);

// A holder's reason, and the words of its consumer's refusal (NACK) where they are part of it.
struct Reason {
  std::string why;
  std::string refused;  // the resource
  std::string nack;
};
Reason ReasonOf(const control::v1::Holder& holder);

// "namespace=web: the new authority signs for 3 of 10 workloads, 2 show its leaf".
std::string CanaryText(const control::v1::Canary& canary);

// The command line that passes over `name`, quoted for a shell.
std::string ExcludeCommand(const std::string& name);

// Its name, or "" where the name of the socket need not be told.
std::string SocketFlag(const std::string& socket);

}  // namespace capstan::cli
