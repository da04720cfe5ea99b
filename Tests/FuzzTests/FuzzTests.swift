import Dumps
import Foundation
import Planning
import TestSupport
import Testing

/// Mutated input of every kind that comes from outside: no crash, no hang, no memory beyond a bound, and no error
/// but the module's own.
@Suite(.serialized) struct FuzzTests {
  @Test func pickles() async throws {
    let seeds = try await DumpSeeds.make().seeds
    for seed in seeds {
      // The seeds themselves are sound: the fuzzer starts from files that are read.
      try await Scratch.with { scratch in
        try Data(seed.file(pickle: seed.pickle)).write(to: URL(fileURLWithPath: scratch.path("seed.pt")))
        _ = try DumpFileReader.read(path: scratch.path("seed.pt"))
      }
    }
    let pickles = seeds.map(\.pickle)
    try Campaign(name: "pickle", count: 1_500, memoryBound: 256 << 20).run { mutator in
      let seed = mutator.pick(seeds)
      var pickle = seed.pickle
      mutator.damage(&pickle, words: pickleWords, donors: pickles)
      return seed.file(pickle: pickle)
    } check: { path in
      try readDump(path)
    }
  }

  @Test func zipDirectories() async throws {
    let seeds = try await DumpSeeds.make().seeds.map(\.whole)
    try Campaign(name: "zip", count: 1_000).run { mutator in
      var bytes = mutator.pick(seeds)
      // Fields by their place, so that damage gets past the signatures; then perhaps anything anywhere.
      for _ in 0..<mutator.int(1..<5) { rewriteField(&bytes, &mutator) }
      if mutator.int(0..<3) == 0 { mutator.damage(&bytes, words: zipSignatures, donors: seeds) }
      return bytes
    } check: { path in
      try readDump(path)
    }
  }

  @Test func jobFiles() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Jobs").path
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".yaml") }.sorted()
    let jobs = try names.map { try String(contentsOfFile: "\(folder)/\($0)", encoding: .utf8) }
    try #require(jobs.count >= 3)
    let seeds = (jobs + jobSeeds).map { Array($0.utf8) }
    // Beside the examples, so that the files they ship are found.
    let place = "\(folder)/fuzz.yaml"
    for job in jobs + jobSeeds { _ = try Planner.plan(text: job, path: place) }
    try Campaign(name: "job", count: 1_000).run { mutator in
      var bytes = mutator.pick(seeds)
      damageLines(&bytes, &mutator)
      if mutator.int(0..<2) == 0 { mutator.damage(&bytes, words: yamlWords, donors: seeds) }
      return bytes
    } check: { path in
      do {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        if let text = String(validating: data, as: UTF8.self) {
          _ = try Planner.plan(text: text, path: place)
        } else {
          _ = try Planner.plan(jobFile: path)
        }
        return true
      } catch let error as PlanningError {
        if error.problems.isEmpty { throw BrokenPromise(description: "an error without a problem") }
        return false
      }
    }
  }

  @Test func fleetFiles() throws {
    let seeds = fleetSeeds.map { Array($0.utf8) }
    for seed in fleetSeeds { _ = try FleetReader.read(text: seed, path: "fleet.yaml") }
    try Campaign(name: "fleet", count: 2_000).run { mutator in
      var bytes = mutator.pick(seeds)
      damageLines(&bytes, &mutator)
      if mutator.int(0..<2) == 0 { mutator.damage(&bytes, words: yamlWords, donors: seeds) }
      return bytes
    } check: { path in
      do {
        if try FleetReader.read(path: path).hosts.isEmpty { throw BrokenPromise(description: "a fleet of no host") }
        return true
      } catch let error as PlanningError {
        if error.problems.isEmpty { throw BrokenPromise(description: "an error without a problem") }
        return false
      }
    }
  }

  /// One field of a directory entry, of a local header or of the directory's end.
  func rewriteField(_ bytes: inout [UInt8], _ mutator: inout Mutator) {
    let kinds: [(signature: [UInt8], fields: [(offset: Int, width: Int)])] = [
      (
        [0x50, 0x4B, 1, 2],
        [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4), (46, 1), (47, 2)]
      ),
      ([0x50, 0x4B, 3, 4], [(6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 1)]),
      ([0x50, 0x4B, 5, 6], [(8, 2), (10, 2), (12, 4), (16, 4), (20, 2)]),
      ([0x50, 0x4B, 6, 6], [(4, 8), (24, 8), (32, 8), (40, 8), (48, 8)]),
      ([0x50, 0x4B, 6, 7], [(8, 8), (16, 4)]),
    ]
    let kind = mutator.pick(kinds)
    let places = bytes.indices.dropLast(3).filter { bytes[$0..<($0 + 4)].elementsEqual(kind.signature) }
    guard !places.isEmpty else { return }
    let field = mutator.pick(kind.fields)
    let at = mutator.pick(places) + field.offset
    if mutator.int(0..<3) == 0, at < bytes.count {
      // Near the true value.
      bytes[at] = bytes[at] &+ UInt8(truncatingIfNeeded: mutator.pick([-4, -1, 1, 4, 64]))
    } else {
      mutator.overwrite(&bytes, at: at, with: mutator.number(width: field.width))
    }
  }

  /// Lines dropped, doubled, moved and indented otherwise, and values put in the place of others.
  private func damageLines(_ bytes: inout [UInt8], _ mutator: inout Mutator) {
    var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).map(Array.init)
    for _ in 0..<mutator.pick([1, 1, 2, 4]) {
      let at = mutator.int(0..<lines.count)
      switch mutator.int(0..<6) {
      case 0: if lines.count > 1 { lines.remove(at: at) }
      case 1: lines.insert(lines[at], at: mutator.int(0..<lines.count + 1))
      case 2: lines.swapAt(at, mutator.int(0..<lines.count))
      case 3: lines[at].insert(contentsOf: [UInt8](repeating: 0x20, count: mutator.int(1..<5)), at: 0)
      case 4: if lines[at].first == 0x20 { lines[at].removeFirst() }
      default:
        if let colon = lines[at].firstIndex(of: UInt8(ascii: ":")) {
          lines[at] = Array(lines[at][...colon]) + [0x20] + mutator.pick(yamlWords)
        }
      }
    }
    bytes = Array(lines.joined(separator: [0x0A]))
  }
}
