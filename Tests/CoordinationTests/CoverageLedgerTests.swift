import Alignment
import Comparison
import Coordination
import Dumps
import Foundation
import Reporting
import TestSupport
import Testing

/// What stands in a directory, by PyTorch's own account.
private struct Truth: Decodable {
  struct File: Decodable {
    var path: String
    /// Names of its tensors and of the values nobody can take; nil where the file as a whole gives nothing.
    var values: [String]?
  }

  var files: [File]

  static func of(_ directory: String) async throws -> Truth {
    let result = try await runPython(
      """
      import json, os, re, sys, torch
      root = sys.argv[1]
      name = re.compile(r"layer\\d+(_\\w+)?_rank\\d+(_call\\d+)?\\.pt$")
      def walk(value, path, found):
          if isinstance(value, torch.Tensor): found.append(path)
          elif isinstance(value, dict):
              for key, item in value.items(): walk(item, path + "." + key if path else key, found)
          elif value is None or isinstance(value, (int, float, str, bool, tuple, list)): pass
          else: found.append(path)
      files = []
      for folder, _, names in os.walk(root):
          for entry in sorted(names):
              full = os.path.join(folder, entry)
              values = None
              if name.match(entry):
                  try:
                      values = []
                      walk(torch.load(full, weights_only=False), "", values)
                  except Exception: values = None
              files.append({"path": os.path.relpath(full, root), "values": values})
      print(json.dumps({"files": files}))
      """, [directory])
    return try JSONDecoder().decode(Truth.self, from: Data(result.output.utf8))
  }
}

/// A file, or one value in it.
private struct Item: Hashable, CustomStringConvertible {
  var file: String
  var value: String?
  var description: String { "\(file) \(value ?? "(whole)")" }
}

@Suite("Every file and every capture has one place in the ledger") struct CoverageLedgerTests {
  /// Damages a directory in every way that a ledger must show.
  private static let damage = """
    import argparse, os, sys, torch
    root, side = sys.argv[1:]
    path = lambda name: os.path.join(root, name)
    save = lambda name, value: torch.save(value, path(name))
    def ones(*shape): return torch.ones(*shape, dtype=torch.bfloat16)
    # On both sides: nothing to compare.
    for rank in range(2 if side == "target" else 1):
        save(f"layer00_Empty_rank{rank}_call001.pt", {"hidden": torch.empty(0, 4), "shape": (0, 4)})
    if side == "reference":
        save("layer02_OnlyHere_rank0_call001.pt", {"hidden": ones(20, 8), "shape": (20, 8)})
        sys.exit()
    cut = path("layer01_Block_rank0_call001.pt")
    data = open(cut, "rb").read()
    open(cut, "wb").write(data[:len(data) // 2])
    open(path("empty_rank0.pt"), "wb").close()
    open(path("layer02_Nothing_rank0_call001.pt"), "wb").close()
    open(path("notes.txt"), "w").write("not a dump")
    save("weird.pt", {"hidden": ones(2)})
    odd = torch.load(path("layer01_MoE_rank0_call001.pt"))
    odd["odd"] = argparse.Namespace(a=1)
    save("layer01_MoE_rank0_call001.pt", odd)
    for rank in range(2):
        save(f"layer00_Extra_rank{rank}_call001.pt", {"hidden": ones(20, 8), "input": ones(20, 4)})
    save("layer00_Block_rank0_call000.pt", {"value": ones(3)})
    os.utime(path("layer02_MoE_rank1_call001.pt"), (1500000000, 1500000000))
    os.mkdir(path("z-again"))
    save("z-again/layer02_Block_rank0_call001.pt", torch.load(path("layer02_Block_rank0_call001.pt")))
    os.symlink("/nowhere", path("layer02_Dangling_rank0_call001.pt"))
    """

  /// Checks one side; gives what was compared.
  private func check(
    _ side: CoverageLedger.Side, _ truth: Truth, report: ComparisonReport, name: String, absent: Set<Item> = []
  ) -> Set<Item> {
    var listed: [Item] = side.entries.flatMap { entry in
      entry.values.isEmpty
        ? [Item(file: entry.file)] : entry.values.map { Item(file: entry.file, value: $0) }
    }
    let repeated = Dictionary(grouping: listed) { $0 }.filter { $0.value.count > 1 }.map(\.key)
    #expect(repeated.isEmpty, "\(name): listed twice: \(repeated)")
    listed.removeAll { absent.contains($0) }
    let universe = Set(
      truth.files.flatMap { file -> [Item] in
        guard let values = file.values, !values.isEmpty else { return [Item(file: file.path)] }
        return values.map { Item(file: file.path, value: $0) }
      })
    #expect(Set(listed).subtracting(universe).isEmpty, "\(name): listed and not there")
    let compared = universe.subtracting(listed)
    #expect(compared.count == side.compared, "\(name)")
    #expect(side.files == truth.files.count, "\(name)")
    #expect(side.counts.values.reduce(0, +) == side.entries.reduce(0) { $0 + $1.count }, "\(name)")
    // What is not listed stands in a row that was measured.
    let rows = Set(
      report.rows.filter { $0.measures != nil }.map {
        "\($0.layer ?? -1) \($0.stage) \($0.tensor) \((name == "reference" ? $0.call.reference : $0.call.target) ?? -1)"
      })
    var met: Set<String> = []
    for item in compared {
      guard let value = item.value, let parts = item.file.wholeMatch(of: /layer(\d+)_(\w+?)_rank\d+_call(\d+)\.pt/)
      else {
        Issue.record("\(name): \(item) is neither compared nor listed")
        continue
      }
      let row = "\(Int(parts.1) ?? -1) \(parts.2) \(value) \(Int(parts.3) ?? -1)"
      #expect(rows.contains(row), "\(name): \(item) is neither compared nor listed")
      met.insert(row)
    }
    #expect(met == rows, "\(name)")
    return compared
  }

  private func reasons(_ side: CoverageLedger.Side, _ file: String) -> Set<CoverageLedger.Reason> {
    Set(side.entries.filter { $0.file == file }.map(\.reason))
  }

  @Test(.timeLimit(.minutes(30))) func comparedOrListedWithTheReason() async throws {
    try await Scratch.with { scratch in
      let (reference, target) = try await SampleRuns.shared.pair(in: scratch)
      for (directory, side) in [(reference, "reference"), (target, "target")] {
        try await runPython(Self.damage, [directory, side])
      }
      let report = try await DumpComparer.compare(
        ComparisonRequest(
          reference: ComparisonSide(set: try DumpSetLoader.load(directory: reference, layout: .atom), worldSize: 1),
          target: ComparisonSide(set: try DumpSetLoader.load(directory: target, layout: .atom), worldSize: 2),
          slots: 4))
      #expect(report.verdict == .inconclusive)
      let ledger = try #require(report.coverage.ledger)
      let left = check(ledger.reference, try await Truth.of(reference), report: report, name: "reference")
      // A value that should be there and is not is listed, too.
      let absent = Item(file: "layer00_Block_rank0_call000.pt", value: "hidden")
      let right = check(
        ledger.target, try await Truth.of(target), report: report, name: "target", absent: [absent])
      #expect(!left.isEmpty && !right.isEmpty)
      #expect(ledger.target.entries.contains { $0.file == absent.file && $0.values == ["hidden"] })

      #expect(reasons(ledger.target, "layer01_Block_rank0_call001.pt") == [.unreadable])
      #expect(reasons(ledger.target, "layer02_Nothing_rank0_call001.pt") == [.unreadable])
      #expect(reasons(ledger.target, "layer02_Dangling_rank0_call001.pt") == [.unreadable])
      #expect(reasons(ledger.target, "notes.txt") == [.unrecognised])
      #expect(reasons(ledger.target, "weird.pt") == [.unrecognised])
      #expect(reasons(ledger.target, "layer01_MoE_rank0_call001.pt") == [.unreadable], "the odd value alone")
      #expect(reasons(ledger.target, "layer00_Extra_rank1_call001.pt") == [.noPartner])
      #expect(reasons(ledger.reference, "layer02_OnlyHere_rank0_call001.pt") == [.noPartner])
      #expect(reasons(ledger.target, "layer02_MoE_rank1_call001.pt") == [.stale])
      #expect(reasons(ledger.target, "z-again/layer02_Block_rank0_call001.pt") == [.unreadable])
      #expect(reasons(ledger.target, "layer01_Attention_rank1_call002.pt") == [.otherCall])
      #expect(reasons(ledger.target, "layer01_Attention_rank1_call001.pt") == [])

      // The record keeps it all, and the text names the first of each.
      let read = try ComparisonReport(json: report.json())
      #expect(read.coverage.ledger == ledger)
      let text = report.text()
      #expect(text.contains("notes.txt"))
      #expect(text.contains("\(ledger.target.counts[.otherCall] ?? 0) other-call"))
    }
  }

  @Test func slotsHaveALedgerToo() async throws {
    try await Scratch.with { scratch in
      let directory = try await SampleRuns.shared.make("--nproc 2", in: scratch, name: "slots")
      try scratch.write("slots/notes.txt", "not a dump")
      let report = try await DumpComparer.compareSlots(
        set: try DumpSetLoader.load(directory: directory, layout: .atom), slots: 4, rank: 0)
      let ledger = try #require(report.coverage.ledger)
      _ = check(ledger.target, try await Truth.of(directory), report: report, name: "target")
      #expect(reasons(ledger.target, "layer01_Block_rank1_call001.pt") == [.otherRank])
    }
  }
}
