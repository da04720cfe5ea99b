import Foundation
import TestSupport
import Testing

@testable import Dumps

/// Dumps that SGLang's and msprobe's own dumpers wrote, against what their own readers, or a plain hook, found.
///
/// `ROLLCALL_TEST_PEERS_PYTHON` names a Python with torch and the wheels of both: what `Deploy/peers` prints.
@Suite(
  .enabled(
    if: ProcessInfo.processInfo.environment["ROLLCALL_TEST_PEERS_PYTHON"] != nil,
    "ROLLCALL_TEST_PEERS_PYTHON names no Python with the wheels sglang and mindstudio-probe"))
struct PeerDumperTests {
  private struct Found: Decodable {
    var file: String
    var step: Int
    var rank: Int
    var duplicate: Int
    var shape: [Int]
    var sum: Double
    var dims: String?
    /// Axes of size above 1: rank and size.
    var parallel: [String: [Int]]
  }

  private struct Seen: Decodable {
    var module: String
    var step: Int
    var call: Int
    var tensor: String
    var shape: [Int]
    var sum: Double
  }

  private func write(_ kind: String, _ scratch: Scratch) async throws -> Data {
    let python = try #require(ProcessInfo.processInfo.environment["ROLLCALL_TEST_PEERS_PYTHON"])
    let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Python/write_peer_dumps.py")
    try await runTool(python, ["-B", "-W", "ignore", script.path, kind, scratch.path])
    return try Data(contentsOf: URL(fileURLWithPath: scratch.path("found.json")))
  }

  @Test func agreesWithSGLangsOwnLoader() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let found = try JSONDecoder().decode([Found].self, from: try await write("sglang", scratch))
    #expect(found.count > 80)
    #expect(try DumpSetLoader.detectLayout(directory: scratch.path("dump_test")) == .sglang)
    let set = try DumpSetLoader.load(directory: scratch.path, layout: .sglang)
    #expect(set.unreadable.isEmpty, "\(set.unreadable)")
    for item in found {
      let captures = set.captures.filter { $0.file == item.file }
      let capture = try #require(captures.first, "\(item.file) is lost")
      #expect(captures.count == 1)
      #expect(capture.call == item.step)
      #expect(capture.rank == item.rank)
      #expect(capture.stage.contains("duplicate_index=\(item.duplicate)") == (item.duplicate > 0), "\(item.file)")
      #expect(capture.tensor.shape == item.shape)
      #expect(abs(try sum(capture) - item.sum) <= 1e-12 * max(1, abs(item.sum)), "\(item.file)")
      #expect(capture.metadata?.dims == item.dims)
      let parallel = try #require(capture.metadata).parallel.filter { $0.value.size > 1 }
      #expect(parallel.mapValues { [$0.rank, $0.size] } == item.parallel)
    }
    // What SGLang's loader does not see: the names with a slash.
    let files = Set(found.map(\.file))
    let more = set.captures.filter { !files.contains($0.file) }
    #expect(more.count == 4)
    #expect(more.allSatisfy { $0.stage == "moe/router" && $0.layer == 1 })
    // Only what stands once is a capture.
    #expect(set.captures.count == found.count + 4)
    #expect(set.plain.count == 8)
    #expect(
      Set(set.captures.filter { $0.layer == 1 && $0.call == 1 && $0.rank == 1 && $0.stage == "mlp" }.map(\.tensor.name))
        == ["input_fields.0", "input_fields.residual", "output.0", "output.1"])
    #expect(set.captures.contains { $0.stage == "odd___name" })
    #expect(set.captures.contains { $0.stage == "leaf[grad]" })
    #expect(set.captures.contains { $0.stage == "mlp.up" && $0.layer == 1 && $0.tensor.name == "parameters.weight" })
  }

  @Test func agreesWithAHookOnWhatMSProbeDumped() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let seen = try JSONDecoder().decode([Seen].self, from: try await write("msprobe", scratch))
    #expect(seen.count > 40)
    #expect(try DumpSetLoader.detectLayout(directory: scratch.path("dump")) == .msprobe)
    let set = try DumpSetLoader.load(directory: scratch.path("dump"), layout: .msprobe)
    #expect(set.unreadable.isEmpty, "\(set.unreadable)")
    #expect(set.unrecognised.isEmpty)
    for item in seen {
      let module = ModulePath(ModulePath.components(item.module))
      let capture = try #require(
        set.captures.first {
          $0.layer == module.layer && $0.stage == module.stage && $0.tensor.name == item.tensor
            && $0.call == item.step * MSProbeLayout.callsPerStep + item.call
        }, "\(item) is lost")
      #expect(capture.tensor.shape == item.shape)
      #expect(abs(try sum(capture) - item.sum) <= 1e-12 * max(1, abs(item.sum)))
    }
  }

  private func sum(_ capture: Capture) throws -> Double {
    let reader = try TensorReader(capture.tensor)
    var values: [Double] = []
    try reader.readDoubles(0..<reader.elementCount, into: &values)
    return values.reduce(0, +)
  }
}
