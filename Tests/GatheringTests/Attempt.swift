import Foundation
import TestSupport
import Transports

@testable import Gathering

/// An attempt's directory as a launcher leaves it, and a store, both in one scratch directory unless told otherwise.
struct Attempt {
  let scratch: Scratch
  let directory: String
  let store: ArtifactStore

  init(_ scratch: Scratch, store root: String? = nil) throws {
    self.scratch = scratch
    directory = try scratch.directory("work dir/attempts/a-1")
    try scratch.directory("work dir/attempts/a-1/dumps")
    store = try ArtifactStore(root: root ?? scratch.path("store"))
    try scratch.write("work dir/attempts/a-1/exit.json", "{\"code\":0}\n")
    try scratch.write("work dir/attempts/a-1/stdout.log", "hello\n")
  }

  func dump(_ name: String, _ bytes: [UInt8]) throws {
    let url = URL(fileURLWithPath: directory + "/dumps/" + name)
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(bytes).write(to: url)
  }

  func dump(_ name: String, _ text: String) throws { try dump(name, Array(text.utf8)) }

  /// Gathers without pauses, with no floor.
  func gather(
    over transport: any Transport, run: String = "r1", change: (inout Gatherer.Limits) -> Void = { _ in }
  ) async throws -> GatherResult {
    var limits = Gatherer.Limits()
    limits.pause = .zero
    limits.freeSpaceFloor = 0
    change(&limits)
    return try await Gatherer(limits: limits).gather(
      attemptDirectory: directory, transport: transport, store: store, sweep: "s1", run: run)
  }

  func stored(_ path: String, run: String = "r1") throws -> [UInt8]? {
    let file = try store.runDirectory(sweep: "s1", run: run) + "/" + path
    return (try? Data(contentsOf: URL(fileURLWithPath: file))).map(Array.init)
  }

  /// Names in `objects/`.
  var objects: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: store.root + "/objects")) ?? []).sorted()
  }

  var leftovers: [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: store.root + "/incoming")) ?? []
  }

  /// True where every object's bytes have the hash that is its name, and no file of the run is there but whole.
  func everyObjectIsWhole() throws -> Bool {
    try objects.allSatisfy { name in
      let path = store.objectPath(name)
      let descriptor = open(path, O_RDONLY)
      guard descriptor >= 0 else { return false }
      defer { close(descriptor) }
      return try SHA256Digest.hex(descriptor: descriptor, path: path) == name
    }
  }
}
