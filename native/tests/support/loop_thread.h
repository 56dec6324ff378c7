// A loop on a thread of its own, for tests that talk to it from outside.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <thread>

#include "engine/loop/loop.h"

namespace weir {

class LoopThread {
 public:
  LoopThread() {
    auto created = Loop::Create(256);
    EXPECT_TRUE(created.ok());
    loop_ = std::move(created.value());
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~LoopThread() {
    loop_->Stop();
    thread_.join();
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  Loop& loop() { return *loop_; }

  // Runs `task` on the loop thread and waits for it.
  void Call(const std::function<void()>& task) {
    std::promise<void> done;
    loop_->Post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  // Waits until `condition`, evaluated on the loop thread once per posted task, holds.
  void Until(const std::function<bool()>& condition) {
    bool holds = false;
    while (!holds) Call([&] { holds = condition(); });
  }

 private:
  std::unique_ptr<Loop> loop_;
  std::thread thread_;
};

}  // namespace weir
