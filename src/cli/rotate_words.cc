// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_words.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "cli/control_target.h"
#include "cli/table.h"
#include "cli/time_text.h"

namespace capstan::cli {
namespace {

struct Words {
  std::string_view name;
  std::string_view words;
};

template <size_t N>
std::string_view Find(const std::array<Words, N>& table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const Words& entry) { return entry.name == name; });
  return found == table.end() ? name : found->words;
}

constexpr std::array<Words, 4> kPhases = {{
    {"root-a", "the old root alone is trusted"},
    {"both-trusted", "both roots are trusted, the old authority signs"},
    {"new-issuer", "both roots are trusted, the new authority signs"},
    {"root-b", "the old root has left, the new one alone is trusted"},
}};

constexpr std::array<Words, 11> kSteps = {{
    {"", "end the rotation"},
    {"add-roots", "trust the new root beside the old one"},
    {"add-crls", "publish the CRLs of the new authority beside those of the old one"},
    {"drop-crls", "withdraw the CRLs: the new authority has none"},
    {"start-canary", "let the new authority sign for the canary, and the old one for the others"},
    {"end-canary", "let the old authority sign for the canary again"},
    {"switch-issuer", "let the new authority sign, and every leaf be re-issued"},
    {"move-serving", "give the control plane's own certificate to the new root"},
    {"drop-roots", "drop the old root; this cannot be undone"},
    {"set-crls", "withdraw the CRLs that nobody needs any more"},
    {"retire", "retire the authority that signed before"},
}};

constexpr std::array<Words, 6> kGates = {{
    {"", "the next step takes nothing away from anybody"},
    {"trust", "every consumer has acknowledged the bundle with the new root"},
    {"canary",
     "every workload of the canary shows a leaf of the new authority, and nobody else is harmed"},
    {"agents", "every agent holds the bundle with the new root"},
    {"move", "nobody shows a leaf that needs what is about to leave"},
    {"done", "every consumer has acknowledged the bundle that is left"},
}};

struct Kind {
  std::string_view name;
  Advice advice;
};

constexpr std::array<Kind, 9> kKinds = {{
    {"laggard",
     {"connected, and not there yet",
      "read its reason. A NACK: mend what it names, then reload that proxy. No consumer connected: "
      "start the proxy, or stop its agent. An agent that cannot get a certificate says why in its "
      "log",
      true}},
    {"absent",
     {"it holds a leaf that is still good, and its agent is not connected",
      "start its agent, or wait until its last leaf has expired; a workload that is gone for good "
      "may be excluded",
      true}},
    {"unproven",
     {"it acknowledged, and no handshake has shown it",
      "read what the handshake met. A proxy that still refuses the new root acknowledged what it "
      "does not use: reload it. No handshake at all: let its agent reach the probe target",
      true}},
    {"join-file",
     {"a join file that was not used yet lacks the new root",
      "use it now, let its token expire, or make a new one (`capstan token create`) and exclude "
      "this "
      "one",
      true}},
    {"foreign",
     {"others may have signed leaves under the root that is to leave",
      "move them to the new root first (the control plane that was replaced, another cluster), or "
      "wait until none of their leaves can be left",
      true}},
    {"unrecorded",
     {"leaves whose record may have been lost in a crash of capstand",
      "wait until the time that is shown: they end by themselves. Or, where you know that every "
      "workload is connected and shows a new leaf (`capstan fleet list`), pass over it",
      true}},
    {"clock",
     {"the control plane's clock is not confirmed, and by a wrong one no gate opens",
      "mend the clock that is wrong (NTP), or connect an agent; this is never passed over", false}},
    {"bootstrap",
     {"a place from which others take their first trust (a ConfigMap) lacks the new root, or has "
      "not had it for long enough",
      "read its reason. It is written by itself; an error names what is in the way: a role that "
      "capstand lacks, a ConfigMap that is immutable, another program that writes it too",
      true}},
    {"canary",
     {"nobody of the canary is left, so that it shows nothing",
      "start a workload that it selects, or roll back and select others", true}},
}};

constexpr std::array<Words, 5> kWorkloadCosts = {{
    {"trust",
     "from the next step on it refuses every peer with a new leaf, until it has taken the bundle"},
    {"canary", "what the new authority does to it is seen only when it signs for everybody"},
    {"agents",
     "its agent refuses the control plane from then on: it keeps its last leaf, cannot renew it, "
     "and "
     "has to join anew"},
    {"move", "once the old root has left, its peers refuse it until it shows a new leaf"},
    {"done", "it may go on accepting leaves of the root that has left"},
}};

// Safe in a shell without quotes.
bool Plain(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("_-./:@%+=,").find(c) != std::string_view::npos;
}

std::string ShellWord(const std::string& text) {
  if (!text.empty() && std::all_of(text.begin(), text.end(), Plain)) return text;
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

}  // namespace

bool Ended(const control::v1::Rotation& rotation) {
  return rotation.number() == 0 || rotation.state() == "done" ||
         rotation.state() == "rolled-back" || rotation.state() == "aborted";
}

ExitCode CodeOf(const control::v1::Rotation& rotation) {
  if (rotation.number() == 0 || rotation.state() == "done") return kDone;
  if (Ended(rotation)) return kRolledBack;
  if (rotation.state() == "paused") return kPaused;
  return Held(rotation.gate()) ? kWaiting : kRunning;
}

int PhaseNumber(std::string_view phase) {
  for (size_t i = 0; i < kPhases.size(); ++i) {
    if (kPhases[i].name == phase) return static_cast<int>(i) + 1;
  }
  return 0;
}

std::string_view PhaseWords(std::string_view phase) {
  return Find(kPhases, phase);
}

std::string_view StepWords(std::string_view step) {
  return Find(kSteps, step);
}

std::string_view GateWords(std::string_view gate) {
  return Find(kGates, gate);
}

bool Held(const control::v1::Gate& gate) {
  return !gate.open() && (gate.holders_size() > 0 ||
                          gate.laggards() + gate.absent() + gate.unproven() + gate.others() > 0);
}

std::string GateText(const control::v1::Gate& gate) {
  if (gate.name().empty()) return std::string(GateWords(""));
  std::string text = absl::StrCat("\"", gate.name(), "\" is ");
  if (gate.open()) {
    absl::StrAppend(&text, "open: ", GateWords(gate.name()));
  } else if (Held(gate) || !gate.has_soak_left()) {
    absl::StrAppend(&text, "shut until ", GateWords(gate.name()));
  } else {
    absl::StrAppend(&text, "soaking: what it asks for has to hold for another ",
                    TwoUnits(ToDuration(gate.soak_left())));
  }
  return text;
}

Advice AdviceFor(std::string_view kind) {
  for (const Kind& known : kKinds) {
    if (known.name == kind) return known.advice;
  }
  return {.means = "",
          .remedy =
              "this capstan does not know this kind; use the one of capstand's "
              "version"};
}

std::string_view CostOf(std::string_view kind, std::string_view gate) {
  if (kind == "join-file") return "an agent that starts with it does not find the control plane";
  if (kind == "bootstrap") {
    return "what starts there does not find the control plane, or refuses peers with a new leaf";
  }
  if (kind == "canary") return "the new authority signs for everybody without having been tried";
  if (kind == "foreign") return "whoever shows a leaf of theirs is refused once the root has left";
  if (kind == "unrecorded") {
    return "a workload that nobody knows of may be refused once the root has left";
  }
  return Find(kWorkloadCosts, gate);
}

Reason ReasonOf(const control::v1::Holder& holder) {
  constexpr std::string_view kMark = "; it refused ";
  const std::string_view why = holder.why();
  const size_t at = why.find(kMark);
  if (at == std::string_view::npos) return {.why = holder.why()};
  const std::string_view refusal = why.substr(at + kMark.size());
  const size_t colon = refusal.find(": ");
  if (colon == std::string_view::npos) return {.why = holder.why()};
  return {.why = std::string(why.substr(0, at)),
          .refused = std::string(refusal.substr(0, colon)),
          .nack = std::string(refusal.substr(colon + 2))};
}

std::string CanaryText(const control::v1::Canary& canary) {
  std::string text = canary.selector();
  const int64_t everybody = canary.population() + canary.others();
  if (everybody == 0) return text;
  absl::StrAppend(&text, canary.signing() ? ": the new authority signs for " : ": ",
                  canary.population(), " of ", everybody, " workloads");
  if (canary.signing()) {
    absl::StrAppend(&text, ", ", canary.moved(), canary.moved() == 1 ? " shows" : " show",
                    " its leaf");
  } else {
    text += " go first";
  }
  if (canary.others() == 0) text += "; that is everybody, so that nobody else would tell of harm";
  return text;
}

std::string ExcludeCommand(const std::string& name) {
  return absl::StrCat("capstan rotate exclude ", Printable(ShellWord(name)), " --reason 'WHY'");
}

std::string SocketFlag(const std::string& socket) {
  return socket == kDefaultSocket ? "" : absl::StrCat(" --socket ", ShellWord(socket));
}

}  // namespace capstan::cli
