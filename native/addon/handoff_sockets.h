// The engine's handoff sockets as JavaScript sees them: numbers, events, and a thread for each that
// reads its messages. JavaScript's messages begin with '{'; those of the window never do and are
// left for it, or dropped when it is over.
//
// Thread: any. Shutdown: the destructor closes every socket and joins every thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "addon/event_queue.h"
#include "engine/handoff/handoff_socket.h"

namespace weir::addon {

class HandoffSockets {
 public:
  explicit HandoffSockets(std::shared_ptr<EventQueue> events) : events_(std::move(events)) {}
  ~HandoffSockets();
  HandoffSockets(const HandoffSockets&) = delete;
  HandoffSockets& operator=(const HandoffSockets&) = delete;

  struct Entry {
    std::unique_ptr<HandoffSocket> socket;
    uint32_t number = 0;
    std::mutex mutex;  // guards what follows
    std::condition_variable changed;
    bool listening = false;  // JavaScript wants its messages
    bool window = false;     // giveAll or takeAll runs
    bool window_over = false;
    bool closing = false;
    std::thread reader;
  };
  using Shared = std::shared_ptr<Entry>;

  // Events "handoffConnection" {listener, socket, pid, uid} from now on.
  Result<uint32_t> Listen(const std::string& path);
  void CloseListener(uint32_t number);
  Shared Add(std::unique_ptr<HandoffSocket> socket);
  // Null: closed.
  Shared Find(uint32_t number);
  // Events "handoffMessage" {socket, bytes} and one "handoffClosed" {socket} from now on.
  static void StartListening(const Shared& entry);
  static void BeginWindow(const Shared& entry);
  static void EndWindow(const Shared& entry);
  void Close(uint32_t number);

 private:
  struct Listener {
    std::unique_ptr<HandoffListener> listener;
    std::thread acceptor;
  };
  void Read(const Shared& entry);
  // True: a message is JavaScript's. False: the socket closes.
  static bool AwaitTurn(Entry& entry);

  const std::shared_ptr<EventQueue> events_;
  std::mutex mutex_;  // guards what follows
  uint32_t next_number_ = 1;
  std::unordered_map<uint32_t, Shared> sockets_;
  std::unordered_map<uint32_t, std::unique_ptr<Listener>> listeners_;
};

}  // namespace weir::addon
