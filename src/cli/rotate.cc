// SPDX-License-Identifier: Apache-2.0
// capstan rotate plan, start, status, watch, explain, pause, resume, rollback, abort, exclude,
// history.
#include <unistd.h>

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/control_target.h"
#include "cli/rotate_explain.h"
#include "cli/rotate_request.h"
#include "cli/rotate_text.h"
#include "cli/rotate_watch.h"
#include "cli/rotate_words.h"

namespace capstan::cli {
namespace {

using control::v1::Rotation;
using Steer = control::v1::SteerRotationRequest;

constexpr char kExitCodes[] =
    "exit codes: 0 none is under way, or it ended as wished; 10 running; 11 waiting: somebody "
    "keeps\n"
    "the gate shut; 12 paused; 13 rolled back or aborted; 2 wrong usage; 3 capstand cannot be "
    "asked";

// Ends the command with a code that is an answer, not an error.
void EndWith(ExitCode code) {
  if (code != kDone) throw CLI::RuntimeError(code);
}

// The flags of plan and start.
std::shared_ptr<RotateFlags> AddRotateFlags(CLI::App& command) {
  auto flags = std::make_shared<RotateFlags>();
  command.add_option("--to", flags->to,
                     "The CA to rotate to: a directory in Istio's layout or kubernetes.io/tls");
  command.add_flag("--generate", flags->generate,
                   "Let capstand make and keep a new root that signs by itself");
  command.add_flag("--intermediate", flags->intermediate,
                   "With --generate: a new intermediate only, under the root that signs now");
  command.add_flag("--from-upstream", flags->from_upstream,
                   "What the CA directory holds that capstand follows, also where it was turned "
                   "back before");
  command.add_option("--soak", flags->soak,
                     "How long a gate's conditions must hold, such as 30s (capstand's setting)");
  command.add_option(
      "--absent", flags->absent,
      "How long absent workloads hold a gate: a duration such as 24h, or wait: until "
      "their leaves expire (capstand's setting)");
  command
      .add_option("--require", flags->require,
                  "proven: a handshake must show every workload's trust, not its word alone")
      ->check(CLI::IsMember({"proven"}));
  command.add_option("--canary", flags->canary,
                     "Whom the new authority signs for first: namespace=NAME, or percent=N of all "
                     "identities; harm turns the rotation back by itself");
  command.add_option(
      "--budget", flags->budget,
      "Certificates a second that the re-issue asks for, at most; where capstand's own "
      "--issue-per-second is lower, that counts (0: that alone)");
  return flags;
}

RotateRequest Request(const RotateFlags& flags) {
  RotateRequest request = OrFail(ToRequest(flags, RealClock().Now()));
  for (const std::string& warning : request.warnings) {
    std::cerr << "warning: " << flags.to << ": " << warning << "\n";
  }
  return request;
}

void AddPlan(CLI::App& rotate) {
  CLI::App* command = rotate.add_subcommand(
      "plan", "What a rotation would do, wait for and take, and what stands against it");
  std::shared_ptr<Target> target = AddTarget(*command);
  std::shared_ptr<RotateFlags> flags = AddRotateFlags(*command);
  command->add_flag("--emergency", flags->emergency, "Plan it without gates");
  command->footer(
      "Changes nothing. The directory is verified here first; then its files, with the key, go to\n"
      "capstand over its private Unix socket, and are forgotten again.\n\n"
      "exit codes: 0 it may start; 1 it would break something; 2 wrong usage, or no usable CA; 3 "
      "capstand\ncannot be asked\n\n"
      "examples:\n"
      "  capstan rotate plan --to intermediateB\n"
      "  capstan rotate plan --to intermediateB --canary namespace=web\n"
      "  capstan rotate plan --generate --soak 10m --require proven");
  command->callback([target, flags] {
    RotateRequest request = Request(*flags);
    absl::StatusOr<control::v1::RotationPlan> answer =
        Connect(*target)->PlanRotation(request.message);
    Wipe(request.message);
    const control::v1::RotationPlan plan = OrFail(std::move(answer));
    Print(*target, plan, &PlanText);
    EndWith(HasErrors(plan) ? kNo : kDone);
  });
}

struct StartFlags {
  bool yes = false;
  bool wait = false;
  std::string timeout;
};

absl::Duration ToTimeout(const std::string& text) {
  absl::Duration timeout = absl::InfiniteDuration();
  if (!text.empty() && (!absl::ParseDuration(text, &timeout) || timeout <= absl::ZeroDuration())) {
    Fail(kUsage, absl::StrCat("--timeout \"", text, "\" is no duration, such as 30m"));
  }
  return timeout;
}

// Tells what breaks, and returns only if that is wanted.
void ConfirmEmergency(rpc::ControlClient& capstand, const RotateRequest& request, bool yes) {
  std::cerr << EmergencyText(OrFail(capstand.PlanRotation(request.message)));
  if (yes) return;
  if (isatty(STDIN_FILENO) == 0) {
    Fail(kUsage,
         "an emergency rotation needs --yes where nobody can be asked; nothing was changed");
  }
  std::cerr << "\nType emergency to do it: ";
  std::string typed;
  std::getline(std::cin, typed);
  if (typed != "emergency") Fail(kNo, "not confirmed; nothing was changed");
}

void Start(const Target& target, const RotateFlags& flags, const StartFlags& start,
           const Surroundings& surroundings) {
  const absl::Duration timeout = ToTimeout(start.timeout);
  RotateRequest request = Request(flags);
  const std::unique_ptr<rpc::ControlClient> capstand = Connect(target);
  if (flags.emergency) ConfirmEmergency(*capstand, request, start.yes);
  absl::StatusOr<Rotation> started = capstand->StartRotation(request.message);
  Wipe(request.message);
  const Rotation rotation = OrFail(std::move(started));
  if (!target.json()) {
    std::cout << StartedText(rotation, SocketFlag(target.socket)) << std::flush;
  } else if (!start.wait) {
    std::cout << Json(rotation) << std::flush;
  }
  if (start.wait) EndWith(Watch({target, surroundings, timeout}));
}

void AddStart(CLI::App& rotate, const Surroundings& surroundings) {
  CLI::App* command = rotate.add_subcommand("start", "Rotate to another CA, through gates");
  std::shared_ptr<Target> target = AddTarget(*command);
  std::shared_ptr<RotateFlags> flags = AddRotateFlags(*command);
  auto start = std::make_shared<StartFlags>();
  command->add_flag("--emergency", flags->emergency,
                    "Without gates, because the old root's key is stolen: breaks who is slow");
  command->add_flag("--yes", start->yes, "Do not ask for confirmation of --emergency");
  command->add_flag("--wait", start->wait, "Follow it until it has ended, as rotate watch does");
  command->add_option("--timeout", start->timeout,
                      "With --wait: no longer than this; the rotation goes on");
  command->footer(absl::StrCat(
      "The directory is verified here first. Its files, with the key, go to capstand over its "
      "private\nUnix socket. capstand walks: trust both roots, let the new authority sign, "
      "re-issue "
      "every leaf,\ndrop the old root; before each step that takes something away it waits until "
      "everybody is ready.\n\nexit codes: 0 it started; 2 wrong usage, no usable CA, or not now; 3 "
      "capstand cannot be asked.\nWith --wait those of rotate watch.\n\nexamples:\n"
      "  capstan rotate start --to intermediateB\n"
      "  capstan rotate start --generate --soak 10m --absent 24h --budget 20 --wait\n"
      "  capstan rotate start --to intermediateB --canary percent=10\n"
      "  capstan rotate start --generate --intermediate\n"
      "  capstan rotate start --to intermediateB --emergency"));
  command->callback(
      [target, flags, start, surroundings] { Start(*target, *flags, *start, surroundings); });
}

void AddStatus(CLI::App& rotate) {
  CLI::App* command =
      rotate.add_subcommand("status", "Where the rotation is, what it waits for, what comes next");
  std::shared_ptr<Target> target = AddTarget(*command);
  command->footer(absl::StrCat(kExitCodes,
                               "\n\nexamples:\n  capstan rotate status\n"
                               "  capstan rotate status -o json | jq .progress"));
  command->callback([target] {
    const Rotation rotation = OrFail(Connect(*target)->GetRotation());
    Print(*target, rotation, &RotationText);
    EndWith(CodeOf(rotation));
  });
}

void AddWatch(CLI::App& rotate, const Surroundings& surroundings) {
  CLI::App* command = rotate.add_subcommand("watch", "Follow the rotation until it has ended");
  std::shared_ptr<Target> target = AddTarget(*command);
  auto timeout = std::make_shared<std::string>();
  command->add_option("--timeout", *timeout, "No longer than this; the rotation goes on");
  command->footer(absl::StrCat(
      "Live on a terminal (q or Ctrl-C leaves, the rotation goes on), a line per change when "
      "piped; "
      "with\n-o json a message per change, each on a line. Restarts of capstand are lived through. "
      "No colour\nwhere NO_COLOR is set.\n\n",
      kExitCodes,
      "; left early: of that moment\n\nexamples:\n  capstan rotate watch\n"
      "  capstan rotate watch --timeout 30m | tee rotation.log"));
  command->callback([target, timeout, surroundings] {
    EndWith(Watch({*target, surroundings, ToTimeout(*timeout)}));
  });
}

void AddExplain(CLI::App& rotate) {
  CLI::App* command = rotate.add_subcommand(
      "explain", "Why it does not go on, who depends on the old root, and what to do");
  std::shared_ptr<Target> target = AddTarget(*command);
  auto all = std::make_shared<bool>(false);
  command->add_flag("--all", *all, "Everybody who keeps the gate shut, not the first of each kind");
  command->footer(absl::StrCat(
      "-o json prints what the sentences are made from, as rotate status does.\n\n", kExitCodes,
      "\n\nexamples:\n  capstan rotate explain\n"
      "  capstan rotate explain --all | less"));
  command->callback([target, all] {
    const Rotation rotation = OrFail(Connect(*target)->GetRotation());
    std::cout << (target->json() ? Json(rotation) : ExplainText(rotation, *all)) << std::flush;
    EndWith(CodeOf(rotation));
  });
}

// What an operator does to a rotation that runs.
struct SteerCommand {
  Steer::Action action;
  const char* name;
  const char* help;
  const char* done;  // what is said when it was done
  const char* footer;
};

void SteerIt(const Target& target, const SteerCommand& what, const Steer& request) {
  const Rotation rotation = OrFail(Connect(target)->SteerRotation(request));
  if (!target.json()) std::cout << what.done << "\n\n";
  Print(target, rotation, &RotationText);
}

CLI::App* AddSteer(CLI::App& rotate, const SteerCommand& what,
                   const std::shared_ptr<Steer>& request) {
  CLI::App* command = rotate.add_subcommand(what.name, what.help);
  std::shared_ptr<Target> target = AddTarget(*command);
  request->set_action(what.action);
  command->footer(what.footer);
  command->callback([target, what, request] { SteerIt(*target, what, *request); });
  return command;
}

void AddReason(CLI::App& command, const std::shared_ptr<Steer>& request, bool required) {
  command
      .add_option_function<std::string>(
          "--reason", [request](const std::string& reason) { request->set_reason(reason); },
          "Why: it stays in the journal for ever")
      ->required(required);
}

void AddSteering(CLI::App& rotate) {
  const SteerCommand commands[] = {
      {Steer::PAUSE, "pause", "Take no further step", "Paused: no further step is taken.",
       "What is done stays done, and leaves go on being issued and renewed.\n\nexamples:\n"
       "  capstan rotate pause --reason 'release freeze'"},
      {Steer::RESUME, "resume", "Go on after a pause", "Resumed.",
       "Gates are looked at anew, and soak anew.\n\nexamples:\n  capstan rotate resume"},
      {Steer::ROLLBACK, "rollback", "Go back to the CA of before, through gates",
       "Rolling back: the old authority signs again, and what was added leaves through its gates.",
       "Possible until the old root has left the bundle. The same content of a followed CA "
       "directory "
       "is\nrefused until it changes, or rotate start --from-upstream asks for it again.\n\n"
       "examples:\n  capstan rotate rollback --reason 'wrong CA'"},
      {Steer::ABORT, "abort", "Take a CA that is merely prepared out again",
       "Aborting: what was added leaves through its gates.",
       "Refused once the new authority signs; that is turned back with rotate rollback. The same "
       "content of\na followed CA directory is refused until it changes, or rotate start "
       "--from-upstream asks\nfor it again.\n\nexamples:\n  capstan rotate abort --reason "
       "'replanned'"},
  };
  for (const SteerCommand& what : commands) {
    auto request = std::make_shared<Steer>();
    AddReason(*AddSteer(rotate, what, request), request, /*required=*/false);
  }
  auto request = std::make_shared<Steer>();
  CLI::App* exclude = AddSteer(
      rotate,
      {Steer::EXCLUDE, "exclude", "Go on without waiting for somebody",
       "Passed over from now on; the report names it for ever.",
       "NAME is one that `capstan rotate explain` shows, where it says what passing over costs. It "
       "is "
       "for\nthis rotation only. With \"*\" for any text it stands for everybody of that name who "
       "is "
       "absent, now or\nlater: for a namespace that is gone.\n\nexamples:\n"
       "  capstan rotate exclude spiffe://cluster.local/ns/a/sa/b#INSTANCE --reason 'switched off "
       "for good'\n"
       "  capstan rotate exclude 'spiffe://cluster.local/ns/old/*' --reason 'the namespace is "
       "gone'\n"
       "  capstan rotate exclude 'spiffe://cluster.local/*#csr:*' --reason 'cert-manager renews "
       "them, and "
       "has both roots'"},
      request);
  exclude
      ->add_option_function<std::string>(
          "NAME", [request](const std::string& name) { request->set_name(name); }, "Who")
      ->required();
  AddReason(*exclude, request, /*required=*/true);
}

void AddHistory(CLI::App& rotate) {
  CLI::App* command =
      rotate.add_subcommand("history", "Every rotation: when, how it ended, who was passed over");
  std::shared_ptr<Target> target = AddTarget(*command);
  auto journal = std::make_shared<bool>(false);
  command->add_flag("--journal", *journal, "Each entry of the journal too");
  command->footer(
      "examples:\n  capstan rotate history\n  capstan rotate history --journal -o json | jq "
      ".journal");
  command->callback([target, journal] {
    control::v1::ListRotationsResponse history = OrFail(Connect(*target)->ListRotations());
    if (!*journal) history.clear_journal();
    Print(*target, history, &HistoryText);
    if (*journal && !target->json()) std::cout << JournalText(history) << std::flush;
  });
}

}  // namespace

void AddRotateCommands(CLI::App& app, const Surroundings& surroundings) {
  CLI::App* rotate = app.add_subcommand("rotate", "Replace the CA of a running mesh");
  rotate->require_subcommand(1);
  rotate->footer(
      "examples:\n  capstan rotate plan --to intermediateB\n"
      "  capstan rotate start --to intermediateB\n  capstan rotate watch");
  AddPlan(*rotate);
  AddStart(*rotate, surroundings);
  AddStatus(*rotate);
  AddWatch(*rotate, surroundings);
  AddExplain(*rotate);
  AddSteering(*rotate);
  AddHistory(*rotate);
}

}  // namespace capstan::cli
