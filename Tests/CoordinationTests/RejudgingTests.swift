import Alignment
import Comparison
import Dumps
import Foundation
import Reporting
import TestSupport
import Testing

@testable import Coordination

/// Stored measures judge as the dumps themselves do, and never serve what changed.
@Suite struct RejudgingTests {
  private static let policies: [NoisePolicy] = [.measured(NoiseFloors()), .strict, .atom, .triage]

  private func source(_ directory: String) throws -> DumpSource { try DumpSource(directory: directory, layout: .atom) }

  /// Measures a pair and keeps it in `file`.
  private func keep(_ reference: String, _ target: String, _ file: String) async throws -> ComparisonReport {
    let (left, right) = (try source(reference), try source(target))
    let result = try await MeasureArchive.report(
      SampleRuns.request(left, right, policy: .measured(NoiseFloors())), reference: left, target: right, from: nil,
      to: file, now: 1_700_000_000)
    #expect(result.unsaved == nil)
    #expect(result.origin == .dumps(why: nil))
    return result.report
  }

  private func again(
    _ reference: String, _ target: String, _ file: String, adjust: (inout ComparisonRequest) -> Void = { _ in }
  ) async throws -> (report: ComparisonReport, origin: MeasureArchive.Origin) {
    let (left, right) = (try source(reference), try source(target))
    var request = SampleRuns.request(left, right, policy: .measured(NoiseFloors()))
    adjust(&request)
    let result = try await MeasureArchive.report(
      request, reference: left, target: right, from: file, to: nil, now: 1_800_000_000)
    return (result.report, result.origin)
  }

  @Test(
    "a file of measures gives the reports that the dumps give", .timeLimit(.minutes(30)),
    arguments: ["", "--bug double-reduce", "--bug missing-reduce", "--bug non-finite", "--bug token-corruption"])
  func sameReports(bug: String) async throws {
    try await Scratch.with { scratch in
      let (reference, target) = try await SampleRuns.shared.pair(in: scratch, bug: bug)
      let file = scratch.path("pair.measures")
      _ = try await keep(reference, target, file)
      for policy in Self.policies {
        let (left, right) = (try source(reference), try source(target))
        var request = SampleRuns.request(left, right, policy: policy)
        let stored = try await again(reference, target, file) { $0.policy = policy }
        #expect(stored.origin == .stored(at: 1_700_000_000))
        request.reference.set = try await left.dumps()
        request.target.set = try await right.dumps()
        let fresh = try await DumpComparer.compare(request)
        // NaN is no number: the records are compared, not the values.
        #expect(stored.report.json(pretty: true) == fresh.json(pretty: true), "\(policy)")
        let tokens = { (report: ComparisonReport) in report.rows.map { $0.measures?.tokenRelL2.map(\.bitPattern) } }
        #expect(tokens(stored.report) == tokens(fresh))
      }
    }
  }

  @Test(.timeLimit(.minutes(30))) func nothingThatChangedIsJudgedFromOldMeasures() async throws {
    try await Scratch.with { scratch in
      let (reference, target) = try await SampleRuns.shared.pair(in: scratch)
      let file = scratch.path("pair.measures")
      let first = try await keep(reference, target, file)
      #expect(first.verdict == .pass)

      // Own limits judge without reading and change the verdict.
      let limits = try await again(reference, target, file) { $0.policy = .thresholds(cos: nil, rel: 0) }
      #expect(limits.origin == .stored(at: 1_700_000_000))
      #expect(limits.report.verdict == .fail)

      // A rule for ranks, a world size or a call reads.
      let changes: [(String, (inout ComparisonRequest) -> Void)] = [
        ("shardRules", { $0.shardRules = [("Attention", .replicated)] }),
        ("shardRule", { $0.shardRule = .concat(axis: -1) }), ("target.worldSize", { $0.target.worldSize = 3 }),
        ("selection", { $0.selection = .decode }), ("rule", { $0.rule = .atom }),
        ("target.startTime", { $0.target.startTime = 5 }),
        ("expectation", { $0.expectation = CaptureExpectation(layers: [9], stages: ["Block"]) }),
      ]
      for (name, change) in changes {
        let result = try await again(reference, target, file, adjust: change)
        guard case .dumps(let why?) = result.origin else {
          Issue.record("\(name) must be measured again, not \(result.origin)")
          continue
        }
        #expect(why.contains(name), "\(why)")
      }

      // Other bytes under the same name, size and modification time.
      let path = "\(target)/layer01_Block_rank0_call001.pt"
      let times = try FileManager.default.attributesOfItem(atPath: path)[.modificationDate]
      var bytes = try Data(contentsOf: URL(filePath: path))
      bytes[bytes.count / 2] ^= 0x7F
      let handle = try FileHandle(forWritingTo: URL(filePath: path))
      try handle.write(contentsOf: bytes)
      try handle.close()
      try FileManager.default.setAttributes([.modificationDate: try #require(times)], ofItemAtPath: path)
      let changed = try await again(reference, target, file)
      #expect(changed.origin == .dumps(why: "the target's files changed"))
      #expect(changed.report.verdict != .pass)

      // A file that came.
      _ = try await keep(reference, target, file)
      try scratch.write("reference/notes.txt", "new")
      let grown = try await again(reference, target, file)
      #expect(grown.origin == .dumps(why: "the reference's files changed"))
    }
  }

  @Test(.timeLimit(.minutes(30))) func damagedMeasuresAreNotJudged() async throws {
    try await Scratch.with { scratch in
      let (reference, target) = try await SampleRuns.shared.pair(in: scratch)
      let file = scratch.path("pair.measures")
      _ = try await keep(reference, target, file)
      let whole = try Data(contentsOf: URL(filePath: file))
      for count in [0, 5, 80, whole.count / 2, whole.count - 1] {
        try whole.prefix(count).write(to: URL(filePath: file))
        #expect(throws: MeasureFileError.self) { try MeasureFile.read(file) }
      }
      for place in stride(from: 0, to: whole.count, by: max(1, whole.count / 40)) {
        var damaged = whole
        damaged[place] ^= 0x10
        #expect(throws: MeasureFileError.self) { try MeasureFile.decode(damaged, file: "x") }
      }
      let result = try await again(reference, target, file)
      guard case .dumps(let why?) = result.origin else {
        Issue.record("damaged measures must not be judged")
        return
      }
      #expect(why.contains("checksum") || why.contains("no file of measures"))
      #expect(result.report.verdict == .pass)
      #expect(try MeasureFile.read(scratch.path("none")) == nil)
    }
  }

  @Test(
    "changed figures under a right checksum are refused or judged, and never end the process", .timeLimit(.minutes(30)))
  func changedMeasures() async throws {
    try await Scratch.with { scratch in
      let (reference, target) = try await SampleRuns.shared.pair(in: scratch, bug: "--bug double-reduce")
      let file = scratch.path("pair.measures")
      _ = try await keep(reference, target, file)
      let head = MeasureFile.magic.utf8.count + 1
      let payload = Array(try Data(contentsOf: URL(filePath: file)).dropFirst(head + 65))
      let (left, right) = (try source(reference), try source(target))
      var numbers = Numbers(seed: 7)
      var judged = 0
      for _ in 0..<400 {
        var bytes = payload
        for _ in 0..<numbers.below(4) + 1 {
          let place = numbers.below(bytes.count)
          bytes[place] = numbers.below(2) == 0 ? UInt8(numbers.below(256)) : bytes[place] ^ 0x80
        }
        let data = Data("\(MeasureFile.magic)\n\(hexDigest(Data(bytes)))\n".utf8) + Data(bytes)
        guard let contents = try? MeasureFile.decode(data, file: "x") else { continue }
        for policy in Self.policies {
          let request = SampleRuns.request(left, right, policy: policy)
          guard let report = try? DumpComparer.judge(contents.measured, by: request) else { continue }
          judged += 1
          #expect(!report.json().isEmpty && !report.text(verbose: true).isEmpty)
        }
      }
      #expect(judged > 0)
    }
  }

  /// The same numbers in every run.
  private struct Numbers {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func below(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(max(limit, 1)))
    }
  }

  @Test func aKeyLeavesOutTheJudgingAndNothingElse() throws {
    let set = DumpSet(root: "/a", layout: .atom, captures: [], unreadable: [], unrecognised: [])
    let base = ComparisonRequest(reference: ComparisonSide(set: set), target: ComparisonSide(set: set))
    let identity = DumpIdentity(kind: .status, lines: ["a"])
    func key(_ change: (inout ComparisonRequest) -> Void) -> MeasureKey {
      var request = base
      change(&request)
      return MeasureKey(request, reference: identity, target: identity)
    }
    let plain = key { _ in }
    #expect(key { $0.policy = .strict } == plain)
    #expect(key { $0.target.label = "b" } == plain)
    #expect(key { $0.slots = 2 } != plain)
    #expect(key { $0.rank = 0 } != plain)
    #expect(key { $0.shardRules = [("a", .auto), ("b", .partial)] } != key { $0.shardRules = [("ab", .partial)] })
    // Every field of a request but the judging is in the key, whatever is added later.
    let fields = Set(Mirror(reflecting: base).children.compactMap(\.label)).subtracting([
      "reference", "target", "policy",
    ])
    #expect(fields.isSubset(of: plain.rules.keys))
    #expect(MeasureKey.text(["b": 1, "a": 2]) == MeasureKey.text(["a": 2, "b": 1]))
  }

  @Test(.timeLimit(.minutes(30))) func progressCountsEveryCaptureOfAllPairs() async throws {
    try await Scratch.with { scratch in
      let (reference, target) = try await SampleRuns.shared.pair(in: scratch)
      let (left, right) = (try source(reference), try source(target))
      var request = SampleRuns.request(left, right, policy: .strict)
      request.reference.set = try await left.dumps()
      request.target.set = try await right.dumps()
      let (stream, continuation) = AsyncStream.makeStream(of: (Int, Int).self)
      let report = try await DumpComparer.compare(request) { continuation.yield(($0, $1)) }
      continuation.finish()
      var seen: [(Int, Int)] = []
      for await figures in stream { seen.append(figures) }
      let ledger = try #require(report.coverage.ledger)
      let total = ledger.reference.compared + ledger.target.compared
      #expect(seen.first.map { $0 == (0, total) } == true)
      #expect(seen.last.map { $0 == (total, total) } == true)
      #expect(seen.map(\.0) == seen.map(\.0).sorted())
    }
  }
}
