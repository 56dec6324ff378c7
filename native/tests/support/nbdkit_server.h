// An nbdkit process that serves one export on a unix socket, as a server that is not ours.
#pragma once

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/base/check.h"

namespace weir::test {

class NbdkitServer {
 public:
  // `plugin` with its parameters, for instance {"memory", "size=1M"}.
  NbdkitServer(const std::string& socket, const std::vector<std::string>& plugin) {
    // nbdkit leaves the socket of one that was killed in the way of the next.
    ::unlink(socket.c_str());
    std::vector<std::string> words = {"nbdkit", "--foreground", "--exit-with-parent", "--unix",
                                      socket};
    words.insert(words.end(), plugin.begin(), plugin.end());
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    WEIR_CHECK(::posix_spawnp(&pid_, "nbdkit", nullptr, nullptr, arguments.data(), environ) == 0);
  }
  NbdkitServer(const NbdkitServer&) = delete;
  NbdkitServer& operator=(const NbdkitServer&) = delete;
  ~NbdkitServer() { Kill(); }

  // SIGKILL, and waits for the end. A second call does nothing.
  void Kill() {
    const pid_t pid = std::exchange(pid_, 0);
    if (pid == 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace weir::test
