// The same host in C++, and small: each plugin that is named runs in a sandbox and in a thread of its own, with one client
// for all; Enter stops those that still run. It exits with 1 if a plugin has failed.
//
// Build: c++ -std=c++17 -o host++ host.cpp $(pkg-config --cflags --libs arvak lua5.4)
// Usage: host++ PLUGIN...; ARVAK_ADDRESS names the server. SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

#include "host.hpp"

using namespace std::chrono_literals;

namespace {

std::mutex output, registry;
std::vector<embed::handle_ptr> running; // registry, as the next
bool is_stopped = false;
std::atomic<int> failures{0};

// A key that was pressed before the plugin was there stops it as well.
void announce(embed::handle_ptr handle) {
  std::lock_guard<std::mutex> lock(registry);
  if (is_stopped) arvak_lua_interrupt(handle.get(), "Enter was pressed");
  running.push_back(std::move(handle));
}

void run_plugin(arvak_client *client, const arvak_lua_limits &limits, const std::string &path) {
  std::string said;
  try {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot be read");
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    embed::plugin plugin(client, limits, 64 << 20);
    announce(plugin.handle());
    said = plugin.run(text, "@" + path, 60s);
  } catch (const std::exception &error) {
    said = error.what();
    failures++;
  }
  std::lock_guard<std::mutex> lock(output);
  std::cout << path << ": " << said << "\n";
}

void stop_on_enter() {
  std::string line;
  if (!std::getline(std::cin, line)) return; // the end of the input is no key
  std::lock_guard<std::mutex> lock(registry);
  is_stopped = true;
  for (const auto &handle : running) arvak_lua_interrupt(handle.get(), "Enter was pressed");
}

} // namespace

int main(int argc, char **argv) try {
  if (argc < 2) throw std::runtime_error("usage: host++ PLUGIN...");
  const char *address = std::getenv("ARVAK_ADDRESS");
  arvak_client_options options = arvak_client_options();
  options.address = address ? address : "localhost:50051";
  arvak_lua_limits limits = arvak_lua_limits();
  limits.max_in_flight = 16;
  limits.max_queued = 200;
  limits.max_request_bytes = limits.max_answer_bytes = 4 << 20;
  limits.has_no_policies = limits.has_own_stats = limits.cancels_own_jobs_only = limits.has_no_connect = true;
  auto client = embed::connect(options);
  std::thread(stop_on_enter).detach();
  std::vector<std::thread> threads;
  for (int i = 1; i < argc; i++) threads.emplace_back(run_plugin, client.get(), std::cref(limits), argv[i]);
  for (auto &thread : threads) thread.join();
  std::cout.flush();
  std::_Exit(failures > 0 ? 1 : 0); // the thread that reads keys is left behind
} catch (const std::exception &error) {
  std::cerr << error.what() << "\n";
  return 2;
}
