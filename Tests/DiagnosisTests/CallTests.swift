import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import Testing

/// Every trap in which `pick_prefill_call` errs, in real dumps: rule `auto` compares the prefill.
@Suite("Orders of calls that engines have")
struct CallTests {
  struct Trap: Sendable {
    var name: String
    var arguments: String
    /// Tokens of the prefill.
    var tokens: Int
    /// First call of the prefill.
    var call: Int
    /// What rule `atom` takes for `Block`; nil where it takes the prefill, too, or nothing.
    var atom: Int?
  }

  private static let classes = "Embedding,AttnContext,Attention,MLP,MoE,Block"
  private static let traps = [
    Trap(name: "power of two", arguments: "--prompt-length 16", tokens: 64, call: 1, atom: 0),
    Trap(
      name: "speculative decode", arguments: "--prompt-length 16 --decode-tokens 3 --decode-steps 2", tokens: 64,
      call: 1, atom: 2),
    Trap(name: "odd warm-up", arguments: "--prompt-length 13 --warm-up-tokens 60", tokens: 52, call: 1, atom: 0),
    Trap(name: "chunks", arguments: "--prompt-length 12 --prefill-chunks 3", tokens: 48, call: 1, atom: 0),
    Trap(name: "ragged prompts", arguments: "--prompts ragged --prompt-length 9", tokens: 36, call: 1),
    Trap(name: "loop over sequences", arguments: "--prompt-length 13 --per-sequence", tokens: 52, call: 1),
    Trap(name: "one sequence at a time", arguments: "--prompt-length 13 --one-by-one", tokens: 52, call: 4, atom: 0),
    Trap(name: "dummy batches", arguments: "--prompt-length 13 --dummy 2", tokens: 52, call: 2),
    Trap(name: "prefix cache", arguments: "--prompt-length 16 --again 5", tokens: 64, call: 1, atom: 3),
  ]

  private func run(_ arguments: String, ranks: Int) -> Workload.Run {
    Workload.Run(arguments: "--nproc \(ranks) --dtype bf16 --layers 2 \(arguments)", classes: Self.classes)
  }

  @Test("rule auto compares the prefill where rule atom errs")
  func traps() async throws {
    let runs = try await Workload.shared.dumps(
      Self.traps.flatMap { [run($0.arguments, ranks: 1), run($0.arguments, ranks: 2)] })
    for trap in Self.traps {
      let reference = try #require(runs[run(trap.arguments, ranks: 1)])
      let target = try #require(runs[run(trap.arguments, ranks: 2)])
      let report = try await compare(reference, target)
      #expect(report.verdict == .pass, "\(trap.name): \(report.notes) \(report.coverage.unmatched)")
      #expect(report.rows.allSatisfy { $0.shape.first == trap.tokens }, "\(trap.name)")
      let block = try #require(report.rows.first { $0.stage == "Block" })
      #expect(block.call.target == trap.call, "\(trap.name): \(block.call.why)")
      let atom = try await compare(reference, target) { $0.rule = .atom }
      let picked = atom.rows.first { $0.stage == "Block" }?.call.target
      if let wrong = trap.atom { #expect(picked == wrong, "\(trap.name)") }
      if trap.name == "loop over sequences" {
        #expect(atom.rows.allSatisfy { $0.stage != "AttnContext" || $0.shape.first != trap.tokens })
      }
    }
  }

  @Test("other chunks on the two sides are put into one order, by ids and without them")
  func chunks() async throws {
    let even = [run("--prompt-length 12", ranks: 1), run("--prompt-length 12 --prefill-chunks 3", ranks: 2)]
    let ragged = [
      run("--prompts ragged --prompt-length 10", ranks: 1),
      run("--prompts ragged --prompt-length 10 --prefill-chunks 2", ranks: 2),
    ]
    let short = run("--prompt-length 7", ranks: 2)
    let runs = try await Workload.shared.dumps(even + ragged + [short])
    func sets(_ pair: [Workload.Run]) throws -> (String, String) {
      (try #require(runs[pair[0]]), try #require(runs[pair[1]]))
    }
    for (pair, stages) in [(even, nil), (ragged, nil), (even, ["Block", "MoE"])] as [([Workload.Run], [String]?)] {
      let (reference, target) = try sets(pair)
      let report = try await compare(reference, target) { request in
        guard let stages else { return }
        request.reference.set.captures.removeAll { !stages.contains($0.stage) }
        request.target.set.captures.removeAll { !stages.contains($0.stage) }
      }
      #expect(report.verdict == .pass, "\(report.notes) \(report.findings)")
      #expect(report.coverage.compared == report.coverage.expected)
    }
    // Ragged chunks without ids: nothing says which row is which.
    let (reference, target) = try sets(ragged)
    let blind = try await compare(reference, target) { request in
      request.reference.set.captures.removeAll { $0.stage == "Embedding" }
      request.target.set.captures.removeAll { $0.stage == "Embedding" }
    }
    #expect(blind.verdict == .inconclusive)
    #expect(blind.findings.contains { $0.cause == "wrong-call" })
    // Fewer tokens than the other side, as after a prefix-cache hit: not the same call.
    let less = try await compare(try sets(even).0, try #require(runs[short]))
    #expect(less.verdict == .inconclusive)
    #expect(less.findings.first?.cause == "wrong-call")
  }

  @Test("ranks in context-parallel groups hold shares of the tokens; ranks that hold the same tokens hold none")
  func shares() async throws {
    let whole = run("--prompt-length 12", ranks: 1)
    let reference = try load(try #require(try await Workload.shared.dumps([whole])[whole]))
    /// Rank r of four holds the half of the tokens that `half` says.
    func halves(_ half: (Int) -> Int) throws -> DumpSet {
      var set = reference
      set.captures = try (0..<4).flatMap { rank in
        try reference.captures.map { capture in
          var capture = capture
          let count = try #require(capture.tensor.shape.first) / 2
          capture.tensor = try #require(capture.tensor.rows((half(rank) * count)..<((half(rank) + 1) * count)))
          capture.rank = rank
          return capture
        }
      }
      return set
    }
    func report(_ target: DumpSet) async throws -> ComparisonReport {
      try await DumpComparer.compare(
        ComparisonRequest(reference: ComparisonSide(set: reference), target: ComparisonSide(set: target)))
    }
    for half in [{ $0 / 2 }, { $0 % 2 }] as [(Int) -> Int] {
      let shared = try await report(try halves(half))
      #expect(shared.verdict == .pass, "\(shared.notes) \(shared.findings.map(\.summary))")
      #expect(shared.coverage.compared == shared.coverage.expected)
    }
    let other = try await report(try halves { _ in 0 })
    #expect(other.verdict == .inconclusive)
    #expect(other.findings.contains { $0.cause == "wrong-call" }, "\(other.findings)")
  }

  @Test("the slots of a chunked prefill are compared sequence by sequence")
  func slots() async throws {
    let same = run("--prompts same --prompt-length 12 --prefill-chunks 3", ranks: 1)
    let runs = try await Workload.shared.dumps([same])
    let report = try await DumpComparer.compareSlots(set: try load(try #require(runs[same])), slots: 4)
    #expect(report.verdict == .pass, "\(report.findings) \(report.notes)")
    #expect(report.rows.allSatisfy { $0.shape.first == 12 })
  }
}
