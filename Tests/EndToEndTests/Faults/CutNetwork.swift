import Foundation
import Glibc
import TestSupport
import Testing

/// A network namespace behind a pair of virtual devices, which can be cut: packets then vanish, as on a real network.
struct CutNetwork: Sendable {
  /// Of the far end.
  let address: String
  /// Starts a program at the far end.
  let command: [String]
  /// Name of the namespace, and of its device.
  private let device: String

  /// Whether this kernel, and this user, can make one.
  @Sendable static func canBeMade() async -> Bool { (try? await with { _ in true }) ?? false }

  static func with<Value>(_ body: (CutNetwork) async throws -> Value) async throws -> Value {
    let number = Int.random(in: 0..<16_000)
    let name = "rollcall\(number)"
    // 10.213.x.y/30: our end and the far one.
    let base = "10.213.\(number / 64).\(number % 64 * 4)".split(separator: ".").map(String.init)
    let last = Int(base[3]) ?? 0
    let near = "\(base[0]).\(base[1]).\(base[2]).\(last + 1)"
    let far = "\(base[0]).\(base[1]).\(base[2]).\(last + 2)"
    let device = "rc\(number)"
    try await runTool("ip", ["netns", "add", name])
    do {
      for line in [
        "link add \(device) type veth peer name \(device)x", "link set \(device)x netns \(name)",
        "addr add \(near)/30 dev \(device)", "link set \(device) up", "-n \(name) addr add \(far)/30 dev \(device)x",
        "-n \(name) link set \(device)x up", "-n \(name) link set lo up",
      ] {
        try await runTool("ip", line.split(separator: " ").map(String.init))
      }
      let value = try await body(
        CutNetwork(address: far, command: ["ip", "netns", "exec", name], device: "\(name) \(device)x"))
      try await runTool("ip", ["netns", "del", name])
      return value
    } catch {
      try await runTool("ip", ["netns", "del", name], mustSucceed: false)
      throw error
    }
  }

  func cut() async throws { try await set("down") }
  func mend() async throws { try await set("up") }

  /// Lets so many megabits a second come from the far end, so that a cut can fall into a file; nil: all.
  func limit(megabits: Int?) async throws {
    let words = device.split(separator: " ").map(String.init)
    let place = ["-n", words[0], "qdisc", megabits == nil ? "del" : "add", "dev", words[1], "root"]
    let rule = megabits.map { ["tbf", "rate", "\($0)mbit", "burst", "256kb", "latency", "100ms"] } ?? []
    try await runTool("tc", place + rule)
  }

  /// Bytes that have come from the far end.
  func received() async throws -> Int {
    let name = device.split(separator: " ").last?.dropLast() ?? ""
    let text = try String(contentsOfFile: "/sys/class/net/\(name)/statistics/rx_bytes", encoding: .utf8)
    return try #require(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
  }

  private func set(_ state: String) async throws {
    let words = device.split(separator: " ").map(String.init)
    try await runTool("ip", ["-n", words[0], "link", "set", words[1], state])
  }
}
