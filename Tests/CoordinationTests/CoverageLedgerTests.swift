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
    save("layer2_Block_rank0_call001.pt", torch.load(path("layer02_Block_rank0_call001.pt")))
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
      #expect(reasons(ledger.target, "layer2_Block_rank0_call001.pt") == [.unreadable])
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

  /// The reasons that the damage above does not bring about.
  @Test(.timeLimit(.minutes(30))) func everyOtherReason() async throws {
    try await Scratch.with { scratch in
      let (reference, target) = try await SampleRuns.shared.pair(in: scratch)
      try await runPython(
        """
        import glob, sys, torch
        root = sys.argv[1]
        for path in glob.glob(root + "/layer01_MoE_rank*_call001.pt"):
            value = torch.load(path)
            value["hidden"] = value["hidden"][:, :-1].clone()
            torch.save(value, path)
        for rank in range(2):
            torch.save({"hidden": torch.ones(20, 8)}, f"{root}/layer00_Extra_rank{rank}_call001.pt")
        """, [target])
      var right = try DumpSetLoader.load(directory: target, layout: .atom)
      // What a layout that looks at no names would let through.
      var again = try #require(right.captures.first { $0.file == "layer02_Block_rank0_call001.pt" })
      again.file = "layer02_Block_rank0_call001.pt.again"
      right.captures.append(again)
      let rule = try NameRule(
        reference: [NamePattern("layer {n} Other.{t}")], target: [NamePattern("layer {n} Another.{t}")],
        isOptional: true, title: "rule")
      let left = try DumpSetLoader.load(directory: reference, layout: .atom)
      let request = ComparisonRequest(
        reference: ComparisonSide(set: left, worldSize: 1), target: ComparisonSide(set: right, worldSize: 2), slots: 4,
        names: NameRules([.rule(rule)]))
      let report = try await DumpComparer.compare(request)
      #expect(report.verdict != .pass)
      let side = try #require(report.coverage.ledger).target
      for rank in [0, 1] {
        #expect(reasons(side, "layer01_MoE_rank\(rank)_call001.pt").contains(.notMeasured))
        #expect(reasons(side, "layer00_Extra_rank\(rank)_call001.pt") == [.noRule])
      }
      #expect(reasons(side, again.file) == [.duplicate])
      let cut = try #require(
        side.entries.first { $0.file == "layer01_MoE_rank0_call001.pt" && $0.reason == .notMeasured })
      #expect(cut.values.contains("hidden") && cut.why?.contains("[20, 64]") == true, "\(cut)")
    }
  }

  @Test func plainValuesAndIndexesAreListed() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import json, os, sys, torch
        import safetensors.torch as st
        root = sys.argv[1]
        for side in "ab":
            folder = f"{root}/sglang-{side}"
            os.makedirs(folder)
            for index, (name, value) in enumerate((("x", torch.ones(4, 3)), ("rids", "a"))):
                torch.save(
                    {"value": value, "meta": {}},
                    f"{folder}/step=0___rank=0___dump_index={index}___name={name}___recompute_status=disabled.pt")
            folder = f"{root}/safetensors-{side}"
            os.makedirs(folder)
            st.save_file({"layers.0.q": torch.ones(4, 3)}, f"{folder}/model-00001-of-00001.safetensors")
            with open(f"{folder}/model.safetensors.index.json", "w") as f:
                json.dump({"weight_map": {"layers.0.q": "model-00001-of-00001.safetensors"}}, f)
            folder = f"{root}/msprobe-{side}/step0/rank0"
            os.makedirs(folder + "/dump_tensor_data")
            name = "Functional.linear.0.forward.output.0"
            torch.save(torch.ones(4, 3), f"{folder}/dump_tensor_data/{name}.pt")
            leaf = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [4, 3], "Max": 1.0, "Min": 1.0,
                    "Mean": 1.0, "Norm": 3.4641016, "requires_grad": False, "data_name": name + ".pt"}
            with open(f"{folder}/dump.json", "w") as f:
                json.dump({"task": "tensor", "level": "L1", "framework": "pytorch", "dump_data_dir": "",
                           "data": {"Functional.linear.0.forward": {
                               "input_args": [], "input_kwargs": {}, "output": [leaf]}}}, f)
            with open(f"{folder}/stack.json", "w") as f:
                f.write("{}")
        """, [scratch.path])
      let cases: [(layout: DumpLayout, selection: CallSelection, listed: [String: CoverageLedger.Reason])] = [
        (.sglang, .number(0), ["step=0___rank=0___dump_index=1___name=rids___recompute_status=disabled.pt": .plain]),
        (.safetensors, .prefill, ["model.safetensors.index.json": .index]),
        // Such files have no calls.
        (
          .safetensors, .number(0),
          ["model.safetensors.index.json": .index, "model-00001-of-00001.safetensors": .undecidedCall]
        ),
        (.msprobe, .number(0), ["step0/rank0/dump.json": .index, "step0/rank0/stack.json": .index]),
      ]
      for (layout, selection, listed) in cases {
        let sides = try ["a", "b"].map {
          ComparisonSide(
            set: try DumpSetLoader.load(directory: scratch.path("\(layout.rawValue)-\($0)"), layout: layout))
        }
        let report = try await DumpComparer.compare(
          ComparisonRequest(reference: sides[0], target: sides[1], selection: selection))
        let isDecided = !listed.values.contains(.undecidedCall)
        #expect((report.verdict == .pass) == isDecided, "\(layout)")
        let ledger = try #require(report.coverage.ledger)
        for side in [ledger.reference, ledger.target] {
          #expect(side.files == listed.count + (isDecided ? 1 : 0), "\(layout)")
          #expect(
            Dictionary(side.entries.map { ($0.file, $0.reason) }, uniquingKeysWith: { first, _ in first }) == listed,
            "\(layout)")
          #expect(side.compared == (isDecided ? 1 : 0), "\(layout)")
        }
      }
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
