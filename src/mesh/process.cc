// SPDX-License-Identifier: Apache-2.0
#include "mesh/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/random.h"
#include "base/status.h"

extern char** environ;

namespace capstan::mesh {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// From here on the kernel gives ports to outgoing connections.
int FirstEphemeralPort() {
  constexpr int kLinuxDefault = 32'768;
  const std::string range = ReadFile("/proc/sys/net/ipv4/ip_local_port_range").value_or("");
  int first = 0;
  return absl::SimpleAtoi(range.substr(0, range.find('\t')), &first) ? first : kLinuxDefault;
}

absl::Status TryBind(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return ErrnoError(errno, "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const int failed = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  const int error = errno;
  close(fd);
  return failed == 0 ? absl::OkStatus() : ErrnoError(error, absl::StrCat("port ", port));
}

std::string Describe(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    return absl::StrCat("signal ", WTERMSIG(wait_status), " (", strsignal(WTERMSIG(wait_status)),
                        ")");
  }
  return absl::StrCat("exit code ", WEXITSTATUS(wait_status));
}

}  // namespace

void Pause(absl::Duration d) {
  absl::SleepFor(d);
}

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const Options& options) {
  // Everything the child touches is made before the fork: between fork and exec only calls that are
  // safe in a signal handler are allowed.
  std::vector<std::string> environment = options.environment;
  for (char** e = environ; *e != nullptr; ++e) environment.emplace_back(*e);
  std::vector<char*> argv = Pointers(options.argv);
  std::vector<char*> envp = Pointers(environment);
  int log = open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) return ErrnoError(errno, absl::StrCat("cannot open ", options.log_path));
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  const pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int error = 0;
    if (getppid() != parent) _exit(127);
    signal(SIGPIPE, SIG_DFL);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (!options.working_directory.empty() && chdir(options.working_directory.c_str()) != 0) {
      error = errno;
    } else {
      execvpe(argv[0], argv.data(), envp.data());
      error = errno;
    }
    [[maybe_unused]] ssize_t n = write(failure[1], &error, sizeof(error));
    _exit(127);
  }
  close(log);
  close(null);
  close(failure[1]);
  int error = pid < 0 ? errno : 0;
  if (pid > 0 && read(failure[0], &error, sizeof(error)) == sizeof(error)) waitpid(pid, nullptr, 0);
  close(failure[0]);
  if (error != 0) return ErrnoError(error, absl::StrCat("cannot start ", options.argv.front()));
  std::string name = std::filesystem::path(options.argv.front()).filename().string();
  return std::unique_ptr<Process>(new Process(std::move(name), pid));
}

Process::~Process() {
  Stop();
}

std::optional<std::string> Process::Ended() {
  int status;
  if (!ended_ && waitpid(pid_, &status, WNOHANG) == pid_) ended_ = Describe(status);
  return ended_;
}

void Process::Signal(int signal) {
  if (!Ended()) kill(pid_, signal);
}

bool Process::WaitUntil(absl::Duration patience) {
  return WaitFor(patience, [&] { return Ended().has_value(); });
}

void Process::Stop(absl::Duration patience) {
  if (Ended()) return;
  kill(-pid_, SIGTERM);
  if (!WaitUntil(patience)) Kill();
}

void Process::Kill() {
  if (Ended()) return;
  kill(-pid_, SIGKILL);
  WaitUntil(absl::Seconds(10));
}

absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& argv,
                                       absl::Duration timeout) {
  std::string log = absl::StrCat(std::filesystem::temp_directory_path().string(), "/capstan-run-",
                                 SystemRandom().Uuid());
  CAPSTAN_ASSIGN_OR_RETURN(auto process, Process::Start({.argv = argv, .log_path = log}));
  bool ended = WaitFor(timeout, [&] { return process->Ended().has_value(); });
  process->Stop(absl::ZeroDuration());
  absl::StatusOr<std::string> said = ReadFile(log);
  std::filesystem::remove(log);
  CAPSTAN_RETURN_IF_ERROR(said.status());
  if (!ended) {
    return absl::DeadlineExceededError(
        absl::StrCat(absl::StrJoin(argv, " "), " did not end: ", *said));
  }
  if (*process->Ended() != "exit code 0") {
    return absl::InternalError(
        absl::StrCat(absl::StrJoin(argv, " "), " ended with ", *process->Ended(), ": ", *said));
  }
  return said;
}

absl::StatusOr<int> FreePort() {
  constexpr int kLowest = 10'000;
  const int end = FirstEphemeralPort();
  absl::Status why = absl::NotFoundError("the kernel gives every port to outgoing connections");
  for (int attempt = 0; attempt < 100 && end > kLowest; ++attempt) {
    uint32_t drawn = 0;
    SystemRandom().Fill(&drawn, sizeof(drawn));
    const int port = kLowest + static_cast<int>(drawn % static_cast<uint32_t>(end - kLowest));
    why = TryBind(port);
    if (why.ok()) return port;
  }
  return Annotate(why, "cannot find a free port on 127.0.0.1");
}

}  // namespace capstan::mesh
